//! Stores of older forms: what was written is there, as if this version had written it.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message;
use redb::{TableDefinition, Value, WriteTransaction};

use super::directories::{edit, filled};
use super::history::{History, assert_is};
use super::media::{Disk, Done, TestDir, put};
use crate::journal::embedded::form::{Counters, FORM, Tally};
use crate::journal::embedded::rows::{RowKey, SealedTable};
use crate::journal::embedded::tables::{
    COUNTERS_KEY, DYING, EVENTS, FORM_KEY, IDENTITY_KEY, META, REQUESTS, SPECS, TASKS, counters, identity,
};
use crate::journal::embedded::{database, tables};
use crate::journal::{EmbeddedStore, OpenError, Retention};
use crate::model::Event;

/// Makes the store one of an older form, as the versions that had it wrote it: nothing is sealed, a dying spec is a key alone, and
/// the counters have what they had then.
pub(super) fn unseal(transaction: &WriteTransaction, form: u32) {
    let mut meta = transaction.open_table(META).expect("there");
    let Counters { oldest, head, log_bytes, dying_bytes, events, tasks, specs, dying, requests } =
        counters(&meta).expect("sealed");
    let identity = identity(&meta).expect("sealed");
    let log_bytes = (form >= 2).then_some(log_bytes);
    let older = OlderCounters { oldest, head, log_bytes, dying_bytes: (form >= 3).then_some(dying_bytes) };
    meta.insert(COUNTERS_KEY, older.encode_to_vec().as_slice()).expect("written");
    meta.insert(IDENTITY_KEY, identity.encode_to_vec().as_slice()).expect("written");
    meta.insert(FORM_KEY, form.to_le_bytes().as_slice()).expect("written");
    drop(meta);
    unseal_rows::<_, &[u8]>(transaction, EVENTS, events);
    unseal_rows::<_, &[u8]>(transaction, TASKS, tasks);
    unseal_rows::<_, &[u8]>(transaction, SPECS, specs);
    unseal_rows::<_, ()>(transaction, DYING, dying);
    unseal_rows::<_, &[u8]>(transaction, REQUESTS, requests);
}

/// The counters up to form 3.
#[derive(Clone, PartialEq, prost::Message)]
struct OlderCounters {
    #[prost(uint64, tag = "1")]
    oldest: u64,
    #[prost(uint64, tag = "2")]
    head: u64,
    #[prost(uint64, optional, tag = "3")]
    log_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    dying_bytes: Option<u64>,
}

fn unseal_rows<K: RowKey, V: Value + 'static>(transaction: &WriteTransaction, table: SealedTable<K>, tally: Tally) {
    let sealed = table.write(transaction, tally).expect("there");
    let rows = sealed.every(tally).expect("read").map(|row| row.map(|(key, row)| (key, row.value().to_vec())));
    let rows: Vec<_> = rows.collect::<Result<_, _>>().expect("sound");
    drop(sealed);
    transaction.delete_table(table.raw()).expect("deleted");
    let mut unsealed = transaction.open_table(TableDefinition::<K, V>::new(table.name())).expect("made");
    for (key, value) in rows {
        unsealed.insert(key, V::from_bytes(&value)).expect("written");
    }
}

#[test]
fn a_store_of_each_older_form_is_migrated_with_all_that_it_has() {
    for form in 1..4 {
        let dir = TestDir::new();
        let (store, history, log) = filled(&dir, 60);
        let counters = store.written.as_ref().expect("open").counters;
        assert!(counters.log_bytes > 0 && counters.dying_bytes > 0 && counters.requests.rows > 0, "{counters:?}");
        drop(store);
        edit(&dir, |transaction| unseal(transaction, form));
        let mut store = EmbeddedStore::open(&dir.path(), Retention::default()).expect("migrated");
        assert_eq!(store.written.as_ref().expect("open").counters, counters, "from {form}");
        assert_is(&mut store, &history.fold, &log, &format!("from {form}"));
        drop(store);
        let report = EmbeddedStore::check(&dir.path()).expect("checked");
        assert!(report.is_sound(), "from {form}: {report:?}");
        let mut store = EmbeddedStore::open(&dir.path(), Retention::default()).expect("opened");
        assert_is(&mut store, &history.fold, &log, &format!("from {form}, opened again"));
    }
}

fn open(disk: &Disk) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::with_medium(disk.clone(), Retention::default())
}

/// A disk with a store of form 3 on it, which was closed.
fn older() -> (Vec<u8>, History, Vec<Arc<Event>>) {
    let disk = Disk::default();
    let (store, history, log) = super::faults::filled(&disk);
    let transaction = store.shared.database().expect("open").begin_write().expect("begun");
    unseal(&transaction, 3);
    transaction.commit().expect("committed");
    drop(store);
    (disk.bytes(), history, log)
}

#[test]
fn a_migration_that_is_cut_short_leaves_the_older_form_whole() {
    let (bytes, history, log) = older();
    let whole = Disk::of(bytes.clone());
    whole.record();
    open(&whole).expect("migrated");
    let done = whole.recorded();
    assert!(done.len() > 20, "{}", done.len());
    let mut forms = BTreeSet::new();
    for cut in 0..done.len() {
        let mut bytes = bytes.clone();
        for done in &done[..cut] {
            match done {
                Done::Write { offset, data } => put(&mut bytes, *offset, data),
                Done::SetLen(len) => bytes.resize(*len, 0),
                Done::Sync => {}
            }
        }
        let disk = Disk::of(bytes);
        let looked = database::look(&disk).expect("opened");
        let meta = looked.begin_read().expect("begun").open_table(META).expect("there");
        forms.insert(tables::form(&meta).expect("read"));
        drop((meta, looked));
        assert_is(&mut open(&disk).expect("migrated"), &history.fold, &log, &format!("cut after {cut}"));
    }
    assert_eq!(forms, [Some(3), Some(FORM)].into());
}

#[test]
fn a_store_whose_rows_are_sealed_gets_a_new_number_alone_and_one_that_never_was_is_refused() {
    for form in 4..FORM {
        let dir = TestDir::new();
        let (store, history, log) = filled(&dir, 60);
        drop(store);
        edit(&dir, |transaction| {
            let mut meta = transaction.open_table(META).expect("there");
            meta.insert(FORM_KEY, form.to_le_bytes().as_slice()).expect("written");
        });
        match EmbeddedStore::open(&dir.path(), Retention::default()) {
            Ok(mut store) if form == 4 => {
                assert_is(&mut store, &history.fold, &log, "migrated");
                let database = store.shared.database().expect("open");
                let meta = database.begin_read().expect("begun").open_table(META).expect("there");
                assert_eq!(tables::form(&meta).expect("read"), Some(FORM));
            }
            Err(OpenError::Damaged { .. }) if form != 4 => {}
            other => panic!("{form}: {:?}", other.err()),
        }
    }
}

#[test]
fn what_has_flipped_in_an_older_store_is_not_sealed_as_it_is() {
    let (mut bytes, ..) = older();
    let text = b"as the history says";
    let last = bytes.windows(text.len()).rposition(|found| found == text).expect("there");
    // In a page that is in use no longer, it does no harm.
    let refused = (0..=last).filter(|at| bytes[*at..].starts_with(text)).collect::<Vec<_>>().into_iter().filter(|at| {
        bytes[*at] ^= 1;
        let disk = Disk::of(bytes.clone());
        bytes[*at] ^= 1;
        match open(&disk) {
            Ok(_) => false,
            Err(OpenError::Damaged { .. }) => true,
            Err(error) => panic!("{error}"),
        }
    });
    assert!(refused.count() > 0);
}

#[test]
fn a_backup_does_not_migrate_what_it_copies() {
    for form in [1, 3] {
        let dir = TestDir::new();
        let (store, history, log) = filled(&dir, 60);
        drop(store);
        edit(&dir, |transaction| unseal(transaction, form));
        let file = dir.path().join("journal.redb");
        let before = std::fs::read(&file).expect("read");
        EmbeddedStore::backup(&dir.path(), &dir.join("copy")).expect("copied");
        assert!(std::fs::read(&file).expect("read") == before, "the version that wrote it opens it still");
        let mut copy = EmbeddedStore::open(&dir.join("copy"), Retention::default()).expect("opened");
        assert_is(&mut copy, &history.fold, &log, "copied");
    }
}
