//! Histories: groups as a journal commits them, the same for the same seed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use uuid::Uuid;

use crate::journal::testing::{circuit, sequence, task};
use crate::journal::{EmbeddedStore, Group, Range, ReadError, Reader, Recovered, Store};
use crate::model::{
    Actor, Alert, AlertKind, Attempt, Brief, Cause, Detail, Event, EventType, Generation, Idempotency, Instance,
    InstanceState, Labels, Method, MonitorDraft, Remembered, Sequence, SpecDraft, State, Swap, SwapPhase, SwapStrategy,
    Task, TaskSpec, TcpDraft, Timestamp, Uid, Violations,
};

/// SplitMix64, for a history that is the same at every run.
pub(in crate::journal::embedded) struct Random(pub(in crate::journal::embedded) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(in crate::journal::embedded) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits") % bound
    }
}

/// What is committed together.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    pub(super) events: Vec<Arc<Event>>,
    pub(super) requests: Vec<Remembered>,
}

impl Batch {
    pub(super) fn group(&self) -> Group<'_> {
        Group { events: &self.events, requests: &self.requests }
    }
}

/// What a store holds, as whoever only folds the log would say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fold {
    pub(super) tasks: BTreeMap<Uid, Arc<Task>>,
    pub(super) requests: Vec<Remembered>,
    pub(super) head: u64,
}

impl Fold {
    pub(super) fn apply(&mut self, event: &Event) {
        self.head = event.sequence.get();
        let task = event.task.as_ref().expect("every event here has one");
        if event.kind == EventType::TaskDeleted {
            self.tasks.remove(&task.uid);
        } else {
            self.tasks.insert(task.uid, Arc::clone(task));
        }
    }

    pub(super) fn of(recovered: &Recovered) -> Self {
        let tasks = recovered.tasks.iter().map(|task| (task.uid, Arc::clone(task)));
        Self { tasks: tasks.collect(), requests: recovered.requests.clone(), head: recovered.head.get() }
    }
}

/// Draws what happens to tasks next: starts, checks, swaps, cancels, deletes.
pub(super) struct History {
    random: Random,
    pub(super) fold: Fold,
    names: usize,
    uids: u128,
    started: Timestamp,
}

impl History {
    /// A history of so many names, in which events are of about now.
    pub(super) fn new(seed: u64, names: usize) -> Self {
        Self { random: Random(seed), fold: Fold::default(), names, uids: 0, started: super::super::age::wall() }
    }

    /// The next group, of at most so many events.
    pub(super) fn batch(&mut self, most: usize) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..=self.random.below(most) {
            let event = Arc::new(self.event());
            self.fold.apply(&event);
            if self.random.below(3) == 0 {
                batch.requests.push(self.request(&event));
            }
            batch.events.push(event);
        }
        self.fold.requests.extend(batch.requests.iter().cloned());
        batch
    }

    fn event(&mut self) -> Event {
        let id = format!("t{}", self.random.below(self.names));
        let time = self.started + std::time::Duration::from_micros(self.fold.head);
        let present = self.fold.tasks.values().find(|task| task.name.id() == id).map(|task| Task::clone(task));
        let (kind, detail, task) = match present {
            None => (EventType::TaskCreated, None, self.create(&id, time)),
            Some(task) if task.state.is_ended() => (EventType::TaskDeleted, None, task),
            Some(task) => self.change(task, time),
        };
        Event {
            sequence: Sequence::new(self.fold.head + 1),
            time,
            kind,
            generation: task.generation,
            attempt: Attempt::new(1),
            cause: Cause::system("test", "as the history says"),
            detail,
            task: Some(Arc::new(task)),
        }
    }

    fn create(&mut self, id: &str, time: Timestamp) -> Task {
        self.uids += 1;
        // No order of the uids is that of the tasks.
        let uid = Uuid::from_u64_pair(Random(self.uids as u64).next(), self.uids as u64);
        let labels = Labels::try_new([("team".to_owned(), id.to_owned())]).expect("valid");
        Task { uid: Uid::new(uid), labels, spec: spec(id, 1), create_time: time, update_time: time, ..task(id, 0) }
    }

    fn change(&mut self, mut task: Task, time: Timestamp) -> (EventType, Option<Detail>, Task) {
        task.update_time = time;
        let generation = Generation::new(task.last_generation.get() + 1);
        let undecided = task.swap.as_ref().is_some_and(|swap| !swap.is_ended());
        match self.random.below(8) {
            0 => {
                task.state = State::Cancelled;
                (EventType::TaskEnded, None, task)
            }
            1..=3 if !undecided => {
                let swap = Swap {
                    id: Uuid::from_u128(generation.get().into()),
                    from_generation: task.generation,
                    to_generation: generation,
                    to_spec: spec(task.name.id(), generation.get()),
                    strategy: SwapStrategy::MakeBeforeBreak,
                    phase: SwapPhase::Building,
                    error: String::new(),
                    revert_reason: String::new(),
                    rollback_to: None,
                };
                task.last_generation = generation;
                task.swap = Some(Box::new(swap.clone()));
                (EventType::SwapStarted, Some(Detail::Swap(Box::new(swap))), task)
            }
            1..=3 => self.decide(task),
            4 => {
                let alert = Alert {
                    kind: AlertKind::PollBlocked,
                    raise_time: time,
                    generation: task.generation,
                    attempt: Attempt::new(1),
                    message: "blocked".repeat(self.random.below(200)),
                };
                task.alerts = vec![alert.clone()];
                (EventType::AlertRaised, Some(Detail::Alert(alert)), task)
            }
            _ => {
                let instance = Instance {
                    generation: task.generation,
                    attempt: Attempt::new(1),
                    state: InstanceState::Ready,
                    start_time: time,
                    ready_time: Some(time),
                    stop_time: None,
                    exit: None,
                    shutdown: None,
                    blocked_since: None,
                };
                task.instance = Some(instance.clone());
                task.circuit = circuit();
                (EventType::InstanceReady, Some(Detail::Instance(instance)), task)
            }
        }
    }

    fn decide(&mut self, mut task: Task) -> (EventType, Option<Detail>, Task) {
        let mut swap = task.swap.take().expect("undecided");
        let kind = if self.random.below(2) == 0 {
            swap.phase = SwapPhase::Done;
            (task.generation, task.spec) = (swap.to_generation, Arc::clone(&swap.to_spec));
            EventType::SwapCommitted
        } else {
            swap.phase = SwapPhase::RolledBack;
            EventType::SwapRolledBack
        };
        task.swap = Some(swap.clone());
        (kind, Some(Detail::Swap(swap)), task)
    }

    fn request(&mut self, event: &Event) -> Remembered {
        let request_id = Uuid::from_u64_pair(self.random.next(), self.random.next());
        Remembered {
            actor: Actor::Anonymous([127, 0, 0, 1].into()),
            method: Method::Swap,
            idempotency: Idempotency::new(request_id, b"body"),
            uid: event.task.as_ref().expect("there").uid,
            sequence: event.sequence,
            time: event.time,
        }
    }
}

/// A spec that no other generation or task has.
pub(in crate::journal::embedded) fn spec(id: &str, generation: u64) -> Arc<TaskSpec> {
    let tcp = TcpDraft { address: format!("{id}.example.com:{}", generation % 60_000 + 1), ..TcpDraft::default() };
    let draft = SpecDraft { monitor: Some(MonitorDraft::Tcp(tcp)), ..SpecDraft::default() };
    Arc::new(TaskSpec::try_new(draft, &mut Violations::new()).expect("valid"))
}

/// Reads the log as a follower does, from `after` to the end.
pub(super) fn read_all(reader: &dyn Reader, after: u64, through: u64) -> Vec<Arc<Event>> {
    let mut found = Vec::new();
    let mut after = Sequence::new(after);
    let through = Sequence::new(through);
    while after < through {
        let events = reader.read(Range { after, through }, 100).expect("kept");
        after = events.last().expect("more").sequence;
        found.extend(events);
    }
    found
}

/// Shows events in brief, a few at a time, and compares them with the whole ones.
pub(super) fn assert_briefly(reader: &dyn Reader, whole: &[Arc<Event>], what: &str) -> Result<(), ReadError> {
    let mut left = whole.iter();
    while let [first, ..] = left.as_slice() {
        let (first, after) = (first.sequence, Sequence::new(first.sequence.get() - 1));
        let through = whole.last().map_or(first, |last| last.sequence);
        let (mut room, mut others) = (7 + left.len() / 2, Vec::new());
        reader.read_briefly(Range { after, through }, &mut |brief| {
            if left.next().is_none_or(|event| *brief != Brief::from(&**event)) {
                // Not at once: a panic in here is a store's failure.
                others.push(format!("{brief:?}"));
            }
            room -= 1;
            if room == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let goes_on = left.as_slice().first().is_none_or(|next| next.sequence > first);
        assert!(others.is_empty() && goes_on, "{what}: {others:?}");
    }
    Ok(())
}

/// What is in the store is what the history says: its fold, its requests, and its log from the oldest event kept.
pub(super) fn assert_is(store: &mut EmbeddedStore, fold: &Fold, log: &[Arc<Event>], what: &str) {
    let recovered = store.recover().expect("read");
    assert_eq!(recovered.tasks.len(), fold.tasks.len(), "{what}");
    assert_eq!(&Fold::of(&recovered), fold, "{what}");
    let reader = store.reader();
    let oldest = reader.oldest().get();
    let kept = read_all(&*reader, oldest, fold.head);
    let from = usize::try_from(oldest).expect("small");
    let through = usize::try_from(fold.head).expect("small");
    assert_eq!(kept, log[from..through], "{what}");
    assert_briefly(&*reader, &kept, what).expect("read");
    for task in fold.tasks.values() {
        let generations = reader.generations(task).expect("read");
        assert_eq!(generations, stories(task.uid, &log[..through]).generations(), "{what}");
    }
}

/// The generations of a task by its events alone, however old.
pub(super) fn stories(uid: Uid, log: &[Arc<Event>]) -> crate::model::History {
    let mut history = crate::model::History::default();
    log.iter().filter(|event| event.task.as_ref().is_some_and(|task| task.uid == uid)).for_each(|event| {
        history.note(event);
    });
    history
}

#[test]
fn a_history_goes_through_every_kind_of_change() {
    let mut history = History::new(1, 5);
    let batches: Vec<_> = (0..200).map(|_| history.batch(4)).collect();
    let kinds = |kind| batches.iter().flat_map(|batch| &batch.events).filter(|event| event.kind == kind).count();
    use EventType::{
        AlertRaised, InstanceReady, SwapCommitted, SwapRolledBack, SwapStarted, TaskCreated, TaskDeleted, TaskEnded,
    };
    for kind in
        [TaskCreated, InstanceReady, SwapStarted, SwapCommitted, SwapRolledBack, AlertRaised, TaskEnded, TaskDeleted]
    {
        assert!(kinds(kind) > 5, "{kind:?}: {}", kinds(kind));
    }
    assert_eq!(
        batches.iter().flat_map(|batch| &batch.events).last().map(|event| event.sequence),
        Some(sequence(history.fold.head as usize))
    );
}
