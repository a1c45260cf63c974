//! What is dropped, when, and in how small steps; and what outlives it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use redb::ReadableTable;

use super::history::{History, assert_is, read_all};
use super::media::{Disk, TestDir};
use super::migrations::unseal;
use crate::journal::embedded::age::wall as now;
use crate::journal::embedded::tables::{DYING, REQUESTS, SPECS};
use crate::journal::testing::{created, event, sequence};
use crate::journal::{EmbeddedStore, Group, Range, ReadError, Retention, Store};
use crate::model::{
    Event, EventType, Generation, Remembered, Sequence, State, Swap, SwapPhase, SwapStrategy, Task, Timestamp,
};

const AGE: Duration = Duration::from_secs(3_600);

pub(super) fn retention(events: u64) -> Retention {
    Retention { events: Some(events), age: AGE, bytes: 1 << 30 }
}

pub(super) fn commit(store: &mut EmbeddedStore, events: Vec<Event>) {
    let events: Vec<_> = events.into_iter().map(Arc::new).collect();
    store.commit(Group { events: &events, requests: &[] }).expect("committed");
}

pub(super) fn at(number: usize, time: Timestamp) -> Event {
    Event { time, ..created(number) }
}

fn specs(store: &EmbeddedStore) -> BTreeSet<(u64, u64)> {
    let database = store.shared.database().expect("open");
    let table = database.begin_read().expect("begun").open_table(SPECS.raw()).expect("there");
    table.iter().expect("read").map(|row| row.expect("read").0.value()).collect()
}

fn rows_dying(store: &EmbeddedStore) -> usize {
    let database = store.shared.database().expect("open");
    let table = database.begin_read().expect("begun").open_table(DYING.raw()).expect("there");
    table.iter().expect("read").count()
}

#[test]
fn as_many_events_are_kept_as_were_asked_for_and_hardly_more() {
    let mut store = EmbeddedStore::with_medium(Disk::default(), retention(100)).expect("opened");
    for number in 1..=300 {
        commit(&mut store, vec![at(number, now())]);
        let oldest = store.reader().oldest().get();
        assert_eq!(oldest, (number as u64).saturating_sub(100), "after {number}");
    }
    commit(&mut store, (301..=340).map(|number| at(number, now())).collect());
    let reader = store.reader();
    assert_eq!(reader.oldest().get(), 240);
    let read = |after: u64| reader.read(Range { after: Sequence::new(after), through: sequence(340) }, 1_000);
    assert!(matches!(read(239), Err(ReadError::Trimmed)));
    assert_eq!(read(240).expect("kept").len(), 100);
}

#[test]
fn the_log_shrinks_by_small_steps_where_the_bound_was_lowered() {
    let disk = Disk::default();
    let mut store = EmbeddedStore::with_medium(disk.clone(), retention(10_000)).expect("opened");
    for number in 1..=1_000 {
        commit(&mut store, vec![at(number, now())]);
    }
    drop(store);
    let mut store = EmbeddedStore::with_medium(disk, retention(10)).expect("opened");
    commit(&mut store, vec![at(1_001, now())]);
    let after_one = store.reader().oldest().get();
    assert!((1..100).contains(&after_one), "one commit trims a little: {after_one}");
    let mut steps = 1;
    while store.maintain().expect("maintained") {
        steps += 1;
    }
    assert_eq!(store.reader().oldest().get(), 991);
    assert!(steps > 5, "{steps}");
}

#[test]
fn what_is_too_old_goes_while_nothing_comes() {
    let mut store = EmbeddedStore::with_medium(Disk::default(), retention(1_000)).expect("opened");
    let old = now().before(AGE * 2);
    commit(&mut store, (1..=20).map(|number| at(number, now())).collect());
    assert_eq!(store.reader().oldest().get(), 0);
    drop(store);
    let mut store = EmbeddedStore::with_medium(Disk::default(), retention(1_000)).expect("opened");
    commit(&mut store, vec![at(1, old), at(2, now())]);
    assert_eq!(store.reader().oldest().get(), 0, "a piece is as old as its newest event");
    commit(&mut store, vec![at(3, now())]);
    assert!(!store.maintain().expect("maintained"));
    let mut store = EmbeddedStore::with_medium(Disk::default(), Retention { age: Duration::MAX, ..retention(1_000) })
        .expect("opened");
    commit(&mut store, vec![at(1, old)]);
    commit(&mut store, vec![at(2, now())]);
    store.retention.age = AGE;
    assert!(!store.maintain().expect("maintained"));
    assert_eq!(store.reader().oldest().get(), 1);
    assert_eq!(store.recover().expect("read").tasks.len(), 2, "tasks outlive their events");
}

#[test]
fn the_log_takes_no_more_bytes_than_it_may() {
    let bytes = 20_000;
    let mut store =
        EmbeddedStore::with_medium(Disk::default(), Retention { events: None, age: AGE, bytes }).expect("opened");
    for number in 1..=300 {
        commit(&mut store, vec![at(number, now())]);
        let counters = store.written.as_ref().expect("open").counters;
        assert!(counters.log_bytes <= bytes, "{}", counters.log_bytes);
    }
    let kept = 300 - store.reader().oldest().get();
    assert!(kept > 50, "{kept}");
}

/// A task that has been swapped so many times.
pub(super) fn swapped(store: &mut EmbeddedStore, swaps: u64, committed: bool) -> (Task, usize) {
    let task = Task { spec: super::history::spec("t1", 1), ..crate::journal::testing::task("t1", 1) };
    commit(store, vec![Event { time: now(), ..event(1, EventType::TaskCreated, task.clone()) }]);
    (swap_on(store, task, 1, swaps, committed), 1 + swaps as usize)
}

/// The task, swapped so many times more, after so many events.
pub(super) fn swap_on(store: &mut EmbeddedStore, mut task: Task, events: usize, swaps: u64, committed: bool) -> Task {
    let last = task.last_generation.get();
    for (number, generation) in (events + 1..).zip(last + 1..=last + swaps) {
        let to_generation = Generation::new(generation);
        let to_spec = super::history::spec("t1", generation);
        task.swap = Some(Box::new(Swap {
            id: uuid::Uuid::from_u128(generation.into()),
            from_generation: task.generation,
            to_generation,
            to_spec: Arc::clone(&to_spec),
            strategy: SwapStrategy::MakeBeforeBreak,
            phase: if committed { SwapPhase::Done } else { SwapPhase::RolledBack },
            error: String::new(),
            revert_reason: String::new(),
            rollback_to: None,
        }));
        task.last_generation = to_generation;
        if committed {
            (task.generation, task.spec) = (to_generation, to_spec);
        }
        commit(store, vec![Event { time: now(), ..event(number, EventType::SwapCommitted, task.clone()) }]);
    }
    task
}

#[test]
fn a_live_task_keeps_its_last_ten_specs_its_active_one_and_what_events_refer_to() {
    let mut store = EmbeddedStore::with_medium(Disk::default(), retention(1_000)).expect("opened");
    let (task, mut number) = swapped(&mut store, 15, true);
    assert_eq!(specs(&store), (1..=16).map(|generation| (1, generation)).collect(), "events refer to all");
    store.retention.events = Some(1);
    while store.maintain().expect("maintained") {}
    assert_eq!(specs(&store), (7..=16).map(|generation| (1, generation)).collect(), "the last ten");
    assert_eq!(rows_dying(&store), 0);

    let deleted = Task { state: State::Cancelled, ..task };
    number += 1;
    commit(&mut store, vec![Event { time: now(), ..event(number, EventType::TaskDeleted, deleted) }]);
    while store.maintain().expect("maintained") {}
    assert_eq!(specs(&store).len(), 10, "the event that tells of the end refers to one, and all go together");
    commit(&mut store, (number + 1..number + 3).map(|number| at(number, now())).collect());
    while store.maintain().expect("maintained") {}
    assert_eq!(specs(&store).into_iter().filter(|(born, _)| *born == 1).count(), 0);
}

#[test]
fn a_spec_stays_as_long_as_an_event_refers_to_it_though_the_log_is_trimmed_all_the_time() {
    let disk = Disk::default();
    let mut store = EmbeddedStore::with_medium(disk.clone(), retention(30)).expect("opened");
    let (_, head) = swapped(&mut store, 80, true);
    let (oldest, head) = (store.reader().oldest().get(), head as u64);
    assert_eq!(read_all(&*store.reader(), oldest, head).len(), 30);
    let kept = specs(&store).len();
    assert!((30..=41).contains(&kept), "{kept}");
    let dying = rows_dying(&store);
    drop(store);
    // What is going to go is still known to, so that it is not put down again.
    let mut store =
        EmbeddedStore::with_medium(disk, Retention { events: Some(1_000), ..retention(0) }).expect("opened");
    let task = store.recover().expect("read").tasks[0].as_ref().clone();
    commit(&mut store, vec![Event { time: now(), ..event(82, EventType::InstanceReady, task) }]);
    assert_eq!(rows_dying(&store), dying);
}

#[test]
fn a_request_that_grew_too_old_while_no_server_was_there_is_not_remembered() {
    let mut store = EmbeddedStore::with_medium(Disk::default(), retention(10)).expect("opened");
    let mut history = History::new(5, 3);
    let request = std::iter::repeat_with(|| history.batch(5).requests).flatten().next().expect("endless");
    let old = Remembered { time: now().before(Duration::from_secs(86_400 + 60)), ..request };
    store.commit(Group { events: &[], requests: &[old] }).expect("committed");
    assert!(store.recover().expect("read").requests.is_empty());
}

#[test]
fn superseded_specs_count_with_the_events_that_keep_them() {
    let disk = Disk::default();
    let mut store = EmbeddedStore::with_medium(disk.clone(), retention(1_000)).expect("opened");
    swapped(&mut store, 100, true);
    let counters = store.written.as_ref().expect("open").counters;
    assert!(counters.dying_bytes > 90 * 50, "{counters:?}");
    // Form 2 did not count them.
    let transaction = store.shared.database().expect("open").begin_write().expect("begun");
    unseal(&transaction, 2);
    transaction.commit().expect("committed");
    drop(store);
    let mut store = EmbeddedStore::with_medium(disk, retention(1_000)).expect("migrated");
    assert_eq!(store.written.as_ref().expect("open").counters, counters);

    store.retention.bytes = counters.log_bytes + counters.dying_bytes / 2;
    while store.maintain().expect("maintained") {}
    let left = store.written.as_ref().expect("open").counters;
    assert!(left.log_bytes + left.dying_bytes <= store.retention.bytes, "{left:?}");
    assert!((1..90).contains(&left.oldest), "and no more than had to go: {left:?}");
    store.retention.events = Some(1);
    while store.maintain().expect("maintained") {}
    assert_eq!(store.written.as_ref().expect("open").counters.dying_bytes, 0);
}

#[test]
fn the_active_spec_stays_however_many_swaps_were_rolled_back() {
    let disk = Disk::default();
    let mut store = EmbeddedStore::with_medium(disk.clone(), retention(1)).expect("opened");
    swapped(&mut store, 14, false);
    while store.maintain().expect("maintained") {}
    let expected: BTreeSet<_> = std::iter::once(1).chain(6..=15).map(|generation| (1, generation)).collect();
    assert_eq!(specs(&store), expected);
    drop(store);
    // What is kept is known again, so that nothing is kept for ever.
    let mut store = EmbeddedStore::with_medium(disk, retention(1)).expect("opened");
    let task = store.recover().expect("read").tasks[0].as_ref().clone();
    commit(&mut store, vec![Event { time: now(), ..event(16, EventType::TaskDeleted, task) }]);
    commit(&mut store, vec![at(17, now())]);
    while store.maintain().expect("maintained") {}
    assert_eq!(specs(&store), [(17, 1)].into());
}

#[test]
fn requests_are_forgotten_by_age_and_count() {
    let disk = Disk::default();
    let mut store = EmbeddedStore::with_medium(disk.clone(), retention(1_000)).expect("opened");
    let mut history = History::new(5, 3);
    let batch = history.batch(50);
    let old = now().before(Duration::from_secs(86_400 + 60));
    let aged: Vec<_> = batch.requests.iter().map(|request| Remembered { time: old, ..request.clone() }).collect();
    store.commit(Group { events: &batch.events, requests: &aged }).expect("committed");
    assert!(!aged.is_empty());
    while store.maintain().expect("maintained") {}
    assert!(store.recover().expect("read").requests.is_empty());
    let database = store.shared.database().expect("open");
    let rows = || {
        database.begin_read().expect("begun").open_table(REQUESTS.raw()).expect("there").iter().expect("read").count()
    };
    assert_eq!(rows(), 0);

    let many: Vec<_> = std::iter::repeat_n(batch.requests[0].clone(), 50_010).collect();
    for _ in 0..4 {
        store.commit(Group { events: &[], requests: &many }).expect("committed");
    }
    while store.maintain().expect("maintained") {}
    assert_eq!(rows(), 200_000);
}

#[test]
fn a_count_of_bytes_that_is_too_small_is_put_right() {
    let mut store = EmbeddedStore::with_medium(Disk::default(), retention(10)).expect("opened");
    for number in 1..=10 {
        commit(&mut store, vec![at(number, now())]);
    }
    let counted = store.written.as_ref().expect("open").counters.log_bytes;
    store.written.as_mut().expect("open").counters.log_bytes = 1;
    store.retention.events = Some(2);
    while store.maintain().expect("maintained") {}
    let counters = store.written.as_ref().expect("open").counters;
    assert_eq!(counters.oldest, 8);
    assert!(counters.log_bytes.abs_diff(counted / 5) < 20, "{counters:?}, {counted}");
}

#[test]
fn a_store_that_trims_is_sound() {
    let dir = TestDir::new();
    let mut store = EmbeddedStore::open(&dir.path(), retention(60)).expect("opened");
    let mut history = History::new(21, 6);
    let mut log = Vec::new();
    for _ in 0..200 {
        let batch = history.batch(6);
        store.commit(batch.group()).expect("committed");
        log.extend(batch.events);
    }
    assert!(store.reader().oldest().get() > 100);
    assert_is(&mut store, &history.fold, &log, "trimmed");
    drop(store);
    let report = EmbeddedStore::check(&dir.path()).expect("checked");
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.head, report.tasks), (history.fold.head, history.fold.tasks.len() as u64));
    assert_eq!((report.events, report.requests), (report.head - report.oldest, history.fold.requests.len() as u64));
}
