//! Swaps as they are stored, and how they and tasks refer to specs.

use std::sync::Arc;

use super::codes::Code;
use super::{Unreadable, halves, uuid};
use crate::model::{Generation, Swap, SwapPhase, SwapStrategy, TaskSpec};

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
    #[prost(uint64, optional, tag = "20")]
    rollback_to: Option<u64>,
}

impl SwapForm {
    pub(super) fn of(swap: &Swap) -> Self {
        // The spec is kept once for its generation.
        let Swap { id, from_generation, to_generation, to_spec: _, strategy, phase, error, rollback_to } = swap;
        let (id_high, id_low) = halves(*id);
        Self {
            id_high,
            id_low,
            from_generation: from_generation.get(),
            to_generation: to_generation.get(),
            strategy: strategy.code(),
            phase: phase.code(),
            error: error.clone(),
            rollback_to: rollback_to.map(Generation::get),
        }
    }

    pub(super) fn read<E: From<Unreadable>>(self, born: u64, spec_of: SpecOf<'_, E>) -> Result<Swap, E> {
        let Self { id_high, id_low, from_generation, to_generation, strategy, phase, error, rollback_to } = self;
        Ok(Swap {
            id: uuid((id_high, id_low)),
            from_generation: Generation::new(from_generation),
            to_generation: Generation::new(to_generation),
            to_spec: spec_of(SpecKey { born, generation: to_generation })?,
            strategy: SwapStrategy::of(strategy)?,
            phase: SwapPhase::of(phase)?,
            error,
            rollback_to: rollback_to.map(Generation::new),
        })
    }

    pub(super) fn to_generation(&self) -> u64 {
        self.to_generation
    }
}
