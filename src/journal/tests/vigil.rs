//! How the journal does, and who is told.

use std::time::Duration;

use futures_util::FutureExt;

use super::commits::append;
use crate::journal::testing::{ScriptedStore, commit, created, start};
use crate::journal::{Condition, Failure, Vigil};

const OPEN: Condition = Condition { stalled: false, full: false };
const STALLED: Condition = Condition { stalled: true, full: false };

/// What the next looks find, `within` that time of a paused clock.
async fn within(vigil: &mut Vigil, within: Duration) -> Option<Condition> {
    tokio::time::timeout(within, vigil.next()).await.ok()
}

#[tokio::test(start_paused = true)]
async fn it_counts_as_stalled_once_something_has_waited_for_a_second() {
    let (store, script) = ScriptedStore::new(1_000);
    let (journal, _writer) = start(store, 1_000);
    let mut vigil = journal.vigil();
    assert_eq!(within(&mut vigil, Duration::from_secs(3600)).await, None, "nothing waits");
    script.hold_commits(true);
    let ran = append(&journal, 1);
    script.await_commits(1);
    append(&journal, 2);
    assert_eq!(within(&mut vigil, Duration::from_millis(950)).await, None);
    assert_eq!(within(&mut vigil, Duration::from_millis(200)).await, Some(STALLED));
    assert_eq!(within(&mut vigil, Duration::from_secs(3600)).await, None, "it is told once");
    assert!(journal.waits() > Duration::from_secs(3600));

    script.hold_commits(false);
    ran.recv().expect("released");
    assert_eq!(vigil.next().await, OPEN);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_given_up_misses_nothing() {
    let (store, script) = ScriptedStore::new(1_000);
    let (journal, _writer) = start(store, 1_000);
    let mut vigil = journal.vigil();
    script.hold_commits(true);
    append(&journal, 1);
    for _ in 0..50 {
        assert_eq!(vigil.next().now_or_never(), None);
        tokio::time::advance(Duration::from_millis(19)).await;
    }
    tokio::time::advance(Duration::from_millis(200)).await;
    assert_eq!(vigil.next().now_or_never(), Some(STALLED));
    script.hold_commits(false);
}

#[tokio::test]
async fn a_store_without_space_is_full_until_it_commits_again() {
    let (store, script) = ScriptedStore::new(1_000);
    let (journal, writer) = start(store, 1_000);
    let mut vigil = journal.vigil();
    script.fail_as(Failure::Full, usize::MAX);
    let ran = append(&journal, 1);
    assert!(vigil.next().await.full);
    script.fail(0);
    ran.recv().expect("released");
    while vigil.next().await != OPEN {}
    assert!(writer.close(Duration::from_secs(60)));
}

#[tokio::test]
async fn one_that_is_nearly_full_says_so_and_is_looked_at_though_nothing_is_committed() {
    let (store, script) = ScriptedStore::new(1_000);
    script.nearly_full(true);
    let (journal, _writer) = start(store, 1_000);
    let mut vigil = journal.vigil();
    assert_eq!(vigil.next().await, Condition { stalled: false, full: true }, "from the start");
    commit(&journal, [created(1)]).await;
    script.nearly_full(false);
    assert_eq!(vigil.next().await, OPEN);
}

#[tokio::test]
async fn space_is_looked_at_though_maintenance_fails() {
    let (store, script) = ScriptedStore::new(1_000);
    script.fail_maintenance();
    let (journal, _writer) = start(store, 1_000);
    let mut vigil = journal.vigil();
    script.await_maintained(1);
    script.nearly_full(true);
    let told = within(&mut vigil, Duration::from_secs(10)).await;
    assert_eq!(told, Some(Condition { stalled: false, full: true }));
    script.nearly_full(false);
    assert_eq!(within(&mut vigil, Duration::from_secs(10)).await, Some(OPEN));
    assert_eq!(script.await_maintained(1).len(), 1, "it is put off itself");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_has_ended_waits_for_nothing() {
    let (store, script) = ScriptedStore::new(1_000);
    let (journal, writer) = start(store, 1_000);
    script.fail_as(Failure::Final, usize::MAX);
    let ran = append(&journal, 1);
    assert!(ran.recv().is_err(), "dropped unrun");
    append(&journal, 2);
    let mut vigil = journal.vigil();
    assert_eq!(within(&mut vigil, Duration::from_secs(3600)).await, None);
    assert!(!writer.close(Duration::from_secs(60)));
}
