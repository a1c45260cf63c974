//! What has come of an apply so far: in numbers, the failures, and what could be undone.

use std::sync::Arc;

use super::job::Job;
use crate::model::{
    Action, Applied, ApplyCounts, ApplyFailure, ApplyOutcome, NotApplied, OnFailure, Rollout, Sequence, Task,
};

/// The tally.
pub(super) struct Tally {
    pub(super) counts: ApplyCounts,
    pub(super) sequence: Sequence,
    rollout: Rollout,
    failures: Vec<ApplyFailure>,
    failures_omitted: usize,
    failed_swaps: usize,
    /// The tasks that have been swapped, as they were before; kept only where they may have to be swapped back.
    undo: Vec<Arc<Task>>,
    rolling_back: bool,
}

impl Tally {
    /// Of nothing, at this place in the log.
    pub(super) fn new(rollout: Rollout, sequence: Sequence) -> Self {
        Self {
            counts: ApplyCounts::default(),
            sequence,
            rollout,
            failures: Vec::new(),
            failures_omitted: 0,
            failed_swaps: 0,
            undo: Vec::new(),
            rolling_back: false,
        }
    }

    /// Something was done, right before this place in the log.
    pub(super) fn reached(&mut self, sequence: Sequence) {
        self.sequence = self.sequence.max(sequence);
    }

    /// A job's turn has come.
    pub(super) fn taken_up(&mut self) {
        self.counts.waiting -= 1;
        self.counts.in_flight += 1;
    }

    /// A job waits for its turn again.
    pub(super) fn put_back(&mut self) {
        self.counts.waiting += 1;
        self.counts.in_flight -= 1;
    }

    /// The job's task is as desired.
    pub(super) fn done(&mut self, job: Job) {
        self.counts.in_flight -= 1;
        match job.did {
            _ if job.is_back() => {
                self.counts.swapped -= 1;
                self.counts.rolled_back += 1;
            }
            Some(Action::Create) => self.counts.created += 1,
            Some(Action::Swap) => {
                self.counts.swapped += 1;
                let undoes = self.rollout.on_failure == OnFailure::RollBack;
                self.undo.extend(job.before.filter(|_| undoes));
            }
            Some(Action::Cancel) => self.counts.cancelled += 1,
            Some(Action::Leave) | None => self.counts.left += 1,
        }
    }

    /// The job's task is not as desired.
    pub(super) fn failed(&mut self, job: &Job, why: NotApplied) {
        self.counts.in_flight -= 1;
        if job.is_back() {
            self.counts.swapped -= 1;
        } else if job.is_swap() {
            self.failed_swaps += 1;
        }
        self.note(ApplyFailure { name: job.name().clone(), action: Some(job.action()), why });
    }

    /// A task is not as desired.
    pub(super) fn note(&mut self, failure: ApplyFailure) {
        self.counts.failed += 1;
        if self.failures.len() < Applied::MOST_FAILURES {
            self.failures.push(failure);
        } else {
            self.failures_omitted += 1;
        }
    }

    /// Whether as many swaps have failed as may, so that no further one begins.
    pub(super) fn is_spent(&self) -> bool {
        !self.rolling_back && self.failed_swaps >= self.rollout.max_failures
    }

    /// Once, when all else is done: what is to be swapped back, where as many have failed and that is asked for.
    pub(super) fn roll_back(&mut self) -> Option<Vec<Job>> {
        if self.rolling_back || !self.is_spent() || self.rollout.on_failure == OnFailure::Leave {
            return None;
        }
        self.rolling_back = true;
        self.counts.waiting += self.undo.len();
        Some(self.undo.drain(..).map(|before| Job::back(&before)).collect())
    }

    /// All in all.
    pub(super) fn applied(self) -> Applied {
        let Self { counts, sequence, failures, failures_omitted, rolling_back, .. } = self;
        let outcome = match counts {
            _ if rolling_back => ApplyOutcome::RolledBack,
            counts if counts.waiting > 0 => ApplyOutcome::Stopped,
            counts if counts.failed > 0 => ApplyOutcome::Failed,
            _ => ApplyOutcome::Succeeded,
        };
        Applied { outcome, counts, failures, failures_omitted, sequence }
    }
}
