//! Following the log: a cursor that pulls.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinHandle;

use super::store::{Failure, Range, ReadError, Reader, StoreError};
use super::{Published, Shared};
use crate::model::{Brief, Event, Sequence};

/// Reads the log from some place on, at the pace of whoever pulls. Nothing is queued for it: it is a number, and a look at what
/// everyone shares. While it catches up from the store it is one read ahead, no more.
pub struct Follower(Feed<Infallible>);

/// A [`Follower`] for whom that which comes from the store is digested where it is read, if it wants that.
pub struct Feed<D> {
    shared: Arc<Shared>,
    published: watch::Receiver<Published>,
    after: Sequence,
    /// What each digest begins as.
    blank: Option<D>,
    reading: Option<Reading<D>>,
}

/// What is made of events in the thread that reads them. From a store they then come in brief, and much sooner.
pub trait Digest: Clone + Send + 'static {
    /// Takes the next event, or not. It is never shown again what it has taken.
    fn take(&mut self, event: &Brief<'_>) -> Taken;
}

/// Whether a digest has taken an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// And takes more.
    Yes,
    /// And no other one.
    Last,
    /// The next digest is to take it. Never said of the first one.
    No,
}

/// What a feed brings.
#[derive(Clone, Debug, PartialEq)]
pub enum Fed<D> {
    /// Events of late; or all, where nothing is to be digested.
    Events(Batch),
    /// What was made of events.
    Digest(D, Sequence),
}

/// Nothing is digested into it.
impl Digest for Infallible {
    fn take(&mut self, _: &Brief<'_>) -> Taken {
        match *self {}
    }
}

/// A read of the store that is under way, or done.
struct Reading<D> {
    range: Range,
    /// It was begun before anyone asked for it, and may be of long ago.
    is_ahead: bool,
    read: JoinHandle<Result<Option<Fed<D>>, ReadError>>,
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

impl From<Feed<Infallible>> for Follower {
    fn from(feed: Feed<Infallible>) -> Self {
        Self(feed)
    }
}

impl Follower {
    /// The place behind the last batch.
    pub fn position(&self) -> Sequence {
        self.0.after
    }

    /// Waits for events, and takes at most `limit` (at least one). `None` once the journal has ended and all has been taken.
    /// Cancel-safe: a batch that was not returned comes again.
    pub async fn next(&mut self, limit: usize) -> Result<Option<Batch>, FollowError> {
        Ok(self.0.next(limit).await?.map(|fed| match fed {
            Fed::Events(batch) => batch,
            Fed::Digest(never, _) => match never {},
        }))
    }
}

impl<D: Digest> Feed<D> {
    pub(super) fn new(shared: Arc<Shared>, after: Sequence, blank: Option<D>) -> Self {
        Self { published: shared.published.subscribe(), shared, after, blank, reading: None }
    }

    /// As [`Follower::next`]; a digest has no limit but its own.
    pub async fn next(&mut self, limit: usize) -> Result<Option<Fed<D>>, FollowError> {
        // A follower far behind finds something at each call and would never yield.
        tokio::task::consume_budget().await;
        loop {
            let Published { head, ended } = *self.published.borrow_and_update();
            if self.after < head {
                let fed = self.read(Range { after: self.after, through: head }, limit.max(1)).await?;
                self.after = fed.as_ref().map_or(head, Fed::through);
                if fed.is_some() {
                    return Ok(fed);
                }
            } else if ended || self.published.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Goes back to an earlier place: what comes after it comes again.
    pub fn rewind(&mut self, after: Sequence) {
        self.after = self.after.min(after);
        self.reading = None;
    }

    async fn read(&mut self, range: Range, limit: usize) -> Result<Option<Fed<D>>, FollowError> {
        loop {
            if let Some(events) = self.shared.ring.read(range, limit) {
                self.reading = None;
                return Ok(Fed::of(events));
            }
            let reading = match &mut self.reading {
                Some(reading) if reading.range.after == range.after => reading,
                other => {
                    // Nobody closes the semaphore.
                    let permit = Arc::clone(&self.shared.catch_up).acquire_owned().await.ok();
                    other.insert(Reading::begin(&self.shared, range, limit, self.blank.clone(), permit))
                }
            };
            let is_ahead = reading.is_ahead;
            let read = (&mut reading.read).await;
            self.reading = None;
            return match read {
                Ok(Ok(fed)) => {
                    // What was read ahead was so for another limit.
                    let fed = fed.and_then(|fed| fed.cut(limit));
                    self.read_ahead(fed.as_ref(), range, limit);
                    Ok(fed)
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

    /// Reads what comes next while this is on its way; unless so many read that it would be in their way.
    fn read_ahead(&mut self, fed: Option<&Fed<D>>, range: Range, limit: usize) {
        let Some(last) = fed.map(Fed::through) else { return };
        if last < range.through
            && last < self.shared.ring.base()
            && let Ok(permit) = Arc::clone(&self.shared.catch_up).try_acquire_owned()
        {
            let range = Range { after: last, ..range };
            let reading = Reading::begin(&self.shared, range, limit, self.blank.clone(), Some(permit));
            self.reading = Some(Reading { is_ahead: true, ..reading });
        }
    }
}

impl<D: Digest> Fed<D> {
    /// `None` where there are none.
    fn of(events: Vec<Arc<Event>>) -> Option<Self> {
        let through = events.last()?.sequence;
        Some(Self::Events(Batch { events, through }))
    }

    /// Everything up to and with this has been seen: where to resume.
    pub const fn through(&self) -> Sequence {
        match self {
            Self::Events(Batch { through, .. }) | Self::Digest(_, through) => *through,
        }
    }

    fn cut(self, limit: usize) -> Option<Self> {
        match self {
            Self::Events(Batch { mut events, .. }) => {
                events.truncate(limit);
                Self::of(events)
            }
            digest @ Self::Digest(..) => Some(digest),
        }
    }

    fn read(reader: &dyn Reader, range: Range, limit: usize, blank: Option<D>) -> Result<Option<Self>, ReadError> {
        let Some(mut digest) = blank else { return Ok(Self::of(reader.read(range, limit)?)) };
        let (mut through, mut is_whole) = (None, true);
        let read = reader.read_briefly(range, &mut |event| {
            // A store may catch a panic.
            is_whole = false;
            let taken = digest.take(event);
            is_whole = true;
            if taken != Taken::No {
                through = Some(event.sequence);
            }
            if taken == Taken::Yes { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        match (read, through) {
            // First what is still good; the error comes again.
            (Err(_), Some(through)) if is_whole => Ok(Some(Self::Digest(digest, through))),
            (read, through) => read.map(|()| through.map(|through| Self::Digest(digest, through))),
        }
    }
}

impl<D: Digest> Reading<D> {
    /// The permit goes with the read, which goes on if nobody waits for it any more.
    fn begin(
        shared: &Shared,
        range: Range,
        limit: usize,
        blank: Option<D>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let reader = Arc::clone(&shared.reader);
        let read = tokio::task::spawn_blocking(move || {
            let read = Fed::read(&*reader, range, limit, blank);
            drop(permit);
            read
        });
        Self { range, is_ahead: false, read }
    }
}
