//! Swaps as they are stored, and how they and tasks refer to specs.

use std::sync::Arc;

use super::codes::Code;
use super::{Unreadable, halves, uuid};
use crate::model::{Generation, Observation, StatePolicy, Swap, SwapPhase, SwapStrategy, Target, TaskSpec, Timestamp};

/// Which spec: the sequence at which its task was first heard of, and its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::journal::embedded) struct SpecKey {
    pub(in crate::journal::embedded) born: u64,
    pub(in crate::journal::embedded) generation: u64,
}

/// Finds the spec of a key.
pub(in crate::journal::embedded) type SpecOf<'a, E> = &'a mut dyn FnMut(SpecKey) -> Result<Arc<TaskSpec>, E>;

/// A swap. Its spec is that of its newer generation.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct SwapForm {
    #[prost(fixed64, tag = "1")]
    id_high: u64,
    #[prost(fixed64, tag = "2")]
    id_low: u64,
    #[prost(uint64, tag = "3")]
    from_generation: u64,
    #[prost(uint64, tag = "4")]
    to_generation: u64,
    #[prost(uint32, tag = "5")]
    strategy: u32,
    #[prost(uint32, tag = "6")]
    phase: u32,
    #[prost(string, tag = "7")]
    error: String,
    #[prost(string, tag = "8")]
    revert_reason: String,
}

/// That a generation is observed. The spec to go back to is that of its generation.
#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::journal::embedded) struct ObservationForm {
    #[prost(uint64, tag = "1")]
    generation: u64,
    #[prost(fixed64, tag = "2")]
    target_high: u64,
    #[prost(fixed64, tag = "3")]
    target_low: u64,
    #[prost(uint32, tag = "4")]
    strategy: u32,
    #[prost(uint32, tag = "5")]
    state_policy: u32,
    #[prost(fixed64, tag = "6")]
    expire_time: u64,
    #[prost(string, tag = "7")]
    failure: String,
}

impl SwapForm {
    pub(super) fn of(swap: &Swap) -> Self {
        // The spec is kept once for its generation.
        let Swap { id, from_generation, to_generation, to_spec: _, strategy, phase, error, revert_reason } = swap;
        let (id_high, id_low) = halves(*id);
        Self {
            id_high,
            id_low,
            from_generation: from_generation.get(),
            to_generation: to_generation.get(),
            strategy: strategy.code(),
            phase: phase.code(),
            error: error.clone(),
            revert_reason: revert_reason.clone(),
        }
    }

    pub(super) fn read<E: From<Unreadable>>(self, born: u64, spec_of: SpecOf<'_, E>) -> Result<Swap, E> {
        let Self { id_high, id_low, from_generation, to_generation, strategy, phase, error, revert_reason } = self;
        Ok(Swap {
            id: uuid((id_high, id_low)),
            from_generation: Generation::new(from_generation),
            to_generation: Generation::new(to_generation),
            to_spec: spec_of(SpecKey { born, generation: to_generation })?,
            strategy: SwapStrategy::of(strategy)?,
            phase: SwapPhase::of(phase)?,
            error,
            revert_reason,
        })
    }

    pub(super) fn to_generation(&self) -> u64 {
        self.to_generation
    }
}

impl ObservationForm {
    pub(super) fn of(observation: &Observation) -> Self {
        // The spec is kept once for its generation.
        let Observation { generation, spec: _, target, strategy, state_policy, expire_time, failure } = observation;
        let (target_high, target_low) = halves(target.uuid());
        Self {
            generation: generation.get(),
            target_high,
            target_low,
            strategy: strategy.code(),
            state_policy: state_policy.map_or(0, Code::code),
            expire_time: expire_time.as_nanos(),
            failure: failure.clone(),
        }
    }

    pub(super) fn read<E: From<Unreadable>>(self, born: u64, spec_of: SpecOf<'_, E>) -> Result<Observation, E> {
        let Self { generation, target_high, target_low, strategy, state_policy, expire_time, failure } = self;
        Ok(Observation {
            generation: Generation::new(generation),
            spec: spec_of(SpecKey { born, generation })?,
            target: Target::from_uuid(uuid((target_high, target_low))),
            strategy: SwapStrategy::of(strategy)?,
            state_policy: StatePolicy::optional(state_policy)?,
            expire_time: Timestamp::from_nanos(expire_time),
            failure,
        })
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}
