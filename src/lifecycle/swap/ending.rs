//! How a swap ends without effect, and what ends it: a candidate that fails or is refused, a cancel, a drain, a crash.

use std::sync::Arc;
use std::time::Duration;

use super::Stage;
use crate::lifecycle::entry::Held;
use crate::lifecycle::io::{Chance, Effect, RootEnd};
use crate::lifecycle::record::Change;
use crate::lifecycle::relief::RELIEVED;
use crate::lifecycle::run::Run;
use crate::lifecycle::supervise::Entering;
use crate::lifecycle::{Lifecycle, Timer};
use crate::model::{Asked, InstanceId, Intent, Now, Pretty, SwapPhase, SwapStrategy, Uid, cut, limits};

impl<C: Chance> Lifecycle<C> {
    /// The undecided candidate was on a thread that another instance blocks: it is started once more elsewhere, and has what is left
    /// of its time; where it had become ready already, it begins from the beginning.
    pub(in crate::lifecycle) fn try_candidate_again(&mut self, uid: Uid, id: InstanceId, now: Now) {
        let Some(entry) = self.tasks.get(&uid) else { return };
        let Some(attempt) = entry.run(id).map(|run| run.attempt().next()) else { return };
        let due = self.timers.due(Timer::StartTimeout(id));
        self.last_instance = self.last_instance.next();
        let again = self.last_instance;
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let Some(swapping) = &mut entry.swap else { return };
        (swapping.candidate, swapping.swap.phase) = (again, SwapPhase::Starting);
        let (spec, generation) = (Arc::clone(&swapping.swap.to_spec), swapping.swap.to_generation);
        let ready_within = due.map_or(spec.swap().readiness_timeout(), |due| due.since(now.mono));
        let cause = swapping.cause_of("relief", RELIEVED);
        self.ended(id, RootEnd::Displaced, false, now);
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let regime = entry.shadow_regime();
        entry.beside = Some(Box::new(Run::new(again, spec, generation, attempt, now)));
        self.enter(uid, again, Entering { ready_within, regime, spread: Duration::ZERO }, cause, now);
    }

    /// The candidate was not ready in time.
    pub(in crate::lifecycle) fn on_candidate_late(&mut self, id: InstanceId, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let Some(run) = entry.run(id) else { return };
        let within = Pretty(run.spec.swap().readiness_timeout());
        self.refuse(id, Asked::Swap, format!("was not ready within {within}"), now);
    }

    /// The undecided candidate stops, and the old instance has never noticed.
    pub(in crate::lifecycle) fn refuse(&mut self, id: InstanceId, asked: Asked, why: String, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let Some(swapping) = &mut entry.swap else { return };
        let error = swapping.refusal(&why);
        let cause = swapping.cause_of("swap", error.clone());
        (swapping.stage, swapping.swap.error) = (Stage::Refused(SwapPhase::RolledBack), error);
        self.shutdown_task(id, asked, cause, None, now);
    }

    /// A cancel or a drain wins over a swap that has not been committed. The candidate itself is stopped by the caller, with the
    /// rest of the task.
    pub(in crate::lifecycle) fn abandon_swap(&mut self, uid: Uid, reason: &str, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let Some(swapping) = &mut entry.swap else { return };
        let candidate = swapping.candidate;
        match swapping.stage {
            Stage::Waiting | Stage::Building => {
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
    pub(in crate::lifecycle) fn swap_decides(&mut self, id: InstanceId) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let is_beside = entry.beside.as_ref().is_some_and(|run| run.id == id);
        if let Some(swapping) = entry.swap.as_mut().filter(|s| is_beside && s.stage == Stage::Retiring) {
            swapping.swap.phase = SwapPhase::Done;
        }
    }

    /// An instance has been shown as ended or stuck: what that means for the swap that it took part in. `why` is the reason where
    /// it was the candidate and nobody had asked it to stop.
    pub(in crate::lifecycle) fn swap_goes_on(&mut self, uid: Uid, id: InstanceId, why: &str, now: Now) {
        let Some(entry) = self.tasks.get(&uid) else { return };
        let Some(swapping) = &entry.swap else { return };
        let (stage, candidate) = (swapping.stage, swapping.candidate);
        match stage {
            Stage::Retiring if swapping.is_done() => self.forget_swap(uid),
            Stage::Trying if candidate == id => {
                let error = swapping.refusal(why);
                self.finish_swap(uid, SwapPhase::RolledBack, error, now);
            }
            Stage::Refused(phase) if candidate == id => {
                let error = swapping.swap.error.clone();
                self.finish_swap(uid, phase, error, now);
            }
            Stage::Waiting if !entry.lingers() => self.build_candidate(uid),
            Stage::Breaking if entry.has_stuck() => {
                self.log.effects.push(Effect::Discard(candidate));
                self.finish_swap(uid, SwapPhase::RolledBack, "the old instance is stuck".to_owned(), now);
            }
            Stage::Breaking if entry.active.is_none() => self.try_candidate(uid, now),
            _ => {}
        }
    }

    /// The swap ends without effect, and what has waited for that goes on.
    pub(super) fn finish_swap(&mut self, uid: Uid, phase: SwapPhase, error: String, now: Now) {
        self.end_swap(uid, phase, error, now);
        self.settle_held(uid, now);
        self.revert(uid, now);
    }

    /// The swap ends without effect. Where it had stopped the old instance before, the old spec is to be started once more.
    pub(super) fn end_swap(&mut self, uid: Uid, phase: SwapPhase, error: String, now: Now) {
        let drains = self.draining.is_some();
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
        // It goes back once. Only where a server has ended meanwhile, the next one tries again.
        if swapping.reverts() && !swapping.past && !drains {
            entry.observation = None;
        }
        self.record(uid, cause, Change::SwapRolledBack, now);
        self.forget_swap(uid);
    }

    /// The swap was not decided when the server ended, and had brought about no candidate.
    pub(in crate::lifecycle) fn give_up_swap(&mut self, uid: Uid, now: Now) {
        let Some(swapping) = self.tasks.get(&uid).and_then(|entry| entry.swap.as_ref()) else { return };
        if swapping.stage == Stage::Building {
            let why = swapping.swap.error.clone();
            self.finish_swap(uid, SwapPhase::RolledBack, why, now);
        }
    }

    pub(super) fn forget_swap(&mut self, uid: Uid) {
        if let Some(entry) = self.tasks.get_mut(&uid) {
            entry.swap = None;
        }
    }
}
