//! What the callers of a target have a say in: their own outcomes, and the trial calls that a half-open circuit lets through.

use std::time::Duration;

use super::super::policy::ranged;
use super::super::{HOUR, SECOND};
use super::bounded;
use crate::model::Violations;

/// The longest that a lease may last.
const LEASE_MAX: Duration = Duration::from_secs(600);

/// What callers have a say in, as a client wrote it.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassiveDraft {
    /// How far back outcomes count.
    pub window: Option<Duration>,
    /// How many outcomes a rate needs.
    pub min: Option<u32>,
    /// How many reporters must have had a bad one.
    pub min_reporters: Option<u32>,
    /// How many trial calls a half-open circuit asks for; 0 is none.
    pub trial_permits: Option<u32>,
    /// How many of them may be under way at once.
    pub trial_concurrency: Option<u32>,
    /// How long a trial call may take to be told of.
    pub lease_ttl: Option<Duration>,
}

/// What callers have a say in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassivePolicy {
    window: Duration,
    lease_ttl: Duration,
    min: u32,
    min_reporters: u32,
    trial_permits: u32,
    trial_concurrency: u32,
}

impl PassivePolicy {
    pub(super) fn new(draft: &PassiveDraft, timeout: Duration, violations: &mut Violations) -> Self {
        let PassiveDraft { window, min, min_reporters, trial_permits, trial_concurrency, lease_ttl } = *draft;
        let v = violations;
        let trial_permits = bounded(v, "trial_permits", trial_permits, 5, 0..=1_000);
        Self {
            window: ranged(v, "passive_window", window, 30 * SECOND, SECOND, HOUR),
            lease_ttl: ranged(v, "lease_ttl", lease_ttl, timeout.max(10 * SECOND), timeout, LEASE_MAX),
            min: bounded(v, "passive_min", min, 20, 1..=1_000_000),
            min_reporters: bounded(v, "min_reporters", min_reporters, 1, 1..=100),
            trial_permits,
            trial_concurrency: bounded(v, "trial_concurrency", trial_concurrency, 1, 1..=trial_permits.max(1)),
        }
    }

    /// How far back outcomes count.
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// How many outcomes a rate needs.
    pub const fn min(&self) -> u32 {
        self.min
    }

    /// How many reporters must have had a bad one.
    pub const fn min_reporters(&self) -> u32 {
        self.min_reporters
    }

    /// How many trial calls a half-open circuit asks for; 0 is none.
    pub const fn trial_permits(&self) -> u32 {
        self.trial_permits
    }

    /// How many of them may be under way at once.
    pub const fn trial_concurrency(&self) -> u32 {
        self.trial_concurrency
    }

    /// How long a trial call may take to be told of.
    pub const fn lease_ttl(&self) -> Duration {
        self.lease_ttl
    }
}
