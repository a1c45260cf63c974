//! Whether a caller may call.

use std::sync::Arc;
use std::time::Duration;

use super::{Circuit, Phase, Transition};
use crate::model::{CircuitOverride, CircuitPolicy, Denial, Lease, Mono, Now, Override, Permission, Permit};

/// An override, and when it ends by the clock that decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Overriding {
    wanted: Arc<CircuitOverride>,
    due: Option<Mono>,
}

impl Overriding {
    pub(super) fn new(wanted: Arc<CircuitOverride>, now: Now) -> Self {
        let due = wanted.expire_time.map(|expire_time| now.mono + expire_time.since(now.wall));
        Self { wanted, due }
    }

    pub(super) fn shown(&self) -> Arc<CircuitOverride> {
        self.wanted.clone()
    }
}

impl Circuit {
    /// Asks for permission to call. Begins, as a report does, with what time demands.
    pub fn acquire(&mut self, policy: &CircuitPolicy, chance: f64, now: Now) -> (Permission, Option<Transition>) {
        let settled = self.settle(policy, chance, now);
        let now = self.clamp(now);
        let answer = self.permission(policy, now).map_err(|wait| {
            // So that those who were denied together do not come back together.
            wait.map(|wait| wait + wait.mul_f64(policy.jitter() * chance))
        });
        let permission = match answer {
            Ok(lease) => Permission::Granted(Permit { epoch: self.epoch, lease }),
            Err(retry_after) => Permission::Denied(Denial { retry_after }),
        };
        (permission, settled)
    }

    /// The permission, with the lease that it takes; or how long the caller had better wait, if that is known.
    fn permission(&mut self, policy: &CircuitPolicy, now: Now) -> Result<Option<Lease>, Option<Duration>> {
        match self.overriding.as_deref() {
            Some(overriding) if overriding.wanted.mode.permits() => return Ok(None),
            Some(overriding) => return Err(overriding.due.map(|due| due.since(now.mono))),
            None if self.stopwatch.is_stopped() => return Err(None),
            None => {}
        }
        let stopwatch = self.stopwatch;
        let left = |lasts: Duration| lasts.saturating_sub(stopwatch.elapsed(now));
        match &mut self.phase {
            Phase::Closed { .. } => Ok(None),
            Phase::Open { lasts, .. } => Err(Some(left(*lasts))),
            Phase::HalfOpen(trial) => trial.lease(policy.passive(), now.mono).map(Some).ok_or_else(|| {
                // A verdict may come as often as checks do; the latest that something changes is when a call under way counts as lost.
                let lost = trial.next_expiry().map_or(Duration::MAX, |expiry| expiry.since(now.mono));
                Some(left(trial.lasts).min(policy.trial_interval()).min(lost))
            }),
        }
    }

    /// Lays an override over the circuit, or takes away what lies there. The circuit goes on beneath.
    pub fn override_with(&mut self, wanted: Option<CircuitOverride>, now: Now) {
        let now = self.clamp(now);
        self.overriding = wanted.map(|wanted| Box::new(Overriding::new(Arc::new(wanted), now)));
    }

    /// Takes the override away whose time is over, and says whether there was one.
    pub fn expire_override(&mut self, now: Now) -> bool {
        let now = self.clamp(now);
        let over = self.override_due().is_some_and(|due| due <= now.mono);
        if over {
            self.overriding = None;
        }
        over
    }

    /// When [`Circuit::expire_override`] is to be called. Overrides expire whether an instance is ready or not.
    pub fn override_due(&self) -> Option<Mono> {
        self.overriding.as_ref().and_then(|overriding| overriding.due)
    }

    /// What an operator has decided over the circuit.
    pub fn overriding(&self) -> Option<Override> {
        self.overriding.as_ref().map(|overriding| overriding.wanted.mode)
    }
}
