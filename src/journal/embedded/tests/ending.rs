//! The end of a journal whose followers are still on their way.

use std::time::Duration;

use crate::journal::testing::{commit, created, numbers, sequence, start};
use crate::journal::{EmbeddedStore, FollowError, Retention};

use super::Disk;

/// The events of these tests are old.
const EVERYTHING: Retention =
    Retention { events: Some(1_000), age: Duration::from_secs(100 * 365 * 86_400), bytes: 1 << 30 };
/// No test waits for it: it is there so that a broken one fails.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_was_committed_is_read_to_the_end_until_the_store_is_let_go() {
    let store = EmbeddedStore::with_medium(Disk::default(), EVERYTHING).expect("begun");
    let (journal, writer) = start(store, 0);
    commit(&journal, (1..=20).map(created)).await;
    let (mut follower, mut late) =
        (journal.follow(sequence(0)).expect("kept"), journal.follow(sequence(0)).expect("kept"));

    let finished = writer.finish(LONG);
    assert!(finished.has_committed_all());
    let mut read = Vec::new();
    while let Some(batch) = follower.next(7).await.expect("the store is there") {
        read.extend(batch.events);
    }
    assert_eq!(numbers(&read), (1..=20).collect::<Vec<_>>());

    drop(finished);
    assert!(matches!(late.next(7).await, Err(FollowError::Store(_))));
}
