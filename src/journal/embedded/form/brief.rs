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

/// The event at `sequence`, in brief. What it is made of is filled in where it is, and not handed on by value: moving it costs as
/// much as reading it.
#[inline]
pub(in crate::journal::embedded) fn read_brief<'a, E: From<Unreadable>>(
    stored: &'a [u8],
    sequence: u64,
    spec_of: SpecOf<'_, E>,
) -> Result<Brief<'a>, E> {
    let mut event = EventFields::default();
    event.fill(stored).map_err(Unreadable::from)?;
    let part = match event.detail {
        Some((Part::IN_TASK, value)) => Some(Part::of_code(value.varint32().map_err(Unreadable::from)?)?),
        _ => None,
    };
    let mut image = TaskFields::default();
    if let Some(task) = event.task {
        image.fill(task, part.map(Part::tag)).map_err(Unreadable::from)?;
    }
    let detail = match (part, event.detail) {
        (Some(_), _) if event.task.is_none() => return Err(Unreadable::Missing("task").into()),
        (Some(part), _) => Some((part, image.part)),
        (None, Some((tag, value))) => {
            let part = Part::of_detail(tag).ok_or(Unreadable::Missing("detail"))?;
            Some((part, Some(value.bytes().map_err(Unreadable::from)?)))
        }
        (None, None) => None,
    };
    Ok(Brief {
        sequence: Sequence::new(sequence),
        time: Timestamp::from_nanos(event.time),
        kind: EventType::of(event.kind)?,
        generation: Generation::new(event.generation.unwrap_or(image.generation)),
        attempt: Attempt::new(event.attempt),
        cause: BriefCause {
            actor: event.actor.ok_or(Unreadable::Missing("actor"))?.read()?,
            reason: event.reason,
            request_id: event.request_high.zip(event.request_low).map(uuid),
        },
        detail: match detail {
            Some((part, stored)) => Some(Cow::Owned(read_detail(part, stored, image.born, spec_of)?)),
            None => None,
        },
        task: match event.task {
            Some(_) => Some(image.brief()?),
            None => None,
        },
    })
}

impl<'a> EventFields<'a> {
    fn fill(&mut self, event: &'a [u8]) -> Result<(), Broken> {
        let mut fields = Fields::of(event);
        while let Some((tag, value)) = fields.next()? {
            match tag {
                1 => self.time = value.fixed64()?,
                2 => self.kind = value.varint32()?,
                3 => self.generation = Some(value.varint()?),
                4 => self.attempt = value.varint32()?,
                5 => self.actor = Some(ActorField::System(value.text()?)),
                6 => self.actor = Some(ActorField::Anonymous(value.bytes()?)),
                7 => self.reason = value.text()?,
                8 => self.request_high = Some(value.fixed64()?),
                9 => self.request_low = Some(value.fixed64()?),
                10..=17 => self.detail = Some((tag, value)),
                18 => self.task = Some(value.bytes()?),
                19 => self.actor = Some(ActorField::File(value.text()?)),
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'a> ActorField<'a> {
    #[inline]
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

    fn fill(&mut self, task: &'a [u8], part: Option<u64>) -> Result<(), Broken> {
        let mut fields = Fields::of(task);
        let last = part.unwrap_or_default().max(Self::LAST);
        while let Some((tag, value)) = fields.next()? {
            match tag {
                // They are in order, and this is most of the image.
                _ if tag > last => break,
                1 => self.born = value.varint()?,
                2 => self.uid_high = value.fixed64()?,
                3 => self.uid_low = value.fixed64()?,
                4 => self.name = value.text()?,
                7 => self.generation = value.varint()?,
                _ if Some(tag) == part => self.part = Some(value.bytes()?),
                _ => {}
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn brief(&self) -> Read<BriefTask<'a>> {
        // Of so few bytes, none is found sooner by `split_once`.
        let slash = self.name.bytes().position(|byte| byte == b'/').ok_or(Unreadable::Missing("name"))?;
        let (namespace, id) = (&self.name[..slash], &self.name[slash + 1..]);
        Ok(BriefTask { namespace, id, uid: Uid::new(uuid((self.uid_high, self.uid_low))) })
    }
}

/// The detail that such a part makes; of a restart nothing is stored where there is none.
#[inline(always)]
fn read_detail<E: From<Unreadable>>(
    part: Part,
    stored: Option<&[u8]>,
    born: u64,
    spec_of: SpecOf<'_, E>,
) -> Result<Detail, E> {
    if let Part::Instance | Part::Draining | Part::Candidate = part {
        let mut instance = InstanceForm::default();
        instance.fill(stored.ok_or(Unreadable::Missing("detail"))?).map_err(Unreadable::from)?;
        return Ok(Detail::Instance(instance.read()?));
    }
    read_rarer_detail(part, stored, born, spec_of)
}

#[inline(never)]
fn read_rarer_detail<E: From<Unreadable>>(
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
