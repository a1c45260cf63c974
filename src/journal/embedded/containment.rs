//! redb trusts what it has written; where something else has, it may panic instead of saying so. Here a panic becomes damage.

use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{ReadTransaction, ReadableDatabase, WriteTransaction};

use super::error::Fault;

/// Takes a panic over damaged bytes for what it is.
pub(super) fn caught<T>(act: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|&words| words.to_owned()));
        Err(Fault::Panicked(words.unwrap_or_default()))
    })
}

/// A database that is open. redb commits as it closes one, and may panic at that: whoever drops it should not.
#[derive(Debug)]
pub(super) struct Database(Option<redb::Database>);

impl Database {
    pub(super) const fn new(database: redb::Database) -> Self {
        Self(Some(database))
    }

    fn open(&self) -> Result<&redb::Database, Fault> {
        Ok(self.0.as_ref().ok_or(redb::Error::DatabaseClosed)?)
    }

    fn open_mut(&mut self) -> Result<&mut redb::Database, Fault> {
        Ok(self.0.as_mut().ok_or(redb::Error::DatabaseClosed)?)
    }

    pub(super) fn begin_read(&self) -> Result<ReadTransaction, Fault> {
        Ok(self.open()?.begin_read()?)
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction, Fault> {
        Ok(self.open()?.begin_write()?)
    }

    /// Looks at every page's checksum; `false` is a record of free pages that has been put right.
    pub(super) fn check_integrity(&mut self) -> Result<bool, Fault> {
        caught(|| Ok(self.open_mut()?.check_integrity()?))
    }

    /// Gives back what is not used; `false`: there was nothing more.
    pub(super) fn compact(&mut self) -> Result<bool, Fault> {
        caught(|| Ok(self.open_mut()?.compact()?))
    }

    /// Closes it, and says whether that went well.
    pub(super) fn close(mut self) -> Result<(), Fault> {
        let Some(database) = self.0.take() else { return Ok(()) };
        caught(|| Ok(database.close()?))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some(database) = self.0.take() else { return };
        let dropped = caught(|| {
            drop(database);
            Ok(())
        });
        if let Err(fault) = dropped {
            tracing::error!(%fault, "the store could not be closed");
        }
    }
}
