//! What the manager orders of an instance's checks: under what they run, and which are wanted beside those of the schedule.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::model::{Check, Regime};

/// Set by the manager, obeyed by the instance's checks, of which one runs or is waited for at a time.
pub struct Orders {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    regime: Regime,
    /// Who waits for a check that has not begun yet. Mostly nobody, and there are many cells.
    #[expect(clippy::box_collection, reason = "a word instead of three")]
    wanted: Option<Box<Vec<Wanted>>>,
}

/// Who waits for a check.
pub type Wanted = oneshot::Sender<Check>;

/// What ends an instance's wait for its next check early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// The regime has changed, to this one.
    Changed(Regime),
    /// Somebody wants a check now.
    Wanted,
}

impl Orders {
    /// Begins with this regime.
    pub fn new(regime: Regime) -> Self {
        Self { state: Mutex::new(State { regime, wanted: None }), changed: Notify::new() }
    }

    /// Wants a check that begins from now on; the sender is dropped where none does.
    pub fn want(&self, wanted: Wanted) {
        let mut state = self.lock();
        let waiting = state.wanted.get_or_insert_default();
        // Those who have gone meanwhile wait for nothing: so there are as many as there are callers.
        waiting.retain(|other| !other.is_closed());
        waiting.push(wanted);
        drop(state);
        self.changed.notify_one();
    }

    /// Takes over everybody who waits for a check, for one that begins now.
    pub(super) fn take_wanted(&self) -> Vec<Wanted> {
        self.lock().wanted.take().map(|wanted| *wanted).unwrap_or_default()
    }

    /// Gives them back: that check did not count.
    pub(super) fn want_again(&self, wanted: Vec<Wanted>) {
        if !wanted.is_empty() {
            self.lock().wanted.get_or_insert_default().extend(wanted);
        }
    }

    /// The regime at this moment.
    pub fn regime(&self) -> Regime {
        self.lock().regime
    }

    /// Changes the regime, and wakes the instance's checks.
    pub fn set_regime(&self, regime: Regime) {
        self.lock().regime = regime;
        // Nobody may be waiting now: the wake-up is kept for the next who does.
        self.changed.notify_one();
    }

    /// Waits until the regime is not `old` any more, or somebody wants a check. Cancel-safe, as [`changed`](Self::changed) is.
    pub(super) async fn called(&self, old: Regime) -> Call {
        loop {
            {
                let state = self.lock();
                if state.regime != old {
                    return Call::Changed(state.regime);
                }
                if state.wanted.is_some() {
                    return Call::Wanted;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Waits until the regime is not `old` any more; says which it is. Cancel-safe: what a dropped wait has missed, the next one
    /// sees.
    pub(super) async fn changed(&self, old: Regime) -> Regime {
        loop {
            let regime = self.regime();
            if regime != old {
                return regime;
            }
            self.changed.notified().await;
        }
    }

    /// Waits until a trial has begun since this regime: what began before it proves nothing any more.
    pub(super) async fn trial_began(&self, since: Regime) {
        let mut regime = self.regime();
        while !regime.begins_trial_after(since) {
            regime = self.changed(regime).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.regime().fmt(f)
    }
}
