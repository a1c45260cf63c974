//! The rows of `meta` and `tasks`.

use std::sync::Arc;

use prost::Message;
use uuid::Uuid;

use super::swap::SpecOf;
use super::task::TaskForm;
use super::{EventForm, Read, Unreadable, halves, uuid};
use crate::model::{Task, Uid};

/// Which store it is.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct Identity {
    #[prost(fixed64, tag = "1")]
    id_high: u64,
    #[prost(fixed64, tag = "2")]
    id_low: u64,
    /// It is a copy, which draws an id of its own when a server first opens it: a cursor of the original may lie ahead of it.
    #[prost(bool, tag = "3")]
    pub(in crate::journal::embedded) is_copy: bool,
}

impl Identity {
    pub(in crate::journal::embedded) fn new(id: Uuid) -> Self {
        let (id_high, id_low) = halves(id);
        Self { id_high, id_low, is_copy: false }
    }

    /// That of a copy.
    pub(in crate::journal::embedded) fn of_copy(self) -> Self {
        Self { is_copy: true, ..self }
    }

    pub(in crate::journal::embedded) fn id(&self) -> Uuid {
        uuid((self.id_high, self.id_low))
    }
}

/// Where the log begins and ends, and what it takes.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(in crate::journal::embedded) struct Counters {
    /// What retention dropped last, or 0.
    #[prost(uint64, tag = "1")]
    pub(in crate::journal::embedded) oldest: u64,
    /// The last event, or 0.
    #[prost(uint64, tag = "2")]
    pub(in crate::journal::embedded) head: u64,
    /// How many bytes the pieces have. From form 2 on.
    #[prost(uint64, tag = "3")]
    pub(in crate::journal::embedded) log_bytes: u64,
    /// How many bytes the specs have that are kept for events alone. From form 3 on.
    #[prost(uint64, tag = "4")]
    pub(in crate::journal::embedded) dying_bytes: u64,
    /// What each table has. From form 4 on.
    #[prost(message, required, tag = "5")]
    pub(in crate::journal::embedded) events: Tally,
    #[prost(message, required, tag = "6")]
    pub(in crate::journal::embedded) tasks: Tally,
    #[prost(message, required, tag = "7")]
    pub(in crate::journal::embedded) specs: Tally,
    #[prost(message, required, tag = "8")]
    pub(in crate::journal::embedded) dying: Tally,
    #[prost(message, required, tag = "9")]
    pub(in crate::journal::embedded) requests: Tally,
}

/// By which the rows of a table are known again.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(in crate::journal::embedded) struct Tally {
    /// How many there are.
    #[prost(uint64, tag = "1")]
    pub(in crate::journal::embedded) rows: u64,
    /// The sum of their seals.
    #[prost(fixed64, tag = "2")]
    seals: u64,
}

impl Tally {
    /// A row has come.
    pub(in crate::journal::embedded) fn add(&mut self, seal: u32) {
        self.rows = self.rows.wrapping_add(1);
        self.seals = self.seals.wrapping_add(seal.into());
    }

    /// A row has gone.
    pub(in crate::journal::embedded) fn remove(&mut self, seal: u32) {
        self.rows = self.rows.wrapping_sub(1);
        self.seals = self.seals.wrapping_sub(seal.into());
    }
}

/// A task as it stands.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct TaskRow {
    /// The event after which it stood so.
    #[prost(uint64, tag = "1")]
    pub(in crate::journal::embedded) sequence: u64,
    #[prost(message, optional, tag = "2")]
    pub(in crate::journal::embedded) image: Option<TaskForm>,
}

impl TaskRow {
    /// The row of the task after an event; `None` for one without a task.
    pub(in crate::journal::embedded) fn after(event: EventForm, sequence: u64) -> Option<Self> {
        event.task.map(|image| Self { sequence, image: Some(image) })
    }

    pub(in crate::journal::embedded) fn read<E: From<Unreadable>>(
        self,
        spec_of: SpecOf<'_, E>,
    ) -> Result<Arc<Task>, E> {
        let image = self.image.ok_or(Unreadable::Missing("image"))?;
        Ok(Arc::new(image.read(spec_of)?))
    }
}

/// Of a [`TaskRow`], what is needed to know whose it is.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct TaskRowUid {
    #[prost(message, optional, tag = "2")]
    image: Option<ImageUid>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImageUid {
    #[prost(fixed64, tag = "2")]
    high: u64,
    #[prost(fixed64, tag = "3")]
    low: u64,
}

impl TaskRowUid {
    pub(in crate::journal::embedded) fn read(bytes: &[u8]) -> Read<Uid> {
        let image = Self::decode(bytes)?.image.ok_or(Unreadable::Missing("image"))?;
        Ok(Uid::new(uuid((image.high, image.low))))
    }
}
