//! About the polls of instances, and the threads that make them.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge, IntGaugeVec};

use super::{Families, gauge};

/// From what counts as slow to what is as good as for ever.
const SLOW: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// About the polls of instances, and the threads that make them.
#[derive(Clone, Debug)]
pub struct Polls {
    blocked: IntGauge,
    slow: Histogram,
    threads: IntGaugeVec,
    relieved: IntCounter,
}

/// What a thread that runs instances is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Built-in kinds.
    BuiltIn,
    /// Custom kinds, together.
    Custom,
    /// One custom kind, since it has blocked a thread before.
    Quarantined,
    /// One instance, as its spec says.
    Isolated,
    /// One instance, which has blocked the thread that it shared.
    Relieved,
}

impl Threads {
    /// Every sort.
    pub const ALL: [Self; 5] = [Self::BuiltIn, Self::Custom, Self::Quarantined, Self::Isolated, Self::Relieved];

    const fn label(self) -> &'static str {
        match self {
            Self::BuiltIn => "built_in",
            Self::Custom => "custom",
            Self::Quarantined => "quarantined",
            Self::Isolated => "isolated",
            Self::Relieved => "relieved",
        }
    }
}

impl Polls {
    pub(super) fn register(families: &Families<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            blocked: families.gauge(
                "blocked_polls",
                "Polls of instances that have kept their threads for longer than they may, and go on.",
            )?,
            slow: families.histogram(
                "slow_poll_duration_seconds",
                "How long those polls took that kept their thread for 50 ms or longer.",
                &SLOW,
            )?,
            threads: families.gauges(
                "shard_threads",
                "Threads that run instances, by what they are for.",
                &["sort"],
            )?,
            relieved: families.counter(
                "shards_relieved_total",
                "Blocked threads that were given up to the instance that blocked them.",
            )?,
        })
    }

    /// How many polls last for too long now.
    pub fn set_blocked(&self, polls: usize) {
        self.blocked.set(gauge(polls));
    }

    /// A poll has returned that was slow.
    pub fn slow(&self, took: Duration) {
        self.slow.observe(took.as_secs_f64());
    }

    /// How many threads of a sort there are now.
    pub fn set_threads(&self, sort: Threads, threads: usize) {
        self.threads.with_label_values(&[sort.label()]).set(gauge(threads));
    }

    /// A blocked thread was given up.
    pub fn relieved(&self) {
        self.relieved.inc();
    }
}
