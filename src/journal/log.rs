//! The newest events, for many readers and one writer.

use std::ops::Bound;
use std::sync::Arc;

use arc_swap::ArcSwap;
use imbl::OrdMap;

use super::store::Range;
use crate::model::{Event, Sequence};

/// The newest events, bounded by count. A persistent map that is swapped whole, so readers take no lock and the writer waits
/// for none of them, however slow they are.
pub(super) struct Log {
    current: ArcSwap<Events>,
    capacity: usize,
}

/// Keyed by sequence, for nobody relies on sequences having no gaps.
#[derive(Clone)]
struct Events {
    /// Every event after this place is here.
    base: Sequence,
    map: OrdMap<Sequence, Arc<Event>>,
}

impl Log {
    /// A log that begins after `base` and keeps the last `capacity` events.
    pub(super) fn new(base: Sequence, capacity: usize) -> Self {
        Self { current: ArcSwap::from_pointee(Events { base, map: OrdMap::new() }), capacity }
    }

    /// The place after which every event is here.
    pub(super) fn base(&self) -> Sequence {
        self.current.load().base
    }

    /// Adds events. There is one writer: two at once would lose events.
    pub(super) fn push(&self, group: &[Arc<Event>]) {
        let mut events = Events::clone(&self.current.load());
        for event in group {
            events.map.insert(event.sequence, Arc::clone(event));
        }
        while events.map.len() > self.capacity
            && let Some(oldest) = events.map.get_min().map(|(sequence, _)| *sequence)
        {
            events.map.remove(&oldest);
            events.base = oldest;
        }
        self.current.store(Arc::new(events));
    }

    /// The first `limit` events of `range`; `None` if its beginning is no longer here.
    pub(super) fn read(&self, range: Range, limit: usize) -> Option<Vec<Arc<Event>>> {
        let events = self.current.load();
        if range.after < events.base {
            return None;
        }
        if range.through <= range.after {
            return Some(Vec::new());
        }
        let bounds = (Bound::Excluded(&range.after), Bound::Included(&range.through));
        Some(events.map.range::<_, Sequence>(bounds).take(limit).map(|(_, event)| Arc::clone(event)).collect())
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
