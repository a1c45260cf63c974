//! Applying a whole set of tasks for an owner: what is asked for, what is planned, and what has come of it.

use std::sync::Arc;

use thiserror::Error;

use super::{Annotations, Cause, Generation, Labels, Refusal, Sequence, SwapPhase, TaskName, TaskSpec};

/// Asks for an owner's tasks to be those of a set, which follows.
#[derive(Clone, Debug)]
pub struct Apply {
    /// The value of the label [`OWNER`](Self::OWNER) that every task of the set has.
    pub owner: String,
    /// Whether live tasks of the owner that are not in the set are cancelled.
    pub prune: bool,
    /// How swaps are rolled out.
    pub rollout: Rollout,
    /// Plan, and do nothing.
    pub validate_only: bool,
    /// Who asks, and why.
    pub cause: Cause,
}

impl Apply {
    /// The label that says whose a task is.
    pub const OWNER: &'static str = "owner";
    /// How many bytes a set may take, encoded.
    pub const MOST_BYTES: usize = 128 * 1024 * 1024;
}

/// How the swaps of a set are rolled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// How many are under way at once; at least one.
    pub max_parallel: usize,
    /// At how many failures no further one begins; at least one.
    pub max_failures: usize,
    /// What becomes then of those that have taken over.
    pub on_failure: OnFailure,
}

impl Rollout {
    /// The most swaps that may be under way at once.
    pub const MOST_PARALLEL: usize = 1_000;
}

impl Default for Rollout {
    fn default() -> Self {
        Self { max_parallel: 64, max_failures: 1, on_failure: OnFailure::Leave }
    }
}

/// What becomes of the swaps of a roll-out that are done when it stops for failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They stay.
    Leave,
    /// Those tasks are swapped back to what they had.
    RollBack,
}

/// A task as its owner wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Its name.
    pub name: TaskName,
    /// Its labels, the owner's among them.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Annotations,
    /// What it is to do.
    pub spec: Arc<TaskSpec>,
}

/// What is to be done about a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanItem {
    /// The task.
    pub name: TaskName,
    /// What is to be done; `Err` where the rules allow nothing that would lead to what is desired.
    pub action: Result<Action, Refusal>,
    /// Why, in a few words.
    pub why: &'static str,
    /// The generation that is active now; 0 without a task.
    pub generation: Generation,
}

/// What is to be done about a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Start it; where one of that name has ended, after deleting that.
    Create,
    /// Swap its spec or its annotations, or wait for the swap that does so already.
    Swap,
    /// Nothing.
    Leave,
    /// Cancel it: it is not in the set.
    Cancel,
}

/// How far an apply has come. Every task that was planned is counted in one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApplyCounts {
    /// Tasks that were started.
    pub created: usize,
    /// Tasks that run what is desired, after a swap.
    pub swapped: usize,
    /// Tasks that were cancelled, and have ended.
    pub cancelled: usize,
    /// Tasks that were as desired.
    pub left: usize,
    /// Tasks that are not as desired: refused, rolled back, stuck.
    pub failed: usize,
    /// Tasks that were swapped, and swapped back since others have failed.
    pub rolled_back: usize,
    /// Tasks that something is being done about.
    pub in_flight: usize,
    /// Tasks whose turn has not come; in the end those whose swap was never begun.
    pub waiting: usize,
}

/// What has come of an apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// In a word.
    pub outcome: ApplyOutcome,
    /// In numbers.
    pub counts: ApplyCounts,
    /// What has failed; the first ones.
    pub failures: Vec<ApplyFailure>,
    /// How many more have.
    pub failures_omitted: usize,
    /// The place in the log right after the last thing that was done.
    pub sequence: Sequence,
}

impl Applied {
    /// How many failures are told.
    pub const MOST_FAILURES: usize = 100;
}

/// What has come of an apply, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApplyOutcome {
    /// Every task is as desired.
    Succeeded,
    /// All was tried, and some tasks are not as desired.
    Failed,
    /// As many swaps have failed as may, so that no further one was begun; those that were done have stayed.
    Stopped,
    /// As many swaps have failed as may, and those that were done have been swapped back.
    RolledBack,
}

/// A task that is not as desired.
#[derive(Clone, Debug, PartialEq)]
pub struct ApplyFailure {
    /// The task.
    pub name: TaskName,
    /// What was to be done; `None` where the plan had nothing that could be.
    pub action: Option<Action>,
    /// What came of it.
    pub why: NotApplied,
}

/// Why a task is not as desired.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotApplied {
    /// What was to be done was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The swap ended in this phase, for this reason.
    #[error("the swap is {phase}: {1}", phase = .0.name())]
    Swap(SwapPhase, String),
    /// The swap was done, and undone since the new spec failed soon after.
    #[error("the swap was done, and reverted: {0}")]
    Reverted(String),
    /// It was cancelled, and its instance does not end.
    #[error("it was cancelled, and its instance is stuck: it has outlived both phases")]
    Stuck,
    /// While it was being swapped back: the swap ended in this phase, for this reason.
    #[error("it was not swapped back, that swap is {phase}: {1}", phase = .0.name())]
    NotRolledBack(SwapPhase, String),
    /// Somebody else has cancelled it since it was planned, or changed it since it was swapped: it is theirs to say.
    #[error("somebody else has changed it meanwhile, and it was left as it is; apply again to have it as the set says")]
    TakenOver,
    /// Others change it again and again.
    #[error("others change it again and again")]
    Contended,
}
