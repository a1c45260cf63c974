//! Rows that are gone, or are others than those that were committed last: whoever needs them is told of it.

use std::sync::Arc;

use redb::{ReadableTable, WriteTransaction};

use super::history::{History, assert_is};
use super::media::Disk;
use super::retention::{at, commit, retention};
use crate::journal::embedded::age::wall as now;
use crate::journal::embedded::tables::{DYING, EVENTS, REQUESTS, SPECS, TASKS};
use crate::journal::{EmbeddedStore, Failure, Group, Range, ReadError, Retention, Store, testing};
use crate::model::{Event, EventType, Sequence, State, Task};

fn edit(store: &EmbeddedStore, act: impl FnOnce(&WriteTransaction)) {
    let transaction = store.shared.database().expect("open").begin_write().expect("begun");
    act(&transaction);
    transaction.commit().expect("committed");
}

/// What a server is told that begins with it.
fn told(disk: &Disk) -> Option<String> {
    match EmbeddedStore::with_medium(disk.clone(), Retention::default()) {
        Ok(mut store) => store.recover().err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

#[test]
fn a_row_that_is_gone_is_missed_at_the_start() {
    type Edit = fn(&WriteTransaction);
    let edits: [(&str, Edit); 5] = [
        ("events", |transaction| {
            transaction.open_table(EVENTS.raw()).expect("there").pop_last().expect("removed");
        }),
        ("tasks", |transaction| {
            transaction.open_table(TASKS.raw()).expect("there").pop_last().expect("removed");
        }),
        ("specs", |transaction| {
            transaction.open_table(SPECS.raw()).expect("there").pop_first().expect("removed");
        }),
        ("dying", |transaction| {
            transaction.open_table(DYING.raw()).expect("there").pop_first().expect("removed");
        }),
        ("requests", |transaction| {
            transaction.open_table(REQUESTS.raw()).expect("there").pop_first().expect("removed");
        }),
    ];
    for (table, act) in edits {
        let disk = Disk::default();
        let (store, ..) = super::faults::filled(&disk);
        edit(&store, act);
        drop(store);
        let told = told(&disk).unwrap_or_else(|| panic!("{table} is not missed"));
        assert!(told.contains(&format!("table {table}")) && told.contains("store check"), "{told}");
    }
}

#[test]
fn a_task_as_it_was_before_is_not_taken_for_what_it_is() {
    let disk = Disk::default();
    let (mut store, mut history, _) = super::faults::filled(&disk);
    let rows = |store: &EmbeddedStore| -> Vec<_> {
        let transaction = store.shared.database().expect("open").begin_read().expect("begun");
        let tasks = transaction.open_table(TASKS.raw()).expect("there");
        tasks
            .iter()
            .expect("read")
            .map(|row| row.map(|(key, row)| (key.value(), row.value().to_vec())).expect("read"))
            .collect()
    };
    let before = rows(&store);
    store.commit(history.batch(30).group()).expect("committed");
    let after = rows(&store);
    let stale = before.into_iter().find(|(key, row)| after.iter().any(|(now, other)| key == now && row != other));
    let (key, row) = stale.expect("one has changed");
    edit(&store, |transaction| {
        transaction.open_table(TASKS.raw()).expect("there").insert(key, row.as_slice()).expect("written");
    });
    drop(store);
    let told = told(&disk).expect("noticed");
    assert!(told.contains("not those that were committed last"), "{told}");
}

#[test]
fn a_reader_is_told_of_a_gap_wherever_it_is() {
    let last = |nth: usize, from_end: bool| {
        let disk = Disk::default();
        let (store, _, log) = super::faults::filled(&disk);
        edit(&store, |transaction| {
            let mut events = transaction.open_table(EVENTS.raw()).expect("there");
            let keys: Vec<_> = events.iter().expect("read").map(|row| row.expect("read").0.value()).collect();
            let key = if from_end { keys[keys.len() - 1 - nth] } else { keys[nth] };
            events.remove(key).expect("removed");
        });
        let through = Sequence::new(log.len() as u64);
        let (mut after, mut read) = (Sequence::default(), Vec::new());
        loop {
            match store.reader().read(Range { after, through }, 7) {
                Ok(found) => {
                    read.extend(found);
                    assert_eq!(read, log[..read.len()]);
                    after = read.last().expect("some").sequence;
                    assert!(after < through, "the gap was not seen");
                }
                Err(ReadError::Store(error)) => {
                    assert_eq!(error.failure(), Failure::Final);
                    return error.to_string();
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    assert!(last(0, false).contains("gap") && last(3, false).contains("gap") && last(1, true).contains("gap"));
    let end = last(0, true);
    assert!(end.contains("the log ends before"), "{end}");
}

#[test]
fn trimming_steps_over_no_gap() {
    let disk = Disk::default();
    let mut store = EmbeddedStore::with_medium(disk, retention(100)).expect("opened");
    for number in 1..=20 {
        commit(&mut store, vec![at(number, now())]);
    }
    edit(&store, |transaction| {
        transaction.open_table(EVENTS.raw()).expect("there").remove(3).expect("removed");
    });
    store.retention.events = Some(5);
    let error = store.maintain().expect_err("a gap");
    assert!(error.is_final() && error.to_string().contains("gap"), "{error}");
}

/// What is due there is deleted: a spec that lives must not be, whatever has become of a key.
#[test]
fn a_dying_spec_whose_key_has_flipped_takes_no_other_with_it() {
    let disk = Disk::default();
    let mut store = EmbeddedStore::with_medium(disk, retention(1_000)).expect("opened");
    let mut history = History::new(5, 3);
    let mut log = Vec::new();
    for _ in 0..40 {
        let batch = history.batch(5);
        store.commit(batch.group()).expect("committed");
        log.extend(batch.events);
    }
    let specs = |store: &EmbeddedStore| -> Vec<_> {
        let transaction = store.shared.database().expect("open").begin_read().expect("begun");
        let specs = transaction.open_table(SPECS.raw()).expect("there");
        specs.iter().expect("read").map(|row| row.expect("read").0.value()).collect()
    };
    let alive = *specs(&store).last().expect("some");
    edit(&store, |transaction| {
        let mut dying = transaction.open_table(DYING.raw()).expect("there");
        let ((from, ..), seal) = {
            let (key, row) = dying.first().expect("read").expect("some");
            (key.value(), row.value().to_vec())
        };
        dying.insert((from, alive.0, alive.1), seal.as_slice()).expect("written");
    });
    store.retention.events = Some(1);
    let mut maintained = Ok(true);
    while let Ok(true) = maintained {
        maintained = store.maintain();
    }
    let error = maintained.expect_err("damaged");
    assert!(error.is_final() && error.to_string().contains("table dying"), "{error}");
    assert!(specs(&store).contains(&alive));
}

/// As where the way to its page is damaged: a row that is not found might be there nevertheless.
#[test]
fn a_task_that_is_not_found_is_neither_deleted_nor_written_twice() {
    for deleted in [false, true] {
        let mut store = EmbeddedStore::with_medium(Disk::default(), retention(1_000)).expect("opened");
        let task = Task { state: State::Cancelled, ..testing::task("t1", 1) };
        commit(&mut store, vec![at(1, now())]);
        let change = |kind| Event { time: now(), ..testing::event(2, kind, task.clone()) };
        edit(&store, |transaction| {
            transaction.open_table(TASKS.raw()).expect("there").pop_last().expect("removed");
        });
        let event = change(if deleted { EventType::TaskDeleted } else { EventType::TaskEnded });
        let group = [Arc::new(event)];
        let error = store.commit(Group { events: &group, requests: &[] }).expect_err("it is not there");
        assert!(error.is_final() && error.to_string().contains("table tasks, key 1"), "{error}");
    }
}

#[test]
fn a_task_that_comes_and_goes_in_one_group_is_missed_by_nobody() {
    let mut store = EmbeddedStore::with_medium(Disk::default(), retention(1_000)).expect("opened");
    let task = Task { state: State::Cancelled, ..testing::task("t1", 1) };
    let deleted = Event { time: now(), ..testing::event(2, EventType::TaskDeleted, task) };
    commit(&mut store, vec![at(1, now()), deleted]);
    assert!(store.recover().expect("read").tasks.is_empty());
}

#[test]
fn what_is_whole_is_missed_by_nobody() {
    let disk = Disk::default();
    let (store, history, log) = super::faults::filled(&disk);
    drop(store);
    assert_eq!(told(&disk), None);
    let mut store = EmbeddedStore::with_medium(disk, Retention::default()).expect("opened");
    assert_is(&mut store, &history.fold, &log, "whole");
}
