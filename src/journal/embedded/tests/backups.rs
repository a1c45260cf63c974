//! Copies of what is damaged: there are none.

use std::path::Path;

use redb::{ReadableTable, WriteTransaction};

use super::directories::{edit, filled};
use super::media::TestDir;
use crate::journal::embedded::tables::{EVENTS, REQUESTS, SPECS, TASKS};
use crate::journal::{BackupError, EmbeddedStore, OpenError};

fn there(dir: &TestDir) -> Vec<String> {
    let parent = dir.path().parent().map(Path::to_owned).expect("there");
    let mut names: Vec<_> = parent
        .read_dir()
        .expect("a directory")
        .map(|entry| entry.expect("read").file_name().into_string().expect("ours"))
        .collect();
    names.sort();
    names
}

fn assert_refused(copied: Result<(), BackupError>, table: &str, dir: &TestDir) {
    let Err(BackupError::Open(OpenError::Damaged { place, problem })) = copied else { panic!("{table}: {copied:?}") };
    assert_eq!(place, dir.path().display().to_string());
    assert!(problem.contains(&format!("table {table}")), "{problem}");
    let told = OpenError::Damaged { place, problem }.to_string();
    assert!(["store check", "backup", "anew"].iter().all(|word| told.contains(word)), "{told}");
    assert_eq!(there(dir), ["data"], "nothing is left");
}

type Edit = fn(&WriteTransaction);

const DAMAGES: [(&str, Edit); 4] = [
    ("events", |transaction| {
        let mut events = transaction.open_table(EVENTS.raw()).expect("there");
        let key = events.iter().expect("read").nth(2).expect("some").expect("read").0.value();
        let mut row = events.get(key).expect("read").expect("there").value().to_vec();
        row[20] ^= 4;
        events.insert(key, row.as_slice()).expect("written");
    }),
    ("tasks", |transaction| {
        transaction.open_table(TASKS.raw()).expect("there").pop_last().expect("removed");
    }),
    // Which nothing that is read at the start refers to.
    ("specs", |transaction| {
        let mut specs = transaction.open_table(SPECS.raw()).expect("there");
        let key = specs.first().expect("read").expect("some").0.value();
        let mut row = specs.get(key).expect("read").expect("there").value().to_vec();
        row[3] ^= 1;
        specs.insert(key, row.as_slice()).expect("written");
    }),
    ("requests", |transaction| {
        transaction.open_table(REQUESTS.raw()).expect("there").pop_first().expect("removed");
    }),
];

#[test]
fn of_a_store_that_is_damaged_no_server_makes_a_copy() {
    for (table, act) in DAMAGES {
        let dir = TestDir::new();
        let (store, ..) = filled(&dir, 20);
        // Damage that comes while the store is open.
        let transaction = store.shared.database().expect("open").begin_write().expect("begun");
        act(&transaction);
        transaction.commit().expect("committed");
        assert_refused(store.archive().backup(&dir.join("backup")), table, &dir);
    }
}

#[test]
fn of_a_store_that_is_damaged_there_is_no_copy_offline_either() {
    for (table, act) in DAMAGES {
        let dir = TestDir::new();
        drop(filled(&dir, 20));
        edit(&dir, act);
        assert_refused(EmbeddedStore::backup(&dir.path(), &dir.join("backup")), table, &dir);
    }
}
