//! The time that a circuit has spent in its state, not counting the time in which it was suspended.

use std::time::Duration;

use crate::model::{Mono, Now, Timestamp};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stopwatch {
    /// It runs, as if it had been started at `since` and never stopped.
    Running { since: Now },
    /// It stands.
    Stopped { elapsed: Duration },
}

impl Stopwatch {
    /// Goes to zero; runs on if it ran.
    pub(super) fn restart(&mut self, now: Now) {
        *self = match self {
            Self::Running { .. } => Self::Running { since: now },
            Self::Stopped { .. } => Self::Stopped { elapsed: Duration::ZERO },
        };
    }

    pub(super) fn stop(&mut self, now: Now) {
        *self = Self::Stopped { elapsed: self.elapsed(now) };
    }

    pub(super) fn resume(&mut self, now: Now) {
        if let Self::Stopped { elapsed } = *self {
            *self = Self::Running { since: Now { mono: now.mono.before(elapsed), wall: now.wall.before(elapsed) } };
        }
    }

    pub(super) const fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped { .. })
    }

    pub(super) const fn elapsed(&self, now: Now) -> Duration {
        match self {
            Self::Running { since } => now.mono.since(since.mono),
            Self::Stopped { elapsed } => *elapsed,
        }
    }

    /// When it will show `span`; never, while it stands.
    pub(super) fn due(&self, span: Duration) -> Option<Mono> {
        match self {
            Self::Running { since } => Some(since.mono + span),
            Self::Stopped { .. } => None,
        }
    }

    /// The same for people.
    pub(super) fn due_time(&self, span: Duration) -> Option<Timestamp> {
        match self {
            Self::Running { since } => Some(since.wall + span),
            Self::Stopped { .. } => None,
        }
    }
}
