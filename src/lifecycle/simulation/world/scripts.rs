//! What monitors are like.

use std::time::Duration;

use crate::lifecycle::simulation::Rng;

/// How a monitor behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// Ready soon, ends soon after its signal.
    Cooperative,
    /// The same, and marks its checks, some of them long, and some of them blocking.
    Checking,
    /// Never says that it is ready, but is cooperative.
    NeverReady,
    /// Returns an error after a while, or when it cleans up.
    Failing,
    /// Ends only when it is aborted.
    Ignoring,
    /// Its first poll blocks.
    SpinningAtStart,
    /// Blocks now and then.
    Blocking,
    /// Blocks when it cleans up.
    BlockingInCleanUp,
    /// Panics after a while.
    Panicking,
    /// Panics while it cleans up.
    PanickingInCleanUp,
    /// Returns unasked after a while.
    EndingEarly,
    /// Cooperative, but its child is not; the child ends by itself much later.
    LeakingChild,
}

impl Script {
    /// Of ten, so many block.
    pub(super) fn random(blocking: u64, rng: &mut Rng) -> Self {
        if rng.below(10) < blocking {
            return match rng.below(3) {
                0 if rng.one_in(2) => Self::SpinningAtStart,
                0..=1 => Self::Blocking,
                _ => Self::BlockingInCleanUp,
            };
        }
        match rng.below(17) {
            0..=2 => Self::Cooperative,
            3..=7 => Self::Checking,
            8 => Self::NeverReady,
            9..=11 => Self::Failing,
            12 => Self::Ignoring,
            13 => Self::Panicking,
            14 => Self::PanickingInCleanUp,
            15 => Self::EndingEarly,
            _ => Self::LeakingChild,
        }
    }
}

/// How long a poll blocks: mostly too short to be given up, or not much longer; and sometimes as good as for ever.
pub(super) fn block(rng: &mut Rng) -> Duration {
    match rng.below(8) {
        0..=2 => rng.millis(400),
        3..=5 => rng.millis(5_000),
        6 => rng.millis(60_000),
        _ => rng.millis(3 * 3_600_000),
    }
}

/// The same in a clean-up: many are stuck then.
pub(super) fn block_in_clean_up(rng: &mut Rng) -> Duration {
    if rng.one_in(2) { rng.millis(3_600_000) } else { block(rng) }
}
