//! What the machine acts upon: scripted monitors and their children on a few threads, a builder that takes its time, a watchdog, and
//! a journal that takes its time, too.

mod actors;
mod journal;
mod scripts;
mod shards;
mod specs;

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{Effect, Input, Launch, RootEnd};
use super::Rng;
use crate::model::*;
use actors::Act;
pub(super) use actors::Actor;
pub(super) use journal::{Journal, Note};
pub(super) use shards::{HELD_UP, STALL_AFTER};
use shards::{Poll, Shards};
pub(super) use specs::{spec, target};

/// Nothing that an instance does lasts longer.
pub(super) const LONGEST: Duration = Duration::from_secs(3 * 3600);

/// By how much the watchdog's clock may be behind.
const COARSE: Duration = Duration::from_millis(5);

/// How often somebody looks how the journal does, in milliseconds.
const LOOKS: u64 = 100;

/// How long there may be hardly any space left, in milliseconds.
const SHORT_OF_SPACE: u64 = 120_000;

/// How long the news of something may be under way.
const NEWS: u64 = 9;

#[derive(Clone, Debug)]
enum Happening {
    /// An instance does something, as soon as its thread is free.
    Of(InstanceId, Act),
    /// The machine is told, whatever has become of it meanwhile.
    Told(Input),
    /// A poll blocks its thread for so long that the watchdog says so.
    Noticed(Poll),
    /// For so long that the thread is to be given up.
    Stalled(Poll),
    /// It is over.
    Freed(Poll),
    /// A transaction of the journal's is done.
    Written,
    /// Somebody looks how the journal does.
    Looked,
    /// There is space for it again.
    SpaceFreed,
}

/// Every instance that lives, and what is due to happen to them.
#[derive(Debug)]
pub(super) struct World {
    pub(super) actors: BTreeMap<InstanceId, Actor>,
    pub(super) shards: Shards,
    pub(super) journal: Journal,
    agenda: BTreeMap<(Mono, u64), Happening>,
    entries: u64,
    /// Of ten monitors, how many are of a sort that blocks.
    blocking: u64,
    most_relieved: usize,
}

impl World {
    pub(super) fn new(most_relieved: usize, rng: &mut Rng) -> Self {
        let (actors, agenda) = (BTreeMap::new(), BTreeMap::new());
        let blocking = 1 + rng.below(4);
        Self {
            actors,
            shards: Shards::new(rng),
            journal: Journal::default(),
            agenda,
            entries: 0,
            blocking,
            most_relieved,
        }
    }

    /// What clients know an instance by that lives.
    pub(super) fn key(&self, id: InstanceId) -> Option<(Uid, Generation, Attempt)> {
        self.actors.get(&id).map(|actor| (actor.uid, actor.generation, actor.attempt))
    }

    pub(super) fn next_due(&self) -> Option<Mono> {
        self.agenda.keys().next().map(|(due, _)| *due)
    }

    /// Lets the next thing happen that is due; what the machine is told of it. `full`, as the machine says that too many threads are
    /// lost.
    pub(super) fn pop_due(&mut self, full: bool, now: Mono, rng: &mut Rng) -> Option<Input> {
        loop {
            let entry = self.agenda.first_entry().filter(|entry| entry.key().0 <= now)?;
            let told = match entry.remove() {
                Happening::Of(instance, act) => self.acts(instance, act, now, rng),
                Happening::Told(input) => Some(input),
                Happening::Noticed(poll) => self.shards.current(poll).map(|block| {
                    block.told = true;
                    Input::PollBlocked(poll.instance, block.since.before(COARSE))
                }),
                Happening::Stalled(poll) => self.stalled(poll, full, now),
                Happening::Freed(poll) => self.freed(poll, now, rng),
                Happening::Written => {
                    for replaced in self.journal.written(now) {
                        self.plan(now + rng.millis(NEWS), Happening::Told(Input::Committed(replaced)));
                    }
                    self.written(now, rng);
                    None
                }
                Happening::Looked => self.journal.look(now).map(Input::Admission),
                Happening::SpaceFreed => {
                    self.journal.nearly_full = false;
                    self.look_after(Duration::ZERO, now, rng);
                    None
                }
            };
            if told.is_some() {
                return told;
            }
        }
    }

    /// Whether another instance keeps this one from being polled at all.
    pub(super) fn is_held_up(&self, id: InstanceId, now: Mono) -> bool {
        let block = self.actors.get(&id).and_then(|actor| self.shards.blocked(actor.shard));
        block.is_some_and(|block| block.culprit() != id && now.since(block.since) >= HELD_UP)
    }

    /// As the shell has it: at the limit, threads of custom kinds are not given up; what waits there is told of again. One who has a
    /// thread to itself is in nobody's way; and where as many have as may, one that blocks it no longer gives it back.
    fn stalled(&mut self, poll: Poll, full: bool, now: Mono) -> Option<Input> {
        let (custom, most) = (self.shards.is_custom(poll.shard), self.most_relieved);
        let is_alone = self.shards.is_relieved(poll.shard);
        let back = self.shards.give_back(custom, most);
        let block = self.shards.current(poll)?;
        if !is_alone && (full && custom || back.is_err()) {
            self.plan(now + STALL_AFTER, Happening::Stalled(poll));
            return None;
        }
        block.relieved = true;
        if is_alone {
            return Some(Input::Stalled { culprit: poll.instance, displaced: Vec::new() });
        }
        self.shards.relieve(poll.shard);
        let back = back.unwrap_or_default();
        let on_it = |(id, actor): &(&InstanceId, &Actor)| {
            (actor.shard == poll.shard || back == Some(actor.shard)) && **id != poll.instance
        };
        let displaced = self.actors.iter().filter(on_it).map(|(id, _)| *id).collect();
        Some(Input::Stalled { culprit: poll.instance, displaced })
    }

    /// The watchdog may be faster than what the instance does next, or slower.
    fn freed(&mut self, poll: Poll, now: Mono, rng: &mut Rng) -> Option<Input> {
        let block = self.shards.free(poll)?;
        self.goes_on(poll.instance, now, rng);
        let told = (block.told || block.relieved).then_some(Input::PollReturned(poll.instance))?;
        if rng.one_in(2) {
            return Some(told);
        }
        self.plan(now + rng.millis(NEWS), Happening::Told(told));
        None
    }

    /// Has an instance's poll block its thread.
    fn block(&mut self, instance: InstanceId, lasts: Duration, now: Mono, rng: &mut Rng) {
        let Some(actor) = self.actors.get(&instance) else { return };
        let blocked_after = actor.spec.watchdog().blocked_poll_after();
        let poll = self.shards.block(actor.shard, instance, now, now + lasts);
        self.plan(now + lasts, Happening::Freed(poll));
        self.plan(now + blocked_after + rng.millis(NEWS), Happening::Noticed(poll));
        self.plan(now + STALL_AFTER + rng.millis(NEWS), Happening::Stalled(poll));
    }

    /// Forgets those of whom nothing is left, once the machine has been told.
    pub(super) fn bury(&mut self) {
        let before = self.actors.len();
        self.actors.retain(|_, actor| actor.alive());
        if self.actors.len() < before {
            self.shards.sweep(&self.actors);
        }
    }

    /// Does what the machine says.
    pub(super) fn execute(&mut self, effect: &Effect, now: Now, rng: &mut Rng) {
        match effect {
            Effect::Append(event) => {
                if self.journal.append(event.sequence, now.mono) {
                    self.look_after(journal::STALLED_AFTER, now.mono, rng);
                }
            }
            Effect::Remember(request) => {
                if self.journal.remember(request.clone(), now.mono) {
                    self.look_after(journal::STALLED_AFTER, now.mono, rng);
                }
            }
            Effect::Answer { after, .. } => self.journal.answer(*after),
            Effect::AwaitCommit { instance, .. } => self.journal.await_commit(*instance),
            Effect::Launch(launch) => self.launch(launch, now.mono, rng),
            Effect::Signal(instance) => self.signal(*instance, now.mono, rng),
            Effect::Abort(instance) => self.abort(*instance, now.mono, rng),
            Effect::Displace(instance) => self.displace(*instance, now.mono, rng),
            Effect::Build { instance, .. } => self.build(*instance, now.mono, rng),
            Effect::Regime(instance, regime) | Effect::Promote { instance, regime, .. } => {
                if let Some(actor) = self.actors.get_mut(instance) {
                    actor.regime = *regime;
                }
            }
            Effect::CheckNow(instance) => self.plan(now.mono, Happening::Of(*instance, Act::CheckNow)),
            Effect::Discard(_) | Effect::Counted(..) | Effect::Forget(_) => {}
        }
    }

    /// The end of a turn: its events and answers are handed over.
    pub(super) fn turn(&mut self, now: Mono, rng: &mut Rng) {
        self.write(now, rng);
    }

    /// The server is killed, and with it everything that runs, and all news. What the journal has kept: its head, and requests. The
    /// next one begins `next`.
    pub(super) fn crash(&mut self, next: Mono, rng: &mut Rng) -> (Sequence, Vec<Remembered>) {
        self.actors.clear();
        self.agenda.clear();
        self.shards = Shards::new(rng);
        // Whoever else fills the disk goes on meanwhile.
        self.journal.nearly_full |= !self.journal.steady && rng.one_in(6);
        if self.journal.nearly_full {
            self.plan(next + rng.millis(SHORT_OF_SPACE), Happening::SpaceFreed);
        }
        self.look_after(Duration::ZERO, next, rng);
        self.journal.crash(rng.one_in(2))
    }

    /// Everything that waits goes into one transaction. Most are quick; some storage stands still for minutes.
    fn write(&mut self, now: Mono, rng: &mut Rng) {
        if !self.journal.begin() {
            return;
        }
        let took = match rng.below(300) {
            _ if self.journal.steady => rng.millis(20),
            0 => rng.millis(300_000),
            1..=20 => rng.millis(3_000),
            _ => rng.millis(20),
        };
        if !self.journal.steady && rng.one_in(200) {
            self.journal.fails = true;
            self.look_after(Duration::ZERO, now, rng);
        }
        self.plan(now + took, Happening::Written);
    }

    /// Now and then there is little space left, for a while. What has come meanwhile is written next.
    fn written(&mut self, now: Mono, rng: &mut Rng) {
        if !self.journal.steady && !self.journal.nearly_full && rng.one_in(200) {
            self.journal.nearly_full = true;
            self.plan(now + rng.millis(SHORT_OF_SPACE), Happening::SpaceFreed);
        }
        self.look_after(Duration::ZERO, now, rng);
        self.look_after(journal::STALLED_AFTER, now, rng);
        self.write(now, rng);
    }

    /// Who looks does so now and then.
    fn look_after(&mut self, wait: Duration, now: Mono, rng: &mut Rng) {
        self.plan(now + wait + rng.millis(LOOKS), Happening::Looked);
    }

    /// Most are built soon; some cannot be, and some take so long that nobody waits any more.
    fn build(&mut self, id: InstanceId, now: Mono, rng: &mut Rng) {
        let took = match rng.below(10) {
            0 => rng.millis(3 * 3_600_000),
            1..=3 => rng.millis(8_000),
            _ => rng.millis(300),
        };
        let built = if rng.one_in(8) { Err("cannot be built".to_owned()) } else { Ok(()) };
        self.plan(now + took, Happening::Told(Input::Built(id, built)));
    }

    fn plan(&mut self, due: Mono, happening: Happening) {
        self.entries += 1;
        self.agenda.insert((due, self.entries), happening);
    }
}
