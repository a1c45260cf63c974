//! Groups, their order, retries, and the end.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use futures_util::FutureExt;

use crate::journal::testing::{ScriptedStore, commit, created, event, in_memory, put, sequence, start, task};
use crate::journal::{Change, Ended, Journal, Release};
use crate::model::{EventType, Sequence};

/// No test waits for it: it is there so that a broken one fails.
const LONG: Duration = Duration::from_secs(60);

/// A release that says that it ran; its end says that it never will.
fn release(after: Sequence) -> (Release, Receiver<Sequence>) {
    let (told, ran) = sync_channel(1);
    let run = Box::new(move || told.send(after).expect("awaited"));
    (Release { after, run }, ran)
}

pub(super) fn append(journal: &Journal, number: usize) -> Receiver<Sequence> {
    let (release, ran) = release(sequence(number));
    put(journal, vec![created(number)], vec![release]);
    ran
}

#[test]
fn when_a_release_runs_view_stream_and_waiters_show_its_event() {
    let (journal, _writer) = in_memory();
    let name = created(1).task.expect("there").name.clone();
    let mut follower = journal.follow(Sequence::default()).expect("all is there");
    let mut changes = journal.changes(task("t1", 1).uid);
    let (told, seen) = sync_channel(1);
    let reader = journal.clone();
    let run = Box::new(move || {
        let viewed = reader.view().get(&name).is_some();
        let batch = follower.next(10).now_or_never().and_then(Result::ok).flatten();
        let woken = changes.next().now_or_never().is_some_and(|change| change.is_ok());
        told.send((viewed, batch.map(|batch| batch.through), woken, reader.bounds().head)).expect("awaited");
    });
    put(&journal, vec![created(1)], vec![Release { after: sequence(1), run }]);
    assert_eq!(seen.recv(), Ok((true, Some(sequence(1)), true, sequence(1))));
}

#[test]
fn everything_that_waits_goes_into_one_commit() {
    let (store, script) = ScriptedStore::new(1_000);
    let (journal, writer) = start(store, 1_000);
    script.hold_commits(true);
    let first = append(&journal, 1);
    script.await_commits(1);
    let rest: Vec<_> = (2..=101).map(|number| append(&journal, number)).collect();
    assert_eq!(journal.bounds().head, sequence(0), "append decides, commit shows");
    script.hold_commits(false);
    for ran in std::iter::once(first).chain(rest) {
        ran.recv().expect("released");
    }
    assert!(writer.close(LONG));
    assert_eq!(script.groups(), [(1, true), (100, true)]);
}

#[test]
fn a_release_waits_for_its_own_event_and_for_no_other() {
    let (journal, _writer) = in_memory();
    append(&journal, 1).recv().expect("released");

    let (behind, ran) = release(sequence(1));
    put(&journal, Vec::new(), vec![behind]);
    assert_eq!(ran.recv(), Ok(sequence(1)), "its event is there already");

    let (ahead, ran) = release(sequence(3));
    put(&journal, vec![created(2)], vec![ahead]);
    let (behind, passed) = release(sequence(2));
    put(&journal, Vec::new(), vec![behind]);
    passed.recv().expect("released");
    assert!(ran.try_recv().is_err(), "its event is not there yet");
    append(&journal, 3).recv().expect("released");
    assert_eq!(ran.recv(), Ok(sequence(3)));
}

#[test]
fn a_failed_commit_is_tried_again_and_skips_nothing() {
    let (store, script) = ScriptedStore::new(1_000);
    let (journal, writer) = start(store, 1_000);
    script.fail(3);
    let ran = append(&journal, 1);
    ran.recv().expect("released");
    assert_eq!(journal.view().len(), 1);
    append(&journal, 2).recv().expect("released");
    assert!(writer.close(LONG));
    assert_eq!(script.groups(), [(1, false), (1, false), (1, false), (1, true), (1, true)]);
}

#[test]
fn a_panic_in_a_release_harms_no_other() {
    let (journal, writer) = in_memory();
    let (other, ran) = release(sequence(1));
    let run = Box::new(|| panic!("on purpose"));
    put(&journal, vec![created(1)], vec![Release { after: sequence(1), run }, other]);
    ran.recv().expect("released");
    append(&journal, 2).recv().expect("released");
    assert!(writer.close(LONG));
}

#[tokio::test]
async fn only_those_who_wait_for_a_changed_task_are_woken() {
    let (journal, _writer) = in_memory();
    let mut first = journal.changes(task("t1", 1).uid);
    let mut second = journal.changes(task("t2", 2).uid);
    commit(&journal, [created(1)]).await;
    let change = |event| Ok(Change::Event(Arc::new(event)));
    assert_eq!(first.next().now_or_never(), Some(change(created(1))), "it came between subscription and wait");
    assert_eq!(first.next().now_or_never(), None);
    assert_eq!(second.next().now_or_never(), None);

    let deleted = event(2, EventType::TaskDeleted, task("t1", 1));
    let waits = tokio::spawn(async move { first.next().await });
    commit(&journal, [deleted.clone(), created(3)]).await;
    assert_eq!(waits.await.expect("no panic"), change(deleted));
    assert_eq!(second.next().now_or_never(), None);
}

#[tokio::test]
async fn closing_commits_what_waits_then_ends_everyone() {
    let (store, script) = ScriptedStore::new(1_000);
    let (journal, writer) = start(store, 1_000);
    let mut follower = journal.follow(Sequence::default()).expect("all is there");
    let mut changes = journal.changes(task("t9", 9).uid);
    script.hold_commits(true);
    let ran: Vec<_> = (1..=3).map(|number| append(&journal, number)).collect();
    let (ahead, never) = release(sequence(9));
    put(&journal, Vec::new(), vec![ahead]);
    script.hold_commits(false);
    assert!(writer.close(LONG));
    assert!(ran.iter().all(|ran| ran.try_recv().is_ok()));
    assert!(never.recv().is_err(), "dropped unrun");

    let mut seen = 0;
    while let Some(batch) = follower.next(2).await.expect("in the ring") {
        seen += batch.events.len();
    }
    assert_eq!(seen, 3);
    assert!(follower.next(2).await.expect("still the end").is_none());
    assert_eq!(changes.next().await, Err(Ended));
    assert_eq!(journal.changes(task("t9", 9).uid).next().await, Err(Ended));
    assert!(append(&journal, 4).recv().is_err(), "too late: dropped unrun");
    assert_eq!(journal.view().head(), sequence(3));
}

#[tokio::test]
async fn a_store_that_hangs_cannot_hold_up_the_close() {
    let (store, script) = ScriptedStore::new(1_000);
    let (journal, writer) = start(store, 1_000);
    script.hold_commits(true);
    let begun = append(&journal, 1);
    script.await_commits(1);
    let waits = append(&journal, 2);
    let mut follower = journal.follow(Sequence::default()).expect("all is there");
    assert!(!writer.close(Duration::from_millis(10)));
    assert!(follower.next(2).await.expect("nothing to read").is_none());
    assert!(waits.recv().is_err(), "dropped unrun");

    script.hold_commits(false);
    assert!(begun.recv().is_ok(), "what the store had in hand was told the truth");
    assert_eq!(script.groups(), [(1, true)]);
}

#[test]
fn a_store_that_fails_cannot_hold_up_the_close() {
    let (store, script) = ScriptedStore::new(1_000);
    let (journal, writer) = start(store, 1_000);
    script.fail(usize::MAX);
    let ran = append(&journal, 1);
    script.await_commits(2);
    assert!(!writer.close(Duration::from_millis(10)));
    assert!(ran.recv().is_err(), "dropped unrun");
    assert!(journal.view().is_empty());
}

#[tokio::test]
async fn a_writer_that_panics_leaves_nobody_waiting() {
    let (store, script) = ScriptedStore::new(1_000);
    let (journal, writer) = start(store, 1_000);
    let mut follower = journal.follow(Sequence::default()).expect("all is there");
    script.panic();
    assert!(append(&journal, 1).recv().is_err(), "dropped unrun");
    assert!(follower.next(1).await.expect("nothing to read").is_none());
    assert!(append(&journal, 2).recv().is_err(), "dropped unrun");
    assert!(!writer.close(LONG));
}

#[tokio::test]
async fn a_dropped_writer_still_commits_what_waits() {
    let (journal, writer) = in_memory();
    let mut follower = journal.follow(Sequence::default()).expect("all is there");
    let ran = append(&journal, 1);
    drop(writer);
    ran.recv().expect("released");
    assert_eq!(follower.next(1).await.expect("in the ring").map(|batch| batch.through), Some(sequence(1)));
    assert!(follower.next(1).await.expect("nothing to read").is_none());
}

#[test]
fn a_store_is_maintained_step_by_step_while_nothing_comes() {
    let (store, script) = ScriptedStore::new(1_000);
    script.owe_maintenance(3);
    let (journal, writer) = start(store, 1_000);
    assert_eq!(script.await_maintained(3), [0, 0, 0]);
    append(&journal, 1).recv().expect("released");
    script.owe_maintenance(1);
    assert_eq!(script.await_maintained(4).last(), Some(&1));
    assert!(writer.close(LONG));
}

#[test]
fn what_is_to_be_committed_does_not_wait_for_all_of_the_maintenance() {
    let (store, script) = ScriptedStore::new(1_000);
    script.owe_maintenance(usize::MAX);
    let (journal, writer) = start(store, 1_000);
    script.await_maintained(1);
    append(&journal, 1).recv_timeout(LONG).expect("released");
    assert!(writer.close(LONG), "nor does the end");
}
