//! Doing what the machine has decided, once the log knows it.

use std::sync::Arc;

use super::{Shell, With};
use crate::lifecycle::Effect;

impl Shell {
    pub(super) fn act(&mut self, effect: Effect, with: With) {
        match effect {
            Effect::Launch(launch) => self.launch(launch, with.monitor),
            Effect::Build { instance, spec } => self.build(instance, spec),
            // Dropped on the blocking pool.
            Effect::Discard(instance) => drop(self.candidates.remove(&instance)),
            Effect::Signal(instance) => {
                if let Some(running) = self.running.get(&instance) {
                    running.signal();
                }
            }
            Effect::Abort(instance) => {
                if let Some(running) = self.running.get(&instance) {
                    running.abort();
                }
            }
            Effect::Displace(instance) => self.displace(instance),
            Effect::CheckNow(instance) => {
                if let (Some(running), Some(wanted)) = (self.running.get(&instance), with.wanted) {
                    running.orders.want(wanted);
                }
            }
            Effect::Regime(instance, regime) => {
                if let Some(running) = self.running.get(&instance) {
                    running.orders.set_regime(regime);
                }
            }
            Effect::Promote { instance, uid, regime } => {
                if let Some(running) = self.running.get(&instance) {
                    self.wiring.lives.show(uid, Arc::clone(&running.live));
                    running.orders.set_regime(regime);
                }
            }
            Effect::Counted(uid, counts) => self.wiring.lives.count(uid, counts),
            Effect::Forget(uid) => self.wiring.lives.forget(uid),
            Effect::Append(_) | Effect::Remember(_) | Effect::Answer { .. } | Effect::AwaitCommit { .. } => {}
        }
    }
}
