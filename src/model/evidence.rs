//! Between the circuit and the checks that feed it: under what checks run, and what they prove.

use std::time::Duration;

use super::{Epoch, Verdict};

/// Under what an instance's checks run. A check belongs to the regime under which it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regime {
    /// The circuit's epoch: what began under an earlier one proves nothing any more.
    pub epoch: Epoch,
    /// Whether checks drive anything: not while another instance is the task's active one.
    pub counted: bool,
    /// How long from one check to the next while the circuit is half-open; `None` on the phase grid.
    pub trial_interval: Option<Duration>,
}

impl Regime {
    /// Whether this is a trial that what began under `earlier` is no part of: another epoch's, or the first that an instance hears
    /// of because it became its task's active one in the middle of it.
    pub fn begins_trial_after(self, earlier: Self) -> bool {
        self.trial_interval.is_some() && (self.epoch != earlier.epoch || earlier.trial_interval.is_none())
    }
}

/// What a finished check proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The regime under which it began.
    pub regime: Regime,
    /// What it found.
    pub verdict: Verdict,
    /// How long it took.
    pub latency: Duration,
}
