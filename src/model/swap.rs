//! Hot swaps as clients see them.

use std::sync::Arc;

use uuid::Uuid;

use super::{Generation, SwapStrategy, Target, TaskSpec, Timestamp};

/// The newest swap of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Swap {
    /// Names it.
    pub id: Uuid,
    /// The generation that ran when it began.
    pub from_generation: Generation,
    /// The generation it brings in; a number that was rolled back is not used again.
    pub to_generation: Generation,
    /// The spec of that generation.
    pub to_spec: Arc<TaskSpec>,
    /// In which order the two instances stop and start.
    pub strategy: SwapStrategy,
    /// How far it has come.
    pub phase: SwapPhase,
    /// Why it was rolled back; empty where it was not.
    pub error: String,
    /// Why the server has begun it by itself, to go back to an earlier spec; empty where a client has asked for it.
    pub revert_reason: String,
}

impl Swap {
    /// Whether it has ended: its outcome is known, and the instance that lost has ended or is stuck.
    pub const fn is_ended(&self) -> bool {
        self.phase.is_ended()
    }
}

/// That the generation which the newest swap has brought in is observed: if it fails, its task goes back to the spec before.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The generation whose spec it would go back to.
    pub generation: Generation,
    /// That spec. Shown to no client, as all that is not said to be.
    pub spec: Arc<TaskSpec>,
    /// What it watches.
    pub target: Target,
    /// In which order to stop and start then: as on the way there.
    pub strategy: SwapStrategy,
    /// What becomes of the circuit then: as on the way there.
    pub state_policy: Option<StatePolicy>,
    /// When it ends. Shown to clients.
    pub expire_time: Timestamp,
    /// How the generation has failed, until the task has gone back; empty where it has not. Shown to clients.
    pub failure: String,
}

/// What a swap does with what is known of the target: the circuit's state, streak and windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatePolicy {
    /// It stays.
    Keep,
    /// The circuit begins anew.
    Reset,
}

impl StatePolicy {
    /// Every policy.
    pub const ALL: [Self; 2] = [Self::Keep, Self::Reset];
}

/// How far a swap has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SwapPhase {
    /// The candidate's monitor is being built.
    Building,
    /// The candidate has been started, or waits for the old instance to end first.
    Starting,
    /// The candidate is ready and has to stay so.
    Gating,
    /// The candidate has become the active instance.
    Committed,
    /// The old instance stops.
    Draining,
    /// Ended: the new generation is active.
    Done,
    /// Ended: the old generation has stayed, or was started again.
    RolledBack,
    /// Ended: a cancel or a drain came first.
    Cancelled,
}

impl SwapPhase {
    /// Every phase.
    pub const ALL: [Self; 8] = [
        Self::Building,
        Self::Starting,
        Self::Gating,
        Self::Committed,
        Self::Draining,
        Self::Done,
        Self::RolledBack,
        Self::Cancelled,
    ];

    /// Whether a swap in this phase has ended.
    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Done | Self::RolledBack | Self::Cancelled)
    }

    /// The name as tables write it, unprefixed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Building => "BUILDING",
            Self::Starting => "STARTING",
            Self::Gating => "GATING",
            Self::Committed => "COMMITTED",
            Self::Draining => "DRAINING",
            Self::Done => "DONE",
            Self::RolledBack => "ROLLED_BACK",
            Self::Cancelled => "CANCELLED",
        }
    }
}
