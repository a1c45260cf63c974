//! What callers have reported of a closed circuit, as far back as it counts, and what it amounts to.

use std::time::Duration;

use super::window::{Mark, reach_a_rate};
use crate::model::{CircuitPolicy, Mono, PassiveCounts, PassivePolicy};

/// Of how many parts a window is. Evidence leaves it a part at a time.
const BUCKETS: u32 = 10;
/// So many different reporters are the most that a policy can ask for.
const MOST_ACCUSERS: usize = 100;

/// Counts by time. A bucket bears the number of spans from the clock's origin to its begin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PassiveWindow {
    /// How long a bucket is.
    span: Duration,
    /// By number, none empty: ten at the most.
    buckets: Vec<Bucket>,
    /// Who had a bad one, each with the newest bucket that has it, oldest first. No more than any policy asks
    /// for: if so many of the newest are in the window, there are enough.
    accusers: Vec<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Bucket {
    number: u64,
    results: u32,
    failed: u32,
    slow: u32,
}

impl PassiveWindow {
    pub(super) fn new(policy: &PassivePolicy) -> Self {
        Self { span: span(policy), buckets: Vec::new(), accusers: Vec::new() }
    }

    /// Takes in an outcome.
    pub(super) fn push(&mut self, mark: Mark, reporter: u64, now: Mono) {
        self.roll(now);
        let number = self.number(now);
        if self.buckets.last().is_none_or(|bucket| bucket.number != number) {
            self.buckets.push(Bucket { number, results: 0, failed: 0, slow: 0 });
        }
        if let Some(bucket) = self.buckets.last_mut() {
            bucket.results = bucket.results.saturating_add(1);
            bucket.failed = bucket.failed.saturating_add(mark.failed().into());
            bucket.slow = bucket.slow.saturating_add(mark.slow().into());
        }
        if mark.bad() {
            self.accusers.retain(|(accuser, _)| *accuser != reporter);
            self.accusers.push((reporter, number));
            let spare = self.accusers.len().saturating_sub(MOST_ACCUSERS);
            self.accusers.drain(..spare);
        }
    }

    /// Lets go of what is too old.
    fn roll(&mut self, now: Mono) {
        let first = (self.number(now) + 1).saturating_sub(BUCKETS.into());
        let old = self.buckets.iter().take_while(|bucket| bucket.number < first).count();
        self.buckets.drain(..old);
        let old = self.accusers.iter().take_while(|(_, number)| *number < first).count();
        self.accusers.drain(..old);
    }

    /// Makes it as long as a new policy wants it. What is too old then leaves it as always: with the next outcome.
    pub(super) fn fit(&mut self, policy: &PassivePolicy) {
        let (old, new) = (self.span.as_nanos(), span(policy).as_nanos());
        self.span = span(policy);
        let moved = |number: u64| u64::try_from(u128::from(number) * old / new).unwrap_or(u64::MAX);
        let mut buckets: Vec<Bucket> = Vec::with_capacity(self.buckets.len());
        for bucket in self.buckets.drain(..) {
            let number = moved(bucket.number);
            match buckets.last_mut().filter(|last| last.number == number) {
                Some(last) => {
                    last.results = last.results.saturating_add(bucket.results);
                    last.failed = last.failed.saturating_add(bucket.failed);
                    last.slow = last.slow.saturating_add(bucket.slow);
                }
                None => buckets.push(Bucket { number, ..bucket }),
            }
        }
        self.buckets = buckets;
        self.accusers.iter_mut().for_each(|(_, number)| *number = moved(*number));
    }

    pub(super) fn counts(&self) -> PassiveCounts {
        let sum = |of: fn(&Bucket) -> u32| self.buckets.iter().map(of).fold(0, u32::saturating_add);
        PassiveCounts {
            results: sum(|bucket| bucket.results),
            failed: sum(|bucket| bucket.failed),
            slow: sum(|bucket| bucket.slow),
            leases: 0,
        }
    }

    /// Whether the outcomes call for opening the circuit: enough of them are bad, and enough different reporters say so.
    pub(super) fn trips(&self, policy: &CircuitPolicy) -> bool {
        let PassiveCounts { results, failed, slow, leases: _ } = self.counts();
        self.accusers.len() >= usize::try_from(policy.passive().min_reporters()).unwrap_or(usize::MAX)
            && results >= policy.passive().min()
            && reach_a_rate(results, failed, slow, policy)
    }

    fn number(&self, now: Mono) -> u64 {
        u64::try_from(u128::from(now.as_nanos()) / self.span.as_nanos().max(1)).unwrap_or(u64::MAX)
    }
}

fn span(policy: &PassivePolicy) -> Duration {
    policy.window() / BUCKETS
}
