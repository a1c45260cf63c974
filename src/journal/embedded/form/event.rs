//! Events as they are stored. The sequence is the place in the piece.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use super::circuit::CircuitForm;
use super::codes::Code;
use super::instance::{AlertForm, InstanceForm, OutcomeForm, PauseForm, read_reason};
use super::swap::{SpecKey, SpecOf, SwapForm};
use super::task::{RestartForm, TaskForm};
use super::{Read, Unreadable, halves, uuid};
use crate::model::{Actor, Attempt, Cause, Detail, Event, EventType, Generation, Sequence, Task, Timestamp};

/// An event.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct EventForm {
    #[prost(fixed64, tag = "1")]
    time: u64,
    #[prost(uint32, tag = "2")]
    kind: u32,
    /// Where it is not the task's.
    #[prost(uint64, optional, tag = "3")]
    generation: Option<u64>,
    #[prost(uint32, tag = "4")]
    attempt: u32,
    #[prost(oneof = "ActorForm", tags = "5, 6, 19")]
    actor: Option<ActorForm>,
    #[prost(string, tag = "7")]
    reason: String,
    #[prost(fixed64, optional, tag = "8")]
    request_high: Option<u64>,
    #[prost(fixed64, optional, tag = "9")]
    request_low: Option<u64>,
    #[prost(oneof = "DetailForm", tags = "10, 11, 12, 13, 14, 15, 16, 17")]
    detail: Option<DetailForm>,
    #[prost(message, optional, tag = "18")]
    pub(in crate::journal::embedded) task: Option<TaskForm>,
}

/// Who acts.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum ActorForm {
    /// A part of the server.
    #[prost(string, tag = "5")]
    System(String),
    /// A client's address: 4 bytes, or 16.
    #[prost(bytes = "vec", tag = "6")]
    Anonymous(Vec<u8>),
    /// The path of files.
    #[prost(string, tag = "19")]
    File(String),
}

/// What an event is about.
#[derive(Clone, PartialEq, prost::Oneof)]
enum DetailForm {
    /// What the image says of it: the code of a part.
    #[prost(uint32, tag = "10")]
    InTask(u32),
    #[prost(message, tag = "11")]
    Instance(InstanceForm),
    #[prost(message, tag = "12")]
    Outcome(OutcomeForm),
    #[prost(message, tag = "13")]
    Alert(AlertForm),
    #[prost(message, tag = "14")]
    Pause(PauseForm),
    #[prost(message, tag = "15")]
    Restart(RestartForm),
    #[prost(message, tag = "16")]
    Swap(SwapForm),
    #[prost(message, tag = "17")]
    Circuit(CircuitForm),
}

impl EventForm {
    /// The stored form; `born` is that of its task.
    pub(in crate::journal::embedded) fn of(event: &Event, born: u64) -> Self {
        // The sequence is the place in the log.
        let Event { sequence: _, time, kind, generation, attempt, cause, detail, task } = event;
        let Cause { actor, reason, request_id } = cause;
        let task = task.as_deref();
        let of_task = task.map_or_else(Generation::default, |task| task.generation);
        let request = request_id.map(halves);
        Self {
            time: time.as_nanos(),
            kind: kind.code(),
            generation: (*generation != of_task).then(|| generation.get()),
            attempt: attempt.get(),
            actor: Some(ActorForm::of(actor)),
            reason: reason.as_str().to_owned(),
            request_high: request.map(|(high, _)| high),
            request_low: request.map(|(_, low)| low),
            detail: detail.as_ref().map(|detail| DetailForm::of(detail, task)),
            task: task.map(|task| TaskForm::of(task, born)),
        }
    }

    /// The event at `sequence`.
    pub(in crate::journal::embedded) fn read<E: From<Unreadable>>(
        self,
        sequence: u64,
        spec_of: SpecOf<'_, E>,
    ) -> Result<Event, E> {
        let Self { time, kind, generation, attempt, actor, reason, request_high, request_low, detail, task } = self;
        let born = task.as_ref().map_or(0, |task| task.born);
        let task = task.map(|task| task.read(spec_of)).transpose()?;
        let of_task = task.as_ref().map_or_else(Generation::default, |task| task.generation);
        Ok(Event {
            sequence: Sequence::new(sequence),
            time: Timestamp::from_nanos(time),
            kind: EventType::of(kind)?,
            generation: generation.map_or(of_task, Generation::new),
            attempt: Attempt::new(attempt),
            cause: Cause {
                actor: actor.ok_or(Unreadable::Missing("actor"))?.read()?,
                reason: read_reason(reason)?,
                request_id: request_high.zip(request_low).map(uuid),
            },
            detail: detail.map(|detail| detail.read(task.as_ref(), born, spec_of)).transpose()?,
            task: task.map(Arc::new),
        })
    }

    /// The specs that it refers to.
    pub(in crate::journal::embedded) fn specs(&self) -> impl Iterator<Item = SpecKey> {
        let born = self.task.as_ref().map_or(0, |task| task.born);
        let of_detail = match &self.detail {
            Some(DetailForm::Swap(swap)) => Some(SpecKey { born, generation: swap.to_generation() }),
            _ => None,
        };
        self.task.iter().flat_map(TaskForm::specs).chain(of_detail)
    }
}

impl ActorForm {
    pub(super) fn of(actor: &Actor) -> Self {
        match actor {
            Actor::System(component) => Self::System(component.clone().into_owned()),
            Actor::File(path) => Self::File(path.to_string()),
            Actor::Anonymous(IpAddr::V4(peer)) => Self::Anonymous(peer.octets().to_vec()),
            Actor::Anonymous(IpAddr::V6(peer)) => Self::Anonymous(peer.octets().to_vec()),
        }
    }

    pub(super) fn read(self) -> Read<Actor> {
        match self {
            Self::System(component) => Ok(Actor::System(Cow::Owned(component))),
            Self::File(path) => Ok(Actor::File(path.into())),
            Self::Anonymous(peer) => read_address(&peer).map(Actor::Anonymous),
        }
    }
}

/// A client's address.
pub(super) fn read_address(peer: &[u8]) -> Read<IpAddr> {
    let v4 = <[u8; 4]>::try_from(peer).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(peer).map(IpAddr::from));
    address.map_err(|_| Unreadable::Unknown { field: "actor's address", value: format!("{peer:?}") })
}

impl DetailForm {
    fn of(detail: &Detail, task: Option<&Task>) -> Self {
        let said = task.and_then(|task| Part::ALL.into_iter().find(|part| part.is(detail, task)));
        if let Some(part) = said {
            return Self::InTask(part as u32);
        }
        match detail {
            Detail::Instance(instance) => Self::Instance(InstanceForm::of(instance)),
            Detail::Outcome(outcome) => Self::Outcome(OutcomeForm::of(outcome)),
            Detail::Alert(alert) => Self::Alert(AlertForm::of(alert)),
            Detail::Pause(pause) => Self::Pause(PauseForm::of(pause)),
            Detail::Restart(restart) => Self::Restart(RestartForm::of(restart)),
            Detail::Swap(swap) => Self::Swap(SwapForm::of(swap)),
            Detail::Circuit(circuit) => Self::Circuit(CircuitForm::of(circuit)),
        }
    }

    fn read<E: From<Unreadable>>(self, task: Option<&Task>, born: u64, spec_of: SpecOf<'_, E>) -> Result<Detail, E> {
        Ok(match self {
            Self::InTask(code) => {
                let detail = Part::of_code(code)?.of(task.ok_or(Unreadable::Missing("task"))?);
                detail.ok_or(Unreadable::Missing("detail"))?
            }
            Self::Instance(instance) => Detail::Instance(instance.read()?),
            Self::Outcome(outcome) => Detail::Outcome(outcome.read()?),
            Self::Alert(alert) => Detail::Alert(alert.read()?),
            Self::Pause(pause) => Detail::Pause(Box::new(pause.read()?)),
            Self::Restart(restart) => Detail::Restart(restart.read()),
            Self::Swap(swap) => Detail::Swap(Box::new(swap.read(born, spec_of)?)),
            Self::Circuit(circuit) => Detail::Circuit(circuit.read()?),
        })
    }
}

/// Parts of a task's image: most events are about one, and need not say it twice.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Instance = 1,
    Draining = 2,
    Candidate = 3,
    Outcome = 4,
    Alert = 5,
    Pause = 6,
    Restart = 7,
    Swap = 8,
    Circuit = 9,
}

impl Part {
    const ALL: [Self; 9] = [
        Self::Instance,
        Self::Draining,
        Self::Candidate,
        Self::Outcome,
        Self::Alert,
        Self::Pause,
        Self::Restart,
        Self::Swap,
        Self::Circuit,
    ];

    /// The tag of [`DetailForm::InTask`].
    pub(super) const IN_TASK: u64 = 10;

    pub(super) fn of_code(code: u32) -> Read<Self> {
        let part = Self::ALL.into_iter().find(|part| *part as u32 == code);
        part.ok_or_else(|| Unreadable::Unknown { field: "detail", value: code.to_string() })
    }

    /// The part that is stored as an event's own detail of that tag is.
    pub(super) const fn of_detail(tag: u64) -> Option<Self> {
        Some(match tag {
            11 => Self::Instance,
            12 => Self::Outcome,
            13 => Self::Alert,
            14 => Self::Pause,
            15 => Self::Restart,
            16 => Self::Swap,
            17 => Self::Circuit,
            _ => return None,
        })
    }

    /// Its tag in a [`TaskForm`].
    pub(super) const fn tag(self) -> u64 {
        match self {
            Self::Instance => 13,
            Self::Draining => 14,
            Self::Candidate => 15,
            Self::Circuit => 16,
            Self::Restart => 19,
            Self::Swap => 20,
            Self::Outcome => 21,
            Self::Alert => 22,
            Self::Pause => 23,
        }
    }

    /// Whether a detail is this part of its task.
    fn is(self, detail: &Detail, task: &Task) -> bool {
        match (self, detail) {
            (Self::Instance, Detail::Instance(instance)) => task.instance.as_ref() == Some(instance),
            (Self::Draining, Detail::Instance(instance)) => task.draining.last() == Some(instance),
            (Self::Candidate, Detail::Instance(instance)) => task.candidate.as_deref() == Some(instance),
            (Self::Outcome, Detail::Outcome(outcome)) => task.outcome.as_ref() == Some(outcome),
            (Self::Alert, Detail::Alert(alert)) => task.alerts.last() == Some(alert),
            (Self::Pause, Detail::Pause(pause)) => task.pause.as_ref() == Some(pause),
            (Self::Restart, Detail::Restart(restart)) => task.restart == *restart,
            (Self::Swap, Detail::Swap(swap)) => task.swap.as_ref() == Some(swap),
            (Self::Circuit, Detail::Circuit(circuit)) => task.circuit == *circuit,
            _ => false,
        }
    }

    /// What an event that is about this part of its task has as its detail.
    fn of(self, task: &Task) -> Option<Detail> {
        match self {
            Self::Instance => task.instance.clone().map(Detail::Instance),
            Self::Draining => task.draining.last().cloned().map(Detail::Instance),
            Self::Candidate => task.candidate.as_deref().cloned().map(Detail::Instance),
            Self::Outcome => task.outcome.clone().map(Detail::Outcome),
            Self::Alert => task.alerts.last().cloned().map(Detail::Alert),
            Self::Pause => task.pause.clone().map(Detail::Pause),
            Self::Restart => Some(Detail::Restart(task.restart)),
            Self::Swap => task.swap.clone().map(Detail::Swap),
            Self::Circuit => Some(Detail::Circuit(task.circuit.clone())),
        }
    }
}
