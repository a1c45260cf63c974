//! A store in memory that does as it is told, and has what was committed for the next server.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use switchyard::journal::{Failure, Group, MemoryStore, Reader, Recovered, Store, StoreError};
use switchyard::model::{Event, EventType, Task, Uid};

/// How commits fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// For the time being.
    Passing,
    /// For want of space.
    Full,
    /// For good.
    Final,
}

/// What the store is on. When the test lets go of it, it works: the writer's thread must not outlive the test.
#[derive(Default)]
pub(super) struct Disk(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    held: bool,
    /// After how many cut-overs it is.
    held_after: Option<usize>,
    fault: Option<Fault>,
    nearly_full: bool,
    /// The last event of each group that was committed, after the first.
    groups: Vec<(u64, u64)>,
    /// What was committed.
    log: Vec<Arc<Event>>,
}

impl State {
    fn cut_over(&mut self, events: &[Arc<Event>]) {
        let cut_overs = events.iter().filter(|event| event.kind == EventType::SwapCommitted).count();
        self.held_after = self.held_after.map(|left| left.saturating_sub(cut_overs));
        if self.held_after.take_if(|left| *left == 0).is_some() {
            self.held = true;
        }
    }

    /// The tasks as the log has them.
    fn tasks(&self) -> Vec<Arc<Task>> {
        let mut tasks = BTreeMap::<Uid, Arc<Task>>::new();
        for event in &self.log {
            match &event.task {
                Some(task) if event.kind == EventType::TaskDeleted => drop(tasks.remove(&task.uid)),
                Some(task) => drop(tasks.insert(task.uid, Arc::clone(task))),
                None => {}
            }
        }
        tasks.into_values().collect()
    }
}

struct OnDisk(MemoryStore, Arc<Shared>);

impl Disk {
    pub(super) fn store(&self) -> impl Store + use<> {
        OnDisk(MemoryStore::new(100_000), Arc::clone(&self.0))
    }

    /// Whether commits hang.
    pub(super) fn hold(&self, held: bool) {
        self.change(|state| state.held = held);
    }

    /// Commits hang after so many cut-overs.
    pub(super) fn hold_after(&self, cut_overs: usize) {
        self.change(|state| state.held_after = Some(cut_overs));
    }

    /// How commits fail, if they do.
    pub(super) fn fail(&self, fault: Option<Fault>) {
        self.change(|state| state.fault = fault);
    }

    pub(super) fn fill(&self, nearly_full: bool) {
        self.change(|state| state.nearly_full = nearly_full);
    }

    /// The first and the last event of each group that was committed.
    pub(super) fn groups(&self) -> Vec<(u64, u64)> {
        self.0.lock().groups.clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock());
        self.0.changed.notify_all();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.change(|state| (state.held, state.fault) = (false, None));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for OnDisk {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        let Recovered { store_id, head, tasks: _, requests } = self.0.recover()?;
        let state = self.1.lock();
        self.0.commit(Group { events: &state.log, requests: &[] })?;
        let head = state.log.last().map_or(head, |last| last.sequence);
        Ok(Recovered { store_id, head, tasks: state.tasks(), requests })
    }

    fn commit(&mut self, group: Group<'_>) -> Result<(), StoreError> {
        let mut state = self.1.changed.wait_while(self.1.lock(), |state| state.held).expect("no panic");
        let failure = match state.fault {
            None => {
                if let (Some(first), Some(last)) = (group.events.first(), group.events.last()) {
                    state.groups.push((first.sequence.get(), last.sequence.get()));
                }
                state.log.extend_from_slice(group.events);
                state.cut_over(group.events);
                return self.0.commit(group);
            }
            Some(Fault::Passing) => Failure::Passing,
            Some(Fault::Full) => Failure::Full,
            Some(Fault::Final) => Failure::Final,
        };
        Err(StoreError::of(failure, "as the test says"))
    }

    fn is_nearly_full(&self) -> bool {
        self.1.lock().nearly_full
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.0.reader()
    }
}
