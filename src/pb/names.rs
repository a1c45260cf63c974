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
    State { Pending, Starting, Running, Stopping, Aborting, Stuck, Paused, Succeeded, Failed, Cancelled }
    Intent { Run, Pause, Cancel }
    InstanceState { Starting, Ready, Stopping, Aborting, Stuck, Ended }
    Exit { Completed, Graceful, Aborted, Error, Panic, Interrupted, Displaced }
    Asked { None, Cancel, Drain, StartTimeout, Swap, Pause, Relief }
    AlertKind { SlowCancellation, LongRunningTask, AbortRequired, AbortTimeout, PollBlocked }
    Verdict { Pass, Fail, Neutral }
    EventType {
        TaskCreated, InstanceStarting, InstanceReady, InstanceStopping, InstanceAborting, InstanceStuck, InstanceEnded,
        RestartScheduled, TaskPaused, TaskResumed, TaskEnded, TaskDeleted, SwapStarted, SwapCommitted, SwapRolledBack, CircuitTripped,
        CircuitHalfOpened, CircuitRecovered, CircuitReset, CircuitOverridden, AlertRaised, AlertResolved, ServerDraining,
    }
    Isolation { Shared, Thread }
    Disposition { Accepted, Stale, Expired, Duplicate, Neutral, Ignored }
    Override { ForcedOpen, ForcedClosed, Shadow }
    EvidenceSource { Active, Passive }
    SwapStrategy { MakeBeforeBreak, BreakBeforeMake }
    StatePolicy { Keep, Reset }
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

/// The state policy of a number on the wire, `None` within for the unspecified one; `Err` for those that this version does not know.
pub(super) fn state_policy(number: i32) -> Result<Option<model::StatePolicy>, UnknownStatePolicy> {
    let wire = v1::StatePolicy::try_from(number).map_err(|_| UnknownStatePolicy(number))?;
    Ok(model::StatePolicy::ALL.into_iter().find(|policy| v1::StatePolicy::from(*policy) == wire))
}

/// The isolation of a number on the wire, `None` within for the unspecified one; `Err` for those that this version does not know.
pub(super) fn isolation(number: i32) -> Result<Option<model::Isolation>, UnknownIsolation> {
    let wire = v1::Isolation::try_from(number).map_err(|_| UnknownIsolation(number))?;
    Ok(model::Isolation::ALL.into_iter().find(|isolation| v1::Isolation::from(*isolation) == wire))
}

/// The override of a number on the wire, `None` within for none; `Err` for the unspecified one, and those that this version does not
/// know.
pub(super) fn circuit_override(number: i32) -> Result<Option<model::Override>, UnknownOverride> {
    let wire = v1::Override::try_from(number).ok().filter(|wire| *wire != v1::Override::Unspecified);
    let wire = wire.ok_or(UnknownOverride(number))?;
    Ok(model::Override::ALL.into_iter().find(|mode| v1::Override::from(*mode) == wire))
}

/// A number that is no override.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of OVERRIDE_NONE, OVERRIDE_FORCED_OPEN, OVERRIDE_FORCED_CLOSED and OVERRIDE_SHADOW, got {0}")]
pub(super) struct UnknownOverride(i32);

/// A number that is no isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of ISOLATION_SHARED and ISOLATION_THREAD, got {0}")]
pub(super) struct UnknownIsolation(i32);

/// A number that is no state policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of STATE_POLICY_KEEP and STATE_POLICY_RESET, got {0}")]
pub(super) struct UnknownStatePolicy(i32);

/// A number that is no strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of SWAP_STRATEGY_MAKE_BEFORE_BREAK and SWAP_STRATEGY_BREAK_BEFORE_MAKE, got {0}")]
pub(super) struct UnknownStrategy(i32);
