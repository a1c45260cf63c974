//! The store that forgets everything when the process ends.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use uuid::Uuid;

use super::log::Log;
use super::store::{Group, Range, ReadError, Reader, Recovered, Store, StoreError};
use crate::model::{Event, EventType, History, KeptGeneration, Sequence, Task, Uid};

/// Keeps the last events in memory. Each one has a store id of its own, so cursors do not outlive it.
pub struct MemoryStore {
    id: Uuid,
    log: Arc<MemoryLog>,
}

/// What it shares with its readers.
struct MemoryLog {
    log: Log,
    /// A lock that is held for one event, or for a look.
    histories: RwLock<HashMap<Uid, Arc<History>>>,
}

impl MemoryStore {
    /// How many events are kept where nothing else is said.
    pub const RETENTION: usize = 100_000;

    /// A store that keeps the last `retention` events.
    pub fn new(retention: usize) -> Self {
        Self { id: Uuid::new_v4(), log: Arc::new(MemoryLog::new(retention)) }
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
        group.events.iter().for_each(|event| self.log.note(event));
        self.log.log.push(group.events);
        Ok(())
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.log) as Arc<dyn Reader>
    }
}

impl MemoryLog {
    fn new(retention: usize) -> Self {
        Self { log: Log::new(Sequence::default(), retention), histories: RwLock::default() }
    }

    /// Most events say nothing of generations.
    fn note(&self, event: &Event) {
        let Some(task) = &event.task else { return };
        let deleted = event.kind == EventType::TaskDeleted;
        if !deleted && !tells(event.kind) {
            return;
        }
        let mut histories = self.histories.write().unwrap_or_else(PoisonError::into_inner);
        if deleted {
            histories.remove(&task.uid);
        } else {
            Arc::make_mut(histories.entry(task.uid).or_default()).note(event);
        }
    }
}

/// Whether events of that type say something of a generation.
const fn tells(kind: EventType) -> bool {
    matches!(
        kind,
        EventType::TaskCreated | EventType::SwapStarted | EventType::SwapCommitted | EventType::SwapRolledBack
    )
}

impl Reader for MemoryLog {
    fn oldest(&self) -> Sequence {
        self.log.base()
    }

    fn read(&self, range: Range, limit: usize) -> Result<Vec<Arc<Event>>, ReadError> {
        self.log.read(range, limit).ok_or(ReadError::Trimmed)
    }

    fn generations(&self, task: &Task) -> Result<Vec<KeptGeneration>, StoreError> {
        let histories = self.histories.read().unwrap_or_else(PoisonError::into_inner);
        let history = histories.get(&task.uid).cloned();
        drop(histories);
        Ok(history.map(|history| history.generations().to_vec()).unwrap_or_default())
    }
}
