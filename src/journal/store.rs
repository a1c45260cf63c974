//! What a journal is kept in.

use std::error::Error;
use std::sync::Arc;

use thiserror::Error;
use uuid::Uuid;

use crate::model::{Event, Sequence, Task};

/// Keeps the log. The writer's thread owns it, and alone calls it; everyone else reads through its [`Reader`].
pub trait Store: Send + 'static {
    /// What the store holds. Called once, before anything is committed.
    fn recover(&mut self) -> Result<Recovered, StoreError>;

    /// Makes one group of events last, all or none of it. `Ok` means that it survives whatever the store protects against, and
    /// that readers find it.
    ///
    /// After an error the writer comes again with the same group until it succeeds, so the store reopens what it must, and
    /// answers `Ok` to a group that it turns out to hold already. Each event carries the after-image of its task
    /// ([`Event::task`]), so a store that keeps tasks beside the log writes both in the one transaction.
    ///
    /// Retention is the store's own: it may drop the oldest events here or at any other time.
    fn commit(&mut self, group: &[Arc<Event>]) -> Result<(), StoreError>;

    /// Reads beside the writer.
    fn reader(&self) -> Arc<dyn Reader>;
}

/// Reads a store's log while its writer goes on: neither ever waits for the other.
pub trait Reader: Send + Sync + 'static {
    /// The place after which every event is still there: what retention dropped last, or 0. Cheap, without I/O.
    fn oldest(&self) -> Sequence;

    /// The first events of `range`, in order: no more than `limit`, and none only if there are none. A store may answer fewer
    /// than there are, to keep one read short. Blocks, so it is called where that is allowed.
    fn read(&self, range: Range, limit: usize) -> Result<Vec<Arc<Event>>, ReadError>;
}

/// A stretch of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Events with higher sequences than this.
    pub after: Sequence,
    /// Up to this one, inclusive.
    pub through: Sequence,
}

/// What a store held when it was opened.
#[derive(Debug)]
pub struct Recovered {
    /// Names the store: cursors of another are refused.
    pub store_id: Uuid,
    /// The last event committed, or 0.
    pub head: Sequence,
    /// The tasks as they stood after it.
    pub tasks: Vec<Arc<Task>>,
}

/// Why a store could not do it.
#[derive(Debug, Error)]
#[error("the journal's store failed: {0}")]
pub struct StoreError(Box<dyn Error + Send + Sync>);

impl StoreError {
    /// Wraps the store's own error.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

/// Why a stretch of the log could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Its beginning has been dropped.
    #[error("the events asked for are no longer kept")]
    Trimmed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
