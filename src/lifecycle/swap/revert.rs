//! Going back to the spec before (lifecycle.md §5, 8): where the new spec wants it, the generation that a swap has brought in is
//! observed for a while, and if it fails in that time, its task goes back, once, by a swap of the server's own.
//!
//! It fails where its instance fails as the restart policy counts it (an error, a panic, not ready in time), or where its checks trip
//! the circuit. What its owner, a drain or a crash ends has not failed; nor does anything count while another swap of the task runs.

use std::sync::Arc;

use super::command::Begin;
use super::{Stage, Swapping};
use crate::lifecycle::entry::Entry;
use crate::lifecycle::io::Chance;
use crate::lifecycle::{Lifecycle, Timer};
use crate::model::{Cause, Now, Observation, Task, Uid, cut, limits};

impl Swapping {
    /// How the generation that the swap brings in is observed, where its spec wants that: only what was tried beside, or in the place
    /// of, something that was well has anything to go back to. What the server itself has gone back to is not observed.
    pub(super) fn observation(&self, before: &Task, now: Now) -> Option<Observation> {
        let policy = self.swap.to_spec.swap();
        let observed = self.stage == Stage::Trying && policy.auto_revert() && !self.reverts();
        observed.then(|| Observation {
            generation: before.generation,
            spec: Arc::clone(&before.spec),
            target: before.target,
            strategy: self.swap.strategy,
            state_policy: self.state_policy,
            expire_time: now.wall + policy.observation_time(),
            failure: String::new(),
        })
    }

    /// Whether it is the server's own, to go back.
    pub(super) const fn reverts(&self) -> bool {
        !self.swap.revert_reason.is_empty()
    }

    /// Whether the cut-over has been made.
    const fn is_committed(&self) -> bool {
        matches!(self.stage, Stage::Retiring)
    }
}

impl Entry {
    /// The generation that is active has failed; where it is observed, the task is to go back.
    pub(in crate::lifecycle) fn fails(&mut self, how: &str) {
        let decided = self.swap.as_ref().is_none_or(|swapping| swapping.is_committed());
        if let Some(observation) = self.observation.as_mut().filter(|it| decided && it.failure.is_empty()) {
            let what = format!("generation {} {how}", self.task.generation);
            observation.failure = cut(what, limits::MESSAGE_BYTES);
        }
    }

    /// Whether what is active is observed, and has not failed.
    pub(in crate::lifecycle) fn is_observed(&self) -> bool {
        self.observation.as_ref().is_some_and(|observation| observation.failure.is_empty())
    }

    /// Whether the task is to go back, and has not yet.
    pub(in crate::lifecycle) fn reverts(&self) -> bool {
        self.observation.as_ref().is_some_and(|observation| !observation.failure.is_empty())
    }
}

impl<C: Chance> Lifecycle<C> {
    /// Has a task go back that is to, as soon as nothing is in the way: a swap that still runs, an instance that is stuck, a journal
    /// that takes nothing in. A server that drains leaves it to the next one.
    pub(in crate::lifecycle) fn revert(&mut self, uid: Uid, now: Now) {
        let is_due = |entry: &&Entry| entry.reverts() && entry.swap.is_none() && !entry.has_stuck();
        let Some(entry) = self.tasks.get(&uid).filter(is_due) else { return };
        if self.draining.is_some() || self.closing == Some(uid) {
            return;
        }
        if !self.intake.is_open() {
            return self.intake.put_off_revert(uid);
        }
        let Some(observation) = entry.observation.as_deref().cloned() else { return };
        let Observation { generation, spec, target, strategy, state_policy, expire_time: _, failure } = observation;
        let begin = Begin {
            annotations: entry.task.annotations.clone(),
            spec,
            target,
            strategy,
            state_policy,
            cause: Cause::system("swap", format!("{failure}: back to the spec of generation {generation}")),
            revert_reason: failure,
        };
        self.begin_swap(uid, begin, now);
    }

    /// What was observed has been well for long enough.
    pub(in crate::lifecycle) fn on_observed(&mut self, uid: Uid) {
        if let Some(entry) = self.tasks.get_mut(&uid) {
            entry.observation.take_if(|observation| observation.failure.is_empty());
        }
    }

    /// Sets when the observation ends, if there is one.
    pub(in crate::lifecycle) fn observe(&mut self, uid: Uid, now: Now) {
        let Some(entry) = self.tasks.get(&uid) else { return };
        match &entry.observation {
            Some(observation) if observation.failure.is_empty() => {
                // A clock that was set back makes none longer than its owner wanted.
                let left = observation.expire_time.since(now.wall).min(entry.task.spec.swap().observation_time());
                self.timers.set(Timer::Observed(uid), now.mono + left);
            }
            _ => self.timers.clear(Timer::Observed(uid)),
        }
    }
}
