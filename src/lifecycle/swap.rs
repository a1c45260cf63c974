//! The hot swap (lifecycle.md §5): make before break, break before make, or a plain replacement where no ready instance stands.
//!
//! ```text
//! Waiting ─ what it has preempted has ended or is stuck ─▶ Building
//! Building ─┬─ ready, make before break ────────────────────────────▶ Trying ─ ready, and stays so ─▶ commit ─▶ Retiring ─▶ DONE
//!           ├─ ready, break before make ─▶ Breaking ─ old has ended ─▶ Trying                             ▲
//!           └─ not ready, or nothing live ──────────────────────────────────────────────────── commit ────┘
//! Waiting, Building, Breaking: not built, old one stuck, cancel, drain ─▶ ROLLED_BACK, CANCELLED
//! Trying: has failed, not ready in time, cancel, drain ─▶ Refused ─ ended or stuck ─▶ ROLLED_BACK, CANCELLED
//! ```
//!
//! `command`: how a swap begins, and how it preempts another. `ending`: how one ends without effect.
//! `revert`: how a task goes back by itself.

mod command;
mod ending;
mod revert;

use std::sync::Arc;
use std::time::Duration;

use super::entry::Held;
use super::io::{Chance, Effect};
use super::record::Change;
use super::restore::INTERRUPTED;
use super::run::Run;
use super::supervise::Entering;
use super::{Lifecycle, Timer};
use crate::model::{
    Annotations, Asked, Attempt, Cause, InstanceId, Intent, Now, Pretty, StatePolicy, Swap, SwapPhase, SwapStrategy,
    Target, Task, Uid,
};

/// A swap that has not ended.
#[derive(Clone, Debug)]
pub(super) struct Swapping {
    pub(super) swap: Swap,
    /// The candidate's name from the beginning, before it has been launched.
    candidate: InstanceId,
    annotations: Annotations,
    target: Target,
    /// What becomes of the circuit, where the client has said so.
    state_policy: Option<StatePolicy>,
    /// The client's.
    pub(super) cause: Cause,
    stage: Stage,
    /// Whether an earlier server had begun it.
    past: bool,
}

/// Where a swap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// What it has preempted has to end first.
    Waiting,
    /// The candidate's monitor is being built.
    Building,
    /// It is built; the old instance stops first.
    Breaking,
    /// The candidate runs, shadowed; it is not ready, or has not been for long enough.
    Trying,
    /// The candidate stops; then the swap ends in this phase.
    Refused(SwapPhase),
    /// The new generation is active; the old instance, `beside`, stops once that has been committed.
    Retiring,
}

impl Swapping {
    /// Whether the run is its undecided candidate.
    pub(super) fn tries(&self, id: InstanceId) -> bool {
        self.stage == Stage::Trying && self.candidate == id
    }

    /// One that an earlier server had begun, and that this one does not go on with: `beside` stops, as its candidate or as what it
    /// has replaced. `None` where it had ended.
    pub(super) fn past(task: &Task, beside: Option<&Run>) -> Option<Self> {
        let swap = task.swap.as_deref().filter(|swap| !swap.is_ended())?;
        let stage = match (swap.phase, beside.map(Run::asked)) {
            (SwapPhase::Committed | SwapPhase::Draining, _) => Stage::Retiring,
            (_, Some(Asked::Cancel | Asked::Drain)) => Stage::Refused(SwapPhase::Cancelled),
            (_, Some(_)) => Stage::Refused(SwapPhase::RolledBack),
            (_, None) => Stage::Building,
        };
        let mut swap = swap.clone();
        if swap.error.is_empty() && stage != Stage::Retiring {
            swap.error = "the server ended while it ran".to_owned();
        }
        Some(Self {
            swap,
            candidate: beside.map(|run| run.id).unwrap_or_default(),
            annotations: Annotations::default(),
            target: task.target,
            state_policy: None,
            cause: Cause::system("restart", INTERRUPTED),
            stage,
            past: true,
        })
    }

    const fn is_done(&self) -> bool {
        matches!(self.swap.phase, SwapPhase::Done)
    }

    /// Why the candidate is refused. Once it was ready it had nothing to do but to stay so.
    fn refusal(&self, why: &str) -> String {
        let healthy = Pretty(self.swap.to_spec.swap().min_healthy_time());
        match self.swap.phase {
            SwapPhase::Gating => format!("the candidate {why}; it had to stay ready for {healthy}"),
            _ => format!("the candidate {why}"),
        }
    }

    /// Whether the circuit begins anew, and why.
    fn resets(&self, task: &Task) -> Option<&'static str> {
        match self.state_policy {
            None => (self.target != task.target).then_some("a swap has changed the target"),
            Some(StatePolicy::Keep) => None,
            Some(StatePolicy::Reset) => Some("a swap has asked for it"),
        }
    }

    fn cause_of(&self, component: &'static str, reason: impl Into<String>) -> Cause {
        Cause { request_id: self.cause.request_id, ..Cause::system(component, reason) }
    }
}

impl<C: Chance> Lifecycle<C> {
    /// The candidate's monitor has been built, or cannot be.
    pub(super) fn on_built(&mut self, candidate: InstanceId, built: Result<(), String>, now: Now) {
        let Some(uid) = self.candidates.remove(&candidate) else {
            // The swap has ended meanwhile.
            return self.log.effects.push(Effect::Discard(candidate));
        };
        let Some(entry) = self.tasks.get(&uid) else { return };
        let Some(swapping) = &entry.swap else { return };
        let (strategy, cause) = (swapping.swap.strategy, swapping.cause.clone());
        if let Err(problem) = built {
            return self.finish_swap(uid, SwapPhase::RolledBack, problem, now);
        }
        if entry.has_stuck() {
            self.log.effects.push(Effect::Discard(candidate));
            return self.finish_swap(uid, SwapPhase::RolledBack, "an earlier instance is stuck".to_owned(), now);
        }
        match strategy {
            // What was ready has been stopped by a swap that this one has preempted: it comes back if this one fails.
            _ if entry.active.is_none() && entry.held == Some(Held::Launch { once: true }) => {
                self.try_candidate(uid, now)
            }
            // There is nothing that could be lost: a broken roll-out must always be replaceable (kubernetes #67250).
            _ if !entry.is_ready() => {
                let runs = entry.task.intent == Intent::Run;
                self.commit(uid, now);
                // One that is paused stays so, with the new spec.
                if runs {
                    self.launch_as(candidate, uid, false, cause, now);
                } else {
                    self.log.effects.push(Effect::Discard(candidate));
                }
            }
            SwapStrategy::MakeBeforeBreak => self.try_candidate(uid, now),
            SwapStrategy::BreakBeforeMake => self.break_old(uid, now),
        }
    }

    /// Break before make: the old instance stops, and the candidate waits for that.
    fn break_old(&mut self, uid: Uid, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let (Some(active), Some(swapping)) = (&entry.active, &mut entry.swap) else { return };
        (swapping.stage, swapping.swap.phase) = (Stage::Breaking, SwapPhase::Starting);
        let (old, cause) = (active.id, swapping.cause.clone());
        self.shutdown_task(old, Asked::Swap, cause, None, now);
    }

    /// Starts the candidate beside what is active: shadowed, so that its checks drive nothing.
    fn try_candidate(&mut self, uid: Uid, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let regime = entry.shadow_regime();
        let Some(swapping) = &mut entry.swap else { return };
        (swapping.stage, swapping.swap.phase) = (Stage::Trying, SwapPhase::Starting);
        let (id, cause, swap) = (swapping.candidate, swapping.cause.clone(), &swapping.swap);
        let run = Run::new(id, Arc::clone(&swap.to_spec), swap.to_generation, Attempt::default().next(), now);
        let within = run.spec.swap().readiness_timeout();
        entry.beside = Some(Box::new(run));
        self.enter(uid, id, Entering { ready_within: within, regime, spread: Duration::ZERO }, cause, now);
    }

    /// The candidate is ready: it takes over, at once or once it has been so for long enough.
    pub(super) fn on_candidate_ready(&mut self, id: InstanceId, now: Now) {
        let Some((uid, entry)) = self.entry_of(id) else { return };
        if let Some(swapping) = &mut entry.swap {
            swapping.swap.phase = SwapPhase::Gating;
        }
        self.moved(id, Cause::system("monitor", "ready"), now);
        let Some(run) = self.tasks.get(&uid).and_then(|entry| entry.run(id)) else { return };
        match run.spec.swap().min_healthy_time() {
            Duration::ZERO => self.commit(uid, now),
            healthy => self.timers.set(Timer::Healthy(id), now.mono + healthy),
        }
    }

    /// The candidate has been ready for long enough. One that blocks its thread only seems to be.
    pub(super) fn on_healthy(&mut self, id: InstanceId, now: Now) {
        let Some((uid, entry)) = self.entry_of(id) else { return };
        match entry.run(id) {
            Some(run) if run.blocks() => self.refuse(id, Asked::Swap, "blocks its thread".to_owned(), now),
            Some(_) => self.commit(uid, now),
            None => {}
        }
    }

    /// The cut-over, in one step: the new generation is the task's, and from here nothing of the old one counts. The old instance
    /// is signalled only once that has been committed: until then nobody has seen the new one.
    fn commit(&mut self, uid: Uid, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let Some(swapping) = &mut entry.swap else { return };
        let new = entry.beside.take();
        entry.beside = entry.active.take().map(Box::new);
        entry.active = new.map(|run| *run);
        let retires = entry.beside.as_ref().filter(|old| !old.is_stuck()).map(|old| old.id);
        let (annotations, cause) = (std::mem::take(&mut swapping.annotations), swapping.cause.clone());
        let resets = swapping.resets(&entry.task);
        // It was about what is replaced now.
        entry.observation = swapping.observation(&entry.task, now).map(Box::new);
        swapping.stage = Stage::Retiring;
        swapping.swap.phase = if retires.is_some() { SwapPhase::Committed } else { SwapPhase::Done };
        Arc::make_mut(&mut entry.task).target = swapping.target;
        if resets.is_none() {
            entry.circuit.retune(entry.task.spec.circuit(), swapping.swap.to_spec.circuit(), now);
            self.log.effects.push(Effect::Counted(uid, entry.circuit.counts()));
        }
        entry.restarts.clear();
        entry.held = None;
        self.timers.clear(Timer::Restart(uid));
        self.record(uid, cause, Change::SwapCommitted(annotations), now);
        self.observe(uid, now);
        if let Some(why) = resets {
            self.reset_circuit(uid, Cause::system("circuit", why.to_owned()), now);
        }
        self.promote(uid);
        match retires {
            Some(old) => self.log.effects.push(Effect::AwaitCommit { after: self.log.head, instance: old }),
            None => self.forget_swap(uid),
        }
    }

    /// What has replaced this instance is committed: it may stop.
    pub(super) fn on_committed(&mut self, old: InstanceId, now: Now) {
        let Some((_, entry)) = self.entry_of(old) else { return };
        let Some(swapping) = entry.swap.as_mut().filter(|swapping| swapping.stage == Stage::Retiring) else { return };
        swapping.swap.phase = SwapPhase::Draining;
        let cause = swapping.cause.clone();
        self.shutdown_task(old, Asked::Swap, cause, None, now);
    }

    /// The active instance counts from here, and what it has replaced does not.
    fn promote(&mut self, uid: Uid) {
        let Some(entry) = self.tasks.get(&uid) else { return };
        let Some(active) = &entry.active else { return };
        self.log.effects.push(Effect::Promote { instance: active.id, uid, regime: entry.regime() });
        if let Some(old) = &entry.beside {
            self.log.effects.push(Effect::Regime(old.id, entry.shadow_regime()));
        }
    }
}
