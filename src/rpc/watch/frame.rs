//! Gathering events into frames.

use std::collections::VecDeque;
use std::sync::Arc;

use prost::Message;

use super::{FRAME_BYTES, Selection};
use crate::journal::Batch;
use crate::model::{Event, Sequence};
use crate::pb::v1;

/// The events of a frame, at the most.
pub(super) const FRAME_EVENTS: usize = 256;
/// HTTP/2 peers charge for unread data frames smaller than this, and close the whole connection when they were too many
/// (pitfalls: h2 0.4.16 and later).
const SMALL: usize = 256;
/// After so many events that nobody asked for, the client is told how far it is, so that resuming does not repeat them all.
const PASSED_OVER: usize = 1_000;
/// A field's tag and length, at the most.
const FIELD_OVERHEAD: usize = 6;

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
    events: Vec<v1::Event>,
    bytes: usize,
    passed_over: usize,
}

impl Gatherer {
    pub(super) fn new(position: Sequence, bound: Option<Sequence>) -> Self {
        Self { backlog: VecDeque::new(), position, read: position, bound, events: Vec::new(), bytes: 0, passed_over: 0 }
    }

    /// Where to resume after what has been gathered.
    pub(super) const fn position(&self) -> Sequence {
        self.position
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether the frame is so small that it is worth to wait for more.
    pub(super) const fn is_small(&self) -> bool {
        self.bytes < SMALL
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
    pub(super) fn gather(&mut self, selection: &Selection) -> bool {
        while self.events.len() < FRAME_EVENTS && self.passed_over < PASSED_OVER {
            let Some(event) = self.backlog.pop_front() else { return false };
            if selection.selects(&event) {
                let rendered = selection.render(&event);
                let bytes = self.bytes + rendered.encoded_len() + FIELD_OVERHEAD;
                if bytes > FRAME_BYTES && !self.events.is_empty() {
                    self.backlog.push_front(event);
                    return true;
                }
                self.bytes = bytes;
                self.events.push(rendered);
            } else {
                self.passed_over += 1;
            }
            self.position = event.sequence;
        }
        true
    }

    /// The events for a frame, and where to resume after it; without events it is a bookmark.
    pub(super) fn take(&mut self) -> (Vec<v1::Event>, Sequence) {
        self.bytes = 0;
        self.passed_over = 0;
        (std::mem::take(&mut self.events), self.position)
    }
}
