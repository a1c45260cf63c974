//! What of a circuit is shown and stored, and a circuit made of that.

use std::time::Duration;

use super::flapping::Flapping;
use super::permission::Overriding;
use super::{Circuit, Phase, Stopwatch};
use crate::model::{
    CircuitPolicy, CircuitReason, CircuitState, CircuitStatus, Now, PassiveCounts, Timestamp, WindowCounts,
};

impl Circuit {
    /// The circuit of a task that an earlier server had, from what was last known of it, at `last_seen`: suspended until an instance
    /// is ready, in a new epoch and with nothing counted. What is left of an open span goes on then; a trial begins anew.
    pub fn restore(status: &CircuitStatus, policy: &CircuitPolicy, last_seen: Timestamp, now: Now) -> Self {
        let left = status.left.or_else(|| status.until.map(|until| until.since(last_seen)));
        let reason = status.reason.unwrap_or(CircuitReason::Failure);
        let (phase, since_time) = match status.state {
            CircuitState::Closed => (Phase::closed(), status.since_time),
            CircuitState::Open => {
                let lasts = left.unwrap_or_default().min(policy.open_max());
                (Phase::Open { lasts, reason }, status.since_time)
            }
            CircuitState::HalfOpen => (Phase::Open { lasts: Duration::ZERO, reason }, now.wall),
        };
        Self {
            phase,
            stopwatch: Stopwatch::Stopped { elapsed: Duration::ZERO },
            epoch: status.epoch.next(),
            since_time,
            last_seen: now.mono,
            streak: u8::try_from(status.streak).unwrap_or(u8::MAX),
            reason: status.reason,
            trip_source: status.trip_source,
            flapping: Flapping::default(),
            overriding: status.overriding.as_ref().map(|wanted| Box::new(Overriding::new(wanted.clone(), now))),
        }
    }

    /// The circuit as clients see it.
    pub fn status(&self) -> CircuitStatus {
        CircuitStatus {
            state: self.state(),
            suspended: self.stopwatch.is_stopped(),
            epoch: self.epoch,
            since_time: self.since_time,
            reason: self.reason,
            until: self.lasts().and_then(|lasts| self.stopwatch.due_time(lasts)),
            left: match (&self.phase, &self.stopwatch) {
                (Phase::Open { lasts, .. }, Stopwatch::Stopped { elapsed }) => Some(lasts.saturating_sub(*elapsed)),
                _ => None,
            },
            streak: self.streak.into(),
            trip_source: self.trip_source,
            overriding: self.overriding.as_ref().map(|overriding| overriding.shown()),
            flapping: self.flapping.is_on(),
        }
    }

    /// The evidence so far.
    pub fn counts(&self) -> WindowCounts {
        match &self.phase {
            Phase::Closed { window, passive, .. } => {
                let passive = passive.as_ref().map_or_else(PassiveCounts::default, |window| window.counts());
                WindowCounts { passive, ..window.counts() }
            }
            Phase::Open { .. } => WindowCounts::default(),
            Phase::HalfOpen(trial) => WindowCounts {
                results: trial.active.into(),
                passive: PassiveCounts {
                    results: trial.passive.into(),
                    leases: trial.live(),
                    ..PassiveCounts::default()
                },
                ..WindowCounts::default()
            },
        }
    }
}
