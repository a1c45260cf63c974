//! What the machine acts upon: scripted monitors and their children.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{Effect, Input, Launch, RootEnd};
use super::Rng;
use crate::model::*;

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
    pub(super) regime: Regime,
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
}

#[derive(Clone, Debug)]
enum Happening {
    Ready,
    CheckBegins,
    CheckEnds,
    Root(RootEnd),
    Child { aborted: bool },
}

/// Every instance that lives, and what is due to happen to them.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) actors: BTreeMap<InstanceId, Actor>,
    agenda: BTreeMap<(Mono, u64), (InstanceId, Happening)>,
    entries: u64,
}

impl World {
    pub(super) fn next_due(&self) -> Option<Mono> {
        self.agenda.keys().next().map(|(due, _)| *due)
    }

    /// Lets the next thing happen that is due; what the machine is told of it.
    pub(super) fn pop_due(&mut self, now: Mono, rng: &mut Rng) -> Option<Input> {
        loop {
            let entry = self.agenda.first_entry().filter(|entry| entry.key().0 <= now)?;
            let (instance, happening) = entry.remove();
            let Some(actor) = self.actors.get_mut(&instance) else { continue };
            match happening {
                Happening::Ready if actor.root_alive => return Some(Input::Ready(instance)),
                Happening::CheckBegins if actor.root_alive && actor.signalled.is_none() => {
                    let took = if rng.one_in(10) { rng.millis(40_000) } else { rng.millis(500) };
                    self.plan(now + took, instance, Happening::CheckEnds);
                    return Some(Input::CheckBegan(instance, now));
                }
                Happening::CheckEnds if actor.root_alive => {
                    let evidence = Evidence { regime: actor.regime, verdict: Verdict::Pass, latency: Duration::ZERO };
                    self.plan(now + rng.millis(60_000), instance, Happening::CheckBegins);
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
            _ => {}
        }
    }

    fn launch(&mut self, launch: &Launch, now: Mono, rng: &mut Rng) {
        let (id, uid, regime) = (launch.instance, launch.task.uid, launch.regime);
        let script = match rng.below(13) {
            0..=2 => Script::Cooperative,
            3 => Script::Checking,
            4 => Script::NeverReady,
            5 => Script::Failing,
            6 => Script::Ignoring,
            7 => Script::BlockedUntil(now + rng.millis(60_000)),
            8 => Script::BlockedUntil(now + rng.millis(3 * 3_600_000)),
            9 => Script::Panicking,
            10 => Script::PanickingInCleanUp,
            11 => Script::EndingEarly,
            _ => Script::LeakingChild,
        };
        let child_alive = script == Script::LeakingChild;
        let (signalled, aborted) = (None, None);
        let actor =
            Actor { script, uid, regime, root_alive: true, child_alive, child_aborted: false, signalled, aborted };
        self.actors.insert(id, actor);
        let soon = now + rng.millis(2_000);
        let later = soon + rng.millis(30_000);
        if script != Script::NeverReady {
            self.plan(soon, id, Happening::Ready);
        }
        match script {
            Script::Checking => self.plan(soon, id, Happening::CheckBegins),
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

/// One of a few targets, so that swaps often keep it.
pub(super) fn target(rng: &mut Rng) -> Target {
    Target::of("scripted", if rng.one_in(3) { "other" } else { "same" })
}

/// A random spec, its limits wide.
pub(super) fn spec(rng: &mut Rng) -> TaskSpec {
    let monitor = if rng.one_in(5) {
        MonitorDraft::Tcp(TcpDraft { address: "127.0.0.1:9".to_owned(), steps: Vec::new() })
    } else {
        MonitorDraft::Custom(CustomSpec { kind: "scripted".to_owned(), config: ConfigValue::default() })
    };
    let milliseconds = |least: u64, millis: Duration| Some(Duration::from_millis(least) + millis);
    let draft = SpecDraft {
        monitor: Some(monitor),
        schedule: ScheduleDraft { max_runs: u32::from(rng.one_in(2)), ..ScheduleDraft::default() },
        start_timeout: milliseconds(100, rng.millis(5_000)),
        shutdown: ShutdownDraft {
            grace_timeout: milliseconds(0, rng.millis(7_000)),
            abort_timeout: milliseconds(100, rng.millis(3_000)),
        },
        watchdog: WatchdogDraft {
            slow_cancellation_after: milliseconds(10, rng.millis(12_000)),
            ..WatchdogDraft::default()
        },
        restart: RestartDraft {
            max_restarts: u32::try_from(rng.below(4)).ok(),
            max_backoff: milliseconds(1_000, rng.millis(10_000)),
            ..RestartDraft::default()
        },
        terminal_ttl: milliseconds(0, rng.millis(86_400_000)),
        circuit: CircuitDraft::default(),
        swap: SwapDraft::default(),
    };
    let mut violations = Violations::new();
    TaskSpec::try_new(draft, &mut violations).unwrap_or_else(|| panic!("{violations}"))
}
