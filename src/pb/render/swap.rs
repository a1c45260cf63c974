//! Swaps.

use super::spec::spec;
use super::time::timestamp;
use crate::model::{Observation, Swap};
use crate::pb::v1;

pub(super) fn swap(swap: &Swap) -> v1::Swap {
    let Swap { id, from_generation, to_generation, to_spec, strategy, phase, error, revert_reason } = swap;
    v1::Swap {
        id: id.to_string(),
        from_generation: from_generation.get(),
        to_generation: to_generation.get(),
        to_spec: Some(spec(to_spec)),
        strategy: v1::SwapStrategy::from(*strategy).into(),
        phase: v1::SwapPhase::from(*phase).into(),
        error: error.clone(),
        revert_reason: revert_reason.clone(),
    }
}

pub(super) fn observation(observation: &Observation) -> v1::Observation {
    // The rest is what the way back needs.
    let Observation { generation, spec: _, target: _, strategy: _, state_policy: _, expire_time, failure } =
        observation;
    v1::Observation {
        generation: generation.get(),
        expire_time: Some(timestamp(*expire_time)),
        failure: failure.clone(),
    }
}
