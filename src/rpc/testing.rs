//! What this room's tests are made of.

use std::sync::mpsc::sync_channel;

use crate::journal::testing::put;
use crate::journal::{Journal, Release};
use crate::model::Event;

/// Appends events, and waits until they show. Blocks, so that a paused clock does not run on meanwhile.
pub(super) fn commit(journal: &Journal, events: impl IntoIterator<Item = Event>) {
    let events: Vec<_> = events.into_iter().collect();
    let after = events.last().expect("some").sequence;
    let (told, committed) = sync_channel(1);
    let run = Box::new(move || told.send(()).expect("awaited"));
    put(journal, events, vec![Release { after, run }]);
    committed.recv().expect("committed");
}
