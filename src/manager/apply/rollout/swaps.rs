//! A job's swap, from its beginning to what is proven to have come of it: its end, and that of the observation which may follow.

use std::sync::Arc;

use tokio::time::Instant;
use uuid::Uuid;

use super::RollOut;
use super::course::COMMANDS;
use crate::manager::apply::job::{Job, Observed};
use crate::model::{Action, NotApplied, Refusal, SwapPhase, Task};

impl RollOut {
    /// The swap was accepted, with the task as it stood then.
    pub(super) fn swap_begun(&mut self, job: Job, task: &Task) {
        match task.swap.as_deref() {
            Some(swap) if !swap.is_ended() => self.follow(job, swap.id),
            // Other annotations alone, which are there at once.
            _ => self.advance(job),
        }
    }

    /// Waits for the end of the swap; or finds that it was missed.
    pub(super) fn follow(&mut self, mut job: Job, swap: Uuid) {
        job.follows = Some(swap);
        let view = self.handle.journal.view();
        let Some(task) = view.get(job.name()) else {
            let refusal = Refusal::TaskNotFound(job.name().clone());
            return self.failed(job, NotApplied::Refused(refusal));
        };
        match task.swap.as_deref() {
            Some(newest) if newest.id == swap && !newest.is_ended() => self.await_event(job, Some(task)),
            Some(newest) if newest.id == swap => self.swap_ended(job, task),
            // The next one has begun, so that this one has ended.
            _ => self.advance(Job { follows: None, ..job }),
        }
    }

    pub(super) fn swap_ended(&mut self, job: Job, task: &Task) {
        let Some(swap) = task.swap.as_deref() else { return self.advance(job) };
        let job = Job { follows: None, ..job };
        if let Some(reason) = job.reverted.clone() {
            return self.failed(job, NotApplied::Reverted(reason));
        }
        match swap.phase {
            SwapPhase::Done => self.advance(Job { did: Some(Action::Swap), was_done: true, ..job }),
            phase if job.is_back() => self.failed(job, NotApplied::NotRolledBack(phase, swap.error.clone())),
            // It was another's, as an earlier server's that had ended in the middle: the task is yet to be swapped by this apply.
            _ if job.did != Some(Action::Swap) && job.commands < COMMANDS => {
                self.advance(Job { commands: job.commands + 1, ..job });
            }
            phase => self.failed(job, NotApplied::Swap(phase, swap.error.clone())),
        }
    }

    /// The task is as desired, by a swap. What that has brought in may be observed: then it counts once that is over.
    pub(super) fn swapped(&mut self, mut job: Job, task: Option<&Arc<Task>>) {
        let Some(task) = task else { return self.done(job) };
        let Some(observation) = task.observation.as_deref() else { return self.done(job) };
        match job.observed {
            _ if !observation.failure.is_empty() && task.state.is_ended() => {
                // There was nothing to go back to any more.
                self.failed(job, NotApplied::Reverted(observation.failure.clone()));
            }
            _ if !observation.failure.is_empty() => self.await_event(job, Some(task)),
            Observed::Over => self.done(job),
            Observed::Until(_) => self.await_event(job, Some(task)),
            Observed::No => {
                // From when it was seen: no earlier than from when it has begun.
                let over = Instant::now() + task.spec.swap().observation_time();
                job.observed = Observed::Until(over);
                self.observations.insert((over, task.uid));
                self.await_event(job, Some(task));
            }
        }
    }

    /// The time of some observation is over.
    pub(super) fn observed(&mut self) {
        let now = Instant::now();
        while let Some((over, uid)) = self.observations.first().copied().filter(|(over, _)| *over <= now) {
            self.observations.remove(&(over, uid));
            if let Some(job) = self.awaiting.remove(&uid) {
                self.advance(Job { observed: Observed::Over, ..job });
            }
        }
    }

    /// What the swap has brought in has failed, and the server swaps back: that is awaited, since it is a swap under way.
    pub(super) fn reverted(&mut self, mut job: Job, task: &Task) {
        let Some(swap) = task.swap.as_deref() else { return self.await_event(job, None) };
        let reason = swap.revert_reason.clone();
        if swap.is_ended() {
            return self.failed(job, NotApplied::Reverted(reason));
        }
        (job.reverted, job.follows) = (Some(reason), Some(swap.id));
        self.awaiting.insert(task.uid, job);
    }
}

/// Whether the newest swap of the task is the server's own, to go back.
pub(super) fn is_reverted(task: &Task) -> bool {
    task.swap.as_deref().is_some_and(|swap| !swap.revert_reason.is_empty())
}
