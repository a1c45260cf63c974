//! Directories that benchmarks keep stores in: on the disk that cargo builds on.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use redb::{Database, ReadableDatabase, ReadableTableMetadata};
use uuid::Uuid;

/// A directory of its own, removed with all that is in it when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}", Uuid::new_v4())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// How many bytes the keys and values of its store take, and how many the file; nobody may hold it.
    pub(crate) fn bytes(&self) -> Result<(u64, u64)> {
        let file = self.0.join("journal.redb");
        let size = std::fs::metadata(&file).context("no store is there")?.len();
        let database = Database::open(&file)?;
        let transaction = database.begin_read()?;
        let mut stored = 0;
        for table in transaction.list_tables()? {
            stored += transaction.open_untyped_table(table)?.stats()?.stored_bytes();
        }
        Ok((stored, size))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may not be there yet.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
