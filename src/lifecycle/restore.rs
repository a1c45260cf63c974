//! Going on where an earlier server has ended, in whatever way: by a drain, or in the middle of things.
//!
//! What that server has left is the last image of each task. They are [taken over](Lifecycle::adopt) a few at a time, or when a
//! client commands something of one, so that this server serves before it is through with them: the instances that were alive are
//! shown as ended, a swap that was not decided is rolled back, and what is to run is started again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::commands::end;
use super::entry::{Entry, Held};
use super::io::{Chance, Command, RootEnd};
use super::record::{Change, Log};
use super::run::Run;
use super::swap::Swapping;
use super::{Lifecycle, Limits, Timer};
use crate::circuit::Circuit;
use crate::model::{
    Asked, Cause, Exit, Instance, InstanceId, InstanceState, Intent, Now, Observation, Outcome, Remembered, Sequence,
    Task, Timestamp, Uid,
};

/// How an instance ended that nobody has seen end.
pub(super) const INTERRUPTED: &str = "the server ended under it";

/// The outcome of a task whose kind is not registered any more.
const UNKNOWN_KIND: &str = "UNKNOWN_KIND";

/// Over how long first checks are spread after a restart: so long for each task, that a few are there at once, and many do not all
/// dial at once; and not for longer than people wait.
const SPREAD_FOR_EACH: Duration = Duration::from_micros(100);
const SPREAD: Duration = Duration::from_secs(10);

/// How many tasks are taken over in one step: few enough that commands between two of them hardly wait. Fewer in tests, which have
/// few tasks, and want to see what happens between two steps.
const AT_ONCE: usize = if cfg!(test) { 2 } else { 32 };

/// What an earlier server has left.
#[derive(Debug, Default)]
pub struct Past {
    /// The last place in its log.
    pub head: Sequence,
    /// Its tasks, as they stood there.
    pub tasks: Vec<Arc<Task>>,
    /// The kinds among theirs that this server does not know.
    pub unknown_kinds: BTreeSet<String>,
    /// The requests that it remembered, the oldest first.
    pub requests: Vec<Remembered>,
}

impl<C: Chance> Lifecycle<C> {
    /// Goes on where an earlier server has ended. Nothing runs yet, and nothing has been appended.
    pub fn restore(past: Past, limits: Limits, chance: C, now: Now) -> Self {
        let Past { head, tasks, unknown_kinds, requests } = past;
        let mut lifecycle = Self::new(Sequence::default(), limits, chance);
        lifecycle.log = Log { head, effects: Vec::new() };
        lifecycle.began = now.wall;
        for request in requests {
            lifecycle.requests.remember(&request, now.wall.since(request.time), now.mono);
        }
        // No task has changed since.
        let last_seen = tasks.iter().map(|task| task.update_time).max().unwrap_or_default();
        for task in tasks {
            lifecycle.take_in(task, &unknown_kinds, last_seen, now);
        }
        let orphans = u32::try_from(lifecycle.orphans.len()).unwrap_or(u32::MAX);
        lifecycle.restart_spread = SPREAD_FOR_EACH.saturating_mul(orphans).min(SPREAD);
        lifecycle
    }

    fn take_in(&mut self, task: Arc<Task>, unknown_kinds: &BTreeSet<String>, last_seen: Timestamp, now: Now) {
        let (uid, spec) = (task.uid, &task.spec);
        let circuit = Circuit::restore(&task.circuit, spec.circuit(), last_seen, now);
        match task.end {
            Some(end) => {
                let left = end.expire_time.since(now.wall).min(spec.terminal_ttl());
                self.timers.set(Timer::Expire(uid), now.mono + left);
            }
            None => {
                let known = !unknown_kinds.contains(spec.monitor().kind());
                self.orphans.insert(uid, known);
            }
        }
        let ended = task.end.is_some();
        self.names.insert(task.name.clone(), uid);
        self.tasks.insert(uid, Entry::past(task, circuit, self.log.head, now));
        // Of what nobody has taken over nothing is told: what of it was alive has to be shown as ended first.
        if ended {
            self.set_override_timer(uid);
        }
        self.observe(uid, now);
    }

    /// Whether there are tasks that are to be taken over. One that drains leaves them to the next server. A journal that takes in nothing
    /// is no reason to wait: that their instances have ended is a fact, each is started again but once, and until then nothing checks
    /// what clients are shown as running.
    pub fn has_orphans(&self) -> bool {
        self.draining.is_none() && self.orphans() > 0
    }

    /// How many tasks have not been taken over: whatever they show, nothing of them runs.
    pub fn orphans(&self) -> usize {
        self.orphans.len()
    }

    /// Takes over a few tasks.
    pub(super) fn adopt(&mut self, now: Now) {
        for _ in 0..AT_ONCE {
            if !self.has_orphans() {
                return;
            }
            let Some((uid, known)) = self.orphans.pop_first() else { return };
            self.close(uid, known, now);
            self.go_on_with(uid, now);
        }
    }

    /// A client is about to command something of a task: what is left of an earlier server is closed first, and where that is so,
    /// the task must be [gone on with](Self::go_on_with) after the command.
    pub(super) fn orphan_of(&mut self, command: &Command, now: Now) -> Option<Uid> {
        let uid = *self.names.get(command.name())?;
        let known = self.orphans.remove(&uid)?;
        self.close(uid, known, now);
        Some(uid)
    }

    /// Shows as ended what was alive when the earlier server ended, and as rolled back what it had not decided. Where the kind is not
    /// `known` any more, that is the end of the task: no command starts it, nor changes its mind.
    fn close(&mut self, uid: Uid, known: bool, now: Now) {
        self.closing = Some(uid);
        self.close_instances(uid, now);
        if !known {
            self.cannot_start(uid, now);
        }
        self.closing = None;
    }

    fn close_instances(&mut self, uid: Uid, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let alive = |instance: &&Instance| instance.state != InstanceState::Ended;
        let task = Arc::clone(&entry.task);
        let beside = task.draining.first().filter(alive).or(task.candidate.as_deref());
        let active = task.instance.as_ref().filter(alive);
        let mut name = || {
            self.last_instance = self.last_instance.next();
            self.last_instance
        };
        let spec_of = |instance: &Instance| match &task.swap {
            Some(swap) if swap.to_generation == instance.generation => Arc::clone(&swap.to_spec),
            _ => Arc::clone(&task.spec),
        };
        let mut run = |instance: &Instance| Run::past(name(), spec_of(instance), instance, now);
        entry.beside = beside.map(|instance| Box::new(run(instance)));
        entry.active = active.map(&mut run);
        entry.swap = Swapping::past(&task, entry.beside.as_deref()).map(Box::new);
        let stuck = entry.runs().filter(|run| run.is_stuck()).count();
        let ids: Vec<InstanceId> = entry.runs().map(|run| run.id).collect();
        (self.stuck, self.lost) = (self.stuck + stuck, self.lost + stuck);
        self.runs.extend(ids.iter().map(|id| (*id, uid)));
        self.give_up_swap(uid, now);
        // What is beside the active one ends first: what becomes of the task is then the active one's to say.
        for id in ids.into_iter().rev() {
            self.ended(id, RootEnd::Interrupted, false, now);
        }
    }

    /// Has a task go on of which nothing is alive any more: starts it, if it is to run and that is due.
    pub(super) fn go_on_with(&mut self, uid: Uid, now: Now) {
        self.set_override_timer(uid);
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let task = &entry.task;
        if task.state.is_ended() {
            return;
        }
        match task.intent {
            Intent::Cancel => {}
            Intent::Pause => {
                if let Some(expires) = task.pause.as_ref().and_then(|pause| pause.expire_time) {
                    self.timers.set(Timer::PauseExpires(uid), now.mono + expires.since(now.wall));
                }
            }
            // A command, or what was held, has started it meanwhile.
            Intent::Run if entry.active.is_some() => {}
            // It has failed for good, unless the spec before takes over.
            Intent::Run if entry.fate().is_some() => {}
            Intent::Run => {
                let left = task.restart.next_time.map_or(Duration::ZERO, |next| next.since(now.wall));
                // What was due while no server ran is due for many tasks at once, like those that ran.
                match left.min(task.spec.restart().max_backoff()) {
                    Duration::ZERO => self.start_again(uid, now),
                    left => self.timers.set(Timer::Restart(uid), now.mono + left),
                }
            }
        }
        self.revert(uid, now);
    }

    fn start_again(&mut self, uid: Uid, now: Now) {
        if self.draining.is_some() {
            return;
        }
        self.last_instance = self.last_instance.next();
        let cause = Cause::system("restart", "the server has been started again");
        self.launch_spread(self.last_instance, uid, false, self.restart_spread, cause, now);
    }

    fn cannot_start(&mut self, uid: Uid, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid).filter(|entry| !entry.task.state.is_ended()) else { return };
        (entry.pause, entry.held) = (None, None);
        let kind = entry.task.spec.monitor().kind().to_owned();
        let (end, ttl) = (end(&entry.task, now), entry.task.spec.terminal_ttl());
        let outcome =
            Outcome { exit: Exit::Error, asked: Asked::None, message: UNKNOWN_KIND.to_owned(), time: now.wall };
        self.timers.set(Timer::Expire(uid), now.mono + ttl);
        let cause = Cause::system("restart", format!("no kind {kind:?} is registered here any more"));
        self.record(uid, cause, Change::NotStartable(outcome, end), now);
    }
}

impl Entry {
    /// A task as an earlier server has left it; nothing of it runs.
    fn past(task: Arc<Task>, circuit: Circuit, head: Sequence, now: Now) -> Self {
        let healthy = task.instance.as_ref().and_then(|instance| instance.ready_time);
        let policy = task.spec.restart();
        // When they were made is not known, only when it cannot matter any more.
        let forgotten = healthy.is_some_and(|since| now.wall.since(since) >= policy.window());
        let in_time = |it: &Observation| now.wall < it.expire_time || !it.failure.is_empty();
        let observation = task.observation.clone().filter(|it| task.end.is_none() && in_time(it));
        let counted = if forgotten { 0 } else { task.restart.count.min(policy.max_restarts()) };
        Self {
            active: None,
            beside: None,
            swap: None,
            observation,
            circuit,
            restarts: (0..counted).map(|_| now.mono).collect(),
            held: task.fate.map(Held::End),
            pause: task.pause.clone(),
            told: head,
            task,
        }
    }
}

/// The tasks that no server has taken over yet, and whether this one knows their kinds.
pub(super) type Orphans = BTreeMap<Uid, bool>;
