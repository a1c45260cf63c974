//! Events in brief, from their stored form: of the task's image no more is read than what the event shows of it.

use std::borrow::Cow;

use prost::Message;

use super::circuit::CircuitForm;
use super::codes::Code;
use super::event::{Part, read_address};
use super::fields::{Broken, Fields, Value};
use super::instance::{AlertForm, InstanceForm, OutcomeForm, PauseForm};
use super::swap::{SpecOf, SwapForm};
use super::task::RestartForm;
use super::{Read, Unreadable, uuid};
use crate::model::{
    Attempt, Brief, BriefActor, BriefCause, BriefTask, Detail, EventType, Generation, Restart, Sequence, Timestamp, Uid,
};

/// The fields of an [`EventForm`](super::EventForm).
#[derive(Default)]
struct EventFields<'a> {
    time: u64,
    kind: u32,
    generation: Option<u64>,
    attempt: u32,
    actor: Option<ActorField<'a>>,
    reason: &'a str,
    request_high: Option<u64>,
    request_low: Option<u64>,
    detail: Option<(u64, Value<'a>)>,
    task: Option<&'a [u8]>,
}

/// An [`ActorForm`](super::event::ActorForm).
enum ActorField<'a> {
    System(&'a str),
    Anonymous(&'a [u8]),
    File(&'a str),
}

/// Those fields of a [`TaskForm`](super::TaskForm) that an event may show.
#[derive(Default)]
struct TaskFields<'a> {
    born: u64,
    uid_high: u64,
    uid_low: u64,
    name: &'a str,
    generation: u64,
    /// The last of those with the tag that was asked for.
    part: Option<&'a [u8]>,
}

/// The event at `sequence`, in brief.
pub(in crate::journal::embedded) fn read_brief<'a, E: From<Unreadable>>(
    event: &'a [u8],
    sequence: u64,
    spec_of: SpecOf<'_, E>,
) -> Result<Brief<'a>, E> {
    let EventFields { time, kind, generation, attempt, actor, reason, request_high, request_low, detail, task } =
        EventFields::read(event).map_err(Unreadable::from)?;
    let part = detail.map(|(tag, value)| part(tag, value)).transpose()?.flatten();
    let task = task.map(|task| TaskFields::read(task, part.map(Part::tag))).transpose().map_err(Unreadable::from)?;
    let generation = generation.or(task.as_ref().map(|task| task.generation)).unwrap_or_default();
    let detail = match (part, detail) {
        (Some(part), _) => {
            let task = task.as_ref().ok_or(Unreadable::Missing("task"))?;
            Some(read_detail(part, task.part, task.born, spec_of)?)
        }
        (None, Some((tag, value))) => {
            let part = Part::of_detail(tag).ok_or(Unreadable::Missing("detail"))?;
            let born = task.as_ref().map_or(0, |task| task.born);
            Some(read_detail(part, Some(value.bytes().map_err(Unreadable::from)?), born, spec_of)?)
        }
        (None, None) => None,
    };
    Ok(Brief {
        sequence: Sequence::new(sequence),
        time: Timestamp::from_nanos(time),
        kind: EventType::of(kind)?,
        generation: Generation::new(generation),
        attempt: Attempt::new(attempt),
        cause: BriefCause {
            actor: actor.ok_or(Unreadable::Missing("actor"))?.read()?,
            reason,
            request_id: request_high.zip(request_low).map(uuid),
        },
        detail: detail.map(Cow::Owned),
        task: task.as_ref().map(TaskFields::brief).transpose()?,
    })
}

impl<'a> EventFields<'a> {
    fn read(event: &'a [u8]) -> Result<Self, Broken> {
        let (mut found, mut fields) = (Self::default(), Fields::of(event));
        while let Some((tag, value)) = fields.next()? {
            match tag {
                1 => found.time = value.fixed64()?,
                2 => found.kind = value.varint32()?,
                3 => found.generation = Some(value.varint()?),
                4 => found.attempt = value.varint32()?,
                5 => found.actor = Some(ActorField::System(value.text()?)),
                6 => found.actor = Some(ActorField::Anonymous(value.bytes()?)),
                7 => found.reason = value.text()?,
                8 => found.request_high = Some(value.fixed64()?),
                9 => found.request_low = Some(value.fixed64()?),
                10..=17 => found.detail = Some((tag, value)),
                18 => found.task = Some(value.bytes()?),
                19 => found.actor = Some(ActorField::File(value.text()?)),
                _ => {}
            }
        }
        Ok(found)
    }
}

impl<'a> ActorField<'a> {
    fn read(self) -> Read<BriefActor<'a>> {
        Ok(match self {
            Self::System(component) => BriefActor::System(component),
            Self::Anonymous(peer) => BriefActor::Anonymous(read_address(peer)?),
            Self::File(path) => BriefActor::File(path),
        })
    }
}

impl<'a> TaskFields<'a> {
    /// The last tag of those that are always wanted.
    const LAST: u64 = 7;

    fn read(task: &'a [u8], part: Option<u64>) -> Result<Self, Broken> {
        let (mut found, mut fields) = (Self::default(), Fields::of(task));
        let last = part.unwrap_or_default().max(Self::LAST);
        while let Some((tag, value)) = fields.next()? {
            match tag {
                // They are in order, and this is most of the image.
                _ if tag > last => break,
                1 => found.born = value.varint()?,
                2 => found.uid_high = value.fixed64()?,
                3 => found.uid_low = value.fixed64()?,
                4 => found.name = value.text()?,
                7 => found.generation = value.varint()?,
                _ if Some(tag) == part => found.part = Some(value.bytes()?),
                _ => {}
            }
        }
        Ok(found)
    }

    fn brief(&self) -> Read<BriefTask<'a>> {
        let (namespace, id) = self.name.split_once('/').ok_or(Unreadable::Missing("name"))?;
        Ok(BriefTask { namespace, id, uid: Uid::new(uuid((self.uid_high, self.uid_low))) })
    }
}

/// The part of its task that says the detail, if that is where it is.
fn part(tag: u64, value: Value<'_>) -> Read<Option<Part>> {
    if tag != Part::IN_TASK {
        return Ok(None);
    }
    Part::of_code(value.varint32()?).map(Some)
}

/// The detail that such a part makes; of a restart nothing is stored where there is none.
fn read_detail<E: From<Unreadable>>(
    part: Part,
    stored: Option<&[u8]>,
    born: u64,
    spec_of: SpecOf<'_, E>,
) -> Result<Detail, E> {
    fn of<M: Message + Default>(stored: Option<&[u8]>) -> Read<M> {
        Ok(M::decode(stored.ok_or(Unreadable::Missing("detail"))?)?)
    }
    Ok(match part {
        Part::Instance | Part::Draining | Part::Candidate => Detail::Instance(of::<InstanceForm>(stored)?.read()?),
        Part::Outcome => Detail::Outcome(of::<OutcomeForm>(stored)?.read()?),
        Part::Alert => Detail::Alert(of::<AlertForm>(stored)?.read()?),
        Part::Pause => Detail::Pause(Box::new(of::<PauseForm>(stored)?.read()?)),
        Part::Restart if stored.is_none() => Detail::Restart(Restart::default()),
        Part::Restart => Detail::Restart(of::<RestartForm>(stored)?.read()),
        Part::Swap => Detail::Swap(Box::new(of::<SwapForm>(stored)?.read(born, spec_of)?)),
        Part::Circuit => Detail::Circuit(of::<CircuitForm>(stored)?.read()?),
    })
}
