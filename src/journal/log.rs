//! The newest events, for many readers and one writer.

use std::ops::Bound;
use std::sync::Arc;

use arc_swap::ArcSwap;
use imbl::OrdMap;

use super::store::Range;
use crate::model::{Event, Sequence};

/// Large groups are kept in pieces of this many events: a piece is freed as a whole.
const PIECE: usize = 256;

/// The newest events, bounded by count. A persistent map that is swapped whole, so readers take no lock and the writer waits
/// for none of them, however slow they are.
pub(super) struct Log {
    current: ArcSwap<Events>,
    capacity: usize,
}

#[derive(Clone)]
struct Events {
    /// Every event after this place is here.
    base: Sequence,
    /// Committed groups by their last sequence, so that a commit costs about the same whatever its size. Sequences may have gaps.
    pieces: OrdMap<Sequence, Arc<[Arc<Event>]>>,
    /// How many events the pieces have.
    len: usize,
}

impl Log {
    /// A log that begins after `base` and keeps the last `capacity` events.
    pub(super) fn new(base: Sequence, capacity: usize) -> Self {
        Self { current: ArcSwap::from_pointee(Events { base, pieces: OrdMap::new(), len: 0 }), capacity }
    }

    /// The place after which every event is here.
    pub(super) fn base(&self) -> Sequence {
        self.current.load().base
    }

    /// Adds events. There is one writer: two at once would lose events.
    pub(super) fn push(&self, group: &[Arc<Event>]) {
        let mut events = Events::clone(&self.current.load());
        for piece in group.chunks(PIECE) {
            if let Some(last) = piece.last() {
                events.pieces.insert(last.sequence, Arc::from(piece));
                events.len += piece.len();
            }
        }
        events.trim(self.capacity);
        self.current.store(Arc::new(events));
    }

    /// The first `limit` events of `range`; `None` if its beginning is no longer here.
    pub(super) fn read(&self, range: Range, limit: usize) -> Option<Vec<Arc<Event>>> {
        let Range { after, through } = range;
        let events = self.current.load();
        if after < events.base {
            return None;
        }
        let pieces = events.pieces.range::<_, Sequence>((Bound::Excluded(&after), Bound::Unbounded));
        let found = pieces.flat_map(|(_, piece)| &piece[piece.partition_point(|event| event.sequence <= after)..]);
        Some(found.take_while(|event| event.sequence <= through).take(limit).cloned().collect())
    }
}

impl Events {
    fn trim(&mut self, capacity: usize) {
        while let Some(excess) = self.len.checked_sub(capacity).filter(|excess| *excess > 0)
            && let Some((last, oldest)) = self.pieces.get_min().cloned()
        {
            if oldest.len() > excess {
                self.base = oldest[excess - 1].sequence;
                return;
            }
            self.base = last;
            self.len -= oldest.len();
            self.pieces.remove(&last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::testing::{created, numbers, sequence, shared};

    fn read(log: &Log, after: usize, through: usize, limit: usize) -> Option<Vec<u64>> {
        let range = Range { after: sequence(after), through: sequence(through) };
        log.read(range, limit).map(|events| numbers(&events))
    }

    #[test]
    fn it_keeps_the_newest_and_says_from_where() {
        let log = Log::new(sequence(10), 5);
        assert_eq!((log.base(), read(&log, 10, 10, 9)), (sequence(10), Some(vec![])));
        log.push(&shared((11..=13).map(created)));
        assert_eq!((log.base(), read(&log, 10, 13, 9)), (sequence(10), Some(vec![11, 12, 13])));
        log.push(&shared((14..=17).map(created)));
        assert_eq!((log.base(), read(&log, 11, 17, 9)), (sequence(12), None));
        assert_eq!(read(&log, 12, 17, 9), Some(vec![13, 14, 15, 16, 17]));
        log.push(&shared((18..=30).map(created)));
        assert_eq!((log.base(), read(&log, 25, 30, 9)), (sequence(25), Some(vec![26, 27, 28, 29, 30])));
    }

    #[test]
    fn a_group_of_many_pieces_is_kept_to_the_event() {
        let log = Log::new(sequence(0), 300);
        log.push(&shared((1..=1_000).map(created)));
        assert_eq!(log.base(), sequence(700));
        assert_eq!(read(&log, 699, 1_000, 9), None);
        assert_eq!(read(&log, 700, 1_000, 1_000), Some((701..=1_000).collect()));
        assert_eq!(read(&log, 766, 770, 9), Some(vec![767, 768, 769, 770]));
        for number in 1_001..=1_300 {
            log.push(&shared([created(number)]));
            assert_eq!(log.base(), sequence(number - 300));
        }
        assert_eq!(read(&log, 1_000, 1_300, 1_000), Some((1_001..=1_300).collect()));
    }

    #[test]
    fn reads_are_bounded_by_range_and_limit() {
        let log = Log::new(sequence(0), 100);
        log.push(&shared([1, 2, 5, 6, 9].map(created)));
        assert_eq!(read(&log, 0, 9, 2), Some(vec![1, 2]));
        assert_eq!(read(&log, 2, 8, 9), Some(vec![5, 6]));
        assert_eq!(read(&log, 3, 4, 9), Some(vec![]));
        assert_eq!(read(&log, 9, 9, 9), Some(vec![]));
        assert_eq!(read(&log, 12, 9, 9), Some(vec![]));
    }
}
