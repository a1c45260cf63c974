//! What comes of an ApplyTasks. What refusals look like is for `rpc` to say.

use crate::model::{Action, ApplyCounts, ApplyOutcome, PlanItem};
use crate::pb::v1;

/// An item of a plan, without its refusal.
pub fn plan_item(item: &PlanItem) -> v1::ApplyPlanItem {
    let PlanItem { name, action, why, generation } = item;
    v1::ApplyPlanItem {
        name: name.to_string(),
        action: self::action(action.as_ref().ok().copied()).into(),
        reason: (*why).to_owned(),
        generation: generation.get(),
        refusal: None,
    }
}

/// What is done about a task; `None` where the plan had nothing that could be.
pub fn action(action: Option<Action>) -> v1::ApplyAction {
    match action {
        Some(Action::Create) => v1::ApplyAction::Create,
        Some(Action::Swap) => v1::ApplyAction::Swap,
        Some(Action::Leave) => v1::ApplyAction::Leave,
        Some(Action::Cancel) => v1::ApplyAction::Cancel,
        None => v1::ApplyAction::Refuse,
    }
}

/// How far an apply has come.
pub fn apply_progress(counts: &ApplyCounts) -> v1::ApplyProgress {
    let ApplyCounts { created, swapped, cancelled, left, failed, rolled_back, in_flight, waiting } = *counts;
    // There are no more tasks than a set may have.
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    v1::ApplyProgress {
        created: count(created),
        swapped: count(swapped),
        cancelled: count(cancelled),
        left: count(left),
        failed: count(failed),
        rolled_back: count(rolled_back),
        in_flight: count(in_flight),
        waiting: count(waiting),
    }
}

/// What has come of an apply, in a word.
pub const fn apply_outcome(outcome: ApplyOutcome) -> v1::ApplyOutcome {
    match outcome {
        ApplyOutcome::Succeeded => v1::ApplyOutcome::Succeeded,
        ApplyOutcome::Failed => v1::ApplyOutcome::Failed,
        ApplyOutcome::Stopped => v1::ApplyOutcome::Stopped,
        ApplyOutcome::RolledBack => v1::ApplyOutcome::RolledBack,
    }
}
