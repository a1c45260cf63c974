//! What a journal begins with.

use std::sync::Arc;

use futures_util::FutureExt;
use uuid::Uuid;

use crate::journal::testing::{OpenedStore, commit, created, numbers, sequence, start, task};
use crate::journal::{Journal, MemoryStore, Options, Recovered, StartError};

#[tokio::test]
async fn a_journal_goes_on_from_what_its_store_holds() {
    let store_id = Uuid::from_u128(7);
    let tasks = vec![Arc::new(task("t1", 1)), Arc::new(task("t2", 2))];
    let recovered = Some(Recovered { store_id, head: sequence(40), tasks, requests: Vec::new() });
    let (journal, _writer) = start(OpenedStore { inner: MemoryStore::default(), recovered }, 10);
    assert_eq!(journal.store_id(), store_id);
    assert_eq!((journal.view().head(), journal.view().len()), (sequence(40), 2));

    let mut follower = journal.follow(sequence(40)).expect("the head");
    assert!(follower.next(10).now_or_never().is_none());
    commit(&journal, [created(41)]).await;
    assert_eq!(numbers(&follower.next(10).await.expect("in the ring").expect("not ended").events), [41]);
    assert_eq!(journal.view().len(), 3);
}

#[test]
fn a_store_that_cannot_be_read_starts_no_journal() {
    let store = OpenedStore { inner: MemoryStore::default(), recovered: None };
    let started = Journal::start(Box::new(store), Options::default());
    assert!(matches!(started.err(), Some(StartError::Recover(_))));
}
