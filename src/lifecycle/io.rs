//! What goes into the loop and what comes out.

use std::sync::Arc;

use uuid::Uuid;

use crate::model::{
    CancelTask, DeleteTask, Event, InstanceId, Mono, Refusal, Sequence, StartTask, Task, TaskName, Uid,
};

/// What a client commands.
#[derive(Clone, Debug)]
pub enum Command {
    /// Start a task.
    Start(Box<StartTask>),
    /// Stop a task for good.
    Cancel(CancelTask),
    /// Delete an ended task.
    Delete(DeleteTask),
}

/// What goes into the loop. Facts about an instance that has ended are ignored: it is fenced.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client's command. Its own step answers it, exactly once.
    Command(Command),
    /// An instance has said that it is ready.
    Ready(InstanceId),
    /// An instance has begun a check at this time.
    CheckBegan(InstanceId, Mono),
    /// It has ended its check at this time.
    CheckEnded(InstanceId, Mono),
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
    /// Stop every task, by this time at the latest, and start none any more.
    Drain {
        /// When the last instance has ended or is stuck.
        bound: Mono,
    },
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
}

/// What comes out of the loop, to be executed in this order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Append an event to the journal.
    Append(Event),
    /// Answer the command of this step, once everything up to `after` is committed.
    Answer {
        /// What the answer shows must be visible by then.
        after: Sequence,
        /// The answer.
        reply: Result<Reply, Refusal>,
    },
    /// Build and run the task's newest instance.
    Launch {
        /// The instance's name within the process.
        instance: InstanceId,
        /// The task as it stands, its `instance` being the one to run.
        task: Arc<Task>,
    },
    /// Cancel the instance's token.
    Signal(InstanceId),
    /// Abort the instance's root and every child.
    Abort(InstanceId),
    /// The task is gone: forget what was sampled of it.
    Forget(Uid),
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
    /// The position right after the deletion.
    Deleted {
        /// The position.
        sequence: Sequence,
    },
}

impl Command {
    pub(super) fn name(&self) -> &TaskName {
        match self {
            Self::Start(start) => &start.name,
            Self::Cancel(cancel) => &cancel.name,
            Self::Delete(delete) => &delete.name,
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
