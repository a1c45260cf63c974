//! Instances, and what is said of them, as they are stored.

use super::Unreadable;
use super::codes::Code;
use super::fields::{Broken, Fields};
use super::{Read, nanos, spans, times};
use crate::model::{
    Alert, AlertKind, Asked, Attempt, Exit, Generation, Instance, InstanceState, Outcome, Pause, Reason, Shutdown,
    Timestamp,
};

/// An instance.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct InstanceForm {
    #[prost(uint64, tag = "1")]
    generation: u64,
    #[prost(uint32, tag = "2")]
    attempt: u32,
    #[prost(uint32, tag = "3")]
    state: u32,
    #[prost(fixed64, tag = "4")]
    start_time: u64,
    #[prost(fixed64, optional, tag = "5")]
    ready_time: Option<u64>,
    #[prost(fixed64, optional, tag = "6")]
    stop_time: Option<u64>,
    #[prost(uint32, tag = "7")]
    exit: u32,
    /// There is a shutdown if this is there.
    #[prost(fixed64, optional, tag = "8")]
    asked_time: Option<u64>,
    #[prost(uint64, optional, tag = "9")]
    graceful_duration: Option<u64>,
    #[prost(uint64, optional, tag = "10")]
    abort_duration: Option<u64>,
    #[prost(fixed64, optional, tag = "11")]
    blocked_since: Option<u64>,
    #[prost(uint32, tag = "12")]
    asked: u32,
}

impl InstanceForm {
    pub(super) fn of(instance: &Instance) -> Self {
        let Instance { generation, attempt, state, start_time, ready_time, stop_time, exit, shutdown, blocked_since } =
            *instance;
        let graceful_duration = shutdown.and_then(|shutdown| shutdown.graceful_duration);
        let abort_duration = shutdown.and_then(|shutdown| shutdown.abort_duration);
        Self {
            generation: generation.get(),
            attempt: attempt.get(),
            state: state.code(),
            start_time: start_time.as_nanos(),
            ready_time: ready_time.map(Timestamp::as_nanos),
            stop_time: stop_time.map(Timestamp::as_nanos),
            exit: exit.map_or(0, Code::code),
            asked_time: shutdown.map(|shutdown| shutdown.asked_time.as_nanos()),
            graceful_duration: graceful_duration.map(nanos),
            abort_duration: abort_duration.map(nanos),
            blocked_since: blocked_since.map(Timestamp::as_nanos),
            asked: shutdown.map_or(0, |shutdown| shutdown.asked.code()),
        }
    }

    /// What `merge` does, sooner: most events in brief show one.
    pub(super) fn fill(&mut self, stored: &[u8]) -> Result<(), Broken> {
        let mut fields = Fields::of(stored);
        while let Some((tag, value)) = fields.next()? {
            match tag {
                1 => self.generation = value.varint()?,
                2 => self.attempt = value.varint32()?,
                3 => self.state = value.varint32()?,
                4 => self.start_time = value.fixed64()?,
                5 => self.ready_time = Some(value.fixed64()?),
                6 => self.stop_time = Some(value.fixed64()?),
                7 => self.exit = value.varint32()?,
                8 => self.asked_time = Some(value.fixed64()?),
                9 => self.graceful_duration = Some(value.varint()?),
                10 => self.abort_duration = Some(value.varint()?),
                11 => self.blocked_since = Some(value.fixed64()?),
                12 => self.asked = value.varint32()?,
                _ => {}
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn read(&self) -> Read<Instance> {
        let Self {
            generation,
            attempt,
            state,
            start_time,
            ready_time,
            stop_time,
            exit,
            asked_time,
            graceful_duration,
            abort_duration,
            blocked_since,
            asked,
        } = *self;
        let asked = Asked::optional(asked)?.unwrap_or(Asked::None);
        Ok(Instance {
            generation: Generation::new(generation),
            attempt: Attempt::new(attempt),
            state: InstanceState::of(state)?,
            start_time: Timestamp::from_nanos(start_time),
            ready_time: times(ready_time),
            stop_time: times(stop_time),
            exit: Exit::optional(exit)?,
            shutdown: times(asked_time).map(|asked_time| Shutdown {
                asked,
                asked_time,
                graceful_duration: spans(graceful_duration),
                abort_duration: spans(abort_duration),
            }),
            blocked_since: times(blocked_since),
        })
    }
}

/// An outcome.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct OutcomeForm {
    #[prost(uint32, tag = "1")]
    exit: u32,
    #[prost(uint32, tag = "2")]
    asked: u32,
    #[prost(string, tag = "3")]
    message: String,
    #[prost(fixed64, tag = "4")]
    time: u64,
}

impl OutcomeForm {
    pub(super) fn of(outcome: &Outcome) -> Self {
        let Outcome { exit, asked, message, time } = outcome;
        Self { exit: exit.code(), asked: asked.code(), message: message.clone(), time: time.as_nanos() }
    }

    pub(super) fn read(self) -> Read<Outcome> {
        let Self { exit, asked, message, time } = self;
        Ok(Outcome { exit: Exit::of(exit)?, asked: Asked::of(asked)?, message, time: Timestamp::from_nanos(time) })
    }
}

/// An alert.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct AlertForm {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(fixed64, tag = "2")]
    raise_time: u64,
    #[prost(uint64, tag = "3")]
    generation: u64,
    #[prost(uint32, tag = "4")]
    attempt: u32,
    #[prost(string, tag = "5")]
    message: String,
}

impl AlertForm {
    pub(super) fn of(alert: &Alert) -> Self {
        let Alert { kind, raise_time, generation, attempt, message } = alert;
        Self {
            kind: kind.code(),
            raise_time: raise_time.as_nanos(),
            generation: generation.get(),
            attempt: attempt.get(),
            message: message.clone(),
        }
    }

    pub(super) fn read(self) -> Read<Alert> {
        let Self { kind, raise_time, generation, attempt, message } = self;
        Ok(Alert {
            kind: AlertKind::of(kind)?,
            raise_time: Timestamp::from_nanos(raise_time),
            generation: Generation::new(generation),
            attempt: Attempt::new(attempt),
            message,
        })
    }
}

/// A pause.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct PauseForm {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(fixed64, optional, tag = "2")]
    expire_time: Option<u64>,
}

impl PauseForm {
    pub(super) fn of(pause: &Pause) -> Self {
        let Pause { reason, expire_time } = pause;
        Self { reason: reason.as_str().to_owned(), expire_time: expire_time.map(Timestamp::as_nanos) }
    }

    pub(super) fn read(self) -> Read<Pause> {
        let Self { reason, expire_time } = self;
        Ok(Pause { reason: read_reason(reason)?, expire_time: times(expire_time) })
    }
}

pub(super) fn read_reason(text: String) -> Read<Reason> {
    Reason::try_new(text).map_err(|problem| Unreadable::invalid("reason", problem))
}
