//! Keeping an eye on the writer: whether what is appended is still being committed (lifecycle.md §6).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Shared;
use crate::model::Admission;

/// How often it looks. A look is a short lock, and nothing is sent for any append.
const PERIOD: Duration = Duration::from_millis(100);
/// After how long without a commit the journal counts as stalled, where something waits for one.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(1);

/// How the journal does. Both may be true: a store without space commits nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Something waits, and nothing has been committed for a while: who waits for a commit had better not.
    pub stalled: bool,
    /// The last commit failed for want of space, or there is hardly any left.
    pub full: bool,
}

impl Condition {
    /// What clients' commands are told by that. Want of space goes first: it says what is to be done.
    pub const fn admission(self) -> Admission {
        match self {
            Self { full: true, .. } => Admission::Full,
            Self { stalled: true, .. } => Admission::Stalled,
            Self { .. } => Admission::Open,
        }
    }
}

/// Tells when the journal's condition changes.
pub struct Vigil {
    shared: Arc<Shared>,
    last: Condition,
    looks: Interval,
}

impl Vigil {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let mut looks = interval(PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { shared, last: Condition::default(), looks }
    }

    /// Waits until the condition is another than it was last time; at first, than a healthy one. Cancel-safe: a change that was not
    /// returned is found at the next look.
    pub async fn next(&mut self) -> Condition {
        loop {
            self.looks.tick().await;
            let now = self.shared.condition();
            if now != self.last {
                self.last = now;
                return now;
            }
        }
    }
}

/// Whether the store has space left, as far as the writer knows.
#[derive(Debug, Default)]
pub(super) struct Space(AtomicBool);

impl Space {
    pub(super) fn set_full(&self, full: bool) {
        self.0.store(full, Ordering::Relaxed);
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
