//! About circuits and swaps.

use std::time::Duration;

use prometheus::{Histogram, IntCounterVec, IntGaugeVec};

use super::{Families, gauge};
use crate::model::{CircuitReason, CircuitState, Disposition, Override, Permission, SwapPhase};

/// A swap takes from one check to a readiness timeout and a stop.
const SWAP: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// A circuit is open from `open_base` (100 ms at the least) to `open_max` (a day at the most).
const OPEN: [f64; 11] = [0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0, 86_400.0];

/// Which transitions there are, and why (circuit.md).
const TRANSITIONS: [(CircuitState, CircuitState, CircuitReason); 10] = [
    (CircuitState::Closed, CircuitState::Open, CircuitReason::Failure),
    (CircuitState::Open, CircuitState::HalfOpen, CircuitReason::Failure),
    (CircuitState::Open, CircuitState::HalfOpen, CircuitReason::Inconclusive),
    (CircuitState::HalfOpen, CircuitState::Open, CircuitReason::Failure),
    (CircuitState::HalfOpen, CircuitState::Open, CircuitReason::Inconclusive),
    (CircuitState::HalfOpen, CircuitState::Closed, CircuitReason::Recovered),
    (CircuitState::HalfOpen, CircuitState::Closed, CircuitReason::Waived),
    (CircuitState::Closed, CircuitState::Closed, CircuitReason::Reset),
    (CircuitState::Open, CircuitState::Closed, CircuitReason::Reset),
    (CircuitState::HalfOpen, CircuitState::Closed, CircuitReason::Reset),
];

/// About circuits.
#[derive(Clone, Debug)]
pub struct Circuits {
    states: IntGaugeVec,
    overrides: IntGaugeVec,
    transitions: IntCounterVec,
    open: Histogram,
    reports: IntCounterVec,
    permits: IntCounterVec,
}

impl Circuits {
    pub(super) fn register(families: &Families<'_>) -> prometheus::Result<Self> {
        let metrics = Self {
            states: families.gauges("circuits", "Circuits of tasks that have not ended, by state.", &["state"])?,
            overrides: families.gauges(
                "circuit_overrides",
                "Circuits that an operator has overridden, by the override; those of ended tasks, too, until they are deleted.",
                &["override"],
            )?,
            transitions: families.counters(
                "circuit_transitions_total",
                "Transitions of circuits, with the reason for which the circuit last opened or closed.",
                &["from", "to", "reason"],
            )?,
            open: families.histogram(
                "circuit_open_duration_seconds",
                "How long circuits were open, each time until they were half-open or reset.",
                &OPEN,
            )?,
            reports: families.counters(
                "circuit_reports_total",
                "Outcomes that callers have reported, by what became of them.",
                &["disposition"],
            )?,
            permits: families.counters(
                "circuit_permits_total",
                "Permits that callers have asked for: granted as a trial (lease) or at all times (free), or denied.",
                &["answer"],
            )?,
        };
        for disposition in Disposition::ALL {
            metrics.reports.with_label_values(&[disposition.label()]);
        }
        for answer in ["lease", "free", "denied"] {
            metrics.permits.with_label_values(&[answer]);
        }
        for (from, to, reason) in TRANSITIONS {
            metrics.transitions.with_label_values(&[from.label(), to.label(), reason.label()]);
        }
        Ok(metrics)
    }

    /// A circuit went from one state to another; `reason` is why it last opened or closed.
    pub fn transition(&self, from: CircuitState, to: CircuitState, reason: CircuitReason) {
        self.transitions.with_label_values(&[from.label(), to.label(), reason.label()]).inc();
    }

    /// A circuit was open for so long.
    pub fn was_open(&self, lasted: Duration) {
        self.open.observe(lasted.as_secs_f64());
    }

    /// A caller was told whether it may call.
    pub fn asked(&self, permission: Permission) {
        let answer = match permission {
            Permission::Granted(permit) if permit.lease.is_some() => "lease",
            Permission::Granted(_) => "free",
            Permission::Denied(_) => "denied",
        };
        self.permits.with_label_values(&[answer]).inc();
    }

    /// Callers were told what has become of their outcomes.
    pub fn reported(&self, dispositions: &[Disposition]) {
        for disposition in Disposition::ALL {
            let count = dispositions.iter().filter(|told| **told == disposition).count();
            if count > 0 {
                self.reports.with_label_values(&[disposition.label()]).inc_by(count as u64);
            }
        }
    }

    /// How many circuits are in a state now.
    pub fn set(&self, state: CircuitState, circuits: usize) {
        self.states.with_label_values(&[state.label()]).set(gauge(circuits));
    }

    /// How many circuits are under an override now.
    pub fn set_overridden(&self, mode: Override, circuits: usize) {
        self.overrides.with_label_values(&[mode.label()]).set(gauge(circuits));
    }
}

/// About swaps.
#[derive(Clone, Debug)]
pub struct Swaps {
    total: IntCounterVec,
    duration: Histogram,
}

impl Swaps {
    pub(super) fn register(families: &Families<'_>) -> prometheus::Result<Self> {
        let metrics = Self {
            total: families.counters("swaps_total", "Swaps that have ended, by result.", &["result"])?,
            duration: families.histogram(
                "swap_duration_seconds",
                "How long swaps took, from their start until the instance that lost had ended or was stuck.",
                &SWAP,
            )?,
        };
        for result in
            [SwapPhase::Done, SwapPhase::RolledBack, SwapPhase::Cancelled].into_iter().filter_map(result_label)
        {
            metrics.total.with_label_values(&[result]);
        }
        Ok(metrics)
    }

    /// A swap has ended in the phase `result` after so long. One that has not ended is not counted.
    pub fn ended(&self, result: SwapPhase, took: Duration) {
        if let Some(result) = result_label(result) {
            self.total.with_label_values(&[result]).inc();
            self.duration.observe(took.as_secs_f64());
        }
    }
}

/// The phases in which a swap ends.
const fn result_label(phase: SwapPhase) -> Option<&'static str> {
    match phase {
        SwapPhase::Done => Some("done"),
        SwapPhase::RolledBack => Some("rolled_back"),
        SwapPhase::Cancelled => Some("cancelled"),
        SwapPhase::Building | SwapPhase::Starting | SwapPhase::Gating | SwapPhase::Committed | SwapPhase::Draining => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    fn rendered(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render().expect("renders")).expect("text")
    }

    #[test]
    fn what_is_alerted_on_is_there_from_the_start() {
        let text = rendered(&Metrics::new().expect("registered once"));
        for series in [
            "circuit_breaker_swaps_total{result=\"rolled_back\"} 0",
            "circuit_breaker_swap_duration_seconds_count 0",
            "circuit_breaker_circuit_transitions_total{from=\"closed\",reason=\"failure\",to=\"open\"} 0",
            "circuit_breaker_circuit_transitions_total{from=\"half_open\",reason=\"recovered\",to=\"closed\"} 0",
        ] {
            assert!(text.contains(series), "{series} is not in\n{text}");
        }
    }

    #[test]
    fn transitions_and_ends_are_counted_once() {
        let metrics = Metrics::new().expect("registered once");
        metrics.circuits.transition(CircuitState::Closed, CircuitState::Open, CircuitReason::Failure);
        metrics.circuits.set(CircuitState::Open, 1);
        metrics.swaps.ended(SwapPhase::Done, Duration::from_millis(20));
        metrics.swaps.ended(SwapPhase::Draining, Duration::from_secs(1));
        let text = rendered(&metrics);
        for series in [
            "circuit_breaker_circuit_transitions_total{from=\"closed\",reason=\"failure\",to=\"open\"} 1",
            "circuit_breaker_circuits{state=\"open\"} 1",
            "circuit_breaker_swaps_total{result=\"done\"} 1",
            "circuit_breaker_swap_duration_seconds_count 1",
        ] {
            assert!(text.contains(series), "{series} is not in\n{text}");
        }
    }
}
