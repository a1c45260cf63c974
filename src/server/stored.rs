//! Where the journal is kept, as the configuration says.

use std::fmt;
use std::path::PathBuf;

use crate::config::{Config, StoreKind};
use crate::journal::{Archive, EmbeddedStore, MemoryStore, OpenError, Retention, Store};

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
            let archive = Some(store.archive());
            Ok(Opened { store: Box::new(store), stored: Stored::Directory(config.data_dir().to_owned()), archive })
        }
    }
}
