//! Disks that fail: nothing that was acknowledged is lost, and the store works again by itself when the disk does.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use super::history::{Batch, History, assert_is};
use super::media::{Disk, Done, Fails};
use crate::journal::testing::start;
use crate::journal::{Append, EmbeddedStore, Failure, Journal, OpenError, Range, Release, Retention, Store};
use crate::model::{Event, Sequence};

const LONG: Duration = Duration::from_secs(60);

fn open(disk: &Disk) -> EmbeddedStore {
    EmbeddedStore::with_medium(disk.clone(), Retention::default()).expect("opened")
}

/// A store with a few groups in it, and its history so far.
pub(super) fn filled(disk: &Disk) -> (EmbeddedStore, History, Vec<Arc<Event>>) {
    let mut store = open(disk);
    let mut history = History::new(3, 8);
    let mut log = Vec::new();
    for _ in 0..10 {
        let batch = history.batch(10);
        store.commit(batch.group()).expect("committed");
        log.extend(batch.events);
    }
    (store, history, log)
}

#[test]
fn a_failure_says_what_may_become_of_the_store_and_it_works_again() {
    for (fails, failure) in [
        (Fails::Full, Failure::Full),
        (Fails::Writes, Failure::Passing),
        (Fails::Syncs, Failure::Passing),
        (Fails::All, Failure::Passing),
    ] {
        let disk = Disk::default();
        let (mut store, mut history, mut log) = filled(&disk);
        let before = history.fold.clone();
        let batch = history.batch(10);
        disk.fail(fails);
        for _ in 0..3 {
            let error = store.commit(batch.group()).expect_err("it fails");
            assert_eq!(error.failure(), failure, "{fails:?}: {error}");
        }
        // As if the process had been killed: the group was never acknowledged, so it is there whole or not.
        let mut other = open(&Disk::of(disk.bytes()));
        let head = other.recover().expect("read").head.get();
        assert!(head == before.head || head == history.fold.head, "{fails:?}");
        disk.fail(Fails::Never);
        store.commit(batch.group()).expect("it works again");
        log.extend(batch.events);
        assert_is(&mut store, &history.fold, &log, &format!("{fails:?}"));
        drop(store);
        assert_is(&mut open(&disk), &history.fold, &log, &format!("{fails:?}, opened again"));
    }
}

/// After a sync that failed, what it was to write can be in the system's cache, and nowhere else: so that the group is found there
/// says nothing (LWN 752063, PostgreSQL's fsync of 2018).
#[test]
fn a_group_that_a_failed_sync_left_in_the_cache_is_on_the_disk_before_it_is_acknowledged() {
    let mut found = 0;
    for syncs in 0..3 {
        let disk = Disk::default();
        let (mut store, mut history, mut log) = filled(&disk);
        let batch = history.batch(10);
        disk.fail_sync_after(syncs);
        if store.commit(batch.group()).is_err() {
            let mut cached = open(&Disk::of(disk.bytes()));
            found += usize::from(cached.recover().expect("read").head.get() == history.fold.head);
            store.commit(batch.group()).expect("it works again");
        }
        log.extend(batch.events);
        assert_is(&mut open(&Disk::of(disk.durable())), &history.fold, &log, &format!("after {syncs} syncs"));
        assert_is(&mut store, &history.fold, &log, "in the cache");
    }
    assert!(found > 0, "no sync fails that comes after the word that the group counts");
}

/// As redb is, it is there by then: opening a file that was not closed commits. That is redb's own affair, and may change.
#[test]
fn a_group_that_is_found_after_a_failed_sync_is_acknowledged_by_a_commit_on_top_of_it() {
    let disk = Disk::default();
    let (mut store, mut history, mut log) = filled(&disk);
    let batch = history.batch(10);
    // The second is that of the word by which it counts.
    disk.fail_one_sync_after(Some(1));
    store.commit(batch.group()).expect_err("it fails");
    let copy = Disk::of(disk.bytes());
    copy.record();
    let mut opened = open(&copy);
    let syncs = copy.recorded().iter().filter(|done| matches!(done, Done::Sync)).count();
    assert_eq!(opened.recover().expect("read").head.get(), history.fold.head, "it is found");
    disk.fail_one_sync_after(Some(syncs));
    store.commit(batch.group()).expect_err("what was committed on top of it is not on the disk");
    store.commit(batch.group()).expect("it works again");
    log.extend(batch.events);
    assert_is(&mut store, &history.fold, &log, "once");
}

#[test]
fn requests_alone_are_not_remembered_twice_after_a_failure() {
    let disk = Disk::default();
    let (mut store, mut history, log) = filled(&disk);
    let requests = history.batch(20).requests;
    let mut fold = crate::journal::embedded::tests::history::Fold::of(&store.recover().expect("read"));
    let batch = Batch { events: Vec::new(), requests: requests.clone() };
    disk.fail(Fails::Syncs);
    store.commit(batch.group()).expect_err("it fails");
    disk.fail(Fails::Never);
    store.commit(batch.group()).expect("it works again");
    fold.requests.extend(requests);
    assert_is(&mut store, &fold, &log, "once");
}

#[test]
fn what_does_not_follow_the_log_is_refused_for_good() {
    let disk = Disk::default();
    let (mut store, mut history, log) = filled(&disk);
    let fold = history.fold.clone();
    let (_, later) = (history.batch(5), history.batch(5));
    let error = store.commit(later.group()).expect_err("a gap");
    assert_eq!(error.failure(), Failure::Final, "{error}");
    assert_is(&mut store, &fold, &log, "nothing of it is there");
}

#[test]
fn readers_keep_nothing_from_being_opened_anew() {
    let disk = Disk::default();
    let (mut store, mut history, log) = filled(&disk);
    let reader = store.reader();
    let opened = disk.opened();
    let batch = history.batch(10);
    disk.fail(Fails::Writes);
    store.commit(batch.group()).expect_err("it fails");
    assert_eq!(
        reader.read(Range { after: Sequence::default(), through: Sequence::new(1) }, 1).expect("opened for readers"),
        log[..1]
    );
    disk.fail(Fails::Never);
    store.commit(batch.group()).expect("it works again");
    assert!(disk.opened() > opened);
    assert_eq!(
        reader.read(Range { after: Sequence::default(), through: Sequence::new(1) }, 1).expect("read"),
        log[..1]
    );
}

#[test]
fn what_was_given_up_writes_nothing_beside_what_was_opened_in_its_place() {
    let disk = Disk::default();
    let (mut store, mut history, mut log) = filled(&disk);
    // As a reader in the middle of a read has it.
    let before = store.shared.database().expect("open");
    store.let_go();
    let batch = history.batch(10);
    store.commit(batch.group()).expect("opened anew");
    log.extend(batch.events);
    disk.record();
    drop(before);
    assert!(disk.recorded().is_empty(), "{:?}", disk.recorded());
    assert_is(&mut store, &history.fold, &log, "goes on");
}

#[test]
fn a_commit_is_in_two_phases() {
    let disk = Disk::default();
    let (mut store, mut history, _) = filled(&disk);
    disk.record();
    store.commit(history.batch(10).group()).expect("committed");
    let recorded = disk.recorded();
    let syncs: Vec<_> = (0..recorded.len()).filter(|at| matches!(recorded[*at], Done::Sync)).collect();
    let [.., first, second] = syncs[..] else { panic!("{syncs:?}") };
    // Between them, the word that the new one counts, and nothing else.
    let between: Vec<_> =
        recorded[first + 1..second].iter().map(|done| matches!(done, Done::Write { offset: 0, .. })).collect();
    assert_eq!(between, [true], "{syncs:?}");
}

fn append(journal: &Journal, batch: &Batch) -> Receiver<()> {
    let (told, ran) = sync_channel(1);
    let after = batch.events.last().expect("some").sequence;
    let events = batch.events.iter().map(|event| Event::clone(event)).collect();
    let run = Box::new(move || told.send(()).expect("awaited"));
    journal.append(Append { events, requests: batch.requests.clone(), releases: vec![Release { after, run }] });
    ran
}

#[test]
fn a_journal_shows_nothing_that_its_disk_refuses_and_goes_on_with_it() {
    for fails in [Fails::Full, Fails::Writes, Fails::Syncs, Fails::All] {
        let disk = Disk::default();
        let (journal, writer) = start(open(&disk), 4);
        let mut history = History::new(9, 5);
        append(&journal, &history.batch(10)).recv_timeout(LONG).expect("committed");
        let shown = journal.bounds().head;
        let opened = disk.opened();
        disk.fail(fails);
        let batches: Vec<_> = (0..5).map(|_| history.batch(10)).collect();
        let waiting: Vec<_> = batches.iter().map(|batch| append(&journal, batch)).collect();
        while disk.opened() < opened + 2 {
            std::thread::yield_now();
        }
        assert_eq!(journal.bounds().head, shown, "{fails:?}");
        disk.fail(Fails::Never);
        for released in waiting {
            released.recv_timeout(LONG).expect("committed");
        }
        assert!(journal.view().tasks().all(|task| history.fold.tasks.get(&task.uid) == Some(task)), "{fails:?}");
        assert_eq!(journal.view().len(), history.fold.tasks.len());
        assert!(writer.close(LONG));
        let recovered = open(&disk).recover().expect("read");
        assert_eq!(super::history::Fold::of(&recovered), history.fold, "{fails:?}");
    }
}

#[test]
fn hardly_any_space_is_told_of_before_there_is_none() {
    let disk = Disk::default();
    let store = open(&disk);
    assert!(!store.is_nearly_full(), "nobody knows how much there is");
    disk.set_free(63 << 20);
    assert!(open(&disk).is_nearly_full());
    disk.set_free(65 << 20);
    assert!(!open(&disk).is_nearly_full());
}

#[test]
fn a_disk_whose_store_is_gone_is_not_begun_anew_behind_the_journals_back() {
    let disk = Disk::default();
    let (mut store, mut history, _) = filled(&disk);
    disk.fail(Fails::Writes);
    let batch = history.batch(3);
    store.commit(batch.group()).expect_err("it fails");
    disk.empty();
    disk.fail(Fails::Never);
    let error = store.commit(batch.group()).expect_err("there is nothing");
    assert_eq!(error.failure(), Failure::Final, "{error}");
    assert!(disk.bytes().is_empty());
}

#[test]
fn damage_is_refused_whatever_is_damaged() {
    let disk = Disk::default();
    let (store, ..) = filled(&disk);
    drop(store);
    let whole = disk.bytes();
    let cut = whole[..whole.len() / 2].to_vec();
    let no_header = [vec![0; 4_096], whole[4_096..].to_vec()].concat();
    for (what, bytes) in [("cut", cut), ("no header", no_header), ("text", b"something else".repeat(1_000))] {
        let refused = EmbeddedStore::with_medium(Disk::of(bytes), Retention::default()).err();
        assert!(matches!(refused, Some(OpenError::Damaged { .. })), "{what}: {refused:?}");
    }
}
