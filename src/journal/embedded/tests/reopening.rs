//! Readers and copies while the writer opens the store anew.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use redb::{ReadableDatabase, ReadableTable, StorageBackend, WriteTransaction};

use super::history::{Batch, History, assert_is, read_all};
use super::media::{Disk, Fails, TestDir};
use crate::journal::embedded::medium::{Fence, Fenced};
use crate::journal::embedded::tables::{EVENTS, META, TASKS, identity};
use crate::journal::testing::start;
use crate::journal::{Append, BackupError, EmbeddedStore, Failure, Range, ReadError, Retention, Store};
use crate::model::{Event, Sequence};

const LONG: Duration = Duration::from_secs(20);

fn open(disk: &Disk) -> EmbeddedStore {
    EmbeddedStore::with_medium(disk.clone(), Retention::default()).expect("opened")
}

/// A store that has just been opened, so that its events are on the disk and nowhere else.
fn filled(disk: &Disk) -> (EmbeddedStore, History, Vec<Arc<Event>>) {
    let mut store = open(disk);
    let mut history = History::new(5, 8);
    let mut log = Vec::new();
    for _ in 0..150 {
        commit(&mut store, &history.batch(40), &mut log);
    }
    drop(store);
    (open(disk), history, log)
}

fn commit(store: &mut EmbeddedStore, batch: &Batch, log: &mut Vec<Arc<Event>>) {
    store.commit(batch.group()).expect("committed");
    log.extend(batch.events.iter().cloned());
}

/// Opens it anew and commits, so often that what is free is used again.
fn reopen_often(store: &mut EmbeddedStore, history: &mut History, log: &mut Vec<Arc<Event>>) {
    store.retention.events = Some(100);
    for _ in 0..30 {
        store.let_go();
        commit(store, &history.batch(40), log);
        while store.maintain().expect("maintained") {}
    }
}

/// Waits until a thread has made so many reads, and is held up in the next.
fn await_reading<T>(there: &Receiver<()>, thread: &JoinHandle<T>, after: usize) {
    while there.try_recv().is_err() {
        assert!(!thread.is_finished(), "it makes no {after} reads: what it asks for is in memory");
        thread::yield_now();
    }
}

#[test]
fn a_closed_fence_lets_no_read_end() {
    let (disk, fence) = (Disk::of(vec![7; 8]), Fence::default());
    let fenced = Fenced::new(Box::new(disk), fence.clone());
    let mut out = [0; 8];
    fence.close_to_writes();
    fenced.write(0, &[8]).expect_err("closed to writes");
    fenced.read(0, &mut out).expect("still read");
    assert_eq!(out, [7; 8]);
    fence.close();
    fenced.read(0, &mut out).expect_err("closed");
}

#[test]
fn a_read_of_what_was_given_up_meanwhile_finds_nothing_that_came_later() {
    let disk = Disk::default();
    for after in [0, 1, 2, 4] {
        disk.empty();
        let (mut store, mut history, mut log) = filled(&disk);
        let (reader, through) = (store.reader(), log.len());
        let range = Range { after: Sequence::default(), through: Sequence::new(through as u64) };
        let (there, go_on) = disk.hold("reader", after);
        let read = move || reader.read(range, through);
        let read = thread::Builder::new().name("reader".to_owned()).spawn(read).expect("started");
        await_reading(&there, &read, after);
        reopen_often(&mut store, &mut history, &mut log);
        go_on.send(()).expect("it waits");
        // It is made anew, of what was opened instead, which keeps that no more.
        let read = read.join().expect("no panic");
        assert!(matches!(read, Err(ReadError::Trimmed)), "{after}: {read:?}");
        assert!(!store.shared.has_failed(), "what replaced it has not failed");
        assert_is(&mut store, &history.fold, &log, "goes on");
    }
}

#[test]
fn a_reader_fails_with_its_disk_and_works_again_once_the_store_is_opened_anew() {
    let disk = Disk::default();
    let (mut store, _, log) = filled(&disk);
    let (reader, opened) = (store.reader(), disk.opened());
    let range = Range { after: Sequence::default(), through: Sequence::new(log.len() as u64) };
    let fails = || {
        let read = reader.read(range, log.len());
        assert!(matches!(&read, Err(ReadError::Store(error)) if error.failure() == Failure::Passing), "{read:?}");
    };
    disk.fail(Fails::All);
    fails();
    assert!(store.shared.has_failed(), "the writer is to hear of it");
    disk.fail(Fails::Never);
    // After an error redb reads nothing more.
    fails();
    store.maintain().expect("opened anew");
    assert_eq!(disk.opened(), opened + 1);
    assert!(read_all(&*reader, 0, log.len() as u64) == log, "it works again");
}

/// The thread that reads for it is held up early, in the midst of the events, and late.
#[test]
fn a_backup_of_what_was_given_up_meanwhile_says_so_and_leaves_nothing() {
    let disk = Disk::default();
    for after in [0, 8, 32] {
        disk.empty();
        let dir = TestDir::new();
        let (mut store, mut history, mut log) = filled(&disk);
        let (archive, dest) = (store.archive(), dir.path());
        let (there, go_on) = disk.hold("backup", after);
        let copied = thread::spawn(move || archive.backup(&dest));
        await_reading(&there, &copied, after);
        reopen_often(&mut store, &mut history, &mut log);
        go_on.send(()).expect("it waits");
        let refused = copied.join().expect("no panic").expect_err("what it copied is overwritten");
        let BackupError::Read(error) = refused else { panic!("{after}: {refused:?}") };
        assert_eq!(
            error.to_string(),
            "the journal's store failed: it failed meanwhile, and was opened anew",
            "{after}"
        );
        assert_eq!(dir.join(".").read_dir().expect("there").count(), 0, "{after}: nothing is left");
        assert_is(&mut store, &history.fold, &log, "goes on");
        store.archive().backup(&dir.path()).expect("another one is whole");
        assert_is(
            &mut EmbeddedStore::open(&dir.path(), Retention::default()).expect("opened"),
            &history.fold,
            &log,
            "copy",
        );
    }
}

/// Readers wait for no space: behind the ring they are served from what was committed last.
#[tokio::test]
async fn old_events_are_read_while_there_is_no_space_and_commits_go_on_with_it() {
    let disk = Disk::default();
    let (store, mut history, mut log) = filled(&disk);
    let (journal, writer) = start(store, 4);
    let opened = disk.opened();
    disk.fail(Fails::Full);
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let batch = history.batch(10);
            let events = batch.events.iter().map(|event| Event::clone(event)).collect();
            journal.append(Append { events, requests: batch.requests.clone(), releases: Vec::new() });
            batch
        })
        .collect();
    let head = journal.bounds().head;
    for tries in [2, 4, 6] {
        while disk.opened() < opened + tries {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut follower = journal.follow(Sequence::default()).expect("kept");
        let mut found = Vec::new();
        while follower.position() < head {
            found.extend(follower.next(100).await.expect("read").expect("goes on").events);
        }
        assert_eq!(found, log, "after {tries}");
    }
    disk.fail(Fails::Never);
    log.extend(waiting.into_iter().flat_map(|batch| batch.events));
    let mut follower = journal.follow(head).expect("kept");
    while follower.position().get() < history.fold.head {
        follower.next(100).await.expect("read").expect("goes on");
    }
    assert!(tokio::task::spawn_blocking(move || writer.close(LONG)).await.expect("no panic"));
    assert_is(&mut open(&disk), &history.fold, &log, "nothing is lost");
}

fn edit(disk: &Disk, act: impl FnOnce(&WriteTransaction)) {
    let database = redb::Builder::new().create_with_backend(disk.clone()).expect("opened");
    let transaction = database.begin_write().expect("begun");
    act(&transaction);
    transaction.commit().expect("committed");
}

#[test]
fn damage_that_a_reader_finds_has_nothing_opened_anew() {
    let disk = Disk::default();
    let (store, _, log) = filled(&disk);
    drop(store);
    edit(&disk, |transaction| {
        let mut events = transaction.open_table(EVENTS.raw()).expect("there");
        let second = events.iter().expect("read").nth(1).expect("some").expect("read").0.value();
        events.insert(second, b"no piece".as_slice()).expect("written");
    });
    let mut store = open(&disk);
    let opened = disk.opened();
    let range = Range { after: Sequence::default(), through: Sequence::new(log.len() as u64) };
    for _ in 0..3 {
        let read = store.reader().read(range, log.len());
        assert!(matches!(&read, Err(ReadError::Store(error)) if error.failure() == Failure::Final), "{read:?}");
        store.maintain().expect("goes on");
    }
    assert_eq!(disk.opened(), opened);
}

#[test]
fn a_damaged_task_is_refused_at_the_start_with_a_word_on_what_to_do() {
    let dir = TestDir::new();
    let disk = Disk::default();
    let (store, ..) = filled(&disk);
    store.archive().backup(&dir.path()).expect("copied");
    let bytes = || Disk::of(std::fs::read(dir.path().join("journal.redb")).expect("read"));
    let is_copy = |disk: &Disk| {
        let database = redb::Builder::new().create_with_backend(disk.clone()).expect("opened");
        identity(&database.begin_read().expect("begun").open_table(META).expect("there")).expect("read").is_copy
    };
    let copy = bytes();
    edit(&copy, |transaction| {
        let mut tasks = transaction.open_table(TASKS.raw()).expect("there");
        let (born, mut row) = {
            let (born, row) = tasks.first().expect("read").expect("some");
            (born.value(), row.value().to_vec())
        };
        // A field of a wire type that there is none of.
        row.extend([0x7f, 0xff]);
        tasks.insert(born, row.as_slice()).expect("written");
    });
    let told = match EmbeddedStore::with_medium(copy.clone(), Retention::default()) {
        Ok(mut store) => store.recover().expect_err("damaged").to_string(),
        Err(error) => error.to_string(),
    };
    assert!(["table tasks", "store check", "backup", "anew"].iter().all(|word| told.contains(word)), "{told}");
    assert!(is_copy(&copy), "nothing was drawn");
    let whole = bytes();
    open(&whole).recover().expect("read");
    assert!(!is_copy(&whole));
}
