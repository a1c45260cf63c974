//! Where the journal is kept, as the configuration says.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::{Config, StoreKind};
use crate::journal::{Archive, EmbeddedStore, MemoryStore, OpenError, Retention, Store};

/// What a mode lets others do.
const OTHERS: u32 = 0o007;

/// Where a server keeps its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// In this directory: it survives the process.
    Directory(PathBuf),
    /// In memory: it is gone with the process.
    Memory,
    /// In a store of the embedder's own.
    Elsewhere,
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => write!(f, "embedded, in {}", directory.display()),
            Self::Memory => f.write_str("memory: tasks and events do not survive a restart"),
            Self::Elsewhere => f.write_str("the embedder's"),
        }
    }
}

/// A store, open.
pub(super) struct Opened {
    pub(super) store: Box<dyn Store>,
    pub(super) stored: Stored,
    /// Copies it; only what is in a directory can be.
    pub(super) archive: Option<Archive>,
}

/// Opens the store that the configuration asks for. Blocks, after a crash for as long as the repair takes.
pub(super) fn open(config: &Config) -> Result<Opened, OpenError> {
    match config.store() {
        StoreKind::Memory => {
            let events = config.event_retention().and_then(|events| usize::try_from(events).ok());
            let store = Box::new(MemoryStore::new(events.unwrap_or(MemoryStore::RETENTION)));
            Ok(Opened { store, stored: Stored::Memory, archive: None })
        }
        StoreKind::Embedded => {
            let retention = Retention {
                events: config.event_retention(),
                age: config.event_retention_age(),
                bytes: config.event_retention_bytes(),
            };
            let store = EmbeddedStore::open(config.data_dir(), retention)?;
            warn_if_open_to_others(config.data_dir());
            let archive = Some(store.archive());
            Ok(Opened { store: Box::new(store), stored: Stored::Directory(config.data_dir().to_owned()), archive })
        }
    }
}

/// A directory that was there before has somebody else's mode. What is in it is closed to others all the same, and that its group may
/// look into it was somebody's decision.
fn warn_if_open_to_others(dir: &Path) {
    let Ok(mode) = dir.metadata().map(|found| found.permissions().mode() & 0o777) else { return };
    if mode & OTHERS != 0 {
        let (dir, mode) = (dir.display(), format!("{mode:o}"));
        tracing::warn!(%dir, mode, "others may look into the data directory, though not into its files: chmod o-rwx it");
    }
}
