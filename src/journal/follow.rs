//! Following the log: a cursor that pulls.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinHandle;

use super::store::{Failure, Range, ReadError, StoreError};
use super::{Published, Shared};
use crate::model::{Event, Sequence};

/// Reads the log from some place on, at the pace of whoever pulls. Nothing is queued for it: it is a number, and a look at what
/// everyone shares. While it catches up from the store it is one read ahead, no more.
pub struct Follower {
    shared: Arc<Shared>,
    published: watch::Receiver<Published>,
    after: Sequence,
    reading: Option<Reading>,
}

/// A read of the store that is under way, or done.
struct Reading {
    range: Range,
    /// It was begun before anyone asked for it, and may be of long ago.
    is_ahead: bool,
    read: JoinHandle<Result<Vec<Arc<Event>>, ReadError>>,
}

/// Events as they are in the log, in order and without gaps: unfiltered.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The events, at least one.
    pub events: Vec<Arc<Event>>,
    /// Everything up to and with this has been seen: where to resume.
    pub through: Sequence,
}

/// The place asked for is no longer kept: retention has passed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the events asked for are no longer kept; those after {oldest} up to {head} are")]
pub struct Trimmed {
    /// The first place that can be followed from.
    pub oldest: Sequence,
    /// The last one.
    pub head: Sequence,
}

/// Why a follower could not go on.
#[derive(Debug, Error)]
pub enum FollowError {
    /// It was too slow for retention.
    #[error(transparent)]
    Trimmed(#[from] Trimmed),
    /// What it needs is in the store, which failed. The follower has not moved and may try again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Follower {
    pub(super) fn new(shared: Arc<Shared>, after: Sequence) -> Self {
        Self { published: shared.published.subscribe(), shared, after, reading: None }
    }

    /// The place behind the last batch.
    pub fn position(&self) -> Sequence {
        self.after
    }

    /// Waits for events, and takes at most `limit` (at least one). `None` once the journal has ended and all has been taken.
    /// Cancel-safe: a batch that was not returned comes again.
    pub async fn next(&mut self, limit: usize) -> Result<Option<Batch>, FollowError> {
        // A follower far behind finds something at each call and would never yield.
        tokio::task::consume_budget().await;
        loop {
            let Published { head, ended } = *self.published.borrow_and_update();
            if self.after < head {
                let events = self.read(Range { after: self.after, through: head }, limit.max(1)).await?;
                self.after = events.last().map_or(head, |event| event.sequence);
                if !events.is_empty() {
                    return Ok(Some(Batch { events, through: self.after }));
                }
            } else if ended || self.published.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    async fn read(&mut self, range: Range, limit: usize) -> Result<Vec<Arc<Event>>, FollowError> {
        loop {
            if let Some(events) = self.shared.ring.read(range, limit) {
                self.reading = None;
                return Ok(events);
            }
            let reading = match &mut self.reading {
                Some(reading) if reading.range.after == range.after => reading,
                other => {
                    // Nobody closes the semaphore.
                    let permit = Arc::clone(&self.shared.catch_up).acquire_owned().await.ok();
                    other.insert(Reading::begin(&self.shared, range, limit, permit))
                }
            };
            let is_ahead = reading.is_ahead;
            let read = (&mut reading.read).await;
            self.reading = None;
            return match read {
                Ok(Ok(mut events)) => {
                    // What was read ahead was so for another limit.
                    events.truncate(limit);
                    self.read_ahead(&events, range, limit);
                    Ok(events)
                }
                Ok(Err(ReadError::Trimmed)) => Err(self.shared.trimmed().into()),
                // The store may have been well again for long: only one who reads now can say.
                Ok(Err(ReadError::Store(error))) if is_ahead && error.failure() != Failure::Final => continue,
                Ok(Err(ReadError::Store(error))) => Err(error.into()),
                Err(panic) if panic.is_panic() => Err(StoreError::of(Failure::Final, panic).into()),
                Err(cancelled) => Err(StoreError::new(cancelled).into()),
            };
        }
    }

    /// Reads what comes next while these events are on their way; unless so many read that it would be in their way.
    fn read_ahead(&mut self, events: &[Arc<Event>], range: Range, limit: usize) {
        let Some(last) = events.last().map(|event| event.sequence) else { return };
        if last < range.through
            && last < self.shared.ring.base()
            && let Ok(permit) = Arc::clone(&self.shared.catch_up).try_acquire_owned()
        {
            let reading = Reading::begin(&self.shared, Range { after: last, ..range }, limit, Some(permit));
            self.reading = Some(Reading { is_ahead: true, ..reading });
        }
    }
}

impl Reading {
    /// The permit goes with the read, which goes on if nobody waits for it any more.
    fn begin(shared: &Shared, range: Range, limit: usize, permit: Option<OwnedSemaphorePermit>) -> Self {
        let reader = Arc::clone(&shared.reader);
        let read = tokio::task::spawn_blocking(move || {
            let read = reader.read(range, limit);
            drop(permit);
            read
        });
        Self { range, is_ahead: false, read }
    }
}
