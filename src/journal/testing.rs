//! What the journal's tests, and those of its readers, are made of.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// Events of every kind, drawn.
pub(crate) use super::embedded::any_events;
use super::store::{Failure, Group, Range, ReadError, Reader, Recovered, Store, StoreError};
use super::{Append, Journal, MemoryStore, Options, Release, Writer};
use crate::model::{
    Alert, Annotations, Attempt, Cause, CircuitState, CircuitStatus, Epoch, Event, EventType, Generation, Intent,
    KeptGeneration, Labels, MonitorDraft, Restart, Sequence, SpecDraft, State, Target, Task, TaskName, TaskSpec,
    TcpDraft, Timestamp, Uid, Violations,
};

pub(crate) fn sequence(number: usize) -> Sequence {
    Sequence::new(number.try_into().expect("small"))
}

pub(super) fn numbers(events: &[Arc<Event>]) -> Vec<u64> {
    events.iter().map(|event| event.sequence.get()).collect()
}

/// The task `id` of the namespace `default`, running; its uid is made of `uid`.
pub(crate) fn task(id: &str, uid: u128) -> Task {
    let tcp = TcpDraft { address: "127.0.0.1:1".to_owned(), ..TcpDraft::default() };
    let draft = SpecDraft { monitor: Some(MonitorDraft::Tcp(tcp)), ..SpecDraft::default() };
    Task {
        name: TaskName::parse(&format!("namespaces/default/tasks/{id}")).expect("valid"),
        uid: Uid::new(Uuid::from_u128(uid)),
        labels: Labels::default(),
        annotations: Annotations::default(),
        spec: Arc::new(TaskSpec::try_new(draft, &mut Violations::new()).expect("valid")),
        generation: Generation::new(1),
        last_generation: Generation::new(1),
        target: Target::of("tcp", "127.0.0.1:1"),
        state: State::Running,
        intent: Intent::Run,
        instance: None,
        draining: Vec::new(),
        candidate: None,
        restart: Restart::default(),
        swap: None,
        observation: None,
        outcome: None,
        circuit: circuit(),
        pause: None,
        alerts: Vec::<Alert>::new(),
        create_time: Timestamp::default(),
        update_time: Timestamp::default(),
        end: None,
        fate: None,
    }
}

/// A circuit that never moved.
pub(crate) fn circuit() -> CircuitStatus {
    CircuitStatus {
        state: CircuitState::Closed,
        suspended: false,
        epoch: Epoch::new(1),
        since_time: Timestamp::default(),
        reason: None,
        until: None,
        left: None,
        streak: 0,
        trip_source: None,
        overriding: None,
        flapping: false,
    }
}

pub(crate) fn event(number: usize, kind: EventType, task: Task) -> Event {
    Event {
        sequence: sequence(number),
        time: Timestamp::default(),
        kind,
        generation: task.generation,
        attempt: Attempt::default(),
        cause: Cause::system("test", ""),
        detail: None,
        task: Some(Arc::new(task)),
    }
}

/// An event that creates the task `t{number}`, whose uid is `number`.
pub(crate) fn created(number: usize) -> Event {
    event(number, EventType::TaskCreated, task(&format!("t{number}"), number as u128))
}

pub(super) fn shared(events: impl IntoIterator<Item = Event>) -> Vec<Arc<Event>> {
    events.into_iter().map(Arc::new).collect()
}

pub(crate) fn start(store: impl Store, ring_events: usize) -> (Journal, Writer) {
    let (journal, writer, _requests) =
        Journal::start(Box::new(store), Options { ring_events, ..Options::default() }).expect("started");
    (journal, writer)
}

pub(crate) fn in_memory() -> (Journal, Writer) {
    start(MemoryStore::default(), Options::default().ring_events)
}

/// Appends events, and what waits for some.
pub(crate) fn put(journal: &Journal, events: Vec<Event>, releases: Vec<Release>) {
    journal.append(Append { events, releases, ..Append::default() });
}

/// Appends events, and waits until they show.
pub(crate) async fn commit(journal: &Journal, events: impl IntoIterator<Item = Event>) {
    let events: Vec<_> = events.into_iter().collect();
    let after = events.last().expect("some").sequence;
    let (told, released) = tokio::sync::oneshot::channel();
    let run = Box::new(move || told.send(()).expect("awaited"));
    put(journal, events, vec![Release { after, run }]);
    released.await.expect("committed");
}

/// A memory store that is opened with something in it, or not at all.
pub(super) struct OpenedStore {
    pub(super) inner: MemoryStore,
    pub(super) recovered: Option<Recovered>,
}

impl Store for OpenedStore {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        self.recovered.take().ok_or_else(|| StoreError::new("cannot be read"))
    }

    fn commit(&mut self, group: Group<'_>) -> Result<(), StoreError> {
        self.inner.commit(group)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.inner.reader()
    }
}

/// A memory store whose commits and reads can be held up, counted, and made to fail.
pub(super) struct ScriptedStore {
    inner: MemoryStore,
    script: Arc<Script>,
}

#[derive(Default)]
pub(super) struct Script {
    state: Mutex<Held>,
    changed: Condvar,
}

#[derive(Default)]
struct Held {
    commits_held: bool,
    reads_held: bool,
    /// How many commits are to fail, from now on.
    failures: usize,
    /// And how.
    failure: Option<Failure>,
    nearly_full: bool,
    panics: bool,
    /// The size of each group that came, and whether it was committed.
    groups: Vec<(usize, bool)>,
    /// How many steps of maintenance are owed.
    maintenance_owed: usize,
    /// For each step of maintenance, how many commits had begun before.
    maintained: Vec<usize>,
    maintenance_fails: bool,
    commits_begun: usize,
    reads_begun: usize,
}

impl ScriptedStore {
    pub(super) fn new(retention: usize) -> (Self, Arc<Script>) {
        let script = Arc::<Script>::default();
        (Self { inner: MemoryStore::new(retention), script: Arc::clone(&script) }, script)
    }
}

impl Script {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait_while(&self, condition: impl FnMut(&mut Held) -> bool) -> MutexGuard<'_, Held> {
        self.changed.wait_while(self.lock(), condition).expect("nobody panics under it")
    }

    pub(super) fn hold_commits(&self, held: bool) {
        self.change(|state| state.commits_held = held);
    }

    pub(super) fn hold_reads(&self, held: bool) {
        self.change(|state| state.reads_held = held);
    }

    pub(super) fn fail(&self, times: usize) {
        self.change(|state| state.failures = times);
    }

    /// Fails so many commits, from now on, in that way.
    pub(super) fn fail_as(&self, failure: Failure, times: usize) {
        self.change(|state| (state.failure, state.failures) = (Some(failure), times));
    }

    pub(super) fn fail_maintenance(&self) {
        self.change(|state| state.maintenance_fails = true);
    }

    pub(super) fn nearly_full(&self, nearly_full: bool) {
        self.change(|state| state.nearly_full = nearly_full);
    }

    pub(super) fn panic(&self) {
        self.change(|state| state.panics = true);
    }

    /// Waits until that many commits have begun.
    pub(super) fn await_commits(&self, begun: usize) {
        drop(self.wait_while(|state| state.commits_begun < begun));
    }

    /// Waits until that many reads have begun.
    pub(super) fn await_reads(&self, begun: usize) {
        drop(self.wait_while(|state| state.reads_begun < begun));
    }

    pub(super) fn owe_maintenance(&self, steps: usize) {
        self.change(|state| state.maintenance_owed = steps);
    }

    /// Waits for so many steps of maintenance, and says how many commits had begun before each.
    pub(super) fn await_maintained(&self, steps: usize) -> Vec<usize> {
        self.wait_while(|state| state.maintained.len() < steps).maintained.clone()
    }

    pub(super) fn reads(&self) -> usize {
        self.lock().reads_begun
    }

    /// The size of each group that came, and whether it was committed.
    pub(super) fn groups(&self) -> Vec<(usize, bool)> {
        self.lock().groups.clone()
    }
}

impl Store for ScriptedStore {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        self.inner.recover()
    }

    fn commit(&mut self, group: Group<'_>) -> Result<(), StoreError> {
        self.script.change(|state| state.commits_begun += 1);
        let mut state = self.script.wait_while(|state| state.commits_held);
        let fails = state.failures > 0;
        state.failures = state.failures.saturating_sub(1);
        state.groups.push((group.events.len(), !fails));
        let (panics, failure) = (state.panics, state.failure.unwrap_or(Failure::Passing));
        drop(state);
        assert!(!panics, "as the script says");
        if fails { Err(StoreError::of(failure, "as the script says")) } else { self.inner.commit(group) }
    }

    fn is_nearly_full(&self) -> bool {
        self.script.lock().nearly_full
    }

    fn maintain(&mut self) -> Result<bool, StoreError> {
        let mut more = false;
        self.script.change(|state| {
            state.maintenance_owed = state.maintenance_owed.saturating_sub(1);
            more = state.maintenance_owed > 0;
            state.maintained.push(state.commits_begun);
        });
        if self.script.lock().maintenance_fails {
            return Err(StoreError::new("as the script says"));
        }
        Ok(more)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(ScriptedReader { inner: self.inner.reader(), script: Arc::clone(&self.script) })
    }
}

struct ScriptedReader {
    inner: Arc<dyn Reader>,
    script: Arc<Script>,
}

impl Reader for ScriptedReader {
    fn oldest(&self) -> Sequence {
        self.inner.oldest()
    }

    fn read(&self, range: Range, limit: usize) -> Result<Vec<Arc<Event>>, ReadError> {
        self.script.change(|state| state.reads_begun += 1);
        drop(self.script.wait_while(|state| state.reads_held));
        self.inner.read(range, limit)
    }

    fn generations(&self, task: &Task) -> Result<Vec<KeptGeneration>, StoreError> {
        self.inner.generations(task)
    }
}
