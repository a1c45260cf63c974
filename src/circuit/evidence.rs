//! What checks and callers tell, and what becomes of it.

use std::time::Duration;

use super::passive::PassiveWindow;
use super::window::Mark;
use super::{Circuit, Phase, Transition};
use crate::model::{CircuitPolicy, CircuitReason, Epoch, EvidenceSource, Lease, Now, Verdict};

/// A finished check, or the outcome of a call, as evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sample {
    /// The circuit's epoch when it began.
    pub epoch: Epoch,
    /// What it found.
    pub verdict: Verdict,
    /// How long it took.
    pub latency: Duration,
    /// Whose it is.
    pub source: Source,
}

/// Whose evidence it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The task's own checks'.
    Active,
    /// A caller's.
    Passive {
        /// Who tells of it. Different reporters have different numbers, as good as always.
        reporter: u64,
        /// The lease that the call had.
        lease: Option<Lease>,
    },
}

impl Source {
    const fn kind(self) -> EvidenceSource {
        match self {
            Self::Active => EvidenceSource::Active,
            Self::Passive { .. } => EvidenceSource::Passive,
        }
    }
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disposition {
    /// It counted, or would have: an open circuit waits for time alone.
    Accepted,
    /// It came too late, or while no instance was ready; it changed nothing.
    Stale,
    /// Its lease had expired; it changed nothing.
    Expired,
    /// Its lease was used before; it changed nothing.
    Duplicate,
    /// It says nothing of the target; it changed nothing but that its lease, if it had one, is free again.
    Neutral,
    /// It was no trial call, and the circuit is half open; it changed nothing.
    Ignored,
}

impl Circuit {
    /// Takes in a finished check, or the outcome of a call. A check that made an instance ready counts only after
    /// [`Circuit::resume`].
    pub fn report(
        &mut self,
        sample: Sample,
        policy: &CircuitPolicy,
        chance: f64,
        now: Now,
    ) -> (Disposition, Option<Transition>) {
        let settled = self.settle(policy, chance, now);
        let now = self.clamp(now);
        // A transition that was due begins a new epoch, so there is never a second one.
        if sample.epoch != self.epoch {
            return (Disposition::Stale, settled);
        }
        if let Err(disposition) = self.take_back(sample.source, now) {
            return (disposition, settled);
        }
        if self.stopwatch.is_stopped() {
            return (Disposition::Stale, settled);
        }
        let failed = match sample.verdict {
            Verdict::Pass => false,
            Verdict::Fail => true,
            Verdict::Neutral => return (Disposition::Neutral, settled),
        };
        let slow = policy.slow_threshold().is_some_and(|threshold| sample.latency > threshold);
        let (disposition, transition) = self.count(Mark::new(failed, slow), sample.source, policy, chance, now);
        (disposition, settled.or(transition))
    }

    /// Takes the lease back that a call had, whatever came of the call.
    fn take_back(&mut self, source: Source, now: Now) -> Result<(), Disposition> {
        match (source, &mut self.phase) {
            (Source::Passive { lease: Some(lease), .. }, Phase::HalfOpen(trial)) => trial.give_back(lease, now.mono),
            // There are none under such an epoch.
            (Source::Passive { lease: Some(_), .. }, _) => Err(Disposition::Stale),
            _ => Ok(()),
        }
    }

    fn count(
        &mut self,
        mark: Mark,
        source: Source,
        policy: &CircuitPolicy,
        chance: f64,
        now: Now,
    ) -> (Disposition, Option<Transition>) {
        if matches!(source, Source::Active) {
            self.flapping.push(mark.bad());
        }
        let transition = match &mut self.phase {
            Phase::Closed { window, passive } => {
                let tripped = match source {
                    Source::Active => {
                        window.push(mark, policy);
                        mark.bad() && window.trips(policy)
                    }
                    Source::Passive { reporter, .. } => {
                        let window = passive.get_or_insert_with(|| Box::new(PassiveWindow::new(policy.passive())));
                        window.push(mark, reporter, now.mono);
                        mark.bad() && window.trips(policy)
                    }
                };
                tripped.then(|| {
                    self.trip_source = Some(source.kind());
                    self.open(CircuitReason::Failure, policy, chance, now)
                })
            }
            Phase::Open { .. } => None,
            Phase::HalfOpen(_) if matches!(source, Source::Passive { lease: None, .. }) => {
                return (Disposition::Ignored, None);
            }
            Phase::HalfOpen(_) if mark.bad() => Some(self.open(CircuitReason::Failure, policy, chance, now)),
            Phase::HalfOpen(trial) => {
                trial.pass(source.kind());
                let checked = u32::from(trial.active) >= policy.close_successes();
                let called = u32::from(trial.passive) >= policy.passive().trial_permits();
                let enough = checked && (called || self.trip_source != Some(EvidenceSource::Passive));
                enough.then(|| self.close(CircuitReason::Recovered, policy, now))
            }
        };
        (Disposition::Accepted, transition)
    }
}
