//! About checks.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::{Families, LATENCY};
use crate::model::Verdict;
use crate::telemetry::CheckTail;

/// About checks.
#[derive(Clone, Debug)]
pub struct Checks {
    total: IntCounterVec,
    shadow: IntCounterVec,
    duration: HistogramVec,
    lag: Histogram,
    missed: IntCounter,
    tail: CheckTail,
}

impl Checks {
    pub(super) fn register(families: &Families<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            total: families.counters("checks_total", "Checks by kind and verdict.", &["kind", "verdict"])?,
            shadow: families.counters(
                "shadow_checks_total",
                "Checks of instances that drive nothing, by kind and verdict: of a swap's candidate, or of what it replaced.",
                &["kind", "verdict"],
            )?,
            duration: families.histograms("check_duration_seconds", "How long checks took.", &["kind"], &LATENCY)?,
            lag: families.histogram(
                "scheduling_lag_seconds",
                "How late checks began, against their plan.",
                &LATENCY,
            )?,
            missed: families.counter("checks_missed_total", "Grid points that passed during a running check.")?,
            tail: CheckTail::default(),
        })
    }

    /// A check has ended. `kind` is a built-in or a registered kind.
    pub fn ended(&self, kind: &str, verdict: Verdict, took: Duration) {
        self.total.with_label_values(&[kind, verdict_label(verdict)]).inc();
        self.duration.with_label_values(&[kind]).observe(took.as_secs_f64());
    }

    /// A check of an instance that drives nothing has ended.
    pub fn shadowed(&self, kind: &str, verdict: Verdict) {
        self.shadow.with_label_values(&[kind, verdict_label(verdict)]).inc();
    }

    /// Where each check's result is shown to those who look.
    pub const fn tail(&self) -> &CheckTail {
        &self.tail
    }

    /// A check begins this long after its planned time.
    pub fn lagged(&self, by: Duration) {
        self.lag.observe(by.as_secs_f64());
    }

    /// Grid points passed during a running check.
    pub fn missed(&self, points: u32) {
        self.missed.inc_by(points.into());
    }
}

fn verdict_label(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Neutral => "neutral",
    }
}
