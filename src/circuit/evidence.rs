//! What checks and callers tell, and what becomes of it.

use super::passive::PassiveWindow;
use super::window::Mark;
use super::{Circuit, Phase, Transition};
use crate::model::{CircuitPolicy, CircuitReason, Disposition, EvidenceSource, Now, Sample, Source, Verdict};

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
        // What was due has begun a new epoch, under which nothing can have begun yet, whatever the sample says: so there is never a
        // second transition.
        if settled.is_some() || sample.epoch != self.epoch {
            return (Disposition::Stale, settled);
        }
        if let Err(disposition) = self.take_back(sample.source, now) {
            return (disposition, None);
        }
        if self.stopwatch.is_stopped() {
            return (Disposition::Stale, None);
        }
        let failed = match sample.verdict {
            Verdict::Pass => false,
            Verdict::Fail => true,
            Verdict::Neutral => return (Disposition::Neutral, None),
        };
        let slow = policy.slow_threshold().is_some_and(|threshold| sample.latency > threshold);
        self.count(Mark::new(failed, slow), sample.source, policy, chance, now)
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
            Phase::Closed { window, passive, .. } => {
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
