//! Stores in directories: what is there again, who may open it, and what is refused.

use std::sync::Arc;

use prost::Message;
use redb::ReadableTable;

use super::history::{History, assert_is};
use super::media::{TestDir, modes};
use super::untouched::bytes;
use crate::journal::embedded::form::Counters;
use crate::journal::embedded::tables::{COUNTERS_KEY, EVENTS, FORM_KEY, META, SPECS, TASKS, counters};
use crate::journal::{BackupError, EmbeddedStore, Failure, OpenError, Retention, Store};
use crate::model::Event;

pub(super) fn filled(dir: &TestDir, batches: usize) -> (EmbeddedStore, History, Vec<Arc<Event>>) {
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

fn damage(dir: &TestDir, act: impl FnOnce(&mut Vec<u8>)) {
    let path = dir.path().join("journal.redb");
    let mut bytes = std::fs::read(&path).expect("read");
    act(&mut bytes);
    std::fs::write(&path, bytes).expect("written");
}

pub(super) fn edit(dir: &TestDir, act: impl FnOnce(&redb::WriteTransaction)) {
    let database = redb::Database::open(dir.path().join("journal.redb")).expect("opened");
    let transaction = database.begin_write().expect("begun");
    act(&transaction);
    transaction.commit().expect("committed");
}

#[test]
fn a_damaged_store_is_refused_with_a_word_on_what_to_do_and_left_as_it_is() {
    let dir = TestDir::new();
    drop(filled(&dir, 5));
    damage(&dir, |bytes| bytes[..64].fill(0));
    let before = bytes(&dir);
    let refused = EmbeddedStore::open(&dir.path(), Retention::default()).err().expect("damaged");
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    let text = refused.to_string();
    assert!(["store check", "backup", "anew"].iter().all(|word| text.contains(word)), "{text}");
    assert!(bytes(&dir) == before);
    damage(&dir, Vec::clear);
    let refused = EmbeddedStore::open(&dir.path(), Retention::default()).err().expect("emptied");
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
}

#[test]
fn a_store_of_form_1_is_migrated() {
    let dir = TestDir::new();
    let (store, history, log) = filled(&dir, 30);
    let counted = store.written.as_ref().expect("open").counters.log_bytes;
    drop(store);
    edit(&dir, |transaction| {
        let mut meta = transaction.open_table(META).expect("there");
        let counters = Counters { log_bytes: 0, ..counters(&meta).expect("there") };
        meta.insert(FORM_KEY, 1_u32.to_le_bytes().as_slice()).expect("written");
        meta.insert(COUNTERS_KEY, counters.encode_to_vec().as_slice()).expect("written");
    });
    let mut store = EmbeddedStore::open(&dir.path(), Retention::default()).expect("migrated");
    assert_eq!(store.written.as_ref().expect("open").counters.log_bytes, counted);
    assert!(counted > 0);
    assert_is(&mut store, &history.fold, &log, "migrated");
    drop(store);
    assert!(EmbeddedStore::check(&dir.path()).expect("checked").is_sound());
}

#[test]
fn a_check_finds_what_is_wrong() {
    type Edit = fn(&redb::WriteTransaction);
    let wrongs: [(&str, Edit); 6] = [
        ("gap", |transaction| {
            let mut events = transaction.open_table(EVENTS).expect("there");
            let second = events.iter().expect("read").nth(1).expect("some").expect("read").0.value();
            events.remove(second).expect("removed");
        }),
        ("is not as its last event left it", |transaction| {
            let mut tasks = transaction.open_table(TASKS).expect("there");
            let rows: Vec<_> = tasks.iter().expect("read").map(|row| row.expect("read").0.value()).collect();
            let (first, second) = (rows[0], rows[1]);
            let row = tasks.get(second).expect("read").expect("there").value().to_vec();
            tasks.insert(first, row.as_slice()).expect("written");
        }),
        ("is missing, though no event says", |transaction| {
            let mut tasks = transaction.open_table(TASKS).expect("there");
            tasks.pop_first().expect("removed");
        }),
        ("that it refers to is not there", |transaction| {
            transaction.open_table(SPECS).expect("there").pop_first().expect("removed");
        }),
        ("where the counters say", |transaction| {
            let mut meta = transaction.open_table(META).expect("there");
            let counters = counters(&meta).expect("there");
            let wrong = Counters { log_bytes: counters.log_bytes + 1, ..counters };
            meta.insert(COUNTERS_KEY, wrong.encode_to_vec().as_slice()).expect("written");
        }),
        ("kept for no task", |transaction| {
            let mut specs = transaction.open_table(SPECS).expect("there");
            let spec = specs.first().expect("read").expect("some").1.value().to_vec();
            specs.insert((u64::MAX, 1), spec.as_slice()).expect("written");
        }),
    ];
    for (problem, act) in wrongs {
        let dir = TestDir::new();
        drop(filled(&dir, 10));
        assert!(EmbeddedStore::check(&dir.path()).expect("checked").is_sound());
        edit(&dir, act);
        let report = EmbeddedStore::check(&dir.path()).expect("checked");
        assert!(report.problems.iter().any(|found| found.contains(problem)), "{problem}: {report:?}");
    }
}

/// Whatever byte is another: found out at the latest by a check; and nothing panics.
#[test]
fn a_check_finds_flipped_bytes_in_pages_that_are_in_use() {
    let dir = TestDir::new();
    drop(filled(&dir, 60));
    EmbeddedStore::compact(&dir.path()).expect("compacted");
    let whole = std::fs::read(dir.path().join("journal.redb")).expect("read");
    // As an event has it. What a row of specs says of the same may lie where the row was before it grew: in use, but not looked at.
    let text = b"\x3a\x13as the history says";
    let places: Vec<_> =
        (0..whole.len() - text.len()).filter(|at| whole[*at..].starts_with(text)).step_by(37).collect();
    assert!(places.len() > 2);
    for place in places {
        damage(&dir, |bytes| {
            bytes.clone_from(&whole);
            bytes[place + text.len() - 1] ^= 1;
        });
        let checked = EmbeddedStore::check(&dir.path());
        assert!(matches!(checked, Err(OpenError::Damaged { .. })), "at {place}: {checked:?}");
    }
}

#[test]
fn a_copy_of_a_running_store_is_whole_and_draws_an_id_of_its_own() {
    let dir = TestDir::new();
    let (mut store, mut history, mut log) = filled(&dir, 30);
    let id = store.recover().expect("read").store_id;
    let (fold, copied) = (history.fold.clone(), log.clone());
    let dest = dir.join("backup");
    store.archive().backup(&dest).expect("copied");
    let batch = history.batch(10);
    store.commit(batch.group()).expect("goes on");
    log.extend(batch.events);
    assert_is(&mut store, &history.fold, &log, "goes on");
    assert_eq!(modes(&dest), [(".", 0o700), ("journal.redb", 0o600)].map(|(name, mode)| (name.to_owned(), mode)));
    let refused = store.archive().backup(&dest);
    assert!(matches!(refused, Err(BackupError::Exists(_))), "{refused:?}");
    assert!(EmbeddedStore::check(&dest).expect("checked").is_sound());

    let mut copy = EmbeddedStore::open(&dest, Retention::default()).expect("opened");
    assert_is(&mut copy, &fold, &copied, "the copy");
    let own = copy.recover().expect("read").store_id;
    assert_ne!(own, id);
    drop(copy);
    let mut copy = EmbeddedStore::open(&dest, Retention::default()).expect("opened");
    assert_eq!(copy.recover().expect("read").store_id, own, "once");
}

#[test]
fn a_copy_that_was_killed_is_in_nobodys_way_and_one_that_fails_leaves_nothing() {
    let dir = TestDir::new();
    let (store, ..) = filled(&dir, 30);
    let dest = dir.join("backup");
    std::fs::create_dir(dir.join(&format!("backup.unfinished-{}", std::process::id()))).expect("made");
    let there = || dir.path().parent().expect("there").read_dir().expect("read").count();
    let before = there();
    let late = store.archive().backup_within(&dest, std::time::Duration::ZERO);
    assert!(matches!(late, Err(BackupError::Write { .. })), "{late:?}");
    assert_eq!(there(), before, "nothing is left");
    store.archive().backup(&dest).expect("copied");
    assert_eq!(there(), before + 1);
}

#[test]
fn a_store_is_copied_and_compacted_offline() {
    let dir = TestDir::new();
    let (store, history, log) = filled(&dir, 100);
    let held = EmbeddedStore::backup(&dir.path(), &dir.join("backup"));
    assert!(matches!(held, Err(BackupError::Open(OpenError::Held { .. }))), "{held:?}");
    drop(store);
    EmbeddedStore::backup(&dir.path(), &dir.join("backup")).expect("copied");
    let compaction = EmbeddedStore::compact(&dir.path()).expect("compacted");
    assert!(compaction.after <= compaction.before, "{compaction:?}");
    for path in [dir.path(), dir.join("backup")] {
        let mut store = EmbeddedStore::open(&path, Retention::default()).expect("opened");
        assert_is(&mut store, &history.fold, &log, "there");
    }
    let missing = EmbeddedStore::check(&dir.join("nowhere")).err();
    assert!(matches!(missing, Some(OpenError::Io { .. })), "{missing:?}");
    assert!(!dir.join("nowhere").exists());
}

#[test]
fn a_directory_that_was_taken_away_is_never_written_to_again() {
    let dir = TestDir::new();
    let (mut store, mut history, _) = filled(&dir, 5);
    std::fs::rename(dir.path(), dir.join("away")).expect("moved");
    let mut other = EmbeddedStore::open(&dir.path(), Retention::default()).expect("another");
    store.let_go();
    let error = store.commit(history.batch(3).group()).expect_err("it is another's by now");
    assert_eq!(error.failure(), Failure::Final, "{error}");
    assert!(error.to_string().contains("was moved or removed"), "{error}");
    assert_eq!(other.recover().expect("read").head.get(), 0);
}
