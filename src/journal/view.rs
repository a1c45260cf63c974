//! The read model: what clients can see.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use crate::model::{AlertKind, Event, EventType, Parent, Sequence, State, Task, TaskName};

/// Every task as it stood after one event: the fold of the log up to there. Never changes; a commit makes a new one, which
/// shares with the old what stayed the same.
#[derive(Clone, Debug)]
pub struct View {
    head: Sequence,
    tasks: OrdMap<TaskName, Arc<Task>>,
    counts: Counts,
}

/// How many tasks and open alerts a view has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    states: [usize; State::ALL.len()],
    alerts: [usize; AlertKind::ALL.len()],
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
        let from = match after {
            Some(name) if name.as_str() > prefix.as_str() => Bound::Excluded(name.as_str()),
            _ => Bound::Included(prefix.as_str()),
        };
        let range = self.tasks.range::<_, str>((from, Bound::Unbounded));
        range.take_while(move |(name, _)| name.as_str().starts_with(&prefix)).map(|(_, task)| task)
    }

    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// How many tasks are in each state, and how many alerts of each kind are open.
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

    fn add(&mut self, task: &Task) {
        self.states[task.state as usize] += 1;
        for alert in &task.alerts {
            self.alerts[alert.kind as usize] += 1;
        }
    }

    fn subtract(&mut self, task: &Task) {
        self.states[task.state as usize] -= 1;
        for alert in &task.alerts {
            self.alerts[alert.kind as usize] -= 1;
        }
    }
}
