//! What a journal is kept in.

use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;

use thiserror::Error;
use uuid::Uuid;

use crate::model::{Brief, Event, KeptGeneration, Remembered, Sequence, Task};

/// Keeps the log. The writer's thread owns it, and alone calls it; everyone else reads through its [`Reader`].
pub trait Store: Send + 'static {
    /// What the store holds. Called once, before anything is committed.
    fn recover(&mut self) -> Result<Recovered, StoreError>;

    /// Makes one group last, all or none of it. `Ok` means that it survives whatever the store protects against, and that readers
    /// find it.
    ///
    /// After an error the writer comes again with the same group until it succeeds, so the store reopens what it must, and
    /// answers `Ok` to a group that it turns out to hold already. Each event carries the after-image of its task
    /// ([`Event::task`]), so a store that keeps tasks beside the log writes both in the one transaction.
    ///
    /// Retention is the store's own: it may drop the oldest events here or in [`maintain`](Self::maintain).
    fn commit(&mut self, group: Group<'_>) -> Result<(), StoreError>;

    /// Does a bounded piece of what need not be done with a commit, such as retention by age. Called now and then when nothing
    /// waits; says whether there is more to do at once.
    fn maintain(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Whether so little space is left that clients should not be let use it: what is kept free is for facts. Cheap; called after
    /// each commit.
    fn is_nearly_full(&self) -> bool {
        false
    }

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

    /// As [`read`](Self::read), but shows the events, in brief, until `show` wants no more, or for a while; none is shown twice. A
    /// store that need not make whole events for that has a way of its own.
    fn read_briefly(&self, range: Range, show: Show<'_>) -> Result<(), ReadError> {
        let mut after = range.after;
        loop {
            let events = self.read(Range { after, ..range }, BRIEFLY)?;
            let Some(last) = events.last() else { return Ok(()) };
            if events.iter().any(|event| show(&Brief::from(&**event)).is_break()) {
                return Ok(());
            }
            after = last.sequence;
        }
    }

    /// The generations that are kept of a task which stands, or stood of late, as given; the oldest first: the newest
    /// [`KEPT_GENERATIONS`], and the active one, with their stories as they are by then. None of a task that is not there. Blocks.
    ///
    /// [`KEPT_GENERATIONS`]: crate::model::limits::KEPT_GENERATIONS
    fn generations(&self, task: &Task) -> Result<Vec<KeptGeneration>, StoreError>;
}

/// Takes events one after the other, until it wants no more.
pub type Show<'a> = &'a mut dyn FnMut(&Brief<'_>) -> ControlFlow<()>;

/// How many events are read at a time to be shown, where they are whole.
const BRIEFLY: usize = 256;

/// What is committed together. Either part may be empty.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// Events, in order.
    pub events: &'a [Arc<Event>],
    /// Requests that succeeded by them, or by earlier ones. They are to be kept for a day, and 200,000 of them at the most.
    pub requests: &'a [Remembered],
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
    /// The requests that succeeded, as far as they are still to be remembered, the oldest first.
    pub requests: Vec<Remembered>,
}

/// Why a store could not do it.
#[derive(Debug, Error)]
#[error("the journal's store failed: {cause}")]
pub struct StoreError {
    failure: Failure,
    cause: Box<dyn Error + Send + Sync>,
}

/// What may become of a store that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may work again, by itself or when it is reopened.
    Passing,
    /// It will work again when there is space.
    Full,
    /// It will never work again: the writer ends, and the process with it.
    Final,
}

impl StoreError {
    /// Wraps the store's own error, which may pass.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::of(Failure::Passing, cause)
    }

    /// Wraps the store's own error.
    pub fn of(failure: Failure, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { failure, cause: cause.into() }
    }

    /// What may become of it.
    pub const fn failure(&self) -> Failure {
        self.failure
    }

    /// Whether the store will never do it.
    pub fn is_final(&self) -> bool {
        self.failure == Failure::Final
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
