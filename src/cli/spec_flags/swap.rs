//! Flags for how a new spec takes over from the one before it.

use std::time::Duration;

use clap::Args;

use super::duration;
use crate::pb::v1;

/// The parts of a spec's swap policy that have flags.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct SwapFlags {
    /// How long a new instance has to stay ready before it takes over, as 10s.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, help_heading = "How it takes over in a swap")]
    min_healthy_time: Option<Duration>,
    /// Go back to the spec before if the new generation fails soon.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          help_heading = "How it takes over in a swap")]
    auto_revert: Option<bool>,
    /// How soon, as 5m; the server's default is 1m.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, help_heading = "How it takes over in a swap")]
    observation_time: Option<Duration>,
}

impl SwapFlags {
    pub(super) fn apply(&self, spec: &mut v1::TaskSpec) {
        let Self { min_healthy_time, auto_revert, observation_time } = *self;
        if min_healthy_time.is_some() || auto_revert.is_some() || observation_time.is_some() {
            let swap = spec.swap.get_or_insert_default();
            swap.auto_revert = auto_revert.unwrap_or(swap.auto_revert);
            swap.observation_time = observation_time.map(duration::wire).or(swap.observation_time);
            swap.min_healthy_time = min_healthy_time.map(duration::wire).or(swap.min_healthy_time);
        }
    }
}
