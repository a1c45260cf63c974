//! Swaps.

use super::spec::spec;
use crate::model::{Generation, Swap};
use crate::pb::v1;

pub(super) fn swap(swap: &Swap) -> v1::Swap {
    let Swap { id, from_generation, to_generation, to_spec, strategy, phase, error, rollback_to } = swap;
    v1::Swap {
        id: id.to_string(),
        from_generation: from_generation.get(),
        to_generation: to_generation.get(),
        to_spec: Some(spec(to_spec)),
        strategy: v1::SwapStrategy::from(*strategy).into(),
        phase: v1::SwapPhase::from(*phase).into(),
        error: error.clone(),
        rollback_to: rollback_to.map_or(0, Generation::get),
    }
}
