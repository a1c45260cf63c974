//! Events in brief: all but the image of their task, borrowed from wherever they are kept.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use uuid::Uuid;

use super::{Actor, Attempt, Cause, Detail, Event, EventType, Generation, Sequence, Task, Timestamp, Uid};

/// An event without its task's image. Most watches show no more of it, and a store has it much sooner than the whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Brief<'a> {
    /// [`Event::sequence`].
    pub sequence: Sequence,
    /// [`Event::time`].
    pub time: Timestamp,
    /// [`Event::kind`].
    pub kind: EventType,
    /// [`Event::generation`].
    pub generation: Generation,
    /// [`Event::attempt`].
    pub attempt: Attempt,
    /// [`Event::cause`].
    pub cause: BriefCause<'a>,
    /// [`Event::detail`].
    pub detail: Option<Cow<'a, Detail>>,
    /// What task it is about, if any.
    pub task: Option<BriefTask<'a>>,
}

/// Which task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BriefTask<'a> {
    /// Its name's namespace.
    pub namespace: &'a str,
    /// The last part of its name.
    pub id: &'a str,
    /// Its uid.
    pub uid: Uid,
}

/// A [`Cause`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BriefCause<'a> {
    /// Who or what.
    pub actor: BriefActor<'a>,
    /// The request's words, or a word of explanation.
    pub reason: &'a str,
    /// The request's id, if it gave one.
    pub request_id: Option<Uuid>,
}

/// An [`Actor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BriefActor<'a> {
    /// A part of the server.
    System(&'a str),
    /// Files that the server reads.
    File(&'a str),
    /// A client, by its address.
    Anonymous(IpAddr),
}

impl BriefTask<'_> {
    /// The parts of its full name, in order.
    pub const fn name(&self) -> [&str; 4] {
        ["namespaces/", self.namespace, "/tasks/", self.id]
    }
}

impl<'a> From<&'a Event> for Brief<'a> {
    fn from(event: &'a Event) -> Self {
        let Event { sequence, time, kind, generation, attempt, cause, detail, task } = event;
        Self {
            sequence: *sequence,
            time: *time,
            kind: *kind,
            generation: *generation,
            attempt: *attempt,
            cause: cause.into(),
            detail: detail.as_ref().map(Cow::Borrowed),
            task: task.as_deref().map(BriefTask::from),
        }
    }
}

impl<'a> From<&'a Task> for BriefTask<'a> {
    fn from(task: &'a Task) -> Self {
        let (namespace, id) = task.name.parts();
        Self { namespace, id, uid: task.uid }
    }
}

impl<'a> From<&'a Cause> for BriefCause<'a> {
    fn from(cause: &'a Cause) -> Self {
        let Cause { actor, reason, request_id } = cause;
        Self { actor: actor.into(), reason: reason.as_str(), request_id: *request_id }
    }
}

impl<'a> From<&'a Actor> for BriefActor<'a> {
    fn from(actor: &'a Actor) -> Self {
        match actor {
            Actor::System(component) => Self::System(component),
            Actor::File(path) => Self::File(path),
            Actor::Anonymous(peer) => Self::Anonymous(*peer),
        }
    }
}

impl fmt::Display for BriefActor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(component) => write!(f, "system:{component}"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Anonymous(peer) => write!(f, "anonymous@{peer}"),
        }
    }
}
