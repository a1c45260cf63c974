//! What the machine acts upon: scripted monitors and their children, a builder that takes its time, a journal that does, too.

mod specs;

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{Effect, Input, Launch, RootEnd};
use super::Rng;
use crate::model::*;
pub(super) use specs::{spec, target};

/// Nothing in the world lasts longer.
pub(super) const LONGEST: Duration = Duration::from_secs(3 * 3600);

/// How a monitor behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    /// Ready soon, ends soon after its signal.
    Cooperative,
    /// The same, and marks its checks, some of them long.
    Checking,
    /// Never says that it is ready, but is cooperative.
    NeverReady,
    /// Returns an error after a while, or when it cleans up.
    Failing,
    /// Ends only when it is aborted.
    Ignoring,
    /// Hears nothing, not even the abort, until then.
    BlockedUntil(Mono),
    /// Panics after a while.
    Panicking,
    /// Panics while it cleans up.
    PanickingInCleanUp,
    /// Returns unasked after a while.
    EndingEarly,
    /// Cooperative, but its child is not; the child ends by itself much later.
    LeakingChild,
}

/// An instance as the world knows it.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    script: Script,
    pub(super) uid: Uid,
    pub(super) generation: Generation,
    pub(super) attempt: Attempt,
    /// The one it was given last.
    pub(super) regime: Regime,
    /// Under which its present check has begun, and when.
    check: Option<(Regime, Mono)>,
    /// What its checks find, and how many more of them do.
    streak: (Verdict, u64),
    pub(super) root_alive: bool,
    pub(super) child_alive: bool,
    child_aborted: bool,
    pub(super) signalled: Option<Mono>,
    pub(super) aborted: Option<Mono>,
}

impl Actor {
    pub(super) const fn alive(&self) -> bool {
        self.root_alive || self.child_alive
    }

    /// A few times the same, so that circuits open and close.
    fn verdict(&mut self, rng: &mut Rng) -> Verdict {
        if self.streak.1 == 0 {
            let verdict = match rng.below(7) {
                0..=2 => Verdict::Pass,
                3..=5 => Verdict::Fail,
                _ => Verdict::Neutral,
            };
            self.streak = (verdict, 1 + rng.below(8));
        }
        self.streak.1 -= 1;
        self.streak.0
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Ready,
    CheckBegins,
    CheckEnds,
    Root(RootEnd),
    Child { aborted: bool },
    Built(Result<(), String>),
    Committed,
}

/// Every instance that lives, and what is due to happen to them.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) actors: BTreeMap<InstanceId, Actor>,
    agenda: BTreeMap<(Mono, u64), (InstanceId, Happening)>,
    entries: u64,
    /// Up to when the journal has promised commits: they come in order.
    committed: Mono,
}

impl World {
    /// What clients know an instance by that lives.
    pub(super) fn key(&self, id: InstanceId) -> Option<(Uid, Generation, Attempt)> {
        self.actors.get(&id).map(|actor| (actor.uid, actor.generation, actor.attempt))
    }

    pub(super) fn next_due(&self) -> Option<Mono> {
        self.agenda.keys().next().map(|(due, _)| *due)
    }

    /// Lets the next thing happen that is due; what the machine is told of it.
    pub(super) fn pop_due(&mut self, now: Mono, rng: &mut Rng) -> Option<Input> {
        loop {
            let entry = self.agenda.first_entry().filter(|entry| entry.key().0 <= now)?;
            let (instance, happening) = entry.remove();
            match happening {
                Happening::Built(built) => return Some(Input::Built(instance, built)),
                Happening::Committed => return Some(Input::Committed(instance)),
                _ => {}
            }
            let Some(actor) = self.actors.get_mut(&instance) else { continue };
            match happening {
                Happening::Ready if actor.root_alive => return Some(Input::Ready(instance)),
                Happening::CheckBegins if actor.root_alive && actor.signalled.is_none() => {
                    let took = if rng.one_in(20) { rng.millis(40_000) } else { rng.millis(300) };
                    actor.check = Some((actor.regime, now));
                    self.plan(now + took, instance, Happening::CheckEnds);
                    return Some(Input::CheckBegan(instance, now));
                }
                Happening::CheckEnds if actor.root_alive => {
                    let Some((regime, began)) = actor.check.take() else { continue };
                    let verdict = actor.verdict(rng);
                    let evidence = Evidence { regime, verdict, latency: now.since(began) };
                    // Bursts, and long pauses: time passes in long steps, too.
                    let pauses = verdict == Verdict::Pass && rng.one_in(8);
                    let pause = if pauses { rng.millis(40_000_000) } else { rng.millis(400) };
                    self.plan(now + pause, instance, Happening::CheckBegins);
                    return Some(Input::CheckEnded(instance, now, evidence));
                }
                Happening::Root(end) if actor.root_alive => {
                    actor.root_alive = false;
                    return Some(Input::RootEnded { instance, end, children: actor.child_alive });
                }
                Happening::Child { aborted } if actor.child_alive => {
                    actor.child_alive = false;
                    actor.child_aborted = aborted;
                    if !actor.root_alive {
                        return Some(Input::ChildrenEnded { instance, aborted });
                    }
                }
                _ => {}
            }
        }
    }

    /// Forgets those of whom nothing is left, once the machine has been told.
    pub(super) fn bury(&mut self) {
        self.actors.retain(|_, actor| actor.alive());
    }

    /// Does what the machine says.
    pub(super) fn execute(&mut self, effect: &Effect, now: Now, rng: &mut Rng) {
        match effect {
            Effect::Launch(launch) => self.launch(launch, now.mono, rng),
            Effect::Signal(instance) => self.signal(*instance, now.mono, rng),
            Effect::Abort(instance) => self.abort(*instance, now.mono, rng),
            Effect::Build { instance, .. } => self.build(*instance, now.mono, rng),
            Effect::AwaitCommit { instance, .. } => self.commit(*instance, now.mono, rng),
            Effect::Regime(instance, regime) | Effect::Promote { instance, regime, .. } => {
                if let Some(actor) = self.actors.get_mut(instance) {
                    actor.regime = *regime;
                }
            }
            _ => {}
        }
    }

    /// Most are built soon; some cannot be, and some take so long that nobody waits any more.
    fn build(&mut self, id: InstanceId, now: Mono, rng: &mut Rng) {
        let took = match rng.below(10) {
            0 => rng.millis(3 * 3_600_000),
            1..=3 => rng.millis(8_000),
            _ => rng.millis(300),
        };
        let built = if rng.one_in(8) { Err("cannot be built".to_owned()) } else { Ok(()) };
        self.plan(now + took, id, Happening::Built(built));
    }

    /// The journal commits in order, at once or much later.
    fn commit(&mut self, id: InstanceId, now: Mono, rng: &mut Rng) {
        let took = match rng.below(10) {
            0 => rng.millis(60_000),
            1..=3 => rng.millis(3_000),
            _ => rng.millis(20),
        };
        self.committed = self.committed.max(now + took);
        self.plan(self.committed, id, Happening::Committed);
    }

    fn launch(&mut self, launch: &Launch, now: Mono, rng: &mut Rng) {
        let id = launch.instance;
        let script = match rng.below(19) {
            0..=2 => Script::Cooperative,
            3..=9 => Script::Checking,
            10 => Script::NeverReady,
            11 => Script::Failing,
            12 => Script::Ignoring,
            13 => Script::BlockedUntil(now + rng.millis(60_000)),
            14 => Script::BlockedUntil(now + rng.millis(3 * 3_600_000)),
            15 => Script::Panicking,
            16 => Script::PanickingInCleanUp,
            17 => Script::EndingEarly,
            _ => Script::LeakingChild,
        };
        let actor = Actor {
            script,
            uid: launch.task.uid,
            generation: launch.generation,
            attempt: launch.attempt,
            regime: launch.regime,
            check: None,
            streak: (Verdict::Pass, 0),
            root_alive: true,
            child_alive: script == Script::LeakingChild,
            child_aborted: false,
            signalled: None,
            aborted: None,
        };
        self.actors.insert(id, actor);
        let soon = now + rng.millis(2_000);
        // Some end before they are ready.
        let later = if rng.one_in(3) { now + rng.millis(2_000) } else { soon + rng.millis(30_000) };
        if script != Script::NeverReady {
            self.plan(soon, id, Happening::Ready);
        }
        match script {
            // The first check may begin before it is ready, and end after that.
            Script::Checking => self.plan(now + rng.millis(2_000), id, Happening::CheckBegins),
            Script::Failing => self.plan(later, id, Happening::Root(RootEnd::Failed("failed".to_owned()))),
            Script::Panicking => self.plan(later, id, Happening::Root(RootEnd::Panicked("panicked".to_owned()))),
            Script::EndingEarly => self.plan(later, id, Happening::Root(RootEnd::Returned)),
            Script::LeakingChild => {
                self.plan(now + rng.millis(3_600_000), id, Happening::Child { aborted: false });
                if rng.one_in(3) {
                    self.plan(later, id, Happening::Root(RootEnd::Returned));
                }
            }
            _ => {}
        }
    }

    fn signal(&mut self, id: InstanceId, now: Mono, rng: &mut Rng) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.signalled = Some(now);
        let soon = now + rng.millis(200);
        let end = match actor.script {
            Script::Ignoring => return,
            Script::BlockedUntil(free) => (soon.max(free), RootEnd::Returned),
            Script::Failing => (soon, RootEnd::Failed("clean-up".to_owned())),
            Script::PanickingInCleanUp => (soon, RootEnd::Panicked("clean-up".to_owned())),
            // Some take their time, so that they end in phase 2 by themselves, or race with the abort.
            _ if rng.one_in(4) => (now + rng.millis(9_000), RootEnd::Returned),
            _ => (soon, RootEnd::Returned),
        };
        self.plan(end.0, id, Happening::Root(end.1));
    }

    fn abort(&mut self, id: InstanceId, now: Mono, rng: &mut Rng) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.aborted = Some(now);
        let soon = now + rng.millis(100);
        let root = match actor.script {
            Script::BlockedUntil(free) => soon.max(free),
            _ => soon,
        };
        let child = actor.child_alive.then_some(soon);
        self.plan(root, id, Happening::Root(RootEnd::Cancelled));
        if let Some(child) = child {
            self.plan(child, id, Happening::Child { aborted: true });
        }
    }

    fn plan(&mut self, due: Mono, instance: InstanceId, happening: Happening) {
        self.entries += 1;
        self.agenda.insert((due, self.entries), (instance, happening));
    }
}
