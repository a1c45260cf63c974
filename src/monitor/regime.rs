//! Under what an instance's checks run, as the manager last said.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::model::Regime;

/// Set by the manager, obeyed by the instance's checks, of which one runs or is waited for at a time.
pub struct RegimeCell {
    regime: Mutex<Regime>,
    changed: Notify,
}

impl RegimeCell {
    /// Begins with this regime.
    pub fn new(regime: Regime) -> Self {
        Self { regime: Mutex::new(regime), changed: Notify::new() }
    }

    /// The regime at this moment.
    pub fn get(&self) -> Regime {
        *self.regime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the regime, and wakes the instance's checks.
    pub fn set(&self, regime: Regime) {
        *self.regime.lock().unwrap_or_else(PoisonError::into_inner) = regime;
        // Nobody may be waiting now: the wake-up is kept for the next who does.
        self.changed.notify_one();
    }

    /// Waits until the regime is not `old` any more; says which it is. Cancel-safe: what a dropped wait has missed, the next one
    /// sees.
    pub(super) async fn changed(&self, old: Regime) -> Regime {
        loop {
            let regime = self.get();
            if regime != old {
                return regime;
            }
            self.changed.notified().await;
        }
    }

    /// Waits until a trial has begun since this regime: what began before it proves nothing any more.
    pub(super) async fn trial_began(&self, since: Regime) {
        let mut regime = self.get();
        while !regime.begins_trial_after(since) {
            regime = self.changed(regime).await;
        }
    }
}

impl fmt::Debug for RegimeCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
