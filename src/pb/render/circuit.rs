//! Circuits.

use super::time::{duration, timestamp};
use crate::model::{
    CircuitState, CircuitStatus, Denial, Disposition, Epoch, Now, Override, Permission, Permit, Task, Uid,
};
use crate::pb::token::Token;
use crate::pb::v1;

/// The circuit of a task, for callers: with what their outcomes are to bear.
pub fn callers_circuit(task: &Task) -> v1::Circuit {
    v1::Circuit {
        token: token(task.uid, task.circuit.epoch),
        ..circuit(task.name.to_string(), task.uid, &task.circuit)
    }
}

/// The circuit of the task `name`.
pub(super) fn circuit(name: String, uid: Uid, circuit: &CircuitStatus) -> v1::Circuit {
    let CircuitStatus {
        state,
        suspended,
        epoch,
        since_time,
        reason,
        until,
        left: _,
        streak,
        trip_source,
        ref overriding,
        flapping,
    } = *circuit;
    let mode = overriding.as_ref().map(|overriding| overriding.mode);
    let reason = match mode {
        Some(Override::ForcedOpen | Override::ForcedClosed) => v1::CircuitReason::Override,
        Some(Override::Shadow) | None => reason.map_or(v1::CircuitReason::Unspecified, v1::CircuitReason::from),
    };
    v1::Circuit {
        name,
        state: v1::CircuitState::from(state).into(),
        r#override: mode.map_or(v1::Override::None, v1::Override::from).into(),
        suspended,
        epoch: epoch.get(),
        since_time: Some(timestamp(since_time)),
        reason: reason.into(),
        open_until: until.filter(|_| state == CircuitState::Open).map(timestamp),
        streak,
        flapping,
        trip_source: trip_source.map_or(v1::EvidenceSource::Unspecified, v1::EvidenceSource::from).into(),
        override_reason: overriding.as_ref().map(|it| it.reason.as_str().to_owned()).unwrap_or_default(),
        override_time: overriding.as_ref().map(|it| timestamp(it.since_time)),
        override_expire_time: overriding.as_ref().and_then(|it| it.expire_time).map(timestamp),
        token: String::new(),
        half_open_until: until.filter(|_| state == CircuitState::HalfOpen).map(timestamp),
        task_uid: uid.to_string(),
    }
}

fn token(uid: Uid, epoch: Epoch) -> String {
    Token { uid, epoch, lease: None }.to_string()
}

/// Whether a caller may call. A lease lasts by the clock that decides; `now` is for people.
pub fn permission(uid: Uid, permission: Permission, now: Now) -> v1::AcquirePermitResponse {
    let answer = match permission {
        Permission::Granted(Permit { epoch, lease }) => {
            let expires = lease.map(|lease| now.wall + lease.until.since(now.mono));
            let token = Token { uid, epoch, lease }.to_string();
            v1::acquire_permit_response::Answer::Permit(v1::Permit { token, lease_expire_time: expires.map(timestamp) })
        }
        Permission::Denied(Denial { retry_after }) => {
            v1::acquire_permit_response::Answer::Denied(v1::Denied { retry_after: retry_after.map(duration) })
        }
    };
    v1::AcquirePermitResponse { answer: Some(answer) }
}

/// What has become of an outcome.
pub fn disposition(disposition: Disposition) -> i32 {
    v1::Disposition::from(disposition).into()
}
