//! Circuits.

use super::time::timestamp;
use crate::model::CircuitStatus;
use crate::pb::v1;

/// The circuit of the task `name`.
pub(super) fn circuit(name: String, circuit: CircuitStatus) -> v1::Circuit {
    let CircuitStatus { state, suspended, epoch, since_time, reason, open_until, left: _, streak } = circuit;
    v1::Circuit {
        name,
        state: v1::CircuitState::from(state).into(),
        suspended,
        epoch: epoch.get(),
        since_time: Some(timestamp(since_time)),
        reason: reason.map_or(v1::CircuitReason::Unspecified, v1::CircuitReason::from).into(),
        open_until: open_until.map(timestamp),
        streak,
    }
}
