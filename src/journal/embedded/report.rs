//! What the tools say of a store.

use uuid::Uuid;

/// What a check of a store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Names the store.
    pub store_id: Uuid,
    /// What retention dropped last, or 0.
    pub oldest: u64,
    /// The last event.
    pub head: u64,
    /// How many events are kept.
    pub events: u64,
    /// How many bytes they take.
    pub event_bytes: u64,
    /// How many tasks there are.
    pub tasks: u64,
    /// How many specs are kept of them and of those that are gone.
    pub specs: u64,
    /// How many requests are remembered.
    pub requests: u64,
    /// The file's size in bytes.
    pub file_bytes: u64,
    /// What is wrong, for people; a hundred findings at the most.
    pub problems: Vec<String>,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// The file's size before, in bytes.
    pub before: u64,
    /// And after.
    pub after: u64,
}

/// What was saved of a damaged store, in a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// Names the new store.
    pub store_id: Uuid,
    /// The new log begins after that.
    pub oldest: u64,
    /// And ends with that.
    pub head: u64,
    /// How many tasks there are.
    pub tasks: u64,
    /// How many specs.
    pub specs: u64,
    /// How many requests are remembered.
    pub requests: u64,
    /// What is not there; empty, if all is.
    pub left_out: Vec<LeftOut>,
}

/// A row, or several, that could not be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The table.
    pub table: String,
    /// The row's key there, or which rows they are.
    pub key: String,
    /// Of a task's row, its name, as far as that is known.
    pub task: Option<String>,
    /// What is wrong with it.
    pub problem: String,
}
