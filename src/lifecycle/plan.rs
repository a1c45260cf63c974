//! From what an owner wants and what is there to what has to be done. Pure: applying what it says and planning again leaves
//! everything as it is.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::model::{
    Action, Apply, Desired, Etag, InstanceState, Intent, PlanItem, Refusal, State, SwapPhase, Task, TaskName,
};

/// The next thing to be done about a task, to have it as desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start it.
    Create,
    /// Delete the ended one with this etag; then start it.
    Recreate(Etag),
    /// It is to be created anew, and still stops: look again after its next event.
    AwaitEnd,
    /// It is to be swapped, and cannot be right now: look again after its next event.
    AwaitSwap,
    /// Swap it; a swap that is under way and has not been committed gives way.
    Swap,
    /// Wait for this swap, which brings what is desired.
    Join(Uuid),
    /// It is as desired, or has to stay as it is.
    Leave,
    /// Nothing may be done that leads there.
    Refuse(Refusal),
}

/// What has to be done about every task of the set, in its order; and about the others of the owner, by name, where it is pruned.
/// `find` looks a task up, `all` are all there are.
pub fn plan<'a>(
    apply: &Apply,
    set: &[Desired],
    find: impl Fn(&TaskName) -> Option<&'a Task>,
    all: impl Iterator<Item = &'a Task>,
) -> Vec<PlanItem> {
    let mut plan: Vec<_> = set.iter().map(|desired| item(&apply.owner, desired, find(&desired.name))).collect();
    if apply.prune {
        let names: BTreeSet<&TaskName> = set.iter().map(|desired| &desired.name).collect();
        let excess = all.filter(|task| is_excess(&apply.owner, task) && !names.contains(&task.name));
        plan.extend(excess.map(|task| PlanItem {
            name: task.name.clone(),
            action: Ok(Action::Cancel),
            why: "it is not in the set",
            generation: task.generation,
        }));
    }
    plan
}

/// Whether a task that is not in its owner's set is to be cancelled.
pub fn is_excess(owner: &str, task: &Task) -> bool {
    !task.state.is_ended() && task.intent != Intent::Cancel && task.labels.get(Apply::OWNER) == Some(owner)
}

fn item(owner: &str, desired: &Desired, task: Option<&Task>) -> PlanItem {
    let (step, why) = next_step(owner, desired, task);
    let action = match step {
        Step::Create | Step::Recreate(_) | Step::AwaitEnd => Ok(Action::Create),
        Step::Swap | Step::Join(_) | Step::AwaitSwap => Ok(Action::Swap),
        Step::Leave => Ok(Action::Leave),
        Step::Refuse(refusal) => Err(refusal),
    };
    let generation = task.map(|task| task.generation).unwrap_or_default();
    PlanItem { name: desired.name.clone(), action, why, generation }
}

/// What has to be done next about one task, and why.
pub fn next_step(owner: &str, desired: &Desired, task: Option<&Task>) -> (Step, &'static str) {
    let Some(task) = task else { return (Step::Create, "there is no such task") };
    let name = || desired.name.clone();
    match task.labels.get(Apply::OWNER) {
        Some(found) if found == owner => {}
        found => {
            let refusal = Refusal::OwnedByOther { name: name(), owner: found.map(ToOwned::to_owned) };
            return (Step::Refuse(refusal), "it is not this owner's");
        }
    }
    if task.state.is_ended() {
        return ended(desired, task);
    }
    if task.intent == Intent::Cancel {
        return match has_stuck(task) {
            true => (Step::Refuse(Refusal::PredecessorStuck(name())), "it was cancelled, and is stuck"),
            false => (Step::AwaitEnd, "it was cancelled, and still stops"),
        };
    }
    if task.labels != desired.labels {
        return (Step::Refuse(Refusal::LabelsImmutable(name())), "its labels are others, and fixed");
    }
    live(desired, task)
}

/// What a cancel has ended is wanted again; what has ended by itself has done what it was to do, until that is something else.
fn ended(desired: &Desired, task: &Task) -> (Step, &'static str) {
    let same = *task.spec == *desired.spec;
    match task.state {
        State::Cancelled => (Step::Recreate(task.etag()), "it was cancelled"),
        _ if !same => (Step::Recreate(task.etag()), "it has ended, and the spec is another"),
        _ if task.labels != desired.labels => {
            (Step::Refuse(Refusal::LabelsImmutable(desired.name.clone())), "its labels are others, and fixed")
        }
        _ => (Step::Leave, "it has ended by itself, with this spec"),
    }
}

fn live(desired: &Desired, task: &Task) -> (Step, &'static str) {
    let same_spec = *task.spec == *desired.spec;
    let same = same_spec && task.annotations == desired.annotations;
    if let Some(swap) = task.swap.as_deref().filter(|swap| !swap.is_ended()) {
        return match swap.phase {
            _ if *swap.to_spec == *desired.spec => (Step::Join(swap.id), "a swap to this spec is under way"),
            SwapPhase::Committed | SwapPhase::Draining => (Step::AwaitSwap, "another swap is about to end"),
            _ => (Step::Swap, "a swap to another spec is under way, and gives way"),
        };
    }
    if same {
        return (Step::Leave, "it is as desired");
    }
    if same_spec {
        return (Step::Swap, "the annotations are others");
    }
    if has_stuck(task) {
        return (Step::Refuse(Refusal::PredecessorStuck(desired.name.clone())), "an earlier instance is stuck");
    }
    if matches!(task.state, State::Stopping | State::Aborting) {
        return (Step::AwaitSwap, "the spec is another, and an instance stops");
    }
    (Step::Swap, "the spec is another")
}

fn has_stuck(task: &Task) -> bool {
    task.instance.iter().chain(&task.draining).any(|instance| instance.state == InstanceState::Stuck)
}

#[cfg(test)]
mod tests;
