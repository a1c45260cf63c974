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
