//! Circuits as they are stored.

use super::codes::Code;
use super::{Read, nanos, spans, times};
use crate::model::{CircuitState, CircuitStatus, Epoch, Timestamp};

/// A circuit.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct CircuitForm {
    #[prost(uint32, tag = "1")]
    state: u32,
    #[prost(bool, tag = "2")]
    suspended: bool,
    #[prost(uint64, tag = "3")]
    epoch: u64,
    #[prost(fixed64, tag = "4")]
    since_time: u64,
    #[prost(uint32, tag = "5")]
    reason: u32,
    #[prost(fixed64, optional, tag = "6")]
    open_until: Option<u64>,
    #[prost(uint64, optional, tag = "7")]
    left: Option<u64>,
    #[prost(uint32, tag = "8")]
    streak: u32,
}

impl CircuitForm {
    pub(super) fn of(circuit: &CircuitStatus) -> Self {
        let CircuitStatus { state, suspended, epoch, since_time, reason, open_until, left, streak } = *circuit;
        Self {
            state: state.code(),
            suspended,
            epoch: epoch.get(),
            since_time: since_time.as_nanos(),
            reason: reason.map_or(0, Code::code),
            open_until: open_until.map(Timestamp::as_nanos),
            left: left.map(nanos),
            streak,
        }
    }

    pub(super) fn read(&self) -> Read<CircuitStatus> {
        let Self { state, suspended, epoch, since_time, reason, open_until, left, streak } = *self;
        Ok(CircuitStatus {
            state: CircuitState::of(state)?,
            suspended,
            epoch: Epoch::new(epoch),
            since_time: Timestamp::from_nanos(since_time),
            reason: Code::optional(reason)?,
            open_until: times(open_until),
            left: spans(left),
            streak,
        })
    }
}
