//! Events, encoded: those of late once for all streams.

use std::sync::{Mutex, PoisonError};

use prost::Message;

use crate::model::{Brief, Event, Sequence};
use crate::pb::WatchFrame;
use crate::pb::render::{self, EventView};

/// How many events are kept: far more than lie between the first stream and the last of those that keep up.
const KEPT: usize = 4_096;
/// The longest that is kept. Larger ones are rare, and there is to be a bound: 4 MiB in all.
const LONGEST: usize = 1_024;

/// The newest events in the basic view, which nearly all streams have, as far as any stream has shown them.
pub(in crate::rpc) struct Encodings(Box<[Mutex<Encoding>]>);

#[derive(Default)]
struct Encoding {
    sequence: Sequence,
    /// As it is in a frame.
    event: Box<[u8]>,
}

impl Default for Encodings {
    fn default() -> Self {
        Self((0..KEPT).map(|_| Mutex::default()).collect())
    }
}

impl Encodings {
    /// Adds an event to those of a frame.
    pub(super) fn push(&self, event: &Event, view: EventView, frame: &mut Vec<u8>) {
        if view != EventView::Basic {
            return WatchFrame::push_event(frame, &render::event(event, view).encode_to_vec());
        }
        let place = event.sequence.get() % KEPT as u64;
        let slot = || self.0[usize::try_from(place).unwrap_or_default()].lock().unwrap_or_else(PoisonError::into_inner);
        let kept = slot();
        if kept.sequence == event.sequence {
            return frame.extend_from_slice(&kept.event);
        }
        drop(kept);
        let before = frame.len();
        WatchFrame::push_brief(frame, &Brief::from(event));
        let encoded = &frame[before..];
        let mut kept = slot();
        // A replay of what is long past is not to displace what others are about to show.
        if event.sequence > kept.sequence && encoded.len() <= LONGEST {
            *kept = Encoding { sequence: event.sequence, event: encoded.into() };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::testing::{any_events, created, event, task};
    use crate::model::{Annotations, EventType, Task};
    use crate::pb::v1::WatchTasksResponse;

    fn shown(encodings: &Encodings, event: &Event, view: EventView) -> Vec<u64> {
        let mut frame = Vec::new();
        encodings.push(event, view, &mut frame);
        let shown = WatchTasksResponse::decode(&*frame).expect("a frame");
        assert_eq!(shown.events, [render::event(event, view)]);
        encodings.0.iter().map(|slot| slot.lock().expect("no panic").sequence.get()).filter(|kept| *kept > 0).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_event_in_brief_is_on_the_wire_what_it_is_in_the_basic_view(event in any_events()) {
            let mut whole = Vec::new();
            WatchFrame::push_event(&mut whole, &render::event(&event, EventView::Basic).encode_to_vec());
            let mut brief = Vec::new();
            WatchFrame::push_brief(&mut brief, &Brief::from(&event));
            prop_assert_eq!(brief, whole);
        }
    }

    #[test]
    fn each_event_is_shown_as_it_is_whatever_is_kept() {
        let encodings = Encodings::default();
        assert_eq!(shown(&encodings, &created(7), EventView::Full), [0; 0], "only the basic view is kept");
        for _ in 0..2 {
            assert_eq!(shown(&encodings, &created(7), EventView::Basic), [7]);
        }
        assert_eq!(shown(&encodings, &created(7), EventView::Full), [7]);
        assert_eq!(shown(&encodings, &created(KEPT + 7), EventView::Basic), [KEPT as u64 + 7]);
        assert_eq!(
            shown(&encodings, &created(7), EventView::Basic),
            [KEPT as u64 + 7],
            "what is past displaces nothing"
        );
        assert_eq!(shown(&encodings, &created(8), EventView::Basic), [KEPT as u64 + 7, 8]);
    }

    #[test]
    fn what_is_large_is_shown_and_not_kept() {
        let encodings = Encodings::default();
        let name = crate::model::TaskName::parse(&format!("namespaces/{0}/tasks/{0}", "n".repeat(63))).expect("valid");
        let annotations = Annotations::try_new([("a".to_owned(), "x".repeat(15_000))]).expect("valid");
        let large = event(1, EventType::TaskCreated, Task { name, annotations, ..task("t", 1) });
        assert_eq!(shown(&encodings, &large, EventView::Basic), [1], "the basic view has no annotations");
        let cause = crate::model::Cause::system("test", "x".repeat(LONGEST));
        let large = Event { cause, sequence: Sequence::new(2), ..large };
        assert_eq!(shown(&encodings, &large, EventView::Basic), [1], "larger than what is kept");
    }
}
