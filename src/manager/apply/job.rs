//! One task of an apply, from the first command about it to what has come of it.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use uuid::Uuid;

use crate::lifecycle::Command;
use crate::manager::handle::{Accepted, Handle, With, accepted};
use crate::model::{
    Action, CancelTask, Cause, DeleteTask, Desired, Etag, Refusal, Sequence, StartTask, SwapTask, Target, Task,
    TaskName,
};

/// A task that something is to be done about.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) aim: Aim,
    /// What has been done about it, last.
    pub(super) did: Option<Action>,
    /// The swap whose end is awaited.
    pub(super) follows: Option<Uuid>,
    /// Whether what the swap has brought in is observed, to be reverted if it fails.
    pub(super) observed: Observed,
    /// Its swap has been seen to be done: what comes after that is somebody else's.
    pub(super) was_done: bool,
    /// Why it has been reverted; the swap that is followed is the way back.
    pub(super) reverted: Option<String>,
    /// The task before the first swap of it.
    pub(super) before: Option<Arc<Task>>,
    /// How many commands there were.
    pub(super) commands: usize,
}

/// Whether what a swap has brought in is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observed {
    /// As far as is known.
    No,
    /// Until then at the latest.
    Until(Instant),
    /// It has been.
    Over,
}

/// What is to be.
#[derive(Debug)]
pub(super) enum Aim {
    /// A task is to be so.
    Have(Box<Have>),
    /// It is to have ended.
    End(TaskName),
}

/// A task that is to be so.
#[derive(Debug)]
pub(super) struct Have {
    pub(super) desired: Desired,
    /// What its spec watches.
    pub(super) target: Target,
    pub(super) way: Way,
}

/// How a task comes to be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By a start.
    Create,
    /// By a swap, of which so many are under way at once.
    Swap,
    /// By a swap back to what it had.
    Back,
}

/// What a command was answered with.
#[derive(Debug)]
pub(super) enum Answer {
    /// The task, as it stands after it.
    Task(Accepted),
    /// The place in the log right after the deletion.
    Deleted(Sequence),
}

/// A command that is under way.
pub(super) type Call = BoxFuture<'static, (Job, Result<Answer, Refusal>)>;

impl Job {
    pub(super) fn new(aim: Aim) -> Self {
        let observed = Observed::No;
        Self { aim, did: None, follows: None, observed, was_done: false, reverted: None, before: None, commands: 0 }
    }

    /// What puts a task back to what it had.
    pub(super) fn back(before: &Task) -> Self {
        let desired = Desired {
            name: before.name.clone(),
            labels: before.labels.clone(),
            annotations: before.annotations.clone(),
            spec: Arc::clone(&before.spec),
        };
        Self::new(Aim::Have(Box::new(Have { desired, target: before.target, way: Way::Back })))
    }

    pub(super) fn name(&self) -> &TaskName {
        match &self.aim {
            Aim::Have(have) => &have.desired.name,
            Aim::End(name) => name,
        }
    }

    /// Whether it is one of those of which so many are under way at once.
    pub(super) fn is_swap(&self) -> bool {
        matches!(&self.aim, Aim::Have(have) if have.way != Way::Create)
    }

    pub(super) fn is_back(&self) -> bool {
        matches!(&self.aim, Aim::Have(have) if have.way == Way::Back)
    }

    /// What the plan called it.
    pub(super) fn action(&self) -> Action {
        match &self.aim {
            Aim::Have(have) if have.way == Way::Create => Action::Create,
            Aim::Have(_) => Action::Swap,
            Aim::End(_) => Action::Cancel,
        }
    }
}

impl Have {
    /// Asks for its start.
    pub(super) fn start(&self, cause: Cause) -> Ask {
        let Desired { name, labels, annotations, spec } = self.desired.clone();
        let spec = Arc::unwrap_or_clone(spec);
        let start = StartTask { name, labels, annotations, spec, validate_only: false, cause, idempotency: None };
        Ask::Start(Box::new(start))
    }

    /// Asks for its swap.
    pub(super) fn swap(&self, cause: Cause) -> Ask {
        let Desired { name, labels, annotations, spec } = self.desired.clone();
        let swap = SwapTask {
            name,
            labels,
            annotations,
            spec: Arc::unwrap_or_clone(spec),
            former: None,
            strategy: None,
            state_policy: None,
            preempt: true,
            validate_only: false,
            etag: None,
            cause,
            idempotency: None,
        };
        Ask::Swap(Box::new(swap), self.target)
    }
}

/// What the loop is asked for.
pub(super) enum Ask {
    Start(Box<StartTask>),
    /// A spec that was vetted when it was gathered.
    Swap(Box<SwapTask>, Target),
    Cancel(CancelTask),
    Delete(DeleteTask),
}

impl Ask {
    /// Cancels the task, if it is still that one.
    pub(super) fn cancel(name: TaskName, etag: Etag, cause: Cause) -> Self {
        Self::Cancel(CancelTask { name, force: false, etag: Some(etag), cause, idempotency: None })
    }

    /// Deletes the ended task, if it is still that one.
    pub(super) fn delete(name: TaskName, etag: Etag, cause: Cause) -> Self {
        Self::Delete(DeleteTask { name, etag: Some(etag), cause, idempotency: None })
    }

    /// Asks for it on the job's behalf.
    pub(super) fn of(self, handle: Handle, job: Job) -> Call {
        async move {
            let answer = match self {
                Self::Start(start) => handle.start(*start).await.map(Answer::Task),
                Self::Swap(swap, target) => {
                    let command = Command::Swap(swap, target);
                    handle.desk.command(command, With::default()).await.and_then(accepted).map(Answer::Task)
                }
                Self::Cancel(cancel) => handle.cancel(cancel).await.map(Answer::Task),
                Self::Delete(delete) => handle.delete(delete).await.map(Answer::Deleted),
            };
            (job, answer)
        }
        .boxed()
    }
}
