//! Gathering events into frames.

use std::collections::VecDeque;
use std::sync::Arc;

use super::encoded::Encodings;
use super::{FRAME_BYTES, Selection};
use crate::journal::Batch;
use crate::model::{Event, Sequence};

/// The events of a frame, at the most.
pub(super) const FRAME_EVENTS: usize = 256;
/// HTTP/2 peers charge for unread data frames smaller than this, and close the whole connection when they were too many
/// (pitfalls: h2 0.4.16 and later).
const SMALL: usize = 256;
/// After so many events that nobody asked for, the client is told how far it is, so that resuming does not repeat them all.
const PASSED_OVER: usize = 1_000;
/// Events on their way from the log into frames.
pub(super) struct Gatherer {
    /// Read, but not looked at yet.
    backlog: VecDeque<Arc<Event>>,
    /// Everything up to here has been looked at.
    position: Sequence,
    /// Everything up to here has been read.
    read: Sequence,
    /// What lies beyond is not wanted.
    bound: Option<Sequence>,
    /// Selected, for the next frame.
    events: Gathered,
    passed_over: usize,
}

/// Events for a frame.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) count: usize,
    /// The events, encoded.
    pub(super) bytes: Vec<u8>,
}

impl Gatherer {
    pub(super) fn new(position: Sequence, bound: Option<Sequence>) -> Self {
        let (backlog, events) = (VecDeque::new(), Gathered::default());
        Self { backlog, position, read: position, bound, events, passed_over: 0 }
    }

    /// Where to resume after what has been gathered.
    pub(super) const fn position(&self) -> Sequence {
        self.position
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.events.count == 0
    }

    /// Whether the frame is so small that it is worth to wait for more.
    pub(super) const fn is_small(&self) -> bool {
        self.events.bytes.len() < SMALL
    }

    pub(super) fn push(&mut self, batch: Batch) {
        self.read = batch.through;
        let bound = self.bound;
        self.backlog.extend(batch.events.into_iter().filter(|event| bound.is_none_or(|bound| event.sequence <= bound)));
    }

    /// Whether all that is wanted has been looked at; never where nothing bounds it.
    pub(super) fn has_all(&self) -> bool {
        self.backlog.is_empty() && self.bound.is_some_and(|bound| self.read >= bound)
    }

    /// Looks at what was read, until the frame has to go; `true` if it has to.
    pub(super) fn gather(&mut self, selection: &Selection, encodings: &Encodings) -> bool {
        while self.events.count < FRAME_EVENTS && self.passed_over < PASSED_OVER {
            let Some(event) = self.backlog.pop_front() else { return false };
            if selection.selects(&event) {
                let before = self.events.bytes.len();
                selection.shows.push(&event, encodings, &mut self.events.bytes);
                if self.events.bytes.len() > FRAME_BYTES && self.events.count > 0 {
                    self.events.bytes.truncate(before);
                    self.backlog.push_front(event);
                    return true;
                }
                self.events.count += 1;
            } else {
                self.passed_over += 1;
            }
            self.position = event.sequence;
        }
        true
    }

    /// The events for a frame, and where to resume after it; without events it is a bookmark.
    pub(super) fn take(&mut self) -> (Gathered, Sequence) {
        self.passed_over = 0;
        (std::mem::take(&mut self.events), self.position)
    }
}
