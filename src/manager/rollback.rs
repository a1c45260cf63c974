//! Roll-backs: the former generation is found in the journal's store, and given to the loop as the swap that it is.

use std::sync::Arc;

use super::handle::{Accepted, Handle, With, accepted};
use crate::lifecycle::Command;
use crate::model::{
    Former, Generation, KeptGeneration, Labels, Refusal, RollbackTask, Standing, SwapTask, Target, Task, Violations,
};

/// How often the generations are looked at where another swap comes between; each of those took its time.
const LOOKS: usize = 3;

/// The field that a roll-back's spec comes from.
const FIELD: &str = "to_generation";

impl Handle {
    /// Swaps a task back to a former generation, or says why not. Answers when the swap has begun, as [`swap`](Self::swap) does.
    pub async fn rollback(&self, rollback: RollbackTask) -> Result<Accepted, Refusal> {
        for _ in 0..LOOKS {
            let command = match self.find(&rollback).await {
                Ok((former, target)) => Command::Swap(Box::new(swap(&rollback, former)), target),
                // It may have been done before, as only the loop knows.
                Err(refusal) => Command::Vain(Box::new(rollback.clone()), refusal),
            };
            match self.command(command, With::default()).await.and_then(accepted) {
                Err(Refusal::GenerationsMoved(_)) => {}
                answer => return answer,
            }
        }
        Err(Refusal::GenerationsMoved(rollback.name))
    }

    async fn find(&self, rollback: &RollbackTask) -> Result<(Found, Target), Refusal> {
        let task = self.journal.view().get(&rollback.name).cloned();
        let task = task.ok_or_else(|| Refusal::TaskNotFound(rollback.name.clone()))?;
        let kept = self.journal.generations(&task).await.map_err(|error| {
            tracing::error!(task = %task.name, %error, "the generations of a task cannot be read");
            match error.is_final() {
                true => Refusal::GenerationsUnreadable(task.name.clone()),
                false => Refusal::JournalStalled,
            }
        })?;
        let found = choose(&task, kept, rollback.to_generation)?;
        let target = self.vetting.validate(found.kept.spec.monitor()).await.map_err(of_field)?;
        Ok((found, target))
    }
}

/// What a roll-back goes back to.
struct Found {
    former: Former,
    kept: KeptGeneration,
}

/// The generation asked for; where none was, the newest before the active one that was the task's, too, and has another spec. What the
/// server itself has gone back from is none: it failed.
fn choose(task: &Task, kept: Vec<KeptGeneration>, wanted: Option<Generation>) -> Result<Found, Refusal> {
    let not_found = || Refusal::GenerationNotFound { name: task.name.clone(), generation: wanted };
    let active = task.generation;
    let is_it = |kept: &KeptGeneration| match wanted {
        Some(generation) => kept.generation == generation,
        None => {
            let was_well = matches!(kept.story.standing, Standing::Superseded { .. });
            kept.generation < active && was_well && kept.spec != task.spec
        }
    };
    let kept = kept.into_iter().rev().find(is_it).ok_or_else(not_found)?;
    if !kept.story.was_active() {
        return Err(Refusal::GenerationNeverActive { name: task.name.clone(), generation: kept.generation });
    }
    let before = wanted.is_none().then_some(active);
    Ok(Found { former: Former { uid: task.uid, generation: kept.generation, before }, kept })
}

fn swap(rollback: &RollbackTask, found: Found) -> SwapTask {
    let RollbackTask {
        name,
        to_generation: _,
        strategy,
        state_policy,
        preempt,
        validate_only,
        etag,
        cause,
        idempotency,
    } = rollback.clone();
    let Found { former, kept: KeptGeneration { generation: _, spec, story } } = found;
    SwapTask {
        name,
        labels: Labels::default(),
        annotations: story.annotations.unwrap_or_default(),
        spec: Arc::unwrap_or_clone(spec),
        former: Some(former),
        strategy,
        state_policy,
        preempt,
        validate_only,
        etag,
        cause,
        idempotency,
    }
}

/// The request has no spec that could be to blame.
fn of_field(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Invalid(found) => {
            let mut violations = Violations::new();
            found.as_slice().iter().for_each(|violation| {
                violations.add(FIELD, format!("{}: {}", violation.field, violation.description));
            });
            Refusal::Invalid(violations)
        }
        Refusal::UnknownKind { field: _, kind, hint } => Refusal::UnknownKind { field: FIELD, kind, hint },
        refusal => refusal,
    }
}

#[cfg(test)]
mod tests;
