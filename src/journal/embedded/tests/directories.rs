//! Stores in directories: what is there again, who may open it, and what is refused.

use std::sync::Arc;

use super::history::{History, assert_is};
use super::media::{TestDir, modes};
use crate::journal::{EmbeddedStore, OpenError, Retention, Store};
use crate::model::Event;

fn filled(dir: &TestDir, batches: usize) -> (EmbeddedStore, History, Vec<Arc<Event>>) {
    let mut store = EmbeddedStore::open(&dir.path(), Retention::default()).expect("opened");
    let mut history = History::new(7, 10);
    let mut log = Vec::new();
    for _ in 0..batches {
        let batch = history.batch(20);
        store.commit(batch.group()).expect("committed");
        log.extend(batch.events);
    }
    (store, history, log)
}

#[test]
fn what_was_committed_is_there_again() {
    let dir = TestDir::new();
    let (mut store, history, log) = filled(&dir, 50);
    assert_is(&mut store, &history.fold, &log, "before");
    let id = store.recover().expect("read").store_id;
    drop(store);
    let mut store = EmbeddedStore::open(&dir.path(), Retention::default()).expect("opened");
    assert_is(&mut store, &history.fold, &log, "after");
    assert_eq!(store.recover().expect("read").store_id, id);
}

#[test]
fn only_its_owner_may_look_into_a_data_directory() {
    let dir = TestDir::new();
    drop(EmbeddedStore::open(&dir.path(), Retention::default()).expect("opened"));
    let expected = [(".", 0o700), ("journal.redb", 0o600), ("lock", 0o600)];
    assert_eq!(modes(&dir.path()), expected.map(|(name, mode)| (name.to_owned(), mode)));
}

#[test]
fn one_process_at_a_time_holds_a_directory() {
    let dir = TestDir::new();
    let store = EmbeddedStore::open(&dir.path(), Retention::default()).expect("opened");
    let refused = EmbeddedStore::open(&dir.path(), Retention::default()).err().expect("held");
    assert!(matches!(&refused, OpenError::Held { pid: Some(pid), .. } if *pid == std::process::id()), "{refused}");
    assert!(refused.to_string().contains("one process at a time"), "{refused}");
    drop(store);
    EmbeddedStore::open(&dir.path(), Retention::default()).expect("free again");
}
