//! Stores that are refused or looked at, and stay as they are to the byte.

use super::directories::{edit, filled};
use super::media::{Disk, TestDir};
use super::migrations::unseal;
use crate::journal::embedded::form::FORM;
use crate::journal::embedded::tables::{FORM_KEY, META};
use crate::journal::{EmbeddedStore, OpenError, Retention};

/// Makes it a store of another form.
fn set_form(dir: &TestDir, form: u32) {
    edit(dir, |transaction| {
        let mut meta = transaction.open_table(META).expect("there");
        meta.insert(FORM_KEY, form.to_le_bytes().as_slice()).expect("written");
    });
}

pub(super) fn bytes(dir: &TestDir) -> Vec<u8> {
    std::fs::read(dir.path().join("journal.redb")).expect("read")
}

#[test]
fn a_store_of_a_newer_form_is_refused_and_left_as_it_is() {
    let dir = TestDir::new();
    drop(filled(&dir, 5));
    set_form(&dir, FORM + 1);
    let before = bytes(&dir);
    let is_newer = |refused| matches!(refused, Some(OpenError::Newer { found, known: FORM, .. }) if found == FORM + 1);
    assert!(is_newer(EmbeddedStore::open(&dir.path(), Retention::default()).err()));
    assert!(bytes(&dir) == before);
    assert!(is_newer(EmbeddedStore::check(&dir.path()).err()));
    assert!(is_newer(EmbeddedStore::compact(&dir.path()).err()));
    assert!(bytes(&dir) == before);
}

#[test]
fn a_newer_store_that_was_not_closed_is_left_as_it_is_too() {
    let disk = Disk::default();
    let store = EmbeddedStore::with_medium(disk.clone(), Retention::default()).expect("opened");
    let transaction = store.shared.database().expect("open").begin_write().expect("begun");
    let newer = (FORM + 1).to_le_bytes();
    transaction.open_table(META).expect("there").insert(FORM_KEY, newer.as_slice()).expect("written");
    transaction.commit().expect("committed");
    let before = disk.bytes();
    let crashed = Disk::of(before.clone());
    let refused = EmbeddedStore::with_medium(crashed.clone(), Retention::default()).err();
    assert!(matches!(refused, Some(OpenError::Newer { .. })), "{refused:?}");
    assert!(crashed.bytes() == before);
}

#[test]
fn a_check_changes_nothing_whatever_it_finds() {
    let dir = TestDir::new();
    let (store, ..) = filled(&dir, 5);
    // As a process that is killed leaves it.
    let killed = bytes(&dir);
    drop(store);
    std::fs::write(dir.path().join("journal.redb"), &killed).expect("written");
    assert!(EmbeddedStore::check(&dir.path()).expect("checked").is_sound());
    assert!(bytes(&dir) == killed);
    edit(&dir, |transaction| unseal(transaction, 1));
    let older = bytes(&dir);
    assert!(EmbeddedStore::check(&dir.path()).expect("checked").is_sound());
    assert!(bytes(&dir) == older);
}
