//! What a task must look like, by its intent and what lives of it (lifecycle.md §1).

use super::observations::is_to_go_back;
use super::roles::{Live, Role, Roles, is_running};
use super::{Checked, check};
use crate::model::*;

impl Roles {
    /// The task's instances and its state are a function of its intent and what lives of it. A candidate is in no field until it
    /// is refused.
    pub(super) fn shows(&self, task: &Task, draining: bool) -> Checked {
        let refused =
            |live: &Live| draining || task.intent == Intent::Cancel || live.instance.state >= InstanceState::Stopping;
        let active = self.find(task.uid, Role::Active);
        let beside = self.of(task.uid).map(|(_, live)| live).find(|live| live.role != Role::Active);
        let drains: Vec<_> = beside.filter(|live| live.role == Role::Replaced || refused(live)).into_iter().collect();
        let shown = task.draining.iter().eq(drains.iter().map(|live| &live.instance));
        check(shown, || format!("{} drains {:?}, not {drains:?}", task.name, task.draining))?;
        let live = task.instance.as_ref().filter(|instance| instance.state != InstanceState::Ended);
        check(live == active.map(|live| &live.instance), || format!("{} shows {live:?}, not {active:?}", task.name))?;
        let shown = task.instance.as_ref().is_none_or(|instance| instance.generation == task.generation);
        check(shown, || format!("{} shows an instance of another generation", task.name))?;
        let active = active.map(|live| state_of(&live.instance, State::Starting, State::Running));
        let beside = beside.map(|live| match drains.is_empty() {
            true => State::Starting,
            false => state_of(&live.instance, State::Stopping, State::Stopping),
        });
        let state = match task.intent {
            _ if task.end.is_some() => active.or(beside).unwrap_or(task.state),
            Intent::Run => active.or(beside).unwrap_or(State::Pending),
            Intent::Pause => active.max(beside).unwrap_or(State::Paused),
            Intent::Cancel => active.max(beside).unwrap_or(State::Cancelled),
        };
        check(task.state == state && state.is_ended() == task.end.is_some(), || {
            format!("{} is {:?} instead of {state:?}", task.name, task.state)
        })
    }

    /// What waits until the task is alone waits no longer than that.
    pub(super) fn after(&self, task: &Task) -> Checked {
        let alone = self.of(task.uid).next().is_none() && !is_running(task) && !is_to_go_back(task);
        let held = self.held.get(&task.uid).copied();
        check(!alone || held.is_none(), || format!("{} had to end", task.name))?;
        check(task.fate == held, || format!("{} is to end as {:?} instead of {held:?}", task.name, task.fate))
    }
}

fn state_of(instance: &Instance, starting: State, ready: State) -> State {
    match instance.state {
        InstanceState::Starting => starting,
        InstanceState::Ready => ready,
        InstanceState::Stopping => State::Stopping,
        InstanceState::Aborting => State::Aborting,
        InstanceState::Stuck => State::Stuck,
        InstanceState::Ended => State::Pending,
    }
}
