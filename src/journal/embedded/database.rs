//! Opening the database: beginning it, refusing what is not ours, migrating what is older.

use redb::{Builder, Durability, StorageBackend, TableError, WriteTransaction};
use uuid::Uuid;

use super::containment::{Database, caught};
use super::error::Fault;
use super::form::{Counters, FORM, Identity};
use super::medium::{Fence, Fenced, Medium};
use super::migration;
use super::overlay::Overlay;
use super::tables::{META, form, identity, make_tables, put_counters, put_form, put_identity};

/// What redb may keep in memory. The system's page cache is behind it, so it need only hold what commits touch again and again:
/// inner nodes, and the tasks that change. Less in tests, whose stores are small, and whose readers are to read from the disk.
const CACHE_BYTES: usize = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// What is to be done with a medium that is empty.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    /// A new store begins.
    Begin,
    /// It is damaged: there was one.
    Refuse,
}

/// Opens what the medium holds, whatever its form.
pub(super) fn open(medium: &dyn Medium, fence: Fence, empty: Empty) -> Result<Database, Fault> {
    let backend = medium.open().map_err(Fault::Medium)?;
    let is_empty = backend.len().map_err(Fault::Medium)? == 0;
    if is_empty && empty == Empty::Refuse {
        return Err(Fault::damaged("the file", "it is empty"));
    }
    let database = open_backend(backend, fence)?;
    if is_empty {
        begin(&database)?;
    }
    Ok(database)
}

/// Opens what the medium holds, to be read: what redb writes as it opens it, and whoever else does, goes to memory, and nothing to the
/// medium.
pub(super) fn look(medium: &dyn Medium) -> Result<Database, Fault> {
    open_for_readers(medium, Fence::default())
}

/// The same, for readers whose time ends with the fence's.
pub(super) fn open_for_readers(medium: &dyn Medium, fence: Fence) -> Result<Database, Fault> {
    let backend = medium.open().map_err(Fault::Medium)?;
    if backend.len().map_err(Fault::Medium)? == 0 {
        return Err(Fault::damaged("the file", "it is empty"));
    }
    open_backend(Box::new(Overlay::new(backend).map_err(Fault::Medium)?), fence)
}

/// Refuses what no server can go on with, before anything of it is changed: what is damaged so that it cannot be opened, none of ours,
/// or newer. What is empty is for [`open`] to judge.
pub(super) fn refuse_unfit(medium: &dyn Medium) -> Result<(), Fault> {
    let backend = medium.open().map_err(Fault::Medium)?;
    if backend.len().map_err(Fault::Medium)? == 0 {
        return Ok(());
    }
    drop(backend);
    let database = look(medium)?;
    caught(|| fit(&database))?;
    // What redb cannot close in memory, it cannot commit to either.
    database.close()
}

/// Opens a file of redb's.
pub(super) fn open_backend(backend: Box<dyn StorageBackend>, fence: Fence) -> Result<Database, Fault> {
    let backend = Fenced::new(backend, fence);
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder.set_repair_callback(|repair| {
        tracing::info!(progress = repair.progress(), "the store was not closed, and is being looked through");
    });
    caught(|| Ok(Database::new(builder.create_with_backend(backend)?)))
}

/// A transaction that lasts once it is committed. In two phases, for stored bytes are others' words (an exec check's output, an
/// HTTP body's excerpt): with one phase, redb decides by a checksum that is not made to withstand them whether a commit was whole.
///
/// Without quick repair, which would write what is free beside each commit: with 100,000 tasks and a million events (285 MB) that is
/// 91 KB for a commit of one event instead of 50, and grows with the file. What it saves, once after a crash, is 0.3 s; and what is
/// looked through then has its checksums verified too.
pub(super) fn writing(database: &Database) -> Result<WriteTransaction, Fault> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate).map_err(redb::Error::from)?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

/// Begins an empty store.
pub(super) fn begin(database: &Database) -> Result<(), Fault> {
    let transaction = writing(database)?;
    make_tables(&transaction)?;
    put_meta(&transaction, &Identity::new(Uuid::new_v4()), &Counters::default())?;
    Ok(transaction.commit()?)
}

/// Writes everything that `meta` has.
pub(super) fn put_meta(transaction: &WriteTransaction, identity: &Identity, counters: &Counters) -> Result<(), Fault> {
    put_form(transaction)?;
    put_identity(transaction, identity)?;
    put_counters(transaction, counters)
}

/// Sees to it that the store is of the form that this version writes.
pub(super) fn bring_up(database: &mut Database) -> Result<(), Fault> {
    match fit(database)? {
        FORM => Ok(()),
        older => migration::migrate(database, older),
    }
}

/// The store's form, if it is ours and not newer.
fn fit(database: &Database) -> Result<u32, Fault> {
    let found = match database.begin_read()?.open_table(META) {
        Ok(meta) => form(&meta)?,
        Err(TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(error.into()),
    };
    match found {
        Some(found) if found > FORM => Err(Fault::Newer { found, known: FORM }),
        Some(found) => Ok(found),
        None => Err(Fault::damaged("the file", "it is a database, but none of Switchyard's")),
    }
}

/// Gives a copy an id of its own, now that a server begins with it. `None`: it is no copy.
pub(super) fn draw_id_if_copied(database: &Database) -> Result<Option<Uuid>, Fault> {
    if !identity(&database.begin_read()?.open_table(META)?)?.is_copy {
        return Ok(None);
    }
    let transaction = writing(database)?;
    let id = Uuid::new_v4();
    put_identity(&transaction, &Identity::new(id))?;
    transaction.commit()?;
    Ok(Some(id))
}
