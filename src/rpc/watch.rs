//! WatchTasks and WatchCircuits: a stream is a place in the log and a selection. It pulls when its client has room, queues nothing,
//! and falls off only when retention has overtaken it.

mod encoded;
mod frame;
mod initial;
mod shows;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use prost::Message as _;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

pub(super) use self::encoded::Encodings;
use self::frame::{Digested, Draft, Gatherer};
use self::initial::{Expired, Part, Snapshot};
pub(super) use self::shows::Shows;
pub(super) use self::slots::{Slot, Slots};
use super::error::Error;
use crate::journal::{CursorError, Feed, Journal};
use crate::model::{Brief, BriefTask, Event, Parent, Sequence, Task, WatchFilter};
use crate::pb::WatchFrame;
use crate::pb::parse::{Start, WatchTasks};
use crate::pb::v1::WatchTasksResponse;
use crate::telemetry;

/// The size of an encoded frame. What it is sent from grows by doubling, and is kept for as long as the client reads nothing: so less
/// than a power of two.
const FRAME_BYTES: usize = 120 * 1024;
/// How long a stream is silent before a bookmark shows that it lives, and how far it is.
pub(super) const IDLE: Duration = Duration::from_secs(10);
/// How long a small frame is held back when the one before it has only just gone: so a burst goes out in a hundred frames a
/// second, and a single event at once.
pub(super) const LINGER: Duration = Duration::from_millis(10);
/// A stream ends between this age and twice of it, so that clients spread over servers again, and not all at once.
const AGE: Duration = Duration::from_secs(30 * 60);

/// Which events a watch shows, and how.
pub(super) struct Selection {
    parent: Parent,
    filter: WatchFilter,
    shows: Shows,
}

impl Selection {
    fn selects(&self, event: &Event) -> bool {
        // What is about the server itself is for everyone: only a filter of types excludes it.
        let about = |task: &Task| self.parent.contains(&task.name) && self.filter.matches_task(task);
        self.filter.matches_type(event.kind) && self.shows.has(event.kind) && event.task.as_deref().is_none_or(about)
    }

    /// Whether an event in brief is enough to select it, and to show it.
    fn is_brief(&self) -> bool {
        self.shows.is_brief() && self.filter.asks_names_alone()
    }

    fn selects_brief(&self, event: &Brief<'_>) -> bool {
        let about = |task: &BriefTask<'_>| self.parent.has_namespace(task.namespace) && self.filter.matches_name(task);
        self.filter.matches_type(event.kind) && event.task.as_ref().is_none_or(about)
    }
}

/// What a stream needs of the server.
pub(super) struct Resources {
    pub(super) journal: Journal,
    pub(super) metrics: telemetry::Rpcs,
    pub(super) encodings: Arc<Encodings>,
    /// Cancelled when the drain has come to the streams: everything has been committed by then.
    pub(super) closing: CancellationToken,
    pub(super) _slot: Slot,
}

/// Opens a watch. What is wrong with its cursor shows here, before the stream.
pub(super) fn open(
    request: WatchTasks,
    shows: Shows,
    resources: Resources,
) -> Result<impl Stream<Item = Result<WatchFrame, Status>> + use<>, Error> {
    let WatchTasks { parent, filter, start, view: _, end } = request;
    let journal = &resources.journal;
    let (after, initial) = match start {
        Start::Now => (journal.bounds().head, None),
        Start::InitialState => {
            let view = journal.view();
            (view.head(), Some(Snapshot::new(view)))
        }
        Start::Cursor(ref cursor) => (place(journal, "cursor", cursor)?, None),
    };
    let bound = end.map(|cursor| place(journal, "end_cursor", &cursor)).transpose()?;
    let now = Instant::now();
    let selection = Arc::new(Selection { parent, filter, shows });
    let feed = journal.feed(after, Digested::blank(&selection, bound));
    let mut watch = Watch {
        feed: feed.map_err(|error| Error::follow(error.into(), journal))?,
        gatherer: Gatherer::new(after, bound),
        selection,
        initial,
        ready: VecDeque::new(),
        last_frame: now,
        ages: ages(now),
        through: None,
        end: None,
        resources,
    };
    if start == Start::Now {
        watch.flush();
    }
    Ok(unfold(Some(watch), async |watch| {
        let mut watch = watch?;
        match watch.next().await {
            Ok(frame) => Some((Ok(frame), Some(watch))),
            Err(End::Complete) => None,
            Err(End::Error(error)) => Some((Err(error.into()), None)),
        }
    }))
}

fn place(journal: &Journal, field: &'static str, cursor: &str) -> Result<Sequence, Error> {
    journal.parse_cursor(cursor).map_err(|error| match error {
        CursorError::Malformed => Error::CursorInvalid(field),
        CursorError::Expired => Error::expired(journal),
    })
}

struct Watch {
    resources: Resources,
    selection: Arc<Selection>,
    /// What is left of the initial state.
    initial: Option<Snapshot>,
    feed: Feed<Digested>,
    gatherer: Gatherer,
    /// Frames to be sent before anything else happens.
    ready: VecDeque<WatchFrame>,
    last_frame: Instant,
    ages: Instant,
    /// Where the log ends, once the server closes.
    through: Option<Sequence>,
    /// What the stream ends with, after the frames that are ready.
    end: Option<End>,
}

/// What a stream ends with.
enum End {
    /// With OK: its client has all that it wanted.
    Complete,
    Error(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Why a frame is sent.
enum Cue {
    /// It is full, or has waited long enough; or there are none and the client wants to know.
    Frame,
    /// It is the last one, but for the bookmark.
    End(End),
}

impl Watch {
    /// The next frame, or what the stream ends with.
    async fn next(&mut self) -> Result<WatchFrame, End> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                self.last_frame = Instant::now();
                return Ok(frame);
            }
            if let Some(end) = self.end.take() {
                return Err(end);
            }
            if let Some(snapshot) = self.initial.take() {
                self.initial_state(snapshot).await?;
                continue;
            }
            match self.gather().await? {
                Cue::Frame => self.flush(),
                Cue::End(end) => {
                    if !self.gatherer.is_empty() {
                        self.flush();
                    }
                    self.flush();
                    self.end = Some(end);
                }
            }
        }
    }

    /// Sends a part of the initial state. It bears no cursor before it is complete, so a drain ends it there and then.
    async fn initial_state(&mut self, mut snapshot: Snapshot) -> Result<(), Error> {
        if self.resources.closing.is_cancelled() {
            return Err(Error::Draining);
        }
        let part = snapshot.next(&self.selection).await;
        let (frame, complete) = match part {
            Ok(Part::Some(frame)) => {
                self.initial = Some(snapshot);
                (frame, None)
            }
            Ok(Part::Last(frame, head)) => (frame, Some(head)),
            // As to a client whose cursor was overtaken: what it has so far leads nowhere.
            Err(Expired) => return Err(Error::expired(&self.resources.journal)),
        };
        if frame.encoded_len() > 0 {
            self.ready.push_back(frame);
        }
        if let Some(head) = complete {
            let cursor = self.resources.journal.cursor(head);
            let complete = WatchTasksResponse { initial_complete: true, cursor, ..Default::default() };
            self.ready.push_back(complete.into());
        }
        Ok(())
    }

    /// Gathers events until a frame has to go.
    async fn gather(&mut self) -> Result<Cue, Error> {
        loop {
            if self.gatherer.gather(&self.selection, &self.resources.encodings) {
                return Ok(Cue::Frame);
            }
            if self.gatherer.has_all() {
                return Ok(Cue::End(End::Complete));
            }
            if self.through.is_some_and(|through| self.gatherer.position() >= through) {
                return Ok(Cue::End(Error::Draining.into()));
            }
            let patience = self.patience();
            tokio::select! {
                biased;
                () = self.resources.closing.cancelled(), if self.through.is_none() => {
                    self.through = Some(self.resources.journal.bounds().head);
                }
                () = sleep_until(self.ages) => return Ok(Cue::End(Error::StreamAged.into())),
                fed = self.feed.next(self.gatherer.room()) => match fed {
                    Ok(Some(fed)) => self.gatherer.push(fed),
                    // The journal ends after the streams, or because its thread has panicked.
                    Ok(None) => return Ok(Cue::End(Error::Draining.into())),
                    Err(error) if self.gatherer.is_empty() => return Err(Error::follow(error, &self.resources.journal)),
                    // First what is still good; the error comes again.
                    Err(_) => return Ok(Cue::Frame),
                },
                () = sleep_until(patience) => return Ok(Cue::Frame),
            }
        }
    }

    /// How long to wait for more events.
    fn patience(&self) -> Instant {
        match (self.gatherer.is_empty(), self.gatherer.is_small()) {
            (true, _) => self.last_frame + IDLE,
            (false, true) => self.last_frame + LINGER,
            (false, false) => self.last_frame,
        }
    }

    /// Makes a frame of what was gathered; a bookmark if that is nothing.
    fn flush(&mut self) {
        let (Draft { count, bytes, .. }, position) = self.gatherer.take();
        if let Some(position) = self.gatherer.give_up_backlog() {
            self.feed.rewind(position);
        }
        self.resources.metrics.events_sent.inc_by(count as u64);
        self.ready.push_back(WatchFrame::new(bytes, self.resources.journal.cursor(position)));
    }
}

/// When a stream ends that begins now.
pub(super) fn ages(now: Instant) -> Instant {
    now + AGE + jitter(AGE)
}

/// Anything from zero to `most`, drawn anew for each stream.
fn jitter(most: Duration) -> Duration {
    let drawn = Uuid::new_v4().as_u128() & u128::from(u32::MAX);
    most.mul_f64(f64::from(u32::try_from(drawn).unwrap_or(0)) / f64::from(u32::MAX))
}
