//! What a watch shows of an event.

use super::encoded::Encodings;
use crate::model::{Event, EventType};
use crate::pb::WatchFrame;
use crate::pb::render::{self, EventView};

/// What a watch shows.
#[derive(Clone, Copy, Debug)]
pub(in crate::rpc) enum Shows {
    /// Every event, with so much of its task.
    Tasks(EventView),
    /// What changes a circuit, and the circuit as it stands then.
    Circuits,
}

impl Shows {
    /// Whether anything is shown of such an event.
    pub(super) fn has(self, kind: EventType) -> bool {
        match self {
            Self::Tasks(_) => true,
            Self::Circuits => is_of_circuit(kind) || may_suspend(kind) || kind == EventType::ServerDraining,
        }
    }

    /// Whether an event in brief has all that is shown of it.
    pub(super) const fn is_brief(self) -> bool {
        matches!(self, Self::Tasks(EventView::Basic))
    }

    /// Adds to a frame what is shown of an event.
    pub(super) fn push(self, event: &Event, encodings: &Encodings, frame: &mut Vec<u8>) {
        match self {
            Self::Tasks(view) => encodings.push(event, view, frame),
            Self::Circuits => {
                if !may_suspend(event.kind) {
                    encodings.push(event, EventView::Basic, frame);
                }
                if let Some(task) = event.task.as_deref().filter(|_| event.kind != EventType::TaskDeleted) {
                    WatchFrame::push_circuit(frame, &render::callers_circuit(task));
                }
            }
        }
    }
}

/// Why a circuit has moved, is there no more, or is overridden.
fn is_of_circuit(kind: EventType) -> bool {
    use EventType::{
        CircuitHalfOpened, CircuitOverridden, CircuitRecovered, CircuitReset, CircuitTripped, TaskDeleted,
    };
    matches!(
        kind,
        CircuitTripped | CircuitHalfOpened | CircuitRecovered | CircuitReset | CircuitOverridden | TaskDeleted
    )
}

/// What brings a circuit about, or is the first to tell of the epoch that it has since a restart; or after which it may be suspended,
/// or not any more, or end its time earlier.
fn may_suspend(kind: EventType) -> bool {
    use EventType::{
        InstanceAborting, InstanceEnded, InstanceReady, InstanceStarting, InstanceStopping, InstanceStuck,
        SwapCommitted, TaskCreated, TaskEnded, TaskPaused,
    };
    matches!(
        kind,
        TaskCreated
            | InstanceStarting
            | InstanceReady
            | InstanceStopping
            | InstanceAborting
            | InstanceStuck
            | InstanceEnded
            | SwapCommitted
            | TaskPaused
            | TaskEnded
    )
}
