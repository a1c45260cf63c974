//! The hot swap (lifecycle.md §5): make before break, break before make, or a plain replacement where no ready instance stands.
//!
//! ```text
//! Building ─┬─ ready, make before break ────────────────────────────▶ Trying ─ ready ─▶ commit ─▶ Retiring ─▶ DONE
//!           ├─ ready, break before make ─▶ Breaking ─ old has ended ─▶ Trying               ▲
//!           └─ not ready, or nothing live ───────────────────────────────────── commit ──────┘
//! Building, Breaking: not built, old one stuck, cancel, drain ─▶ ROLLED_BACK, CANCELLED
//! Trying: has failed, not ready in time, cancel, drain ─▶ Refused ─ ended or stuck ─▶ ROLLED_BACK, CANCELLED
//! ```

mod command;

use std::sync::Arc;
use std::time::Duration;

use super::entry::Held;
use super::io::{Chance, Effect, RootEnd};
use super::record::Change;
use super::relief::RELIEVED;
use super::restore::INTERRUPTED;
use super::run::Run;
use super::supervise::Entering;
use super::{Lifecycle, Timer};
use crate::model::{
    Annotations, Asked, Attempt, Cause, InstanceId, Intent, Now, Pretty, Swap, SwapPhase, SwapStrategy, Target, Task,
    Uid, cut, limits,
};

/// A swap that has not ended.
#[derive(Clone, Debug)]
pub(super) struct Swapping {
    pub(super) swap: Swap,
    /// The candidate's name from the beginning, before it has been launched.
    candidate: InstanceId,
    annotations: Annotations,
    target: Target,
    /// The client's.
    pub(super) cause: Cause,
    stage: Stage,
    /// Whether an earlier server had begun it.
    past: bool,
}

/// Where a swap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The candidate's monitor is being built.
    Building,
    /// It is built; the old instance stops first.
    Breaking,
    /// The candidate runs, shadowed.
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
            cause: Cause::system("restart", INTERRUPTED),
            stage,
            past: true,
        })
    }

    const fn is_done(&self) -> bool {
        matches!(self.swap.phase, SwapPhase::Done)
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

    /// The candidate is ready: it takes over.
    pub(super) fn on_candidate_ready(&mut self, id: InstanceId, now: Now) {
        let Some((uid, entry)) = self.entry_of(id) else { return };
        if let Some(swapping) = &mut entry.swap {
            swapping.swap.phase = SwapPhase::Gating;
        }
        self.moved(id, Cause::system("monitor", "ready"), now);
        self.commit(uid, now);
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
        swapping.stage = Stage::Retiring;
        swapping.swap.phase = if retires.is_some() { SwapPhase::Committed } else { SwapPhase::Done };
        let (annotations, cause) = (std::mem::take(&mut swapping.annotations), swapping.cause.clone());
        let same_target = swapping.target == entry.task.target;
        Arc::make_mut(&mut entry.task).target = swapping.target;
        if same_target {
            entry.circuit.retune(entry.task.spec.circuit(), swapping.swap.to_spec.circuit(), now);
            self.log.effects.push(Effect::Counted(uid, entry.circuit.counts()));
        }
        entry.restarts.clear();
        entry.held = None;
        self.timers.clear(Timer::Restart(uid));
        self.record(uid, cause, Change::SwapCommitted(annotations), now);
        if !same_target {
            self.reset_circuit(uid, now);
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

    /// The undecided candidate was on a thread that another instance blocks: it is started once more elsewhere, and has what is left
    /// of its time.
    pub(super) fn try_candidate_again(&mut self, uid: Uid, id: InstanceId, now: Now) {
        let Some(entry) = self.tasks.get(&uid) else { return };
        let Some(attempt) = entry.run(id).map(|run| run.attempt().next()) else { return };
        let due = self.timers.due(Timer::StartTimeout(id)).unwrap_or(now.mono);
        self.last_instance = self.last_instance.next();
        let again = self.last_instance;
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let Some(swapping) = &mut entry.swap else { return };
        swapping.candidate = again;
        let (spec, generation) = (Arc::clone(&swapping.swap.to_spec), swapping.swap.to_generation);
        let cause = swapping.cause_of("relief", RELIEVED);
        self.ended(id, RootEnd::Displaced, false, now);
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let regime = entry.shadow_regime();
        entry.beside = Some(Box::new(Run::new(again, spec, generation, attempt, now)));
        self.enter(
            uid,
            again,
            Entering { ready_within: due.since(now.mono), regime, spread: Duration::ZERO },
            cause,
            now,
        );
    }

    /// The candidate was not ready in time.
    pub(super) fn on_candidate_late(&mut self, id: InstanceId, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let Some(run) = entry.run(id) else { return };
        let within = Pretty(run.spec.swap().readiness_timeout());
        self.refuse(id, Asked::Swap, format!("was not ready within {within}"), now);
    }

    /// The undecided candidate stops, and the old instance has never noticed.
    pub(super) fn refuse(&mut self, id: InstanceId, asked: Asked, why: String, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let Some(swapping) = &mut entry.swap else { return };
        let error = format!("the candidate {why}");
        let cause = swapping.cause_of("swap", error.clone());
        (swapping.stage, swapping.swap.error) = (Stage::Refused(SwapPhase::RolledBack), error);
        self.shutdown_task(id, asked, cause, None, now);
    }

    /// A cancel or a drain wins over a swap that has not been committed. The candidate itself is stopped by the caller, with the
    /// rest of the task.
    pub(super) fn abandon_swap(&mut self, uid: Uid, reason: &str, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let Some(swapping) = &mut entry.swap else { return };
        let candidate = swapping.candidate;
        match swapping.stage {
            Stage::Building => {
                self.candidates.remove(&candidate);
                self.finish_swap(uid, SwapPhase::Cancelled, reason.to_owned(), now);
            }
            Stage::Breaking => {
                self.log.effects.push(Effect::Discard(candidate));
                self.finish_swap(uid, SwapPhase::Cancelled, reason.to_owned(), now);
            }
            Stage::Trying => {
                swapping.stage = Stage::Refused(SwapPhase::Cancelled);
                swapping.swap.error = reason.to_owned();
            }
            Stage::Refused(_) | Stage::Retiring => {}
        }
    }

    /// An instance is about to be shown as ended or stuck: the phase that rides on that.
    pub(super) fn swap_decides(&mut self, id: InstanceId) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let is_beside = entry.beside.as_ref().is_some_and(|run| run.id == id);
        if let Some(swapping) = entry.swap.as_mut().filter(|s| is_beside && s.stage == Stage::Retiring) {
            swapping.swap.phase = SwapPhase::Done;
        }
    }

    /// An instance has been shown as ended or stuck: what that means for the swap that it took part in. `why` is the reason where
    /// it was the candidate and nobody had asked it to stop.
    pub(super) fn swap_goes_on(&mut self, uid: Uid, id: InstanceId, why: &str, now: Now) {
        let Some(entry) = self.tasks.get(&uid) else { return };
        let Some(swapping) = &entry.swap else { return };
        let (stage, candidate) = (swapping.stage, swapping.candidate);
        match stage {
            Stage::Retiring if swapping.is_done() => self.forget_swap(uid),
            Stage::Trying if candidate == id => {
                self.finish_swap(uid, SwapPhase::RolledBack, format!("the candidate {why}"), now);
            }
            Stage::Refused(phase) if candidate == id => {
                let error = swapping.swap.error.clone();
                self.finish_swap(uid, phase, error, now);
            }
            Stage::Breaking if entry.has_stuck() => {
                self.log.effects.push(Effect::Discard(candidate));
                self.finish_swap(uid, SwapPhase::RolledBack, "the old instance is stuck".to_owned(), now);
            }
            Stage::Breaking if entry.active.is_none() => self.try_candidate(uid, now),
            _ => {}
        }
    }

    /// The swap ends without effect. Where it had stopped the old instance before, the old spec is started once more.
    fn finish_swap(&mut self, uid: Uid, phase: SwapPhase, error: String, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let Some(swapping) = &mut entry.swap else { return };
        let broke = matches!(swapping.stage, Stage::Trying | Stage::Refused(_))
            && swapping.swap.strategy == SwapStrategy::BreakBeforeMake;
        // A kind's own words may be as long as it likes.
        let error = cut(error, limits::MESSAGE_BYTES);
        (swapping.swap.phase, swapping.swap.error) = (phase, error.clone());
        let cause = swapping.cause_of("swap", error);
        // Where the server that began it has ended, the task is started with all others, if its kind is known at all.
        if broke && !swapping.past && entry.task.intent == Intent::Run {
            entry.held = Some(Held::Launch { once: true });
        }
        self.record(uid, cause, Change::SwapRolledBack, now);
        self.forget_swap(uid);
        self.settle_held(uid, now);
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

    /// The swap was not decided when the server ended, and had brought about no candidate.
    pub(super) fn give_up_swap(&mut self, uid: Uid, now: Now) {
        let Some(swapping) = self.tasks.get(&uid).and_then(|entry| entry.swap.as_ref()) else { return };
        if swapping.stage == Stage::Building {
            let why = swapping.swap.error.clone();
            self.finish_swap(uid, SwapPhase::RolledBack, why, now);
        }
    }

    fn forget_swap(&mut self, uid: Uid) {
        if let Some(entry) = self.tasks.get_mut(&uid) {
            entry.swap = None;
        }
    }
}
