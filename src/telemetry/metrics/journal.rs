//! About the journal.

use std::time::Duration;

use prometheus::{Gauge, Histogram, IntCounter, IntGaugeVec};

use super::{Families, LATENCY};
use crate::model::Admission;

/// From one event to what 100,000 tasks bring about at once.
const EVENTS: [f64; 9] = [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0];

/// About the journal.
#[derive(Clone, Debug)]
pub struct Journal {
    admission: IntGaugeVec,
    waiting: Gauge,
    /// What its writer counts.
    pub commits: Commits,
}

/// About commits.
#[derive(Clone, Debug)]
pub struct Commits {
    total: IntCounter,
    failures: IntCounter,
    duration: Histogram,
    events: Histogram,
}

impl Journal {
    pub(super) fn register(families: &Families<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            admission: families.gauges(
                "journal_admission",
                "1 for what the journal says to clients' commands now, 0 for the rest.",
                &["admission"],
            )?,
            waiting: families.level(
                "journal_waiting_seconds",
                "For how long something has waited for a commit, none having come meanwhile.",
            )?,
            commits: Commits {
                total: families.counter("journal_commits_total", "Groups that were committed.")?,
                failures: families.counter("journal_commit_failures_total", "Attempts to commit that failed.")?,
                duration: families.histogram(
                    "journal_commit_duration_seconds",
                    "How long the attempts took that committed a group.",
                    &LATENCY,
                )?,
                events: families.histogram("journal_group_events", "Events of a group that was committed.", &EVENTS)?,
            },
        })
    }

    /// What the journal says to clients' commands now, and for how long something has waited for it.
    pub fn set(&self, admission: Admission, waiting: Duration) {
        for each in Admission::ALL {
            self.admission.with_label_values(&[each.label()]).set(i64::from(each == admission));
        }
        self.waiting.set(waiting.as_secs_f64());
    }
}

impl Commits {
    /// A group of so many events was committed by an attempt that took that long.
    #[expect(clippy::cast_precision_loss, reason = "no group has 2^52 events")]
    pub fn committed(&self, events: usize, took: Duration) {
        self.total.inc();
        self.duration.observe(took.as_secs_f64());
        self.events.observe(events as f64);
    }

    /// An attempt to commit a group has failed.
    pub fn failed(&self) {
        self.failures.inc();
    }
}
