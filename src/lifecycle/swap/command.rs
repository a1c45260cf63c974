//! How a swap begins: what is refused, what needs no instance, and the candidate's build.

use std::sync::Arc;

use super::{Stage, Swapping};
use crate::lifecycle::Lifecycle;
use crate::lifecycle::io::{Chance, Effect, Reply};
use crate::lifecycle::record::Change;
use crate::model::{
    Former, Generation, Intent, Now, Refusal, RollbackTask, State, Swap, SwapPhase, SwapTask, Target, Task, Uid,
};

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
        if entry.swap.is_some() {
            return Err(Refusal::SwapInProgress(swap.name));
        }
        let same_spec = *entry.task.spec == swap.spec;
        if !same_spec {
            if entry.has_stuck() {
                return Err(Refusal::PredecessorStuck(swap.name));
            }
            if matches!(entry.task.state, State::Stopping | State::Aborting) {
                return Err(not_running());
            }
            self.may_be_put_at_risk(&swap.spec)?;
        }
        if swap.validate_only {
            let task = preview(&entry.task, swap, same_spec, entry.task.last_generation.next());
            return Ok((uid, Reply::Accepted { task, sequence: self.log.head }));
        }
        match same_spec {
            true if entry.task.annotations == swap.annotations => {}
            true => self.annotate(uid, swap, now),
            false => self.begin_swap(uid, swap, target, now),
        }
        Ok((uid, self.accepted(uid)?))
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
            rollback_to: swap.former.map(|former| former.generation),
        };
        self.record(uid, swap.cause, Change::Annotated(Box::new(record), swap.annotations), now);
    }

    fn begin_swap(&mut self, uid: Uid, swap: SwapTask, target: Target, now: Now) {
        let SwapTask { annotations, spec, former, strategy, cause, .. } = swap;
        let id = self.chance.uuid();
        self.last_instance = self.last_instance.next();
        let candidate = self.last_instance;
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let to_generation = entry.task.last_generation.next();
        Arc::make_mut(&mut entry.task).last_generation = to_generation;
        let strategy = strategy.unwrap_or(spec.swap().strategy());
        let spec = Arc::new(spec);
        let record = Swap {
            id,
            from_generation: entry.task.generation,
            to_generation,
            to_spec: Arc::clone(&spec),
            strategy,
            phase: SwapPhase::Building,
            error: String::new(),
            rollback_to: former.map(|former| former.generation),
        };
        let swapping = Swapping {
            swap: record,
            candidate,
            annotations,
            target,
            cause: cause.clone(),
            stage: Stage::Building,
            past: false,
        };
        entry.swap = Some(Box::new(swapping));
        self.candidates.insert(candidate, uid);
        self.record(uid, cause, Change::SwapStarted, now);
        self.log.effects.push(Effect::Build { instance: candidate, spec });
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
