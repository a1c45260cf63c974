//! The read model: what clients can see.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use crate::model::{AlertKind, CircuitState, Event, EventType, Override, Parent, Sequence, State, Task, TaskName};

/// Every task as it stood after one event: the fold of the log up to there. Never changes; a commit makes a new one, which
/// shares with the old what stayed the same.
#[derive(Clone, Debug)]
pub struct View {
    head: Sequence,
    tasks: OrdMap<TaskName, Arc<Task>>,
    counts: Counts,
}

/// How many tasks, open alerts, circuits and overrides of them a view has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    states: [usize; State::ALL.len()],
    alerts: [usize; AlertKind::ALL.len()],
    circuits: [usize; CircuitState::ALL.len()],
    overrides: [usize; Override::ALL.len()],
}

impl View {
    pub(super) fn new(head: Sequence, tasks: impl IntoIterator<Item = Arc<Task>>) -> Self {
        let mut view = Self { head, tasks: OrdMap::new(), counts: Counts::default() };
        for task in tasks {
            view.put(&task);
        }
        view
    }

    /// The view after some more events.
    pub(super) fn after(&self, group: &[Arc<Event>]) -> Self {
        let mut view = self.clone();
        for event in group {
            view.head = event.sequence;
            match &event.task {
                Some(task) if event.kind == EventType::TaskDeleted => view.remove(&task.name),
                Some(task) => view.put(task),
                None => {}
            }
        }
        view
    }

    fn put(&mut self, task: &Arc<Task>) {
        self.counts.add(task);
        if let Some(before) = self.tasks.insert(task.name.clone(), Arc::clone(task)) {
            self.counts.subtract(&before);
        }
    }

    fn remove(&mut self, name: &TaskName) {
        if let Some(before) = self.tasks.remove(name) {
            self.counts.subtract(&before);
        }
    }

    /// The event after which the tasks stood so.
    pub fn head(&self) -> Sequence {
        self.head
    }

    /// A task.
    pub fn get(&self, name: &TaskName) -> Option<&Arc<Task>> {
        self.tasks.get(name)
    }

    /// Every task, by name.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.values()
    }

    /// The tasks below `parent` whose names come after `after`, by name. Finding the first costs O(log n).
    pub fn below(&self, parent: &Parent, after: Option<&TaskName>) -> impl Iterator<Item = &Arc<Task>> {
        let prefix = parent.prefix();
        // A prefix ends in a slash, and behind that comes a zero: no name of these tasks has to be looked at on the way.
        let beyond = format!("{}0", prefix.trim_end_matches('/'));
        let from = match after {
            Some(name) if name.as_str() >= beyond.as_str() => Bound::Included(beyond.as_str()),
            Some(name) if name.as_str() > prefix.as_str() => Bound::Excluded(name.as_str()),
            _ => Bound::Included(prefix.as_str()),
        };
        self.tasks.range::<_, str>((from, Bound::Excluded(beyond.as_str()))).map(|(_, task)| task)
    }

    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// How many tasks are in each state, how many alerts of each kind are open, how many circuits are in each state, and how many are
    /// under each override.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

impl Counts {
    /// The tasks in a state.
    pub fn tasks(&self, state: State) -> usize {
        self.states[state as usize]
    }

    /// The open alerts of a kind.
    pub fn alerts(&self, kind: AlertKind) -> usize {
        self.alerts[kind as usize]
    }

    /// The circuits in a state; those of ended tasks stand for nothing and are left out.
    pub fn circuits(&self, state: CircuitState) -> usize {
        self.circuits[state as usize]
    }

    /// The circuits under an override, to which callers are held until the task is deleted.
    pub fn overrides(&self, mode: Override) -> usize {
        self.overrides[mode as usize]
    }

    fn add(&mut self, task: &Task) {
        self.states[task.state as usize] += 1;
        for alert in &task.alerts {
            self.alerts[alert.kind as usize] += 1;
        }
        if !task.state.is_ended() {
            self.circuits[task.circuit.state as usize] += 1;
        }
        if let Some(overriding) = &task.circuit.overriding {
            self.overrides[overriding.mode as usize] += 1;
        }
    }

    fn subtract(&mut self, task: &Task) {
        self.states[task.state as usize] -= 1;
        for alert in &task.alerts {
            self.alerts[alert.kind as usize] -= 1;
        }
        if !task.state.is_ended() {
            self.circuits[task.circuit.state as usize] -= 1;
        }
        if let Some(overriding) = &task.circuit.overriding {
            self.overrides[overriding.mode as usize] -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::testing::{event, sequence, task};
    use crate::model::{CircuitOverride, CircuitStatus, Reason, Timestamp};

    fn view(names: &[&str]) -> View {
        let tasks = names.iter().map(|name| {
            let name = TaskName::parse(name).expect("valid");
            Arc::new(Task { name, ..task("x", 1) })
        });
        View::new(sequence(0), tasks)
    }

    fn below(view: &View, parent: &str, after: Option<&str>) -> Vec<String> {
        let parent = Parent::parse(parent).expect("valid");
        let after = after.map(|name| TaskName::parse(name).expect("valid"));
        view.below(&parent, after.as_ref()).map(|task| task.name.to_string()).collect()
    }

    #[test]
    fn a_range_begins_and_ends_with_its_parent() {
        let names = ["namespaces/a-b/tasks/a", "namespaces/a/tasks/a", "namespaces/a/tasks/b", "namespaces/b/tasks/a"];
        let view = view(&names);
        assert_eq!(below(&view, "namespaces/-", None), names);
        assert_eq!(below(&view, "namespaces/a", None), names[1..3]);
        assert_eq!(below(&view, "namespaces/c", None), [""; 0]);
        assert_eq!(below(&view, "namespaces/a", Some(names[1])), names[2..3]);
        assert_eq!(below(&view, "namespaces/a", Some(names[2])), [""; 0]);
        assert_eq!(below(&view, "namespaces/-", Some(names[2])), names[3..]);
        assert_eq!(below(&view, "namespaces/a", Some("namespaces/a/tasks/aa")), names[2..3], "deleted meanwhile");
        assert_eq!(below(&view, "namespaces/b", Some(names[0])), names[3..], "before the parent");
        assert_eq!(below(&view, "namespaces/a", Some(names[3])), [""; 0], "after the parent");
        assert_eq!(below(&view, "namespaces/-", Some(names[3])), [""; 0], "the last");
    }

    #[test]
    fn circuits_are_counted_by_state_while_their_tasks_last() {
        let with = |state: State, circuit: CircuitState| {
            let task = task("t", 1);
            Task { state, circuit: CircuitStatus { state: circuit, ..task.circuit }, ..task }
        };
        let counted = |view: &View| CircuitState::ALL.map(|state| view.counts().circuits(state));
        let view = View::new(sequence(0), [Arc::new(with(State::Running, CircuitState::Closed))]);
        assert_eq!(counted(&view), [1, 0, 0]);
        let tripped = event(1, EventType::CircuitTripped, with(State::Running, CircuitState::Open));
        let view = view.after(&[Arc::new(tripped)]);
        assert_eq!(counted(&view), [0, 1, 0]);
        let ended = event(2, EventType::TaskEnded, with(State::Cancelled, CircuitState::Open));
        let view = view.after(&[Arc::new(ended.clone())]);
        assert_eq!(counted(&view), [0, 0, 0]);
        let deleted = Event { kind: EventType::TaskDeleted, ..ended };
        assert_eq!(counted(&view.after(&[Arc::new(deleted)])), [0, 0, 0]);
    }

    #[test]
    fn overrides_are_counted_by_kind_until_their_tasks_are_deleted() {
        let with = |state: State, mode: Option<Override>| {
            let over = |mode| CircuitOverride {
                mode,
                reason: Reason::default(),
                since_time: Timestamp::default(),
                expire_time: None,
            };
            let task = task("t", 1);
            let circuit = CircuitStatus { overriding: mode.map(|mode| Arc::new(over(mode))), ..task.circuit };
            Task { state, circuit, ..task }
        };
        let counted = |view: &View| Override::ALL.map(|mode| view.counts().overrides(mode));
        // As it comes from the store.
        let view = View::new(sequence(0), [Arc::new(with(State::Running, Some(Override::ForcedOpen)))]);
        assert_eq!(counted(&view), [1, 0, 0]);
        let overridden =
            |sequence, mode| [Arc::new(event(sequence, EventType::CircuitOverridden, with(State::Running, mode)))];
        let view = view.after(&overridden(1, Some(Override::Shadow)));
        assert_eq!(counted(&view), [0, 0, 1]);
        assert_eq!(counted(&view.after(&overridden(2, None))), [0, 0, 0]);
        let ended = event(2, EventType::TaskEnded, with(State::Cancelled, Some(Override::Shadow)));
        let view = view.after(&[Arc::new(ended.clone())]);
        assert_eq!(counted(&view), [0, 0, 1], "callers are held to it still");
        let deleted = Event { kind: EventType::TaskDeleted, ..ended };
        assert_eq!(counted(&view.after(&[Arc::new(deleted)])), [0, 0, 0]);
    }

    #[test]
    fn a_task_is_found_by_its_name_alone() {
        let view = view(&["namespaces/a/tasks/a"]);
        assert!(view.get(&TaskName::parse("namespaces/a/tasks/a").expect("valid")).is_some());
        assert!(view.get(&TaskName::parse("namespaces/b/tasks/a").expect("valid")).is_none());
        assert!(!view.is_empty());
    }
}
