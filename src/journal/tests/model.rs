//! A random history, against the simplest model of what a journal is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::journal::testing::{event, put, sequence, start, task};
use crate::journal::{MemoryStore, Release, View};
use crate::model::{Alert, AlertKind, Event, EventType, Generation, Sequence, State, Task, TaskName, Timestamp};

type Model = BTreeMap<TaskName, Arc<Task>>;

/// SplitMix64, for a history that is the same at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 33).expect("31 bits") % bound
    }
}

fn random_event(random: &mut Random, number: usize, model: &Model) -> Event {
    let id = format!("t{}", random.below(20));
    let Some(present) = model.values().find(|task| task.name.id() == id) else {
        return event(number, EventType::TaskCreated, task(&id, number as u128));
    };
    let mut task = Task::clone(present);
    if random.below(5) == 0 {
        return event(number, EventType::TaskDeleted, task);
    }
    task.state = State::ALL[random.below(State::ALL.len())];
    task.alerts.clear();
    for _ in 0..random.below(3) {
        task.alerts.push(Alert {
            kind: AlertKind::ALL[random.below(AlertKind::ALL.len())],
            raise_time: Timestamp::default(),
            generation: Generation::new(1),
            attempt: crate::model::Attempt::new(1),
            message: String::new(),
        });
    }
    event(number, EventType::InstanceReady, task)
}

fn apply(model: &mut Model, event: &Event) {
    let task = event.task.as_ref().expect("every event here has one");
    if event.kind == EventType::TaskDeleted {
        model.remove(&task.name);
    } else {
        model.insert(task.name.clone(), Arc::clone(task));
    }
}

fn assert_is(view: &View, model: &Model) {
    assert!(view.tasks().eq(model.values()), "at {}", view.head());
    assert_eq!(view.len(), model.len());
    for state in State::ALL {
        assert_eq!(view.counts().tasks(state), model.values().filter(|task| task.state == state).count());
    }
    for kind in AlertKind::ALL {
        let open = model.values().flat_map(|task| &task.alerts).filter(|alert| alert.kind == kind).count();
        assert_eq!(view.counts().alerts(kind), open);
    }
}

#[tokio::test]
async fn the_view_is_the_fold_of_the_log_at_every_sequence() {
    const EVENTS: usize = 2_000;
    let mut random = Random(1);
    let (journal, writer) = start(MemoryStore::default(), 100);
    let views = Arc::new(Mutex::new(Vec::new()));
    let mut models = vec![Model::new()];
    let mut number = 0;
    while number < EVENTS {
        let mut group = Vec::new();
        for _ in 0..=random.below(4) {
            number += 1;
            let mut model = models[number - 1].clone();
            let event = random_event(&mut random, number, &model);
            apply(&mut model, &event);
            models.push(model);
            group.push(event);
        }
        let (views, reader) = (Arc::clone(&views), journal.clone());
        let run = Box::new(move || views.lock().expect("no panic").push(reader.view()));
        let releases = vec![Release { after: sequence(number), run }];
        put(&journal, group, releases);
    }
    let mut follower = journal.follow(Sequence::default()).expect("all is there");
    assert!(writer.close(Duration::from_secs(60)));

    let views = std::mem::take(&mut *views.lock().expect("no panic"));
    for view in &views {
        assert_is(view, &models[usize::try_from(view.head().get()).expect("small")]);
    }
    assert_eq!(views.last().map(|view| view.head()), Some(sequence(number)));

    let mut folded = View::new(Sequence::default(), []);
    while let Some(batch) = follower.next(256).await.expect("kept") {
        for event in &batch.events {
            folded = folded.after(std::slice::from_ref(event));
            assert_is(&folded, &models[usize::try_from(event.sequence.get()).expect("small")]);
        }
    }
    assert_eq!(folded.head(), sequence(number), "sequences have no gap");
}
