//! Circuits as they are stored.

use std::sync::Arc;

use super::codes::Code;
use super::{Read, nanos, spans, times};
use crate::model::{CircuitOverride, CircuitState, CircuitStatus, Epoch, Override, Reason, Timestamp};

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
    until: Option<u64>,
    #[prost(uint64, optional, tag = "7")]
    left: Option<u64>,
    #[prost(uint32, tag = "8")]
    streak: u32,
    #[prost(uint32, tag = "9")]
    trip_source: u32,
    #[prost(message, optional, tag = "10")]
    overriding: Option<OverrideForm>,
    #[prost(bool, tag = "11")]
    flapping: bool,
}

/// What an operator has decided over a circuit.
#[derive(Clone, PartialEq, prost::Message)]
struct OverrideForm {
    #[prost(uint32, tag = "1")]
    mode: u32,
    #[prost(string, tag = "2")]
    reason: String,
    #[prost(fixed64, tag = "3")]
    since_time: u64,
    #[prost(fixed64, optional, tag = "4")]
    expire_time: Option<u64>,
}

impl CircuitForm {
    pub(super) fn of(circuit: &CircuitStatus) -> Self {
        let CircuitStatus {
            state,
            suspended,
            epoch,
            since_time,
            reason,
            until,
            left,
            streak,
            trip_source,
            overriding,
            flapping,
        } = circuit;
        Self {
            state: state.code(),
            suspended: *suspended,
            epoch: epoch.get(),
            since_time: since_time.as_nanos(),
            reason: reason.map_or(0, Code::code),
            until: until.map(Timestamp::as_nanos),
            left: left.map(nanos),
            streak: *streak,
            trip_source: trip_source.map_or(0, Code::code),
            overriding: overriding.as_deref().map(OverrideForm::of),
            flapping: *flapping,
        }
    }

    pub(super) fn read(&self) -> Read<CircuitStatus> {
        let Self {
            state,
            suspended,
            epoch,
            since_time,
            reason,
            until,
            left,
            streak,
            trip_source,
            ref overriding,
            flapping,
        } = *self;
        Ok(CircuitStatus {
            state: CircuitState::of(state)?,
            suspended,
            epoch: Epoch::new(epoch),
            since_time: Timestamp::from_nanos(since_time),
            reason: Code::optional(reason)?,
            until: times(until),
            left: spans(left),
            streak,
            trip_source: Code::optional(trip_source)?,
            overriding: overriding.as_ref().map(|form| form.read().map(Arc::new)).transpose()?,
            flapping,
        })
    }
}

impl OverrideForm {
    fn of(CircuitOverride { mode, reason, since_time, expire_time }: &CircuitOverride) -> Self {
        Self {
            mode: mode.code(),
            reason: reason.as_str().to_owned(),
            since_time: since_time.as_nanos(),
            expire_time: expire_time.map(Timestamp::as_nanos),
        }
    }

    fn read(&self) -> Read<CircuitOverride> {
        let Self { mode, reason, since_time, expire_time } = self;
        Ok(CircuitOverride {
            mode: Override::of(*mode)?,
            reason: Reason::cut(reason.clone()),
            since_time: Timestamp::from_nanos(*since_time),
            expire_time: times(*expire_time),
        })
    }
}
