//! What a mirror, its guards and its tasks have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::Policy;
use super::ask::Ask;
use super::directory::Directory;
use super::freshness::Freshness;
use super::local::Local;
use super::outbox::Outbox;
use crate::pb::v1::{Circuit, Disposition};

/// What is common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) freshness: Freshness,
    pub(super) policy: Policy,
    pub(super) directory: Directory,
    pub(super) outbox: Outbox,
    pub(super) asks: mpsc::Sender<Ask>,
    /// The server is there again: what waits before it tries again need not.
    pub(super) back: Notify,
    pub(super) counters: Counters,
    versions: AtomicU64,
}

/// What is counted, but for what the outbox drops.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) denied: AtomicU64,
    pub(super) trials: AtomicU64,
    pub(super) reconnects: AtomicU64,
    pub(super) refused: AtomicU64,
    dispositions: [AtomicU64; 7],
}

/// What a mirror has done and left undone since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How long ago the server was last heard; `None`: never.
    pub age: Option<Duration>,
    /// How often the watch was opened again, after it had stood before; tries that failed are not counted.
    pub reconnects: u64,
    /// Calls that were rejected.
    pub denied: u64,
    /// Trial calls that the server permitted.
    pub trials: u64,
    /// Outcomes that the server has answered; what follows, but for `dropped` and `refused`, is what became of them.
    pub reported: u64,
    /// Outcomes that counted.
    pub accepted: u64,
    /// Outcomes of calls that had begun under an earlier epoch, or of circuits that are suspended or gone.
    pub stale: u64,
    /// Outcomes of trial calls that came too late.
    pub expired: u64,
    /// Outcomes that were told again after a connection had broken, and had arrived before.
    pub duplicate: u64,
    /// Outcomes that say nothing of their target.
    pub neutral: u64,
    /// Outcomes of calls without a lease, of circuits that were half-open by then.
    pub ignored: u64,
    /// Outcomes for which the queue had no room.
    pub dropped: u64,
    /// Outcomes that the server would not take in, or whose circuit had moved on too far to be told.
    pub refused: u64,
}

impl Counters {
    /// Counts what has become of outcomes that were told.
    pub(super) fn count(&self, dispositions: &[i32]) {
        for disposition in dispositions {
            let place = usize::try_from(*disposition).unwrap_or(0);
            // What a later version of the server says and this one does not know.
            let counter = self.dispositions.get(place).unwrap_or(&self.dispositions[0]);
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Shared {
    pub(super) fn new(policy: Policy, staleness: Duration, outbox: Outbox, asks: mpsc::Sender<Ask>) -> Self {
        Self {
            freshness: Freshness::new(staleness),
            policy,
            directory: Directory::default(),
            outbox,
            asks,
            back: Notify::new(),
            counters: Counters::default(),
            versions: AtomicU64::new(0),
        }
    }

    /// Takes over what the server shows.
    pub(super) fn show(&self, circuit: &Circuit) -> Arc<Local> {
        let local = self.directory.of(&circuit.name);
        local.show(circuit, self.freshness.at(Instant::now()), || self.next_version());
        local
    }

    /// What numbers a token that is new.
    pub(super) fn next_version(&self) -> u64 {
        self.versions.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { denied, trials, reconnects, refused, dispositions } = &self.counters;
        let of = |disposition: Disposition| read(&dispositions[disposition as usize]);
        Stats {
            age: self.freshness.age(),
            reconnects: read(reconnects),
            denied: read(denied),
            trials: read(trials),
            reported: dispositions.iter().map(read).sum(),
            accepted: of(Disposition::Accepted),
            stale: of(Disposition::Stale),
            expired: of(Disposition::Expired),
            duplicate: of(Disposition::Duplicate),
            neutral: of(Disposition::Neutral),
            ignored: of(Disposition::Ignored),
            dropped: self.outbox.dropped(),
            refused: read(refused),
        }
    }
}
