//! The store that forgets everything when the process ends.

use std::sync::Arc;

use uuid::Uuid;

use super::log::Log;
use super::store::{Group, Range, ReadError, Reader, Recovered, Store, StoreError};
use crate::model::{Event, Sequence};

/// Keeps the last events in memory. Each one has a store id of its own, so cursors do not outlive it.
pub struct MemoryStore {
    id: Uuid,
    log: Arc<MemoryLog>,
}

/// What it shares with its readers.
struct MemoryLog(Log);

impl MemoryStore {
    /// How many events are kept where nothing else is said.
    pub const RETENTION: usize = 100_000;

    /// A store that keeps the last `retention` events.
    pub fn new(retention: usize) -> Self {
        Self { id: Uuid::new_v4(), log: Arc::new(MemoryLog(Log::new(Sequence::default(), retention))) }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Self::RETENTION)
    }
}

impl Store for MemoryStore {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        Ok(Recovered { store_id: self.id, head: Sequence::default(), tasks: Vec::new(), requests: Vec::new() })
    }

    fn commit(&mut self, group: Group<'_>) -> Result<(), StoreError> {
        self.log.0.push(group.events);
        Ok(())
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.log) as Arc<dyn Reader>
    }
}

impl Reader for MemoryLog {
    fn oldest(&self) -> Sequence {
        self.0.base()
    }

    fn read(&self, range: Range, limit: usize) -> Result<Vec<Arc<Event>>, ReadError> {
        self.0.read(range, limit).ok_or(ReadError::Trimmed)
    }
}
