//! What is sound in a damaged store, in a new one: it opens, it is consistent, and what is not there is named.

use std::collections::BTreeSet;

use redb::{ReadableTable, WriteTransaction};

use super::directories::{edit, filled};
use super::history::{Fold, assert_is, read_all};
use super::media::TestDir;
use crate::journal::embedded::rows::{RowKey, SealedTable};
use crate::journal::embedded::tables::{EVENTS, META, REQUESTS, SPECS, TASKS};
use crate::journal::{BackupError, EmbeddedStore, Retention, Salvaged, Store};
use crate::model::Event;

fn flip<K: RowKey>(transaction: &WriteTransaction, table: SealedTable<K>, which: impl Fn(K) -> bool) {
    let mut rows = transaction.open_table(table.raw()).expect("there");
    let keys: Vec<K> = rows.iter().expect("read").map(|row| row.expect("read").0.value()).collect();
    for key in keys.into_iter().filter(|key| which(*key)) {
        let mut row = rows.get(key).expect("read").expect("there").value().to_vec();
        *row.last_mut().expect("sealed") ^= 1;
        rows.insert(key, row.as_slice()).expect("written");
    }
}

fn keys<K: RowKey>(dir: &TestDir, table: SealedTable<K>) -> Vec<K> {
    let store = EmbeddedStore::open(&dir.path(), Retention::default()).expect("opened");
    let transaction = store.shared.database().expect("open").begin_read().expect("begun");
    let rows = transaction.open_table(table.raw()).expect("there");
    rows.iter().expect("read").map(|row| row.expect("read").0.value()).collect()
}

/// What was saved after that was done to a store: checked, opened and written to.
fn salvaged(dir: &TestDir, act: impl FnOnce(&WriteTransaction)) -> (Salvaged, EmbeddedStore) {
    edit(dir, act);
    let file = dir.path().join("journal.redb");
    let before = std::fs::read(&file).expect("read");
    let dest = dir.join("saved");
    let salvaged = EmbeddedStore::salvage(&dir.path(), &dest).expect("saved");
    assert!(std::fs::read(&file).expect("read") == before, "it is left as it is");
    assert!(matches!(EmbeddedStore::salvage(&dir.path(), &dest), Err(BackupError::Exists(_))));
    let report = EmbeddedStore::check(&dest).expect("checked");
    assert_eq!(report.problems, Vec::<String>::new(), "{salvaged:?}");
    assert_eq!((report.store_id, report.tasks), (salvaged.store_id, salvaged.tasks));
    let mut store = EmbeddedStore::open(&dest, Retention::default()).expect("opened");
    assert_eq!(store.recover().expect("read").store_id, salvaged.store_id);
    (salvaged, store)
}

#[test]
fn of_a_sound_store_nothing_is_left_out() {
    let dir = TestDir::new();
    let (store, history, log) = filled(&dir, 60);
    drop(store);
    let id = EmbeddedStore::check(&dir.path()).expect("checked").store_id;
    let (salvaged, mut store) = salvaged(&dir, |_| ());
    assert!(salvaged.left_out.is_empty() && salvaged.store_id != id, "{salvaged:?}");
    assert_is(&mut store, &history.fold, &log, "saved");
}

#[test]
fn the_log_begins_after_the_last_piece_that_cannot_be_read() {
    let dir = TestDir::new();
    let (store, history, log) = filled(&dir, 60);
    drop(store);
    let pieces = keys(&dir, EVENTS);
    let damaged = [pieces[3], pieces[20]];
    let (salvaged, mut store) = salvaged(&dir, |transaction| flip(transaction, EVENTS, |key| damaged.contains(&key)));
    assert_eq!((salvaged.oldest, salvaged.head), (damaged[1], history.fold.head));
    let named: Vec<_> = salvaged.left_out.iter().map(|left| (left.table.as_str(), left.key.clone())).collect();
    let sound = |from: u64, to: u64| ("events", format!("events {from} to {to}"));
    assert_eq!(
        named,
        [
            ("events", pieces[3].to_string()),
            sound(1, pieces[2]),
            ("events", pieces[20].to_string()),
            sound(pieces[3] + 1, pieces[19])
        ]
    );
    assert_eq!(Fold::of(&store.recover().expect("read")), history.fold);
    let kept: Vec<std::sync::Arc<Event>> = read_all(&*store.reader(), damaged[1], history.fold.head);
    assert_eq!(kept, log[damaged[1] as usize..]);
}

#[test]
fn a_task_that_the_log_has_is_as_that_has_it() {
    let dir = TestDir::new();
    let (store, history, log) = filled(&dir, 60);
    drop(store);
    let tasks = keys(&dir, TASKS);
    let (salvaged, mut store) = salvaged(&dir, |transaction| {
        flip(transaction, TASKS, |key| key == tasks[0]);
        transaction.open_table(TASKS.raw()).expect("there").remove(tasks[1]).expect("removed");
        flip(transaction, REQUESTS, |key| key == 0);
    });
    let left: Vec<_> = salvaged.left_out.iter().map(|left| left.table.as_str()).collect();
    assert_eq!(left, ["tasks", "requests"], "rows are missing, and a request is damaged: {salvaged:?}");
    let mut fold = history.fold.clone();
    fold.requests.remove(0);
    assert_is(&mut store, &fold, &log, "saved");
}

#[test]
fn a_task_whose_row_or_spec_is_damaged_is_left_out_and_named() {
    let dir = TestDir::new();
    let (store, history, _) = filled(&dir, 60);
    drop(store);
    let (tasks, last) = (keys(&dir, TASKS), *keys(&dir, EVENTS).last().expect("some"));
    let born = [tasks[0], tasks[1]];
    let (salvaged, mut store) = salvaged(&dir, |transaction| {
        flip(transaction, EVENTS, |key| key == last);
        flip(transaction, TASKS, |key| key == born[0]);
        flip(transaction, SPECS, |(of, _)| of == born[1]);
    });
    let recovered = store.recover().expect("read");
    let kept: BTreeSet<_> = recovered.tasks.iter().map(|task| task.name.to_string()).collect();
    let all: BTreeSet<_> = history.fold.tasks.values().map(|task| task.name.to_string()).collect();
    let left: Vec<_> = salvaged.left_out.iter().filter(|left| left.table == "tasks").collect();
    assert_eq!(left.iter().map(|left| left.key.clone()).collect::<Vec<_>>(), born.map(|born| born.to_string()));
    let gone: BTreeSet<_> = all.difference(&kept).cloned().collect();
    let named: BTreeSet<_> = left
        .iter()
        .map(|left| left.task.as_deref().expect("named").split(' ').next().expect("a name").to_owned())
        .collect();
    assert_eq!(gone, named);
    assert_eq!((gone.len(), salvaged.oldest, salvaged.head), (2, history.fold.head, history.fold.head));
}

#[test]
fn counters_that_are_damaged_are_put_together_from_the_rows() {
    let dir = TestDir::new();
    let (store, history, log) = filled(&dir, 60);
    drop(store);
    let (salvaged, mut store) = salvaged(&dir, |transaction| {
        let mut meta = transaction.open_table(META).expect("there");
        meta.insert("counters", [1, 2, 3, 4, 5, 6].as_slice()).expect("written");
    });
    assert_eq!(salvaged.left_out.len(), 1, "{salvaged:?}");
    assert_is(&mut store, &history.fold, &log, "saved");
}

/// As on a disk: redb does not look at its checksums as it opens a file that was closed.
#[test]
fn what_has_flipped_in_the_file_is_left_out() {
    let dir = TestDir::new();
    let (store, history, _) = filled(&dir, 60);
    drop(store);
    let file = dir.path().join("journal.redb");
    let mut bytes = std::fs::read(&file).expect("read");
    // As an event has it: what has become of a spec says the same.
    let text = b"\x3a\x13as the history says";
    let places = bytes.windows(text.len()).enumerate().filter(|(_, at)| at == text).map(|(place, _)| place);
    for place in places.collect::<Vec<_>>() {
        bytes[place + text.len() - 1] ^= 1;
    }
    std::fs::write(&file, bytes).expect("written");
    let (salvaged, mut store) = {
        let dest = dir.join("saved");
        let salvaged = EmbeddedStore::salvage(&dir.path(), &dest).expect("saved");
        assert!(EmbeddedStore::check(&dest).expect("checked").is_sound());
        (salvaged, EmbeddedStore::open(&dest, Retention::default()).expect("opened"))
    };
    assert!(salvaged.left_out.iter().any(|left| left.table == "events"));
    assert_eq!(Fold::of(&store.recover().expect("read")).tasks, history.fold.tasks);
}
