//! What a swap must be answered, and what a dry run of one shows.

use super::super::Seen;
use super::super::roles::is_running;
use crate::model::*;

/// What a swap must be answered, by what clients see of its task.
pub(in crate::lifecycle::simulation::oracle) fn verdict(
    swap: &SwapTask,
    task: &Task,
    seen: &Seen<'_>,
) -> Result<(), Refusal> {
    let name = || swap.name.clone();
    let not_running = Err(Refusal::TaskNotRunning { name: name(), state: task.state });
    let mut instances = task.instance.iter().chain(&task.draining);
    let other = *task.spec != swap.spec;
    if seen.draining {
        Err(Refusal::ServerDraining)
    } else if swap
        .former
        .is_some_and(|former| former.uid != task.uid || former.before.is_some_and(|before| before != task.generation))
    {
        Err(Refusal::GenerationsMoved(name()))
    } else if !swap.labels.is_empty() && swap.labels != task.labels {
        Err(Refusal::LabelsImmutable(name()))
    } else if task.intent == Intent::Cancel || task.state.is_ended() {
        not_running
    } else if !(swap.preempt && swap.validate_only)
        && (is_running(task) && !preempts(swap, task) || !swap.preempt && lingers(task))
    {
        let took_over = is_running(task) && task.swap.as_ref().is_some_and(|other| other.phase >= SwapPhase::Committed);
        Err(if took_over { Refusal::SwapTakenOver(name()) } else { Refusal::SwapInProgress(name()) })
    } else if other && instances.any(|instance| instance.state == InstanceState::Stuck) {
        Err(Refusal::PredecessorStuck(name()))
    } else if other && matches!(task.state, State::Stopping | State::Aborting) && !is_running(task) && !lingers(task) {
        not_running
    } else {
        let full = seen.relief.refuses(&swap.spec, seen.roles, seen.world).filter(|_| other);
        full.map_or(Ok(()), Err)
    }
}

/// Whether it ends a swap that runs, and that has not been committed.
pub(in crate::lifecycle::simulation::oracle) fn preempts(swap: &SwapTask, task: &Task) -> bool {
    swap.preempt && task.swap.as_ref().is_some_and(|other| other.phase < SwapPhase::Committed)
}

/// Whether something still stops of a swap that has ended, as only one does that was preempted.
fn lingers(task: &Task) -> bool {
    let stops = |live: &&Instance| matches!(live.state, InstanceState::Stopping | InstanceState::Aborting);
    let by_swap = |live: &Instance| live.shutdown.is_some_and(|stop| stop.asked == Asked::Swap);
    let active = task.instance.as_ref().filter(stops).is_some_and(by_swap);
    !is_running(task) && (active || task.draining.iter().any(|live| stops(&live)))
}

/// Whether a dry run shows what would be.
pub(in crate::lifecycle::simulation::oracle) fn previews(swap: &SwapTask, seen: &Task, shown: &Task) -> bool {
    let same = *seen.spec == swap.spec;
    let rest = Task { annotations: seen.annotations.clone(), spec: seen.spec.clone(), ..shown.clone() };
    let generation = if same { shown.generation == seen.generation } else { shown.generation > seen.generation };
    let rest = Task { generation: seen.generation, ..rest };
    rest == *seen && generation && *shown.spec == swap.spec && shown.annotations == swap.annotations
}
