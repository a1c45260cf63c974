//! The stories of generations: kept with their specs, whatever retention does to the events; unknown where an older server made them.

use std::sync::Arc;

use super::directories::edit;
use super::history::{History, assert_is, spec, stories};
use super::media::{Disk, TestDir};
use super::retention::{commit, retention};
use crate::journal::embedded::form::read_story;
use crate::journal::embedded::tables::{META, SPECS, counters, put_counters};
use crate::journal::testing::{event, task};
use crate::journal::{EmbeddedStore, MemoryStore, Retention, Store};
use crate::model::{Detail, Event, EventType, Generation, Standing, Story, Swap, SwapPhase, SwapStrategy, Task};

/// The events of a task that is created, and then swapped so often; each swap comes through where `commits` says so of its number.
fn swapped(swaps: u64, commits: impl Fn(u64) -> bool) -> Vec<Event> {
    let mut task = Task { spec: spec("t", 1), ..task("t", 1) };
    let mut events = vec![event(1, EventType::TaskCreated, task.clone())];
    for number in 2..=swaps + 1 {
        let to_generation = Generation::new(number);
        let mut swap = Swap {
            id: uuid::Uuid::from_u128(number.into()),
            from_generation: task.generation,
            to_generation,
            to_spec: spec("t", number),
            strategy: SwapStrategy::MakeBeforeBreak,
            phase: SwapPhase::Building,
            error: String::new(),
            revert_reason: String::new(),
            rollback_to: None,
        };
        let mut tell = |kind, swap: &Swap, task: &mut Task| {
            task.swap = Some(Box::new(swap.clone()));
            let detail = Some(Detail::Swap(Box::new(swap.clone())));
            events.push(Event { detail, ..event(events.len() + 1, kind, task.clone()) });
        };
        task.last_generation = to_generation;
        tell(EventType::SwapStarted, &swap, &mut task);
        if commits(number) {
            swap.phase = SwapPhase::Done;
            (task.generation, task.spec) = (to_generation, Arc::clone(&swap.to_spec));
            tell(EventType::SwapCommitted, &swap, &mut task);
        } else {
            (swap.phase, swap.error) = (SwapPhase::RolledBack, "late".to_owned());
            tell(EventType::SwapRolledBack, &swap, &mut task);
        }
    }
    events
}

fn last(events: &[Event]) -> Arc<Task> {
    events.last().and_then(|event| event.task.clone()).expect("some")
}

fn numbers(store: &impl Store, task: &Task) -> Vec<u64> {
    store.reader().generations(task).expect("read").iter().map(|kept| kept.generation.get()).collect()
}

#[test]
fn the_newest_ten_are_told_of_and_the_active_one_and_none_that_events_alone_refer_to() {
    // Generation 2 is the last that comes through, and 1 is neither active nor new; all events are kept.
    for (swaps, kept) in [(9, (1..=10).collect::<Vec<_>>()), (14, [2].into_iter().chain(6..=15).collect())] {
        let events = swapped(swaps, |number| number == 2);
        let mut embedded = EmbeddedStore::with_medium(Disk::default(), retention(10_000)).expect("opened");
        let mut memory = MemoryStore::new(3);
        for event in &events {
            let group = [Arc::new(event.clone())];
            memory.commit(crate::journal::Group { events: &group, requests: &[] }).expect("committed");
            commit(&mut embedded, vec![event.clone()]);
        }
        let task = last(&events);
        assert_eq!((numbers(&embedded, &task), numbers(&memory, &task)), (kept.clone(), kept));
        let read = embedded.reader().generations(&task).expect("read");
        assert_eq!(read, memory.reader().generations(&task).expect("read"));
        let gone = event(events.len() + 1, EventType::TaskDeleted, Task::clone(&task));
        commit(&mut embedded, vec![gone.clone()]);
        let group = [Arc::new(gone)];
        memory.commit(crate::journal::Group { events: &group, requests: &[] }).expect("committed");
        assert!(numbers(&embedded, &task).is_empty() && numbers(&memory, &task).is_empty(), "deleted");
    }
}

#[test]
fn stories_outlive_their_events_and_the_process() {
    let (disk, mut history) = (Disk::default(), History::new(7, 5));
    let mut store = EmbeddedStore::with_medium(disk.clone(), retention(10)).expect("opened");
    let mut log = Vec::new();
    for _ in 0..120 {
        let batch = history.batch(5);
        store.commit(batch.group()).expect("committed");
        log.extend(batch.events);
    }
    assert!(store.reader().oldest().get() > 200, "most events are gone");
    assert_is(&mut store, &history.fold, &log, "before");
    drop(store);
    let mut store = EmbeddedStore::with_medium(disk, retention(10)).expect("opened");
    assert_is(&mut store, &history.fold, &log, "after");
    let many = history.fold.tasks.values().filter(|task| stories(task.uid, &log).generations().len() > 2).count();
    assert!(many > 0, "some were swapped");
}

/// Writes every row of specs anew, changed.
fn rewrite(dir: &TestDir, change: impl Fn(&[u8]) -> Vec<u8>) {
    edit(dir, |transaction| {
        let mut counters = counters(&transaction.open_table(META).expect("there")).expect("sealed");
        let mut specs = SPECS.write(transaction, counters.specs).expect("there");
        let rows =
            specs.every(counters.specs).expect("read").map(|row| row.map(|(key, row)| (key, change(row.value()))));
        for (key, row) in rows.collect::<Result<Vec<_>, _>>().expect("sound") {
            specs.put_bytes(key, &row).expect("written");
        }
        counters.specs = specs.tally().expect("counted");
        drop(specs);
        put_counters(transaction, &counters).expect("written");
    });
}

#[test]
fn what_an_older_server_made_is_unknown_and_goes_on_from_there() {
    let dir = TestDir::new();
    let events = swapped(3, |number| number != 3);
    let mut store = EmbeddedStore::open(&dir.path(), Retention::default()).expect("opened");
    let (older, newer) = events.split_at(5);
    commit(&mut store, older.to_vec());
    drop(store);
    // As a server that kept no stories would have left them.
    rewrite(&dir, |row| read_story(row).expect("ours").1.to_vec());

    assert!(EmbeddedStore::check(&dir.path()).expect("checked").is_sound());
    let mut store = EmbeddedStore::open(&dir.path(), Retention::default()).expect("opened");
    let told = |store: &EmbeddedStore, task: &Task| -> Vec<_> {
        store.reader().generations(task).expect("read").into_iter().map(|kept| kept.story).collect()
    };
    let before = last(older);
    assert_eq!(told(&store, &before), [Story::default(), Story::default(), Story::default()]);
    assert_eq!(store.reader().generations(&before).expect("read")[1].spec, spec("t", 2));
    commit(&mut store, newer.to_vec());
    let stories = told(&store, &last(newer));
    assert!(matches!(stories[1].standing, Standing::Superseded { since: None, .. }), "{stories:?}");
    assert!(matches!(stories[3].standing, Standing::Active { since: Some(_) }), "{stories:?}");
    assert_eq!((stories[1].origin.is_some(), stories[3].origin.is_some()), (false, true));
    assert_eq!(stories[2], Story::default());
}

#[test]
fn a_story_that_cannot_be_read_is_found() {
    let dir = TestDir::new();
    let mut store = EmbeddedStore::open(&dir.path(), Retention::default()).expect("opened");
    commit(&mut store, swapped(1, |_| true));
    drop(store);
    rewrite(&dir, |row| {
        let mut row = row.to_vec();
        // The length of the story, after a key of two bytes.
        row[2] = 1;
        row
    });
    let report = EmbeddedStore::check(&dir.path()).expect("checked");
    assert!(report.problems.iter().any(|problem| problem.contains("specs")), "{report:?}");
}
