//! What goes into the loop and what comes out.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::model::{
    Admission, Attempt, CallOutcome, CancelTask, Cause, DeleteTask, Disposition, Event, Evidence, Generation,
    Idempotency, InstanceId, Method, Mono, Now, OverrideCircuit, PauseTask, Permission, Refusal, Regime, Remembered,
    ResetCircuit, ResumeTask, RollbackTask, RunTask, Sequence, StartTask, SwapTask, Target, Task, TaskName, TaskSpec,
    Uid, WindowCounts,
};

/// What a client commands.
#[derive(Clone, Debug)]
pub enum Command {
    /// Start a task, whose spec watches this target.
    Start(Box<StartTask>, Target),
    /// Replace a task's spec, by one that watches this target.
    Swap(Box<SwapTask>, Target),
    /// A roll-back of a task, which is refused for this reason unless it was done before: a former generation that is there comes as
    /// a swap.
    Vain(Box<RollbackTask>, Refusal),
    /// Stop a task for good.
    Cancel(CancelTask),
    /// Delete an ended task.
    Delete(DeleteTask),
    /// Stop a task for a while.
    Pause(PauseTask),
    /// Have a paused task run again.
    Resume(ResumeTask),
    /// Make one check now.
    Run(RunTask),
    /// Lay an override over a task's circuit, or take it away.
    Override(OverrideCircuit),
    /// Have a task's circuit begin anew.
    ResetCircuit(ResetCircuit),
}

/// What callers ask of circuits, and tell them. No command: nothing of it is remembered, and only a transition leaves an event.
#[derive(Clone, Debug)]
pub enum Call {
    /// May I call this task's target?
    Acquire(TaskName),
    /// This has come of calls.
    Report(Vec<CallOutcome>),
}

/// What goes into the loop. Facts about an instance that has ended are ignored: it is fenced.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client's command. Its own step answers it, exactly once.
    Command(Command),
    /// A caller's question or report. Answered as commands are.
    Call(Call),
    /// An instance has said that it is ready.
    Ready(InstanceId),
    /// An instance has begun a check at this time.
    CheckBegan(InstanceId, Mono),
    /// It has ended its check at this time, and that proves something.
    CheckEnded(InstanceId, Mono, Evidence),
    /// The monitor of a swap's candidate has been built, or cannot be.
    Built(InstanceId, Result<(), String>),
    /// The event of a cut-over has been committed: the instance that it replaced may be told.
    Committed(InstanceId),
    /// An instance's root has ended; `children` says whether any child of it still lives.
    RootEnded {
        /// The instance.
        instance: InstanceId,
        /// How.
        end: RootEnd,
        /// Whether children outlive it.
        children: bool,
    },
    /// The last child of an instance whose root had ended before has ended.
    ChildrenEnded {
        /// The instance.
        instance: InstanceId,
        /// Whether one of them had to be aborted.
        aborted: bool,
    },
    /// One poll of the instance has kept its thread since then, which is too long, and goes on.
    PollBlocked(InstanceId, Mono),
    /// That poll has returned.
    PollReturned(InstanceId),
    /// The thread of some instances has been blocked for so long that it is given up: what else ran there is displaced, and the
    /// culprit has the thread to itself.
    Stalled {
        /// Whose poll it is.
        culprit: InstanceId,
        /// Every other instance that ran there.
        displaced: Vec<InstanceId>,
    },
    /// The instance stops, a phase of that runs out, and it could not hear of it: another one blocks its thread.
    HeldUp(InstanceId),
    /// Stop every task, by this time at the latest, and start none any more.
    Drain {
        /// When the last instance has ended or is stuck.
        bound: Mono,
        /// Who wants that, and why.
        cause: Cause,
    },
    /// Take over some of the tasks that an earlier server has left.
    Adopt,
    /// The journal takes in what clients command, or does no more.
    Admission(Admission),
    /// Fire the timers that are due. The shell feeds what has happened first: an exit that came in time must not be overtaken
    /// by the deadline that it met.
    Tick,
}

/// How an instance's root ended, as its join tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootEnd {
    /// It returned, its work done.
    Returned,
    /// It returned an error, or could not be built.
    Failed(String),
    /// It panicked.
    Panicked(String),
    /// It was dropped before it had returned.
    Cancelled,
    /// It was given up, on a thread that another instance blocks.
    Displaced,
    /// The server that it ran in has ended.
    Interrupted,
}

/// What comes out of the loop, to be executed in this order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Append an event to the journal.
    Append(Event),
    /// Have the journal remember a request that has succeeded.
    Remember(Remembered),
    /// Answer the command of this step, once everything up to `after` is committed; at once where it shows nothing.
    Answer {
        /// What the answer shows must be visible by then; 0 where it shows nothing.
        after: Sequence,
        /// The answer.
        reply: Result<Reply, Refusal>,
    },
    /// Build a swap's candidate, and say so by [`Input::Built`]; it is launched or discarded later.
    Build {
        /// The name that it will be launched by.
        instance: InstanceId,
        /// What it is to run.
        spec: Arc<TaskSpec>,
    },
    /// A candidate that was built is not wanted any more.
    Discard(InstanceId),
    /// Run an instance, and build its monitor where that has not been done.
    Launch(Launch),
    /// The checks that the instance begins from here run under another regime.
    Regime(InstanceId, Regime),
    /// The instance is its task's active one from here.
    Promote {
        /// The instance.
        instance: InstanceId,
        /// The task.
        uid: Uid,
        /// Under what its checks run.
        regime: Regime,
    },
    /// Say by [`Input::Committed`] when everything up to `after` is committed.
    AwaitCommit {
        /// The event of the cut-over.
        after: Sequence,
        /// The instance that it replaced.
        instance: InstanceId,
    },
    /// What the window of a task's circuit holds now; for whoever looks at the task.
    Counted(Uid, WindowCounts),
    /// Cancel the instance's token.
    Signal(InstanceId),
    /// Abort the instance's root and every child.
    Abort(InstanceId),
    /// The instance counts as ended: see to it that nothing of it is polled any more, and wait for it no longer.
    Displace(InstanceId),
    /// Have the instance make a check now, and answer the command of this step with it.
    CheckNow(InstanceId),
    /// The task is gone: forget what was sampled of it.
    Forget(Uid),
}

/// An instance that is to run.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its name within the process.
    pub instance: InstanceId,
    /// Its task, as that stands.
    pub task: Arc<Task>,
    /// What it runs: for a candidate not yet the task's own spec.
    pub spec: Arc<TaskSpec>,
    /// The spec's number.
    pub generation: Generation,
    /// Which run of that spec it is.
    pub attempt: Attempt,
    /// Under what its checks run.
    pub regime: Regime,
    /// Over how long first checks are to be spread, where many instances are started at once.
    pub spread: Duration,
}

/// What a command is answered with.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The task, as it stands after the command, and the position right after the command's event.
    Accepted {
        /// The task.
        task: Arc<Task>,
        /// The position.
        sequence: Sequence,
    },
    /// The task as it stands; the check that was asked for answers.
    Checking {
        /// The task.
        task: Arc<Task>,
    },
    /// Whether a caller may call the task's target.
    Permission {
        /// The task's uid.
        uid: Uid,
        /// The answer.
        permission: Permission,
        /// When it was given.
        now: Now,
    },
    /// What has become of what callers told, in its order.
    Dispositions(Vec<Disposition>),
    /// The position right after the deletion.
    Deleted {
        /// The position.
        sequence: Sequence,
    },
}

impl Command {
    /// What makes it idempotent, and who wants it.
    pub(super) fn request(&self) -> (Method, Option<Idempotency>, &Cause) {
        match self {
            Self::Start(start, _) => (Method::Start, start.idempotency, &start.cause),
            Self::Swap(swap, _) => {
                let method = if swap.former.is_some() { Method::Rollback } else { Method::Swap };
                (method, swap.idempotency, &swap.cause)
            }
            Self::Vain(rollback, _) => (Method::Rollback, rollback.idempotency, &rollback.cause),
            Self::Cancel(cancel) => (Method::Cancel, cancel.idempotency, &cancel.cause),
            Self::Delete(delete) => (Method::Delete, delete.idempotency, &delete.cause),
            Self::Pause(pause) => (Method::Pause, pause.idempotency, &pause.cause),
            Self::Resume(resume) => (Method::Resume, resume.idempotency, &resume.cause),
            Self::Run(run) => (Method::Run, run.idempotency, &run.cause),
            Self::Override(over) => (Method::Override, over.idempotency, &over.cause),
            Self::ResetCircuit(reset) => (Method::ResetCircuit, reset.idempotency, &reset.cause),
        }
    }

    /// Whether it only asks what would be.
    pub(super) fn is_dry(&self) -> bool {
        match self {
            Self::Start(start, _) => start.validate_only,
            Self::Swap(swap, _) => swap.validate_only,
            Self::Vain(rollback, _) => rollback.validate_only,
            Self::Cancel(_) | Self::Delete(_) | Self::Pause(_) | Self::Resume(_) | Self::Run(_) => false,
            Self::Override(_) | Self::ResetCircuit(_) => false,
        }
    }

    /// What is known of it where its answer would have to wait for a journal that is stalled.
    pub fn unanswered(&self) -> Refusal {
        match self {
            _ if self.is_dry() => Refusal::JournalStalled,
            Self::Start(..) => Refusal::NotYetDurable("the start is under way"),
            Self::Swap(..) | Self::Vain(..) => Refusal::NotYetDurable("the swap is under way"),
            Self::Cancel(_) => Refusal::NotYetDurable("stopping"),
            Self::Delete(_) => Refusal::NotYetDurable("the deletion is under way"),
            Self::Pause(_) => Refusal::NotYetDurable("the pause is under way"),
            Self::Resume(_) => Refusal::NotYetDurable("the resumption is under way"),
            Self::Run(_) => Refusal::NotYetDurable("the check is under way"),
            Self::Override(_) => Refusal::NotYetDurable("overridden"),
            Self::ResetCircuit(_) => Refusal::NotYetDurable("reset"),
        }
    }

    pub(super) fn name(&self) -> &TaskName {
        match self {
            Self::Start(start, _) => &start.name,
            Self::Swap(swap, _) => &swap.name,
            Self::Vain(rollback, _) => &rollback.name,
            Self::Cancel(cancel) => &cancel.name,
            Self::Delete(delete) => &delete.name,
            Self::Pause(pause) => &pause.name,
            Self::Resume(resume) => &resume.name,
            Self::Run(run) => &run.name,
            Self::Override(over) => &over.name,
            Self::ResetCircuit(reset) => &reset.name,
        }
    }
}

/// Where the loop gets its randomness: uids and jitter.
pub trait Chance {
    /// A UUID that was never drawn before.
    fn uuid(&mut self) -> Uuid;
    /// A number from 0 up to, not including, 1.
    fn unit(&mut self) -> f64;
}
