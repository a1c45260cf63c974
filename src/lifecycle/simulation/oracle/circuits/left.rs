//! Whether a circuit goes on after a restart as circuit.md says.

use std::sync::Arc;
use std::time::Duration;

use super::super::recovery::Kept;
use super::{Circuits, Heard, Known, Tally, is_of_circuit};
use crate::lifecycle::simulation::oracle::check;
use crate::model::*;

/// What is known of a circuit that was left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    epoch: Epoch,
    /// When its task was last heard of, and anything at all.
    seen: (Timestamp, Timestamp),
    /// When the next server began.
    since: Timestamp,
}

impl Circuits {
    /// Nothing counts any more of what was counted.
    pub(in crate::lifecycle::simulation::oracle) fn crashed(&mut self, kept: &Kept<'_>) {
        let (epochs, latest) = (kept.history.epochs(), kept.history.latest());
        let left = |task: &Arc<Task>| {
            let epoch = epochs.get(&task.uid).copied().unwrap_or_default();
            let left = Left { epoch, seen: (task.update_time, latest), since: kept.now.wall };
            let known = Known {
                status: task.circuit.clone(),
                target: task.target,
                next_target: task.target,
                policy: None,
                reset_due: false,
                tally: Tally::default(),
                heard: Heard::default(),
                lasted: Duration::ZERO,
                since: kept.now.mono,
                limit: Duration::MAX,
                put_off: false,
                kept_since: None,
                left: Some(left),
            };
            (task.uid, known)
        };
        let callers = std::mem::take(&mut self.callers).crashed();
        *self = Self { known: kept.view.values().map(left).collect(), callers, ..Self::default() };
    }
}

impl Known {
    /// The first that is shown of a circuit that was left: its state stays, in an epoch that never was; a trial begins anew. How long
    /// the state may last from here.
    pub(super) fn goes_on(&mut self, kind: EventType, left: Left, task: &Task, now: Now) -> Result<Duration, String> {
        let (was, is) = (&self.status, &task.circuit);
        let wrong = || format!("{kind:?} shows {is:?} of {}, which was left as {was:?}, {left:?}", task.name);
        (self.lasted, self.since) = (Duration::ZERO, now.mono);
        // Nothing of it was to be shown before somebody had it begin anew.
        if kind == EventType::CircuitReset {
            let fresh = (is.state, is.reason, is.streak, is.trip_source);
            let right = fresh == (CircuitState::Closed, Some(CircuitReason::Reset), 0, None) && is.epoch > left.epoch;
            return check(right, wrong).map(|()| Duration::MAX);
        }
        let remains = is.left.or_else(|| is.until.map(|until| until.since(now.wall)));
        let (state, since, least, most) = match was.state {
            CircuitState::Closed => (CircuitState::Closed, was.since_time, None, None),
            CircuitState::Open => {
                let cap = task.spec.circuit().open_max();
                let until = |seen| was.left.or_else(|| was.until.map(|until| until.since(seen)));
                let [most, least] = [left.seen.0, left.seen.1].map(|seen| until(seen).map(|left| left.min(cap)));
                (CircuitState::Open, was.since_time, least, most)
            }
            CircuitState::HalfOpen => (CircuitState::Open, left.since, Some(Duration::ZERO), Some(Duration::ZERO)),
        };
        let same = (is.state, is.since_time, is.reason, is.streak) == (state, since, was.reason, was.streak);
        check(is.trip_source == was.trip_source, wrong)?;
        check(same && is.epoch > left.epoch && !is_of_circuit(kind), wrong)?;
        let in_bounds = remains.is_some() == most.is_some() && least <= remains && remains <= most;
        check(in_bounds, wrong)?;
        Ok(remains.unwrap_or(Duration::MAX))
    }
}
