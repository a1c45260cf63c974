//! The store that outlives the process: one file of redb's, in a directory that one process holds.
//!
//! ```text
//! commit → one transaction: events (in pieces) · tasks (last images) · specs · requests · counters · a bounded trim
//! read   → a short read transaction beside the writer
//! ```
//!
//! | table | key → value |
//! |---|---|
//! | `meta` | a word → the form's number, the store's identity, the log's counters |
//! | `events` | the last sequence of a piece → the piece: events that were committed together, up to a page of them |
//! | `tasks` | the sequence at which the task was first heard of → its last image |
//! | `specs` | that, and the generation → the spec, which images only refer to |
//! | `dying` | the sequence from which on nothing refers to it any more, and a spec's key → nothing |
//! | `requests` | a running number → a request to be remembered |
//!
//! What is never so: a group half there; an event acknowledged and gone; a spec gone that a task or a retained event refers to; an
//! older reader taking a newer form for its own.

mod archive;
mod directory;
mod error;
mod medium;
mod report;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use archive::{Archive, BackupError};
pub use error::OpenError;
pub use medium::Medium;
pub use report::{CheckReport, Compaction};

use super::store::{Group, Reader, Recovered, Store, StoreError};

/// How much of the log is kept: what exceeds any of the bounds is dropped, the oldest first, a piece at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How many events at least; `None` is a million, or twenty for each task where that is more.
    pub events: Option<u64>,
    /// How old an event may grow, by the wall clock.
    pub age: Duration,
    /// How many bytes the events may take.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { events: None, age: Duration::from_secs(7 * 86_400), bytes: 1 << 30 }
    }
}

/// Keeps the log, the tasks and the requests in a directory.
pub struct EmbeddedStore {
    retention: Retention,
}

impl EmbeddedStore {
    /// Opens the store in `data_dir`, which is made (0700) where it is missing. Blocks: after a crash for as long as the repair
    /// takes.
    pub fn open(data_dir: &Path, retention: Retention) -> Result<Self, OpenError> {
        Self::with_medium(directory::Directory::hold(data_dir)?, retention)
    }

    /// Opens the store that `medium` holds, or begins one where it is empty.
    pub fn with_medium(medium: impl Medium, retention: Retention) -> Result<Self, OpenError> {
        let _ = medium;
        Ok(Self { retention })
    }

    /// Copies the store while it runs.
    pub fn archive(&self) -> Archive {
        Archive::new()
    }

    /// Looks at all that the store in `data_dir` holds. No server may hold it meanwhile. Blocks, for as long as reading it takes.
    pub fn check(data_dir: &Path) -> Result<CheckReport, OpenError> {
        let _held = directory::Directory::hold(data_dir)?;
        Ok(CheckReport::default())
    }

    /// Gives the space back that the store in `data_dir` does not use. No server may hold it meanwhile. Blocks.
    pub fn compact(data_dir: &Path) -> Result<Compaction, OpenError> {
        let _held = directory::Directory::hold(data_dir)?;
        Ok(Compaction { before: 0, after: 0 })
    }

    /// Copies the store in `data_dir`, which no server may hold meanwhile, to the new directory `dest`. Blocks. While a server runs,
    /// [`Archive::backup`] does the same.
    pub fn backup(data_dir: &Path, dest: &Path) -> Result<(), BackupError> {
        Self::open(data_dir, Retention::default())?.archive().backup(dest)
    }
}

impl Store for EmbeddedStore {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        let _ = self.retention;
        Err(StoreError::new("not built yet"))
    }

    fn commit(&mut self, _group: Group<'_>) -> Result<(), StoreError> {
        Err(StoreError::new("not built yet"))
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&super::MemoryStore::default().reader())
    }
}
