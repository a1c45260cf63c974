//! How a new spec takes over from the old one.

use std::time::Duration;

use super::policy::ranged;
use super::{MINUTE, MS, SECOND};
use crate::model::Violations;

/// In which order a swap starts and stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SwapStrategy {
    /// The new instance is ready before the old one is stopped.
    MakeBeforeBreak,
    /// The old instance has ended before the new one is started.
    BreakBeforeMake,
}

impl SwapStrategy {
    /// Every strategy.
    pub const ALL: [Self; 2] = [Self::MakeBeforeBreak, Self::BreakBeforeMake];

    /// The name as tables write it, unprefixed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MakeBeforeBreak => "MAKE_BEFORE_BREAK",
            Self::BreakBeforeMake => "BREAK_BEFORE_MAKE",
        }
    }
}

/// A swap policy as a client wrote it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SwapDraft {
    /// In which order to start and stop.
    pub strategy: Option<SwapStrategy>,
    /// How long the new instance may take to become ready.
    pub readiness_timeout: Option<Duration>,
    /// How long it has to stay ready before it takes over.
    pub min_healthy_time: Option<Duration>,
    /// Whether a new generation that fails soon gives way to the spec before.
    pub auto_revert: bool,
    /// How soon.
    pub observation_time: Option<Duration>,
}

/// How a new spec takes over. A swap goes by the new spec's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwapPolicy {
    strategy: SwapStrategy,
    readiness_timeout: Duration,
    min_healthy_time: Duration,
    auto_revert: bool,
    observation_time: Duration,
}

impl SwapPolicy {
    pub(super) fn new(draft: &SwapDraft, violations: &mut Violations) -> Self {
        let SwapDraft { strategy, readiness_timeout, min_healthy_time, auto_revert, observation_time } = *draft;
        Self {
            strategy: strategy.unwrap_or(SwapStrategy::MakeBeforeBreak),
            readiness_timeout: ranged(
                violations,
                "readiness_timeout",
                readiness_timeout,
                30 * SECOND,
                100 * MS,
                10 * MINUTE,
            ),
            min_healthy_time: ranged(
                violations,
                "min_healthy_time",
                min_healthy_time,
                Duration::ZERO,
                Duration::ZERO,
                10 * MINUTE,
            ),
            auto_revert,
            observation_time: ranged(violations, "observation_time", observation_time, MINUTE, 100 * MS, 10 * MINUTE),
        }
    }

    /// In which order to start and stop.
    pub const fn strategy(&self) -> SwapStrategy {
        self.strategy
    }

    /// How long the new instance may take to become ready.
    pub const fn readiness_timeout(&self) -> Duration {
        self.readiness_timeout
    }

    /// How long it has to stay ready before it takes over.
    pub const fn min_healthy_time(&self) -> Duration {
        self.min_healthy_time
    }

    /// Whether a new generation that fails within [`observation_time`](Self::observation_time) gives way to the spec before.
    pub const fn auto_revert(&self) -> bool {
        self.auto_revert
    }

    /// How long it is observed; of effect only with [`auto_revert`](Self::auto_revert).
    pub const fn observation_time(&self) -> Duration {
        self.observation_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(readiness_timeout: Option<Duration>) -> (SwapPolicy, Violations) {
        let mut violations = Violations::new();
        let policy = SwapPolicy::new(&SwapDraft { readiness_timeout, ..SwapDraft::default() }, &mut violations);
        (policy, violations)
    }

    #[test]
    fn the_defaults_are_make_before_break_and_30_s() {
        let (policy, violations) = policy(None);
        assert_eq!((policy.strategy(), policy.readiness_timeout()), (SwapStrategy::MakeBeforeBreak, 30 * SECOND));
        assert!(violations.is_empty());
    }

    #[test]
    fn readiness_may_take_100_ms_to_10_min() {
        for good in [100 * MS, 10 * MINUTE] {
            let (policy, violations) = policy(Some(good));
            assert_eq!((policy.readiness_timeout(), violations), (good, Violations::new()));
        }
        for bad in [Duration::ZERO, 99 * MS, 10 * MINUTE + MS] {
            let (_, violations) = policy(Some(bad));
            assert_eq!(violations.as_slice()[0].field, "readiness_timeout", "{bad:?}");
        }
    }

    #[test]
    fn it_takes_over_as_soon_as_it_is_ready_or_up_to_10_min_later() {
        let policy = |min_healthy_time| {
            let mut violations = Violations::new();
            let draft = SwapDraft { min_healthy_time, ..SwapDraft::default() };
            let policy = SwapPolicy::new(&draft, &mut violations);
            violations.finish(Some(policy.min_healthy_time()))
        };
        assert_eq!(policy(None), Ok(Duration::ZERO));
        for good in [Duration::ZERO, MS, 10 * MINUTE] {
            assert_eq!(policy(Some(good)), Ok(good));
        }
        let violations = policy(Some(10 * MINUTE + MS)).expect_err("too long");
        assert_eq!(violations.as_slice()[0].field, "min_healthy_time");
    }

    #[test]
    fn it_is_observed_for_a_minute_or_from_100_ms_to_10_min_where_that_is_wanted() {
        let policy = |observation_time: Option<Duration>| {
            let mut violations = Violations::new();
            let draft = SwapDraft { auto_revert: observation_time.is_some(), observation_time, ..SwapDraft::default() };
            let policy = SwapPolicy::new(&draft, &mut violations);
            violations.finish(Some((policy.auto_revert(), policy.observation_time())))
        };
        assert_eq!(policy(None), Ok((false, MINUTE)));
        for good in [100 * MS, 10 * MINUTE] {
            assert_eq!(policy(Some(good)), Ok((true, good)));
        }
        for bad in [Duration::ZERO, 99 * MS, 10 * MINUTE + MS] {
            let violations = policy(Some(bad)).expect_err("out of range");
            assert_eq!(violations.as_slice()[0].field, "observation_time");
        }
    }
}
