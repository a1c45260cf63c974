//! The newest results of a closed circuit, and what they amount to.

use std::collections::VecDeque;

use crate::model::{CircuitPolicy, PassiveCounts, WindowCounts};

/// What is kept of a result: a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark(u8);

impl Mark {
    const FAILED: u8 = 1;
    const SLOW: u8 = 2;

    pub(super) fn new(failed: bool, slow: bool) -> Self {
        Self(u8::from(failed) * Self::FAILED + u8::from(slow) * Self::SLOW)
    }

    pub(super) const fn failed(self) -> bool {
        self.0 & Self::FAILED != 0
    }

    pub(super) const fn slow(self) -> bool {
        self.0 & Self::SLOW != 0
    }

    /// Whether it speaks against the target.
    pub(super) const fn bad(self) -> bool {
        self.0 != 0
    }
}

/// The ring takes no memory before the first result. Its sums are kept beside it, so that no result costs a walk; a window has
/// 1,024 results at the most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Window {
    ring: VecDeque<Mark>,
    failed: u16,
    slow: u16,
    /// Bad results in a row; not bounded by the ring.
    consecutive: u16,
}

impl Window {
    /// Takes in a result, and lets go of what is too old.
    pub(super) fn push(&mut self, mark: Mark, policy: &CircuitPolicy) {
        let size = size(policy);
        self.cut(size - 1);
        self.ring.reserve_exact(size - self.ring.len());
        self.ring.push_back(mark);
        self.failed += u16::from(mark.failed());
        self.slow += u16::from(mark.slow());
        self.consecutive = if mark.bad() { self.consecutive.saturating_add(1) } else { 0 };
    }

    /// Makes it no longer than a new policy wants it; the newest results stay.
    pub(super) fn fit(&mut self, policy: &CircuitPolicy) {
        let size = size(policy);
        self.cut(size);
        self.ring.shrink_to(size);
    }

    fn cut(&mut self, length: usize) {
        for mark in self.ring.drain(..self.ring.len().saturating_sub(length)) {
            self.failed -= u16::from(mark.failed());
            self.slow -= u16::from(mark.slow());
        }
    }

    /// Whether the results call for opening the circuit.
    pub(super) fn trips(&self, policy: &CircuitPolicy) -> bool {
        let WindowCounts { results, failed, slow, consecutive, .. } = self.counts();
        policy.consecutive_failures().is_some_and(|most| consecutive >= most)
            || results >= policy.active_min() && reach_a_rate(results, failed, slow, policy)
    }

    pub(super) fn counts(&self) -> WindowCounts {
        WindowCounts {
            results: u32::try_from(self.ring.len()).unwrap_or(u32::MAX),
            failed: self.failed.into(),
            slow: self.slow.into(),
            consecutive: self.consecutive.into(),
            passive: PassiveCounts::default(),
        }
    }
}

/// Whether so many of these results failed, or were slow, that a rate of the policy is reached; whatever their source.
pub(super) fn reach_a_rate(results: u32, failed: u32, slow: u32, policy: &CircuitPolicy) -> bool {
    let reaches = |count: u32, rate: Option<u32>| {
        rate.is_some_and(|rate| u64::from(count) * 10_000 >= u64::from(rate) * u64::from(results))
    };
    let slow_rate = policy.slow_threshold().and(policy.slow_rate());
    reaches(failed, policy.failure_rate()) || reaches(slow, slow_rate)
}

fn size(policy: &CircuitPolicy) -> usize {
    usize::try_from(policy.active_window()).unwrap_or(usize::MAX)
}
