//! When a circuit opens, and how it closes. What callers have a say in has its own parameters, [`PassivePolicy`].

mod passive;

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::policy::ranged;
use super::{DAY, HOUR, MINUTE, MS, SECOND, Schedule};
use crate::model::{Pretty, Violations};

pub use passive::{PassiveDraft, PassivePolicy};

/// A circuit policy as a client wrote it.
#[derive(Clone, Copy, Debug, Default)]
pub struct CircuitDraft {
    /// So many bad results in a row open the circuit; 0 is off.
    pub consecutive_failures: Option<u32>,
    /// Over how many results rates are counted.
    pub active_window: Option<u32>,
    /// How many results a rate needs.
    pub active_min: Option<u32>,
    /// The share of failed results that opens the circuit, in basis points; 0 is off.
    pub failure_rate: Option<u32>,
    /// The share of slow results that opens the circuit, in basis points; 0 is off.
    pub slow_rate: Option<u32>,
    /// A check that takes longer is slow; `None` is off.
    pub slow_threshold: Option<Duration>,
    /// How long the circuit stays open the first time.
    pub open_base: Option<Duration>,
    /// What that never exceeds.
    pub open_max: Option<Duration>,
    /// By what it grows each time.
    pub multiplier: Option<f64>,
    /// The largest share of it that chance takes off.
    pub jitter: Option<f64>,
    /// So many passes close a half-open circuit.
    pub close_successes: Option<u32>,
    /// The distance of the checks of a half-open circuit.
    pub trial_interval: Option<Duration>,
    /// How long a circuit may be half open.
    pub half_open_max: Option<Duration>,
    /// How long the circuit must be closed for the streak to shrink by one; 0 forgets it at once.
    pub stable_for: Option<Duration>,
    /// What the streak never exceeds.
    pub streak_cap: Option<u32>,
    /// What callers have a say in.
    pub passive: PassiveDraft,
}

/// When a circuit opens, and how it closes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CircuitPolicy {
    slow_threshold: Option<Duration>,
    open_base: Duration,
    open_max: Duration,
    trial_interval: Duration,
    half_open_max: Duration,
    stable_for: Duration,
    multiplier: f64,
    jitter: f64,
    consecutive_failures: u32,
    active_window: u32,
    active_min: u32,
    failure_rate: u32,
    slow_rate: u32,
    close_successes: u32,
    streak_cap: u32,
    passive: PassivePolicy,
}

/// The value, or the default where none was given; a violation where it lies outside of `range`, as a NaN does.
fn bounded<T: Copy + Display + PartialOrd>(
    violations: &mut Violations,
    field: &str,
    value: Option<T>,
    default: T,
    range: RangeInclusive<T>,
) -> T {
    let Some(value) = value else { return default };
    if !range.contains(&value) {
        violations.add(field, format!("must be between {} and {}, got {value}", range.start(), range.end()));
        return default;
    }
    value
}

impl CircuitPolicy {
    /// All of a window, in basis points.
    const ALL: u32 = 10_000;

    pub(super) fn new(draft: &CircuitDraft, schedule: &Schedule, violations: &mut Violations) -> Self {
        let CircuitDraft {
            consecutive_failures,
            active_window,
            active_min,
            failure_rate,
            slow_rate,
            slow_threshold,
            open_base,
            open_max,
            multiplier,
            jitter,
            close_successes,
            trial_interval,
            half_open_max,
            stable_for,
            streak_cap,
            ref passive,
        } = *draft;
        let v = violations;
        let (interval, timeout) = (schedule.interval(), schedule.timeout());
        let active_window = bounded(v, "active_window", active_window, 10, 1..=1024);
        let open_base = ranged(v, "open_base", open_base, 5 * SECOND, 100 * MS, HOUR);
        let close_successes = bounded(v, "close_successes", close_successes, 3, 1..=100);
        let trial_interval = ranged(v, "trial_interval", trial_interval, interval.min(5 * SECOND), 100 * MS, DAY);
        // A trial that is shorter could not see its passes even if every check took its whole time.
        let trial = close_successes * (trial_interval + timeout);
        let stable_default = (10 * interval).clamp(MINUTE, DAY);
        let policy = Self {
            consecutive_failures: bounded(v, "consecutive_failures", consecutive_failures, 3, 0..=1000),
            active_window,
            active_min: bounded(v, "active_min", active_min, active_window.min(5), 1..=active_window),
            failure_rate: bounded(v, "failure_rate", failure_rate, 5_000, 0..=Self::ALL),
            slow_rate: bounded(v, "slow_rate", slow_rate, Self::ALL, 0..=Self::ALL),
            slow_threshold: slow_threshold.filter(|slow| slow_is_in_range(*slow, timeout, v)),
            open_base,
            open_max: ranged(v, "open_max", open_max, open_base.max(300 * SECOND), open_base, DAY),
            multiplier: bounded(v, "multiplier", multiplier, 2.0, 1.0..=10.0),
            jitter: bounded(v, "jitter", jitter, 0.2, 0.0..=0.5),
            close_successes,
            trial_interval,
            half_open_max: ranged(v, "half_open_max", half_open_max, trial.max(MINUTE), trial, trial.max(DAY)),
            stable_for: ranged(v, "stable_for", stable_for, stable_default, Duration::ZERO, DAY),
            streak_cap: bounded(v, "streak_cap", streak_cap, 16, 1..=64),
            passive: PassivePolicy::new(passive, timeout, v),
        };
        policy.check_rules(interval, v);
        policy
    }

    /// Refuses a circuit that can never open, or only when it is of no use any more.
    fn check_rules(&self, interval: Duration, violations: &mut Violations) {
        let by_row = (self.consecutive_failures > 0).then_some(self.consecutive_failures);
        let by_slowness = self.slow_threshold.is_some() && self.slow_rate > 0;
        let by_rate = (self.failure_rate > 0 || by_slowness).then_some(self.active_min);
        let Some(results) = by_row.into_iter().chain(by_rate).min() else {
            violations.add(
                "consecutive_failures",
                "one rule at least must be on: consecutive_failures, failure_rate, or slow_rate with slow_threshold",
            );
            return;
        };
        let (fastest, most) = ((results - 1) * interval, HOUR.max(10 * interval));
        if fastest > most {
            let field = if by_row == Some(results) { "consecutive_failures" } else { "active_min" };
            let (interval, fastest, most) = (Pretty(interval), Pretty(fastest), Pretty(most));
            violations.add(
                field,
                format!(
                    "{results} results at an interval of {interval} take {fastest} to open the circuit; at most {most}"
                ),
            );
        }
    }

    /// So many bad results in a row open the circuit; `None` is off.
    pub fn consecutive_failures(&self) -> Option<u32> {
        (self.consecutive_failures > 0).then_some(self.consecutive_failures)
    }

    /// Over how many results rates are counted.
    pub const fn active_window(&self) -> u32 {
        self.active_window
    }

    /// How many results a rate needs.
    pub const fn active_min(&self) -> u32 {
        self.active_min
    }

    /// The share of failed results that opens the circuit, in basis points; `None` is off.
    pub fn failure_rate(&self) -> Option<u32> {
        (self.failure_rate > 0).then_some(self.failure_rate)
    }

    /// The share of slow results that opens the circuit, in basis points; `None` is off.
    pub fn slow_rate(&self) -> Option<u32> {
        (self.slow_rate > 0).then_some(self.slow_rate)
    }

    /// A check that takes longer is slow; `None` is off.
    pub const fn slow_threshold(&self) -> Option<Duration> {
        self.slow_threshold
    }

    /// How long the circuit stays open the first time.
    pub const fn open_base(&self) -> Duration {
        self.open_base
    }

    /// What that never exceeds.
    pub const fn open_max(&self) -> Duration {
        self.open_max
    }

    /// By what it grows each time.
    pub const fn multiplier(&self) -> f64 {
        self.multiplier
    }

    /// The largest share of it that chance takes off.
    pub const fn jitter(&self) -> f64 {
        self.jitter
    }

    /// So many passes close a half-open circuit.
    pub const fn close_successes(&self) -> u32 {
        self.close_successes
    }

    /// The distance of the checks of a half-open circuit.
    pub const fn trial_interval(&self) -> Duration {
        self.trial_interval
    }

    /// How long a circuit may be half open.
    pub const fn half_open_max(&self) -> Duration {
        self.half_open_max
    }

    /// How long the circuit must be closed for the streak to shrink by one; 0 forgets it at once.
    pub const fn stable_for(&self) -> Duration {
        self.stable_for
    }

    /// What the streak never exceeds.
    pub const fn streak_cap(&self) -> u32 {
        self.streak_cap
    }

    /// What callers have a say in.
    pub const fn passive(&self) -> &PassivePolicy {
        &self.passive
    }
}

/// A check that takes its whole time has failed; so a threshold at the timeout would find nothing slow.
fn slow_is_in_range(slow: Duration, timeout: Duration, violations: &mut Violations) -> bool {
    let good = slow >= MS && slow < timeout;
    if !good {
        let (timeout, slow) = (Pretty(timeout), Pretty(slow));
        violations.add(
            "slow_threshold",
            format!("must be at least 1ms and shorter than schedule.timeout, {timeout}, got {slow}"),
        );
    }
    good
}

#[cfg(test)]
mod tests;
