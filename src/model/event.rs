//! Events: past-tense facts with a sequence number.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use super::{
    Alert, Attempt, BriefActor, CircuitStatus, Generation, Instance, Outcome, Pause, Reason, Restart, Sequence, Swap,
    Task, TaskSpec, Timestamp,
};

/// Something that has happened to a task, or to the server. The journal is made of these.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The place in the log.
    pub sequence: Sequence,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub kind: EventType,
    /// The instance's generation, or the task's; 0 without a task.
    pub generation: Generation,
    /// The instance's attempt; 0 where the event is not about an instance.
    pub attempt: Attempt,
    /// Who or what brought it about.
    pub cause: Cause,
    /// What the event is about.
    pub detail: Option<Detail>,
    /// The task as it stood after the event, or for `TaskDeleted` as it last stood; `None` for `ServerDraining` alone.
    pub task: Option<Arc<Task>>,
}

impl Event {
    /// The spec of a generation that the event refers to.
    pub fn spec_of(&self, generation: Generation) -> Option<&Arc<TaskSpec>> {
        let task = self.task.as_ref()?;
        if task.generation == generation {
            return Some(&task.spec);
        }
        let of_detail = match &self.detail {
            Some(Detail::Swap(swap)) => Some(&**swap),
            _ => None,
        };
        let mut swaps = [task.swap.as_deref(), of_detail].into_iter().flatten();
        swaps.find(|swap| swap.to_generation == generation).map(|swap| &swap.to_spec)
    }
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// An instance.
    Instance(Instance),
    /// An outcome.
    Outcome(Outcome),
    /// An alert.
    Alert(Alert),
    /// A pause.
    Pause(Box<Pause>),
    /// A restart.
    Restart(Restart),
    /// A swap.
    Swap(Box<Swap>),
    /// The circuit.
    Circuit(CircuitStatus),
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// A task was accepted.
    TaskCreated,
    /// An instance was started.
    InstanceStarting,
    /// It became ready.
    InstanceReady,
    /// It was asked to stop.
    InstanceStopping,
    /// It was aborted.
    InstanceAborting,
    /// It outlived both phases.
    InstanceStuck,
    /// It has ended, and its children with it.
    InstanceEnded,
    /// It failed, and will be started again.
    RestartScheduled,
    /// The task rests; or the end of its pause was moved.
    TaskPaused,
    /// The task is to run again.
    TaskResumed,
    /// The task has ended.
    TaskEnded,
    /// The ended task was deleted.
    TaskDeleted,
    /// A swap began.
    SwapStarted,
    /// The new generation has become the active one.
    SwapCommitted,
    /// The old generation has stayed.
    SwapRolledBack,
    /// The circuit opened: calls would fail.
    CircuitTripped,
    /// It is being tried whether calls pass again.
    CircuitHalfOpened,
    /// The circuit closed: calls pass.
    CircuitRecovered,
    /// The circuit began anew, for another target.
    CircuitReset,
    /// An override was laid over a circuit, or taken away.
    CircuitOverridden,
    /// An alert was raised.
    AlertRaised,
    /// An alert was resolved.
    AlertResolved,
    /// The server drains.
    ServerDraining,
}

impl EventType {
    /// Every type.
    pub const ALL: [Self; 23] = [
        Self::TaskCreated,
        Self::InstanceStarting,
        Self::InstanceReady,
        Self::InstanceStopping,
        Self::InstanceAborting,
        Self::InstanceStuck,
        Self::InstanceEnded,
        Self::RestartScheduled,
        Self::TaskPaused,
        Self::TaskResumed,
        Self::TaskEnded,
        Self::TaskDeleted,
        Self::SwapStarted,
        Self::SwapCommitted,
        Self::SwapRolledBack,
        Self::CircuitTripped,
        Self::CircuitHalfOpened,
        Self::CircuitRecovered,
        Self::CircuitReset,
        Self::CircuitOverridden,
        Self::AlertRaised,
        Self::AlertResolved,
        Self::ServerDraining,
    ];

    /// The name as filters and tables write it, unprefixed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TaskCreated => "TASK_CREATED",
            Self::InstanceStarting => "INSTANCE_STARTING",
            Self::InstanceReady => "INSTANCE_READY",
            Self::InstanceStopping => "INSTANCE_STOPPING",
            Self::InstanceAborting => "INSTANCE_ABORTING",
            Self::InstanceStuck => "INSTANCE_STUCK",
            Self::InstanceEnded => "INSTANCE_ENDED",
            Self::RestartScheduled => "RESTART_SCHEDULED",
            Self::TaskPaused => "TASK_PAUSED",
            Self::TaskResumed => "TASK_RESUMED",
            Self::TaskEnded => "TASK_ENDED",
            Self::TaskDeleted => "TASK_DELETED",
            Self::SwapStarted => "SWAP_STARTED",
            Self::SwapCommitted => "SWAP_COMMITTED",
            Self::SwapRolledBack => "SWAP_ROLLED_BACK",
            Self::CircuitTripped => "CIRCUIT_TRIPPED",
            Self::CircuitHalfOpened => "CIRCUIT_HALF_OPENED",
            Self::CircuitRecovered => "CIRCUIT_RECOVERED",
            Self::CircuitReset => "CIRCUIT_RESET",
            Self::CircuitOverridden => "CIRCUIT_OVERRIDDEN",
            Self::AlertRaised => "ALERT_RAISED",
            Self::AlertResolved => "ALERT_RESOLVED",
            Self::ServerDraining => "SERVER_DRAINING",
        }
    }
}

/// Who or what brought an event about, for the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Who or what.
    pub actor: Actor,
    /// The request's words, or a word of explanation.
    pub reason: Reason,
    /// The request's id, if it gave one.
    pub request_id: Option<Uuid>,
}

impl Cause {
    /// A cause of the system's own.
    pub fn system(component: &'static str, reason: impl Into<String>) -> Self {
        Self { actor: Actor::System(Cow::Borrowed(component)), reason: Reason::cut(reason.into()), request_id: None }
    }
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// A part of the server: `system:restart`, `system:ttl`.
    System(Cow<'static, str>),
    /// Files that the server reads: `file:/etc/switchyard/tasks`.
    File(Arc<str>),
    /// A client that has not proved who it is, by its address, without the port.
    Anonymous(IpAddr),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BriefActor::from(self).fmt(f)
    }
}
