//! The stored form: what the model's records look like on disk. Apart from the wire form and the model, so that either may change
//! without a store becoming unreadable.
//!
//! Nothing here is ever renumbered. What is added gets a new tag and reads as absent from older stores; what changes its meaning
//! makes a new [`FORM`] and a migration. Times and durations are nanoseconds, UUIDs two halves; 0 is never the code of anything.

mod brief;
mod circuit;
mod codes;
mod event;
mod fields;
mod instance;
mod monitor;
mod piece;
mod request;
mod row;
mod spec;
mod story;
mod swap;
mod task;
#[cfg(test)]
mod tests;

use std::time::Duration;

use thiserror::Error;
use uuid::Uuid;

pub(super) use brief::read_brief;
pub(super) use event::EventForm;
pub(super) use piece::{Piece, PieceForm, Pieces, Whole};
pub(super) use request::RequestForm;
pub(super) use row::{Counters, Identity, Tally, TaskRow, TaskRowUid};
pub(super) use spec::SpecForm;
pub(super) use story::{read_story, storied};
pub(super) use swap::{SpecKey, SpecOf};
pub(super) use task::TaskForm;
#[cfg(test)]
pub(crate) use tests::events as any_events;

use crate::model::{Timestamp, Violations};

/// The form that this version writes.
///
/// | form | new |
/// |---|---|
/// | 2 | the counters have the bytes of the log |
/// | 3 | and those of the specs that are kept for it alone |
/// | 4 | every row is sealed, and every table has its tally |
/// | 8 | overrides lie over circuits, and are told of |
///
/// It has no seal; but no flipped bit makes an 8 a form that would be migrated.
pub(super) const FORM: u32 = 8;

/// Why stored bytes are not what they should be.
#[derive(Debug, Error)]
pub(super) enum Unreadable {
    /// They are no message of ours.
    #[error("it does not decode: {0}")]
    Bytes(#[from] prost::DecodeError),
    /// Something that each has is missing.
    #[error("its {0} is missing")]
    Missing(&'static str),
    /// A code or text that stands for nothing.
    #[error("its {field} is unknown here: {value}")]
    Unknown {
        /// Of what.
        field: &'static str,
        /// What it is.
        value: String,
    },
    /// A value that the model refuses.
    #[error("its {field} is invalid: {problem}")]
    Invalid {
        /// Of what.
        field: &'static str,
        /// What the model says.
        problem: String,
    },
    /// A spec that it refers to is not there.
    #[error("the spec of generation {generation} that it refers to is not there")]
    NoSpec {
        /// The spec's.
        generation: u64,
    },
}

impl Unreadable {
    fn invalid(field: &'static str, problem: impl ToString) -> Self {
        Self::Invalid { field, problem: problem.to_string() }
    }

    fn violations(field: &'static str, violations: Violations) -> Self {
        Self::invalid(field, violations)
    }
}

type Read<T> = Result<T, Unreadable>;

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn times(time: Option<u64>) -> Option<Timestamp> {
    time.map(Timestamp::from_nanos)
}

fn spans(span: Option<u64>) -> Option<Duration> {
    span.map(Duration::from_nanos)
}

/// Both halves of a UUID: as long as its bytes would be, and nothing to allocate.
fn halves(uuid: Uuid) -> (u64, u64) {
    uuid.as_u64_pair()
}

fn uuid((high, low): (u64, u64)) -> Uuid {
    Uuid::from_u64_pair(high, low)
}
