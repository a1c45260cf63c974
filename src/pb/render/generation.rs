//! Generations.

use super::event::cause;
use super::spec::spec as render_spec;
use super::time::timestamp;
use crate::model::{Annotations, Generation, KeptGeneration, Standing, Story};
use crate::pb::v1;

/// A generation, with what has become of it.
pub fn generation(kept: &KeptGeneration) -> v1::Generation {
    let KeptGeneration { generation, spec, story: Story { origin, annotations, standing } } = kept;
    let (state, activated, ended, error) = match standing {
        Standing::Unknown => (v1::GenerationState::Unspecified, None, None, ""),
        Standing::Candidate => (v1::GenerationState::Candidate, None, None, ""),
        Standing::Active { since } => (v1::GenerationState::Active, *since, None, ""),
        Standing::Superseded { since, until } => (v1::GenerationState::Superseded, *since, Some(*until), ""),
        Standing::Reverted { since, until, error } => {
            (v1::GenerationState::Reverted, *since, Some(*until), error.as_str())
        }
        Standing::RolledBack { time, error } => (v1::GenerationState::RolledBack, None, Some(*time), error.as_str()),
        Standing::Cancelled { time, error } => (v1::GenerationState::Cancelled, None, Some(*time), error.as_str()),
    };
    let annotations = annotations.iter().flat_map(Annotations::iter);
    v1::Generation {
        generation: generation.get(),
        spec: Some(render_spec(spec)),
        annotations: annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        state: state.into(),
        cause: origin.as_ref().map(|origin| cause(&origin.cause)),
        create_time: origin.as_ref().map(|origin| timestamp(origin.time)),
        activate_time: activated.map(timestamp),
        end_time: ended.map(timestamp),
        error: error.to_owned(),
        rollback_to: origin.as_ref().and_then(|origin| origin.rollback_to).map_or(0, Generation::get),
    }
}
