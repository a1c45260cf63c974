//! A task's circuit as clients see it. The machine that moves it is in the room `circuit`.

use std::sync::Arc;
use std::time::Duration;

use super::{Epoch, Reason, Timestamp};

/// Whether traffic should go to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CircuitState {
    /// It should: the target is well.
    Closed,
    /// It should not: the target is not well.
    Open,
    /// Time has passed, and the target is on trial.
    HalfOpen,
}

impl CircuitState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The name as filters and tables write it, unprefixed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Open => "OPEN",
            Self::HalfOpen => "HALF_OPEN",
        }
    }

    /// The name as metrics write it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Why a circuit opened or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CircuitReason {
    /// Opened: too many checks failed or were slow, or one was during the trial.
    Failure,
    /// Opened: the trial's time ran out before enough checks had passed.
    Inconclusive,
    /// Closed: enough checks passed during the trial.
    Recovered,
    /// Closed: the trial's time ran out, and enough checks had passed by then.
    Waived,
    /// Closed: the target was changed.
    Reset,
}

impl CircuitReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::Failure, Self::Inconclusive, Self::Recovered, Self::Waived, Self::Reset];

    /// The name as tables write it, unprefixed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failure => "FAILURE",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Recovered => "RECOVERED",
            Self::Waived => "WAIVED",
            Self::Reset => "RESET",
        }
    }

    /// The name as metrics write it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Inconclusive => "inconclusive",
            Self::Recovered => "recovered",
            Self::Waived => "waived",
            Self::Reset => "reset",
        }
    }
}

/// What an operator has decided. The circuit goes on beneath it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Override {
    /// No traffic, whatever is known of the target.
    ForcedOpen,
    /// All traffic, whatever is known of the target.
    ForcedClosed,
    /// All traffic; the circuit shows what it would have done.
    Shadow,
}

impl Override {
    /// Every override.
    pub const ALL: [Self; 3] = [Self::ForcedOpen, Self::ForcedClosed, Self::Shadow];

    /// The name as filters and tables write it, unprefixed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForcedOpen => "FORCED_OPEN",
            Self::ForcedClosed => "FORCED_CLOSED",
            Self::Shadow => "SHADOW",
        }
    }

    /// The name as metrics write it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
            Self::Shadow => "shadow",
        }
    }

    /// Whether traffic is let through.
    pub const fn permits(self) -> bool {
        !matches!(self, Self::ForcedOpen)
    }
}

/// An override, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CircuitOverride {
    /// What was decided.
    pub mode: Override,
    /// The free text that the request gave.
    pub reason: Reason,
    /// When.
    pub since_time: Timestamp,
    /// When it ends by itself; `None` where somebody has to end it.
    pub expire_time: Option<Timestamp>,
}

/// Where results come from. Each source has a window of its own, so that neither drowns the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EvidenceSource {
    /// The task's own checks.
    Active,
    /// The outcomes that callers report.
    Passive,
}

/// A circuit, as it stands after some event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CircuitStatus {
    /// Whether traffic should go to the target.
    pub state: CircuitState,
    /// Whether the state stands still because no instance is ready: no evidence comes in and no time runs out.
    pub suspended: bool,
    /// What results are fenced by.
    pub epoch: Epoch,
    /// When the epoch began.
    pub since_time: Timestamp,
    /// Why the circuit last opened or closed; `None` before it ever did.
    pub reason: Option<CircuitReason>,
    /// When time decides: while open, when the trial begins; while half-open, when that ends. Never while suspended.
    pub until: Option<Timestamp>,
    /// What is left of the time until the trial; only while open and suspended. Shown to no client.
    pub left: Option<Duration>,
    /// How many times it has opened for failure, less one for each stable period since: the exponent of the back-off.
    pub streak: u32,
    /// What opened it, when it last was closed; `None` before it ever opened.
    pub trip_source: Option<EvidenceSource>,
    /// What an operator has decided over it.
    pub overriding: Option<Arc<CircuitOverride>>,
    /// Whether the newest checks contradict each other so often that it is not worth telling people of each step.
    pub flapping: bool,
}

/// What a circuit has counted under its present epoch. Sampled: in no event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowCounts {
    /// The results in the window; half open, the checks that passed.
    pub results: u32,
    /// Those of them that failed.
    pub failed: u32,
    /// Those of them that were slow, whatever their verdict.
    pub slow: u32,
    /// The failed or slow results since the last good one, the window's length notwithstanding.
    pub consecutive: u32,
    /// What callers have reported.
    pub passive: PassiveCounts,
}

/// What callers have reported of a circuit under its present epoch. Sampled: in no event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassiveCounts {
    /// The outcomes in the window; half open, the trial calls that went well.
    pub results: u32,
    /// Those of them that failed.
    pub failed: u32,
    /// Those of them that were slow, whatever else they were.
    pub slow: u32,
    /// The leases that are out.
    pub leases: u32,
}
