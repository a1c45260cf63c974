//! A task as clients see it: spec and durable status.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Annotations, Attempt, CircuitStatus, Etag, Generation, Labels, Observation, Reason, Swap, Target, TaskName,
    TaskSpec, Timestamp, Uid,
};

/// The named resource a client owns, as it stands after some event. Events carry it; the view is made of it, and so is, after a
/// restart, all that the next server knows of it: hence some fields that no client is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The task's name.
    pub name: TaskName,
    /// Names this task for ever.
    pub uid: Uid,
    /// For selecting tasks.
    pub labels: Labels,
    /// The client's own notes.
    pub annotations: Annotations,
    /// The accepted spec.
    pub spec: Arc<TaskSpec>,
    /// The spec's number.
    pub generation: Generation,
    /// The newest number given to a spec of it; one that was rolled back is not given again. Shown to no client.
    pub last_generation: Generation,
    /// What the spec watches, as its kind says. Shown to no client.
    pub target: Target,
    /// What the task is doing.
    pub state: State,
    /// What its owner wants.
    pub intent: Intent,
    /// The newest run of the active generation; `None` before the first.
    pub instance: Option<Instance>,
    /// Instances that stop beside it: what a swap has replaced, or a candidate that was refused.
    pub draining: Vec<Instance>,
    /// The candidate of a swap that has not been decided. Shown to no client.
    pub candidate: Option<Box<Instance>>,
    /// The restarts.
    pub restart: Restart,
    /// The newest swap, if there was one.
    pub swap: Option<Box<Swap>>,
    /// Whether what that has brought in is observed. What is over may be shown until the next event.
    pub observation: Option<Box<Observation>>,
    /// How the last active instance ended.
    pub outcome: Option<Outcome>,
    /// The circuit breaker that the task drives.
    pub circuit: CircuitStatus,
    /// The open alerts, in the order they were raised.
    pub alerts: Vec<Alert>,
    /// That it is paused, as long as its owner wants that.
    pub pause: Option<Box<Pause>>,
    /// When the task was created.
    pub create_time: Timestamp,
    /// When an event last changed it.
    pub update_time: Timestamp,
    /// When it ended, and when it will be deleted.
    pub end: Option<End>,
    /// How it ends once nothing beside it lives any more, where that has been decided. Shown to no client.
    pub fate: Option<State>,
}

/// When a task ended, and when it will be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// When it ended.
    pub time: Timestamp,
    /// When the server will delete it.
    pub expire_time: Timestamp,
}

impl Task {
    /// What optimistic concurrency compares.
    pub fn etag(&self) -> Etag {
        Etag::of(self.uid, self.generation, &self.annotations)
    }

    /// Whether nothing of it runs any more but what is stuck: no wait can prove more of a stop.
    pub fn is_stopped(&self) -> bool {
        let mut instances = self.instance.iter().chain(&self.draining);
        instances.all(|instance| matches!(instance.state, InstanceState::Ended | InstanceState::Stuck))
    }

    /// The instance of that number, as far as it is shown: the active one, or one that stops beside it.
    pub fn instance_of(&self, generation: Generation, attempt: Attempt) -> Option<&Instance> {
        let mut instances = self.instance.iter().chain(&self.draining);
        instances.find(|instance| (instance.generation, instance.attempt) == (generation, attempt))
    }
}

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// To run, but nothing is live.
    Pending,
    /// An instance has been started and is not ready yet.
    Starting,
    /// The instance is ready.
    Running,
    /// Phase 1 of the shutdown.
    Stopping,
    /// Phase 2.
    Aborting,
    /// The instance outlived both phases.
    Stuck,
    /// Nothing is live, nor is to be until it is resumed.
    Paused,
    /// Ended: completed unasked.
    Succeeded,
    /// Ended: the restart policy has given up.
    Failed,
    /// Ended: cancelled.
    Cancelled,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::Aborting,
        Self::Stuck,
        Self::Paused,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether a task in this state has ended for good.
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The name as filters and tables write it, unprefixed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Aborting => "ABORTING",
            Self::Stuck => "STUCK",
            Self::Paused => "PAUSED",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// What a task's owner wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// To run.
    Run,
    /// To rest, and to go on later.
    Pause,
    /// To end.
    Cancel,
}

/// One run of one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The spec it runs.
    pub generation: Generation,
    /// Counts the instances of a generation.
    pub attempt: Attempt,
    /// Where the run is.
    pub state: InstanceState,
    /// When it was started.
    pub start_time: Timestamp,
    /// When it became ready.
    pub ready_time: Option<Timestamp>,
    /// When it ended.
    pub stop_time: Option<Timestamp>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// Its two-phase shutdown, if it was asked to stop.
    pub shutdown: Option<Shutdown>,
    /// Since when one poll of it has kept its thread, where that is too long and goes on.
    pub blocked_since: Option<Timestamp>,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstanceState {
    /// Started, not ready yet.
    Starting,
    /// Ready.
    Ready,
    /// Phase 1: its token is cancelled.
    Stopping,
    /// Phase 2: it was aborted.
    Aborting,
    /// It outlived both phases.
    Stuck,
    /// It and its children have ended.
    Ended,
}

/// The course of a two-phase shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Why. Shown to no client before the outcome tells.
    pub asked: Asked,
    /// When the token was cancelled.
    pub asked_time: Timestamp,
    /// How long phase 1 took; `None` while it lasts.
    pub graceful_duration: Option<Duration>,
    /// How long phase 2 took; `None` if there was none, and while it lasts.
    pub abort_duration: Option<Duration>,
}

/// How an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// It returned unasked, its work done.
    Completed,
    /// It returned after being asked to.
    Graceful,
    /// It had to be aborted.
    Aborted,
    /// It returned an error, or could not be built.
    Error,
    /// It panicked.
    Panic,
    /// The server ended under it.
    Interrupted,
    /// It was given up on a thread that another instance blocked.
    Displaced,
}

impl Exit {
    /// Every exit.
    pub const ALL: [Self; 7] =
        [Self::Completed, Self::Graceful, Self::Aborted, Self::Error, Self::Panic, Self::Interrupted, Self::Displaced];
}

/// Why an instance was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asked {
    /// It was not.
    None,
    /// Its task was cancelled.
    Cancel,
    /// The server drains.
    Drain,
    /// It was not ready in time.
    StartTimeout,
    /// A swap put another instance in its place, or refused it.
    Swap,
    /// Its task was paused.
    Pause,
    /// Its thread was relieved.
    Relief,
}

/// How an instance ended, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How.
    pub exit: Exit,
    /// Why it was asked to.
    pub asked: Asked,
    /// The error, the panic's message, or a word of explanation.
    pub message: String,
    /// When.
    pub time: Timestamp,
}

/// That a task is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The words of whoever paused it.
    pub reason: Reason,
    /// When the server resumes it by itself.
    pub expire_time: Option<Timestamp>,
}

/// The restarts of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restart {
    /// How many count against the policy now.
    pub count: u32,
    /// When the next instance will be started, if that has been scheduled.
    pub next_time: Option<Timestamp>,
}

/// Something about an instance that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What it is.
    pub kind: AlertKind,
    /// When it was raised.
    pub raise_time: Timestamp,
    /// The instance's generation.
    pub generation: Generation,
    /// The instance's attempt.
    pub attempt: Attempt,
    /// What happened, with its figures.
    pub message: String,
}

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertKind {
    /// No exit `slow_cancellation_after` the instance was asked to stop.
    SlowCancellation,
    /// A piece of work has run for longer than `long_running_after`.
    LongRunningTask,
    /// Phase 2 was entered because phase 1 ran out.
    AbortRequired,
    /// No exit `abort_timeout` after the abort.
    AbortTimeout,
    /// One poll has kept its thread for longer than `blocked_poll_after`.
    PollBlocked,
}

impl AlertKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::SlowCancellation, Self::LongRunningTask, Self::AbortRequired, Self::AbortTimeout, Self::PollBlocked];

    /// The name as filters and tables write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlowCancellation => "SLOW_CANCELLATION",
            Self::LongRunningTask => "LONG_RUNNING_TASK",
            Self::AbortRequired => "ABORT_REQUIRED",
            Self::AbortTimeout => "ABORT_TIMEOUT",
            Self::PollBlocked => "POLL_BLOCKED",
        }
    }

    /// The name as logs and metrics write it; the one the seed document gave.
    pub const fn label(self) -> &'static str {
        match self {
            Self::SlowCancellation => "slow_cancellation",
            Self::LongRunningTask => "long_running_task",
            Self::AbortRequired => "abort_required",
            Self::AbortTimeout => "abort_timeout",
            Self::PollBlocked => "poll_blocked",
        }
    }
}
