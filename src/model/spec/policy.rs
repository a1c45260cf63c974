//! The policies of a spec: schedule, shutdown, watchdog, restart.

use std::time::Duration;

use super::{DAY, HOUR, MINUTE, MS, SECOND};
use crate::model::{Pretty, Violations};

/// The value, or the default where none was given; a violation where it lies outside of `least..=most`.
pub(super) fn ranged(
    violations: &mut Violations,
    field: &str,
    value: Option<Duration>,
    default: Duration,
    least: Duration,
    most: Duration,
) -> Duration {
    let Some(value) = value else { return default };
    if value < least || value > most {
        let (least, most, value) = (Pretty(least), Pretty(most), Pretty(value));
        violations.add(field, format!("must be between {least} and {most}, got {value}"));
        return default;
    }
    value
}

/// A schedule as a client wrote it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScheduleDraft {
    /// The distance of two grid points.
    pub interval: Option<Duration>,
    /// How long one check may take.
    pub timeout: Option<Duration>,
    /// How many checks to run; 0 is unbounded.
    pub max_runs: u32,
}

/// When checks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    interval: Duration,
    timeout: Duration,
    max_runs: u32,
}

impl Schedule {
    const MAX_RUNS: u32 = 1_000_000_000;

    pub(super) fn new(draft: &ScheduleDraft, violations: &mut Violations) -> Self {
        let ScheduleDraft { interval, timeout, max_runs } = *draft;
        let interval = ranged(violations, "interval", interval, 30 * SECOND, 100 * MS, DAY);
        let default = (10 * SECOND).min(interval);
        let timeout = ranged(violations, "timeout", timeout, default, 10 * MS, interval.min(5 * MINUTE));
        if max_runs > Self::MAX_RUNS {
            violations.add("max_runs", format!("must be at most {}, got {max_runs}", Self::MAX_RUNS));
        }
        Self { interval, timeout, max_runs }
    }

    /// The distance of two grid points.
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// How long one check may take.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How many checks to run; `None` is unbounded.
    pub fn max_runs(&self) -> Option<u32> {
        (self.max_runs > 0).then_some(self.max_runs)
    }
}

/// The bounds of a stop as a client wrote them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShutdownDraft {
    /// Phase 1.
    pub grace_timeout: Option<Duration>,
    /// Phase 2.
    pub abort_timeout: Option<Duration>,
}

/// The bounds of the two-phase shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownPolicy {
    grace_timeout: Duration,
    abort_timeout: Duration,
}

impl ShutdownPolicy {
    pub(super) fn new(draft: &ShutdownDraft, violations: &mut Violations) -> Self {
        let ShutdownDraft { grace_timeout, abort_timeout } = *draft;
        Self {
            grace_timeout: ranged(violations, "grace_timeout", grace_timeout, 5 * SECOND, Duration::ZERO, MINUTE),
            abort_timeout: ranged(violations, "abort_timeout", abort_timeout, 2 * SECOND, 100 * MS, 30 * SECOND),
        }
    }

    /// How long phase 1 lasts at the most.
    pub const fn grace_timeout(&self) -> Duration {
        self.grace_timeout
    }

    /// How long phase 2 lasts at the most.
    pub const fn abort_timeout(&self) -> Duration {
        self.abort_timeout
    }

    /// Both phases.
    pub fn total(&self) -> Duration {
        self.grace_timeout + self.abort_timeout
    }
}

/// The thresholds of alerts as a client wrote them.
#[derive(Clone, Copy, Debug, Default)]
pub struct WatchdogDraft {
    /// For `SlowCancellation`.
    pub slow_cancellation_after: Option<Duration>,
    /// For `LongRunningTask`.
    pub long_running_after: Option<Duration>,
    /// For `PollBlocked`.
    pub blocked_poll_after: Option<Duration>,
}

/// The thresholds of alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchdogPolicy {
    slow_cancellation_after: Duration,
    long_running_after: Duration,
    blocked_poll_after: Duration,
}

impl WatchdogPolicy {
    pub(super) fn new(draft: &WatchdogDraft, violations: &mut Violations) -> Self {
        let WatchdogDraft { slow_cancellation_after, long_running_after, blocked_poll_after } = *draft;
        let mut after = |field, value, default| ranged(violations, field, value, default, 10 * MS, HOUR);
        Self {
            slow_cancellation_after: after("slow_cancellation_after", slow_cancellation_after, 5 * SECOND),
            long_running_after: after("long_running_after", long_running_after, 10 * SECOND),
            blocked_poll_after: after("blocked_poll_after", blocked_poll_after, SECOND),
        }
    }

    /// The threshold of `SlowCancellation`.
    pub const fn slow_cancellation_after(&self) -> Duration {
        self.slow_cancellation_after
    }

    /// The threshold of `LongRunningTask`.
    pub const fn long_running_after(&self) -> Duration {
        self.long_running_after
    }

    /// The threshold of `PollBlocked`.
    pub const fn blocked_poll_after(&self) -> Duration {
        self.blocked_poll_after
    }
}

/// A restart policy as a client wrote it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RestartDraft {
    /// How many restarts a window may see.
    pub max_restarts: Option<u32>,
    /// The back-off before the first.
    pub initial_backoff: Option<Duration>,
    /// What the back-off never exceeds.
    pub max_backoff: Option<Duration>,
    /// The span in which they are counted.
    pub window: Option<Duration>,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    max_restarts: u32,
    initial_backoff: Duration,
    max_backoff: Duration,
    window: Duration,
}

impl RestartPolicy {
    const MAX_RESTARTS: u32 = 100;
    const MAX_WINDOW: Duration = Duration::from_secs(7 * 86_400);

    /// `run` is the longest a failing run can take: start timeout, grace and abort.
    pub(super) fn new(draft: &RestartDraft, run: Duration, violations: &mut Violations) -> Self {
        let RestartDraft { max_restarts, initial_backoff, max_backoff, window } = *draft;
        let mut max_restarts = max_restarts.unwrap_or(5);
        if max_restarts > Self::MAX_RESTARTS {
            violations.add("max_restarts", format!("must be at most {}, got {max_restarts}", Self::MAX_RESTARTS));
            max_restarts = Self::MAX_RESTARTS;
        }
        let initial_backoff = ranged(violations, "initial_backoff", initial_backoff, SECOND, 10 * MS, HOUR);
        let default = MINUTE.max(initial_backoff);
        let max_backoff = ranged(violations, "max_backoff", max_backoff, default, initial_backoff, HOUR);

        let spent = max_restarts * (run + max_backoff);
        let default = (10 * MINUTE).max(2 * spent).min(Self::MAX_WINDOW);
        let window = window.unwrap_or(default);
        if window <= spent || window > Self::MAX_WINDOW {
            let (window, spent, most) = (Pretty(window), Pretty(spent), Pretty(Self::MAX_WINDOW));
            violations.add(
                "window",
                format!(
                    "must be longer than {spent}, which is max_restarts * (start_timeout + grace_timeout + abort_timeout + \
                     max_backoff), and at most {most}, got {window}"
                ),
            );
        }
        Self { max_restarts, initial_backoff, max_backoff, window }
    }

    /// How many restarts a window may see.
    pub const fn max_restarts(&self) -> u32 {
        self.max_restarts
    }

    /// The back-off before the first restart of a streak.
    pub const fn initial_backoff(&self) -> Duration {
        self.initial_backoff
    }

    /// What the back-off never exceeds.
    pub const fn max_backoff(&self) -> Duration {
        self.max_backoff
    }

    /// The span in which restarts are counted.
    pub const fn window(&self) -> Duration {
        self.window
    }
}
