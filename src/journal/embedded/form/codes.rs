//! The numbers that stand for the model's words.

use super::{Read, Unreadable};
use crate::model::{
    AlertKind, Asked, CircuitReason, CircuitState, EventType, EvidenceSource, Exit, InstanceState, Intent, Isolation,
    Method, Override, State, StatePolicy, SwapPhase, SwapStrategy,
};

/// A word of the model that has a number on disk.
pub(super) trait Code: Copy {
    /// Its number, from 1.
    fn code(self) -> u32;
    /// The word of that number.
    fn of(code: u32) -> Read<Self>;

    /// As [`of`](Self::of); 0 is none.
    fn optional(code: u32) -> Read<Option<Self>> {
        if code == 0 { Ok(None) } else { Self::of(code).map(Some) }
    }
}

macro_rules! codes {
    ($($word:ident as $field:literal { $($variant:ident = $code:literal),+ $(,)? })+) => {$(
        impl Code for $word {
            fn code(self) -> u32 {
                match self { $(Self::$variant => $code),+ }
            }

            fn of(code: u32) -> Read<Self> {
                match code {
                    $($code => Ok(Self::$variant),)+
                    _ => Err(Unreadable::Unknown { field: $field, value: code.to_string() }),
                }
            }
        }
    )+};
}

codes! {
    State as "state" {
        Pending = 1, Starting = 2, Running = 3, Stopping = 4, Aborting = 5, Stuck = 6, Paused = 7, Succeeded = 8, Failed = 9,
        Cancelled = 10,
    }
    Intent as "intent" { Run = 1, Pause = 2, Cancel = 3 }
    InstanceState as "instance's state" { Starting = 1, Ready = 2, Stopping = 3, Aborting = 4, Stuck = 5, Ended = 6 }
    Exit as "exit" {
        Completed = 1, Graceful = 2, Aborted = 3, Error = 4, Panic = 5, Interrupted = 6, Displaced = 7,
    }
    Asked as "reason to stop" { None = 1, Cancel = 2, Drain = 3, StartTimeout = 4, Swap = 5, Pause = 6, Relief = 7 }
    AlertKind as "alert's kind" {
        SlowCancellation = 1, LongRunningTask = 2, AbortRequired = 3, AbortTimeout = 4, PollBlocked = 5,
    }
    CircuitState as "circuit's state" { Closed = 1, Open = 2, HalfOpen = 3 }
    CircuitReason as "circuit's reason" { Failure = 1, Inconclusive = 2, Recovered = 3, Waived = 4, Reset = 5 }
    EvidenceSource as "source of evidence" { Active = 1, Passive = 2 }
    Override as "override" { ForcedOpen = 1, ForcedClosed = 2, Shadow = 3 }
    SwapStrategy as "swap's strategy" { MakeBeforeBreak = 1, BreakBeforeMake = 2 }
    StatePolicy as "swap's state policy" { Keep = 1, Reset = 2 }
    SwapPhase as "swap's phase" {
        Building = 1, Starting = 2, Gating = 3, Committed = 4, Draining = 5, Done = 6, RolledBack = 7, Cancelled = 8,
    }
    Isolation as "isolation" { Shared = 1, Thread = 2 }
    Method as "method" { Start = 1, Swap = 2, Cancel = 3, Delete = 4, Pause = 5, Resume = 6, Run = 7, Rollback = 8,
        Override = 9, ResetCircuit = 10,
    }
    EventType as "event's type" {
        TaskCreated = 1, InstanceStarting = 2, InstanceReady = 3, InstanceStopping = 4, InstanceAborting = 5,
        InstanceStuck = 6, InstanceEnded = 7, RestartScheduled = 8, TaskPaused = 9, TaskResumed = 10, TaskEnded = 11,
        TaskDeleted = 12, SwapStarted = 13, SwapCommitted = 14, SwapRolledBack = 15, CircuitTripped = 16,
        CircuitHalfOpened = 17, CircuitRecovered = 18, CircuitReset = 19, AlertRaised = 20, AlertResolved = 21,
        ServerDraining = 22, CircuitOverridden = 23,
    }
}
