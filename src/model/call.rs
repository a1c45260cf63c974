//! Between a circuit and those who call its target: what they are told, and what they tell; and the same of the task's own checks.

use std::time::Duration;

use super::{Epoch, EvidenceSource, Mono, TaskName, Uid, Verdict};

/// The right to one trial call of a half-open circuit: none is given twice within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Counts the leases of an epoch.
    pub number: u32,
    /// When it expires, unless its call has been told of by then.
    pub until: Mono,
}

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// It may call.
    Granted(Permit),
    /// It had better not.
    Denied(Denial),
}

/// That a caller may call, and what its outcome is to bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Permit {
    /// The circuit's epoch.
    pub epoch: Epoch,
    /// The lease of a trial call; the others need none.
    pub lease: Option<Lease>,
}

/// That a caller had better not call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Denial {
    /// When it is worth asking again, different for each caller; `None` where nobody knows.
    pub retry_after: Option<Duration>,
}

/// A finished check, or the outcome of a call, as evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sample {
    /// The circuit's epoch when it began.
    pub epoch: Epoch,
    /// What it found.
    pub verdict: Verdict,
    /// How long it took.
    pub latency: Duration,
    /// Whose it is.
    pub source: Source,
}

/// Whose evidence it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The task's own checks'.
    Active,
    /// A caller's.
    Passive {
        /// Who tells of it. Different reporters have different numbers, as good as always.
        reporter: u64,
        /// The lease that the call had.
        lease: Option<Lease>,
    },
}

impl Source {
    /// Which window it belongs to.
    pub const fn kind(self) -> EvidenceSource {
        match self {
            Self::Active => EvidenceSource::Active,
            Self::Passive { .. } => EvidenceSource::Passive,
        }
    }
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disposition {
    /// It counted, or would have: an open circuit waits for time alone.
    Accepted,
    /// It came too late, or while no instance was ready; it changed nothing.
    Stale,
    /// Its lease had expired; it changed nothing.
    Expired,
    /// Its lease was used before; it changed nothing.
    Duplicate,
    /// It says nothing of the target; it changed nothing but that its lease, if it had one, is free again.
    Neutral,
    /// It was no trial call, and the circuit is half open; it changed nothing.
    Ignored,
}

impl Disposition {
    /// Every disposition.
    pub const ALL: [Self; 6] =
        [Self::Accepted, Self::Stale, Self::Expired, Self::Duplicate, Self::Neutral, Self::Ignored];

    /// The name as metrics write it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::Duplicate => "duplicate",
            Self::Neutral => "neutral",
            Self::Ignored => "ignored",
        }
    }
}

/// What has come of a call, as its caller tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallOutcome {
    /// Of a call to this task's target.
    pub uid: Uid,
    /// What it proves.
    pub sample: Sample,
}

/// Outcomes that a reporter tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who tells.
    pub reporter: String,
    /// What has come of calls, by rising numbers.
    pub outcomes: Vec<ReportedOutcome>,
}

/// What has come of a call, and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedOutcome {
    /// The task that was meant.
    pub name: TaskName,
    /// The reporter's number of it.
    pub sequence: u64,
    /// What has come of it.
    pub outcome: CallOutcome,
}
