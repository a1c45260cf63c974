//! Gathering events into frames.

use std::collections::VecDeque;
use std::sync::Arc;

use super::encoded::Encodings;
use super::{FRAME_BYTES, Selection};
use crate::journal::{Batch, Digest, Fed, Taken};
use crate::model::{Brief, Event, Sequence};
use crate::pb::WatchFrame;

/// The events of a frame, at the most.
pub(super) const FRAME_EVENTS: usize = 256;
/// HTTP/2 peers charge for unread data frames smaller than this, and close the whole connection when they were too many
/// (pitfalls: h2 0.4.16 and later).
const SMALL: usize = 256;
/// After so many events that nobody asked for, the client is told how far it is, so that resuming does not repeat them all.
const PASSED_OVER: usize = 1_000;

/// How many frames are made at once where the events are read, at the most: a thread need not be woken for each.
const DIGESTED: usize = 4;
/// After so many bytes no frame is begun any more, and one that has so many ends the read: a client that reads none of them should not
/// cost much, and there may be another read ahead.
const DIGESTED_BYTES: usize = 96 * 1024;

/// A frame in the making.
#[derive(Clone, Default)]
pub(super) struct Draft {
    pub(super) count: usize,
    /// The events, encoded.
    pub(super) bytes: Vec<u8>,
    passed_over: usize,
    /// Everything up to here has been looked at.
    position: Sequence,
}

impl Draft {
    /// Whether it has looked at nothing yet.
    const fn is_blank(&self) -> bool {
        self.count == 0 && self.passed_over == 0
    }

    fn has_to_go(&self) -> bool {
        self.count >= FRAME_EVENTS || self.passed_over >= PASSED_OVER
    }

    /// Adds an event, which `encode` puts behind the others; `false` if there is no room for it.
    fn try_add(&mut self, sequence: Sequence, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        let before = self.bytes.len();
        encode(&mut self.bytes);
        if self.bytes.len() > FRAME_BYTES && self.count > 0 {
            self.bytes.truncate(before);
            return false;
        }
        self.count += 1;
        self.position = sequence;
        true
    }

    fn pass_over(&mut self, sequence: Sequence) {
        self.passed_over += 1;
        self.position = sequence;
    }

    /// Adds what comes next; gives it back if there is no room for it.
    fn try_join(&mut self, next: Self) -> Result<(), Self> {
        let (count, bytes) = (self.count + next.count, self.bytes.len() + next.bytes.len());
        if self.count > 0 && next.count > 0 && (count > FRAME_EVENTS || bytes > FRAME_BYTES) {
            return Err(next);
        }
        if self.bytes.is_empty() {
            self.bytes = next.bytes;
        } else {
            self.bytes.extend_from_slice(&next.bytes);
        }
        self.count = count;
        self.passed_over += next.passed_over;
        self.position = next.position;
        Ok(())
    }
}

/// Frames in the making where the events are read: in brief.
#[derive(Clone)]
pub(super) struct Digested {
    selection: Arc<Selection>,
    bound: Option<Sequence>,
    whole: VecDeque<Draft>,
    /// The last one.
    draft: Draft,
}

impl Digested {
    /// One with nothing in it yet; `None` where a selection needs to know more of events.
    pub(super) fn blank(selection: &Arc<Selection>, bound: Option<Sequence>) -> Option<Self> {
        let blank =
            || Self { selection: Arc::clone(selection), bound, whole: VecDeque::new(), draft: Draft::default() };
        selection.is_brief().then(blank)
    }

    fn has_all(&self) -> bool {
        let bytes = self.whole.iter().chain([&self.draft]).map(|draft| draft.bytes.len()).sum::<usize>();
        self.whole.len() + 1 >= DIGESTED || bytes >= DIGESTED_BYTES
    }

    /// Begins the next frame.
    fn cut(&mut self) {
        self.whole.push_back(std::mem::take(&mut self.draft));
    }

    /// Encodes an event; the first of a frame makes room for others of its size.
    fn encode(event: &Brief<'_>, bytes: &mut Vec<u8>) {
        let is_first = bytes.is_empty();
        WatchFrame::push_brief(bytes, event);
        if is_first {
            let frame = bytes.len() * (FRAME_EVENTS + FRAME_EVENTS / 8);
            bytes.reserve_exact(frame.min(DIGESTED_BYTES));
        }
    }
}

impl Digest for Digested {
    fn take(&mut self, event: &Brief<'_>) -> Taken {
        let sequence = event.sequence;
        if self.bound.is_some_and(|bound| sequence > bound) {
            return Taken::Last;
        }
        if self.draft.has_to_go() {
            self.cut();
        }
        let encode = |bytes: &mut Vec<u8>| Self::encode(event, bytes);
        if !self.selection.selects_brief(event) {
            self.draft.pass_over(sequence);
        } else if !self.draft.try_add(sequence, encode) {
            if self.has_all() {
                return Taken::No;
            }
            self.cut();
            // An empty one has room for any.
            self.draft.try_add(sequence, encode);
        }
        let is_full = self.draft.has_to_go() && self.has_all() || self.draft.bytes.len() >= DIGESTED_BYTES;
        let is_last = Some(sequence) == self.bound || is_full;
        if is_last { Taken::Last } else { Taken::Yes }
    }
}

/// Events on their way from the log into frames. Between two frames it keeps one at the most that was not looked at: they would live
/// for as long as a client reads nothing, with all that they are about, when the log has long let go of them.
pub(super) struct Gatherer {
    /// Read, but not looked at yet.
    backlog: VecDeque<Arc<Event>>,
    /// Looked at where it was read; it comes before the backlog.
    digested: VecDeque<Draft>,
    /// Everything up to here has been read.
    read: Sequence,
    /// What lies beyond is not wanted.
    bound: Option<Sequence>,
    /// The next frame.
    draft: Draft,
    /// How many events a frame has room for, as far as is known from the one before.
    room: usize,
}

impl Gatherer {
    pub(super) fn new(position: Sequence, bound: Option<Sequence>) -> Self {
        let draft = Draft { position, ..Draft::default() };
        Self { backlog: VecDeque::new(), digested: VecDeque::new(), read: position, bound, draft, room: FRAME_EVENTS }
    }

    /// How many events to read: about as many as the frame has room for, and not so few that reading takes longer than all the rest.
    pub(super) fn room(&self) -> usize {
        FRAME_EVENTS.saturating_sub(self.draft.count).max(FRAME_EVENTS / 2).min(self.room)
    }

    /// Gives up what was read and not looked at, unless that is the one event that found no room; where to read it again.
    pub(super) fn give_up_backlog(&mut self) -> Option<Sequence> {
        // Frames are what is kept of digested events, and they are few.
        if self.backlog.len() <= 1 {
            return None;
        }
        self.backlog.clear();
        self.read = self.draft.position;
        Some(self.read)
    }

    /// Where to resume after what has been gathered.
    pub(super) const fn position(&self) -> Sequence {
        self.draft.position
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.draft.count == 0
    }

    /// Whether the frame is so small that it is worth to wait for more.
    pub(super) const fn is_small(&self) -> bool {
        self.draft.bytes.len() < SMALL
    }

    pub(super) fn push(&mut self, fed: Fed<Digested>) {
        self.read = fed.through();
        let bound = self.bound;
        let is_wanted = |event: &Arc<Event>| bound.is_none_or(|bound| event.sequence <= bound);
        match fed {
            Fed::Events(Batch { events, .. }) => self.backlog.extend(events.into_iter().filter(is_wanted)),
            Fed::Digest(Digested { whole, draft, .. }, _) => {
                self.digested.extend(whole.into_iter().chain([draft]).filter(|draft| !draft.is_blank()));
            }
        }
    }

    /// Whether all that is wanted has been looked at; never where nothing bounds it.
    pub(super) fn has_all(&self) -> bool {
        self.backlog.is_empty() && self.digested.is_empty() && self.bound.is_some_and(|bound| self.read >= bound)
    }

    /// Looks at what was read, until the frame has to go; `true` if it has to.
    pub(super) fn gather(&mut self, selection: &Selection, encodings: &Encodings) -> bool {
        while !self.draft.has_to_go()
            && let Some(digested) = self.digested.pop_front()
        {
            if let Err(digested) = self.draft.try_join(digested) {
                self.digested.push_front(digested);
                return true;
            }
        }
        while !self.draft.has_to_go() {
            let Some(event) = self.backlog.pop_front() else { return false };
            if !selection.selects(&event) {
                self.draft.pass_over(event.sequence);
            } else if !self.draft.try_add(event.sequence, |bytes| selection.shows.push(&event, encodings, bytes)) {
                self.backlog.push_front(event);
                return true;
            }
        }
        true
    }

    /// The frame, and what is to resume after it; without events it is a bookmark.
    pub(super) fn take(&mut self) -> (Draft, Sequence) {
        let position = self.draft.position;
        // One frame of large events makes the next reads short, and they grow again with frames of small ones.
        let fits = self.draft.bytes.len().checked_div(self.draft.count).map(|each| FRAME_BYTES / each.max(1) + 1);
        self.room = fits.unwrap_or(FRAME_EVENTS).min(2 * self.room).min(FRAME_EVENTS);
        (std::mem::replace(&mut self.draft, Draft { position, ..Draft::default() }), position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::testing::created;
    use crate::model::{Cause, Parent, WatchFilter};
    use crate::pb::render::EventView;
    use crate::rpc::watch::Shows;

    /// The bytes of each frame that one read makes of events with reasons of that length.
    fn frames(reason: usize) -> Vec<usize> {
        let shows = Shows::Tasks(EventView::Basic);
        let selection = Arc::new(Selection { parent: Parent::All, filter: WatchFilter::default(), shows });
        let mut digested = Digested::blank(&selection, None).expect("it needs no more");
        let cause = Cause::system("test", "x".repeat(reason));
        let is_taken = |number| digested.take(&Brief::from(&Event { cause: cause.clone(), ..created(number) }));
        assert_eq!((1..).map(is_taken).find(|taken| *taken != Taken::Yes), Some(Taken::Last));
        digested.whole.iter().chain([&digested.draft]).map(|draft| draft.bytes.len()).collect()
    }

    #[test]
    fn a_read_makes_few_frames_and_fewer_of_large_events() {
        assert_eq!(frames(1).len(), DIGESTED);
        let large = frames(500);
        assert!(large.len() == 1 && large[0] >= DIGESTED_BYTES, "{large:?}");
    }
}
