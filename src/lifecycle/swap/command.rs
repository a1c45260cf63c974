//! How a swap begins: what is refused, what gives way to it, what needs no instance, and the candidate's build.

use std::sync::Arc;

use super::{Stage, Swapping};
use crate::lifecycle::Lifecycle;
use crate::lifecycle::entry::Held;
use crate::lifecycle::io::{Chance, Effect, Reply};
use crate::lifecycle::record::Change;
use crate::model::{
    Annotations, Asked, Cause, Former, Generation, Intent, Now, Refusal, RollbackTask, State, StatePolicy, Swap,
    SwapPhase, SwapStrategy, SwapTask, Target, Task, TaskSpec, Uid,
};

/// Why a swap has ended that another one has preempted.
const PREEMPTED: &str = "another swap has preempted it";

/// What a swap begins with.
pub(super) struct Begin {
    pub(super) annotations: Annotations,
    pub(super) spec: Arc<TaskSpec>,
    pub(super) target: Target,
    pub(super) strategy: SwapStrategy,
    pub(super) state_policy: Option<StatePolicy>,
    pub(super) cause: Cause,
    pub(super) revert_reason: String,
    pub(super) rollback_to: Option<Generation>,
}

impl Begin {
    /// As a client has asked.
    fn asked(swap: SwapTask, target: Target) -> Self {
        let SwapTask { annotations, spec, former, strategy, state_policy, cause, .. } = swap;
        let strategy = strategy.unwrap_or(spec.swap().strategy());
        let (spec, revert_reason) = (Arc::new(spec), String::new());
        let rollback_to = former.map(|former| former.generation);
        Self { annotations, spec, target, strategy, state_policy, cause, revert_reason, rollback_to }
    }
}

impl<C: Chance> Lifecycle<C> {
    pub(in crate::lifecycle) fn swap(
        &mut self,
        swap: SwapTask,
        target: Target,
        now: Now,
    ) -> Result<(Uid, Reply), Refusal> {
        let (uid, task) = self.find(&swap.name, swap.etag.as_ref())?;
        if self.draining.is_some() {
            return Err(Refusal::ServerDraining);
        }
        if swap.former.is_some_and(|former| !is_as_found(former, task)) {
            return Err(Refusal::GenerationsMoved(swap.name));
        }
        if !swap.labels.is_empty() && swap.labels != task.labels {
            return Err(Refusal::LabelsImmutable(swap.name));
        }
        let entry = self.tasks.get(&uid).ok_or_else(|| Refusal::TaskNotFound(swap.name.clone()))?;
        let not_running = || Refusal::TaskNotRunning { name: swap.name.clone(), state: entry.task.state };
        if entry.task.state.is_ended() || entry.task.intent == Intent::Cancel {
            return Err(not_running());
        }
        match &entry.swap {
            // What only shows what would be is in nobody's way.
            _ if swap.preempt && swap.validate_only => {}
            Some(other) if other.stage == Stage::Retiring => return Err(Refusal::SwapTakenOver(swap.name)),
            Some(_) if !swap.preempt => return Err(Refusal::SwapInProgress(swap.name)),
            // What is left of one that was preempted, and nothing has taken its place.
            None if !swap.preempt && entry.lingers() => return Err(Refusal::SwapInProgress(swap.name)),
            Some(_) | None => {}
        }
        let same_spec = *entry.task.spec == swap.spec;
        let preempts = entry.swap.is_some();
        if !same_spec {
            if entry.has_stuck() {
                return Err(Refusal::PredecessorStuck(swap.name));
            }
            let waits = preempts || entry.lingers();
            if matches!(entry.task.state, State::Stopping | State::Aborting) && !waits {
                return Err(not_running());
            }
            self.may_be_put_at_risk(&swap.spec)?;
        }
        if swap.validate_only {
            let task = preview(&entry.task, swap, same_spec, entry.task.last_generation.next());
            return Ok((uid, Reply::Accepted { task, sequence: self.log.head }));
        }
        let same_annotations = entry.task.annotations == swap.annotations;
        if preempts {
            self.preempt(uid, now);
        }
        match same_spec {
            true if same_annotations => {}
            true => self.annotate(uid, swap, now),
            false => self.begin_swap(uid, Begin::asked(swap, target), now),
        }
        if preempts {
            self.settle_held(uid, now);
        }
        Ok((uid, self.accepted(uid)?))
    }

    /// Ends the swap that runs: its candidate stops, and is not waited for. Where it has stopped the old instance, the
    /// old spec is to be started once more, unless another one takes over.
    fn preempt(&mut self, uid: Uid, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let Some(swapping) = &mut entry.swap else { return };
        let candidate = swapping.candidate;
        let phase = match swapping.stage {
            // It has failed by itself before.
            Stage::Refused(phase) => phase,
            Stage::Waiting | Stage::Building | Stage::Breaking | Stage::Trying | Stage::Retiring => {
                swapping.swap.error = PREEMPTED.to_owned();
                SwapPhase::Cancelled
            }
        };
        let error = swapping.swap.error.clone();
        match swapping.stage {
            Stage::Building => drop(self.candidates.remove(&candidate)),
            Stage::Breaking => {
                self.log.effects.push(Effect::Discard(candidate));
                entry.held = Some(Held::Launch { once: true });
            }
            Stage::Trying => {
                swapping.stage = Stage::Refused(phase);
                let cause = swapping.cause_of("swap", PREEMPTED);
                self.shutdown_task(candidate, Asked::Swap, cause, None, now);
            }
            Stage::Waiting | Stage::Refused(_) | Stage::Retiring => {}
        }
        self.end_swap(uid, phase, error, now);
    }

    /// Why a roll-back is refused for which no generation was found.
    pub(in crate::lifecycle) fn in_vain(&self, rollback: &RollbackTask, refusal: Refusal) -> Refusal {
        match self.find(&rollback.name, rollback.etag.as_ref()) {
            Err(sooner) => sooner,
            Ok(_) if self.draining.is_some() => Refusal::ServerDraining,
            Ok(_) => refusal,
        }
    }

    /// Other annotations, the same spec: no instance is concerned.
    fn annotate(&mut self, uid: Uid, swap: SwapTask, now: Now) {
        let id = self.chance.uuid();
        let Some(entry) = self.tasks.get(&uid) else { return };
        let record = Swap {
            id,
            from_generation: entry.task.generation,
            to_generation: entry.task.generation,
            to_spec: Arc::clone(&entry.task.spec),
            strategy: swap.strategy.unwrap_or(swap.spec.swap().strategy()),
            phase: SwapPhase::Done,
            error: String::new(),
            revert_reason: String::new(),
            rollback_to: swap.former.map(|former| former.generation),
        };
        self.record(uid, swap.cause, Change::Annotated(Box::new(record), swap.annotations), now);
    }

    pub(super) fn begin_swap(&mut self, uid: Uid, begin: Begin, now: Now) {
        let Begin { annotations, spec, target, strategy, state_policy, cause, revert_reason, rollback_to } = begin;
        let id = self.chance.uuid();
        self.last_instance = self.last_instance.next();
        let candidate = self.last_instance;
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let to_generation = entry.task.last_generation.next();
        Arc::make_mut(&mut entry.task).last_generation = to_generation;
        let record = Swap {
            id,
            from_generation: entry.task.generation,
            to_generation,
            to_spec: spec,
            strategy,
            phase: SwapPhase::Building,
            error: String::new(),
            revert_reason,
            rollback_to,
        };
        let swapping = Swapping {
            swap: record,
            candidate,
            annotations,
            target,
            state_policy,
            cause: cause.clone(),
            stage: Stage::Waiting,
            past: false,
        };
        let waits = entry.lingers();
        entry.swap = Some(Box::new(swapping));
        self.record(uid, cause, Change::SwapStarted, now);
        if !waits {
            self.build_candidate(uid);
        }
    }

    /// Nothing is in the way of the candidate: it is built.
    pub(super) fn build_candidate(&mut self, uid: Uid) {
        let Some(swapping) = self.tasks.get_mut(&uid).and_then(|entry| entry.swap.as_mut()) else { return };
        swapping.stage = Stage::Building;
        let (instance, spec) = (swapping.candidate, Arc::clone(&swapping.swap.to_spec));
        self.candidates.insert(instance, uid);
        self.log.effects.push(Effect::Build { instance, spec });
    }
}

/// Whether what was found of a task's generations is still so: that it is this task, and where the one before was asked for, that it is
/// the one before.
fn is_as_found(former: Former, task: &Task) -> bool {
    former.uid == task.uid && former.before.is_none_or(|before| before == task.generation)
}

/// The task as it would be after the swap.
fn preview(task: &Task, swap: SwapTask, same_spec: bool, generation: Generation) -> Arc<Task> {
    let mut task = task.clone();
    task.annotations = swap.annotations;
    if !same_spec {
        (task.spec, task.generation) = (Arc::new(swap.spec), generation);
    }
    Arc::new(task)
}
