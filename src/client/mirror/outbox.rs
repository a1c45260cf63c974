//! What has come of calls, until it is told: bounded, and cheap for those who call.

use std::array;
use std::mem::swap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::Verdict;
use super::local::Local;

/// So that threads which call at the same time seldom meet at a lock.
pub(super) const SHARDS: usize = 8;
/// How many outcomes of trial calls may wait: there are few, as the server grants few at once.
const TRIALS: usize = 1_024;

/// The outcome of a call that had no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Which circuit it was, by number.
    pub(super) circuit: u32,
    /// As which version it was seen: which token the outcome bears.
    pub(super) version: u64,
    pub(super) verdict: Verdict,
    /// In nanoseconds; zero where it was not measured.
    pub(super) latency: u64,
}

/// An outcome that so many calls in a row had. Where calls wait for nothing that is most of them, and then one cache line takes them all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) record: Record,
    pub(super) calls: u32,
}

/// The outcome of a call that the server permitted by itself.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) circuit: Arc<Local>,
    pub(super) token: String,
    /// Whether there is a lease to it, which others may have once it is told.
    pub(super) leased: bool,
    pub(super) verdict: Verdict,
    pub(super) latency: u64,
}

/// A lock to a cache line, or two, since neighbours are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    runs: Vec<Run>,
    /// How many outcomes those are.
    outcomes: usize,
}

impl Held {
    #[inline]
    fn push(&mut self, record: Record) {
        self.outcomes += 1;
        match self.runs.last_mut() {
            // The limit is far below what fits.
            Some(run) if run.record == record => run.calls = run.calls.saturating_add(1),
            _ => self.runs.push(Run { record, calls: 1 }),
        }
    }
}

/// What waits to be told.
#[derive(Debug)]
pub(super) struct Outbox {
    shards: [Shard; SHARDS],
    trials: Mutex<Vec<Trial>>,
    /// What a shard holds at the most.
    limit: usize,
    /// What of a shard does not wait for the flush interval to pass.
    batch: usize,
    /// Something has come.
    pub(super) begun: Notify,
    /// So much has come, or such, that it should go now.
    pub(super) urgent: Notify,
    dropped: AtomicU64,
}

impl Outbox {
    pub(super) fn new(queue: usize, batch: usize) -> Self {
        let limit = queue.div_ceil(SHARDS).max(1);
        Self {
            shards: array::from_fn(|_| Shard::default()),
            trials: Mutex::default(),
            limit,
            // However much of it is successes.
            batch: batch.min(room_for_all(limit)),
            begun: Notify::new(),
            urgent: Notify::new(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Takes in an outcome; drops and counts it where there is no room. The last quarter of the room is for those that did not go
    /// well: no storm of successes keeps a failure from being told.
    #[inline]
    pub(super) fn push(&self, record: Record) {
        let room = match record.verdict {
            Verdict::Success => room_for_all(self.limit),
            _ => self.limit,
        };
        let mut shard = self.shards[shard()].0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = shard.outcomes;
        if held >= room {
            drop(shard);
            self.drop_one();
            return;
        }
        shard.push(record);
        drop(shard);
        if held == 0 || held + 1 == self.batch {
            self.wake(held);
        }
    }

    #[cold]
    fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    #[cold]
    fn wake(&self, held: usize) {
        self.begun.notify_one();
        if held + 1 == self.batch {
            self.urgent.notify_one();
        }
    }

    /// Takes in the outcome of a trial call, which waits for no flush interval, but for the report that may be under way: others wait for
    /// its lease.
    pub(super) fn push_trial(&self, trial: Trial) {
        let mut trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        if trials.len() >= TRIALS {
            drop(trials);
            return self.drop_one();
        }
        trials.push(trial);
        drop(trials);
        self.begun.notify_one();
        self.urgent.notify_one();
    }

    /// Takes everything out, shard by shard into `emptied`, whose vectors are left in their place.
    pub(super) fn drain(&self, emptied: &mut [Vec<Run>; SHARDS]) -> Vec<Trial> {
        for (shard, emptied) in self.shards.iter().zip(emptied) {
            let mut held = shard.0.lock().unwrap_or_else(PoisonError::into_inner);
            held.outcomes = 0;
            swap(&mut held.runs, emptied);
        }
        std::mem::take(&mut *self.trials.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many found no room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// What of a shard's room is not kept for what did not go well.
const fn room_for_all(limit: usize) -> usize {
    limit - limit / 4
}

/// This thread's shard.
#[inline]
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    // Without thread-locals, which is while a thread ends, any will do.
    SHARD.try_with(|shard| *shard).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(verdict: Verdict) -> Record {
        Record { circuit: 0, version: 1, verdict, latency: 0 }
    }

    #[test]
    fn a_full_outbox_drops_and_counts_and_keeps_room_for_failures() {
        let outbox = Outbox::new(8 * SHARDS, 100);
        (0..20).for_each(|_| outbox.push(record(Verdict::Success)));
        assert_eq!(outbox.dropped(), 14, "6 of 8 places are for all");
        (0..3).for_each(|_| outbox.push(record(Verdict::Failure)));
        assert_eq!(outbox.dropped(), 15);
        let mut records = array::from_fn(|_| Vec::new());
        assert!(outbox.drain(&mut records).is_empty());
        let told = records.iter().flatten().map(|run: &Run| (run.record.verdict, run.calls));
        assert_eq!(told.collect::<Vec<_>>(), [(Verdict::Success, 6), (Verdict::Failure, 2)]);
        outbox.push(record(Verdict::Success));
        assert_eq!(outbox.dropped(), 15, "there is room again");
    }

    #[test]
    fn outcomes_that_differ_stay_apart_and_in_order() {
        let outbox = Outbox::new(100 * SHARDS, 100);
        let slow = Record { latency: 7, ..record(Verdict::Success) };
        let later = Record { version: 2, ..record(Verdict::Success) };
        let pushed = [record(Verdict::Success), record(Verdict::Success), slow, record(Verdict::Success), later, later];
        pushed.into_iter().for_each(|record| outbox.push(record));
        let mut records = array::from_fn(|_| Vec::new());
        outbox.drain(&mut records);
        let told = records.iter().flatten().flat_map(|run: &Run| std::iter::repeat_n(run.record, run.calls as usize));
        assert_eq!(told.collect::<Vec<_>>(), pushed);
    }

    #[tokio::test]
    async fn a_small_outbox_says_that_it_is_urgent_before_it_has_no_room_for_successes() {
        let outbox = Outbox::new(8 * SHARDS, 1_000);
        (0..6).for_each(|_| outbox.push(record(Verdict::Success)));
        let mut urgent = std::pin::pin!(outbox.urgent.notified());
        assert!(futures_util::poll!(&mut urgent).is_ready());
        assert_eq!(outbox.dropped(), 0);
    }

    #[test]
    fn trials_that_nobody_fetches_are_bounded_too() {
        let outbox = Outbox::new(8, 100);
        for _ in 0..TRIALS + 5 {
            let (circuit, token) = (Arc::new(Local::new("api".into(), 0)), String::new());
            outbox.push_trial(Trial { circuit, token, leased: true, verdict: Verdict::Cancelled, latency: 0 });
        }
        assert_eq!(outbox.dropped(), 5);
    }
}
