//! Stores in directories: what is there again, who may open it, and what is refused.

use std::sync::Arc;

use redb::ReadableTable;

use super::history::{History, assert_is};
use super::media::{TestDir, modes};
use super::untouched::bytes;
use crate::journal::embedded::form::{Counters, Tally};
use crate::journal::embedded::tables::{EVENTS, META, SPECS, TASKS, counters, put_counters};
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
fn a_check_finds_what_is_wrong() {
    type Edit = fn(&redb::WriteTransaction);
    let wrongs: [(&str, Edit); 6] = [
        ("gap", |transaction| {
            let mut events = transaction.open_table(EVENTS.raw()).expect("there");
            let second = events.iter().expect("read").nth(1).expect("some").expect("read").0.value();
            events.remove(second).expect("removed");
        }),
        ("is not as its last event left it", |transaction| {
            let mut tasks = TASKS.write(transaction, Tally::default()).expect("there");
            let rows = tasks.range(..).expect("read").take(2).map(|row| row.expect("sound"));
            let rows: Vec<_> = rows.map(|(key, row)| (key, row.value().to_vec())).collect();
            tasks.put_bytes(rows[0].0, &rows[1].1).expect("written");
        }),
        ("is missing, though no event says", |transaction| {
            let mut tasks = transaction.open_table(TASKS.raw()).expect("there");
            tasks.pop_first().expect("removed");
        }),
        ("that it refers to is not there", |transaction| {
            transaction.open_table(SPECS.raw()).expect("there").pop_first().expect("removed");
        }),
        ("where the counters say", |transaction| {
            let counters = counters(&transaction.open_table(META).expect("there")).expect("there");
            let wrong = Counters { log_bytes: counters.log_bytes + 1, ..counters };
            put_counters(transaction, &wrong).expect("written");
        }),
        ("kept for no task", |transaction| {
            let mut specs = SPECS.write(transaction, Tally::default()).expect("there");
            let (key, spec) = specs.first().expect("read").expect("some");
            let spec = spec.open(key).expect("sound").value().to_vec();
            specs.put_bytes((u64::MAX, 1), &spec).expect("written");
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
        let report = checked.expect("looked through");
        assert!(report.problems.iter().any(|problem| problem.contains("table ")), "at {place}: {report:?}");
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
    let there = || dir.path().parent().expect("there").read_dir().expect("read").count();
    let before = there();
    std::fs::create_dir(dir.join("backup.unfinished-0123")).expect("made");
    // Another that is being made to the same place, and one to another place, are none of ours.
    std::fs::create_dir(dir.join("backup.unfinished-4567")).expect("made");
    std::fs::create_dir(dir.join("other.unfinished-0123")).expect("made");
    let held = std::fs::File::open(dir.join("backup.unfinished-4567")).expect("there");
    held.try_lock().expect("free");
    let before = before + 2;
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

#[test]
fn what_is_no_file_is_refused_with_a_word_on_what_to_do() {
    let dir = TestDir::new();
    std::fs::create_dir_all(dir.path().join("journal.redb")).expect("made");
    let refused = [
        EmbeddedStore::open(&dir.path(), Retention::default()).err(),
        EmbeddedStore::check(&dir.path()).err(),
        EmbeddedStore::compact(&dir.path()).err(),
    ];
    for refused in refused {
        let refused = refused.expect("refused");
        assert!(matches!(refused, OpenError::NoFile { .. }), "{refused:?}");
        let text = refused.to_string();
        assert!(["is no file", "--data-dir", "anew"].iter().all(|word| text.contains(word)), "{text}");
    }
}

/// What the log has of something.
fn heard(dir: &TestDir, act: impl FnOnce()) -> String {
    let path = dir.join("log");
    let file = std::fs::File::create(&path).expect("made");
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(file).finish();
    tracing::subscriber::with_default(subscriber, act);
    std::fs::read_to_string(&path).expect("read")
}

#[test]
fn a_store_that_is_lost_from_a_directory_in_use_before_is_missed_aloud() {
    let dir = TestDir::new();
    let open = || drop(EmbeddedStore::open(&dir.path(), Retention::default()).expect("opened"));
    let (first, again) = (heard(&dir, open), heard(&dir, open));
    assert!(!(first + &again).contains("in use before"));
    std::fs::remove_file(dir.path().join("journal.redb")).expect("removed");
    let lost = heard(&dir, open);
    assert!(lost.contains("WARN") && lost.contains("in use before") && lost.contains("journal.redb"), "{lost}");
}

/// redb gives up at the first page whose checksum is wrong; whoever has to mend the store needs to know which rows are damaged.
#[test]
fn a_check_names_the_rows_in_which_bits_have_flipped() {
    let dir = TestDir::new();
    let (store, ..) = filled(&dir, 60);
    let key = {
        let transaction = store.shared.database().expect("open").begin_read().expect("begun");
        transaction.open_table(EVENTS.raw()).expect("there").first().expect("read").expect("some").0.value()
    };
    drop(store);
    // The last place is that of the first piece, or of another: each of them is an event's.
    let file = dir.path().join("journal.redb");
    let mut bytes = std::fs::read(&file).expect("read");
    let text = b"as the history says";
    let places: Vec<_> =
        bytes.windows(text.len()).enumerate().filter(|(_, at)| at == text).map(|(place, _)| place).collect();
    for place in places {
        bytes[place] ^= 1;
    }
    std::fs::write(&file, bytes).expect("written");
    let report = EmbeddedStore::check(&dir.path()).expect("looked through");
    assert!(report.problems[0].contains("checksums"), "{report:?}");
    let named = format!("table events, key {key}: its checksum is not that of what it holds");
    assert!(report.problems.contains(&named), "{report:?}");
    assert!(report.tasks > 0 && report.head > 0, "the rest is looked through: {report:?}");
}
