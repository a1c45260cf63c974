//! Enumerations. Model and contract name their values alike, so each conversion is a list of names; a value that one of the
//! two lacks does not compile.

use super::v1;
use crate::model;

macro_rules! same_names {
    ($($name:ident { $($value:ident),+ $(,)? })+) => {
        $(
            impl From<model::$name> for v1::$name {
                fn from(value: model::$name) -> Self {
                    match value {
                        $(model::$name::$value => Self::$value,)+
                    }
                }
            }
        )+
    };
}

same_names! {
    State { Pending, Starting, Running, Stopping, Aborting, Stuck, Succeeded, Failed, Cancelled }
    Intent { Run, Cancel }
    InstanceState { Starting, Ready, Stopping, Aborting, Stuck, Ended }
    Exit { Completed, Graceful, Aborted, Error, Panic, Interrupted }
    Asked { None, Cancel, Drain, StartTimeout, Swap }
    AlertKind { SlowCancellation, LongRunningTask, AbortRequired, AbortTimeout }
    Verdict { Pass, Fail, Neutral }
    EventType {
        TaskCreated, InstanceStarting, InstanceReady, InstanceStopping, InstanceAborting, InstanceStuck, InstanceEnded,
        RestartScheduled, TaskEnded, TaskDeleted, SwapStarted, SwapCommitted, SwapRolledBack, CircuitTripped,
        CircuitHalfOpened, CircuitRecovered, CircuitReset, AlertRaised, AlertResolved, ServerDraining,
    }
    SwapStrategy { MakeBeforeBreak, BreakBeforeMake }
    SwapPhase { Building, Starting, Gating, Committed, Draining, Done, RolledBack, Cancelled }
    CircuitState { Closed, Open, HalfOpen }
    CircuitReason { Failure, Inconclusive, Recovered, Waived, Reset }
}

/// The state of a number on the wire; `None` for the unspecified one and for those that this version does not know.
pub(super) fn state(number: i32) -> Option<model::State> {
    let wire = v1::State::try_from(number).ok()?;
    model::State::ALL.into_iter().find(|state| v1::State::from(*state) == wire)
}

/// The strategy of a number on the wire, `None` within for the unspecified one; `Err` for those that this version does not know.
pub(super) fn swap_strategy(number: i32) -> Result<Option<model::SwapStrategy>, UnknownStrategy> {
    let wire = v1::SwapStrategy::try_from(number).map_err(|_| UnknownStrategy(number))?;
    Ok(model::SwapStrategy::ALL.into_iter().find(|strategy| v1::SwapStrategy::from(*strategy) == wire))
}

/// A number that is no strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of SWAP_STRATEGY_MAKE_BEFORE_BREAK and SWAP_STRATEGY_BREAK_BEFORE_MAKE, got {0}")]
pub(super) struct UnknownStrategy(i32);
