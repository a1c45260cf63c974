//! Tasks.

use super::check::live as render_live;
use super::circuit::circuit as render_circuit;
use super::spec::spec as render_spec;
use super::swap::{observation as render_observation, swap as render_swap};
use super::time::{duration, timestamp};
use crate::model::{Alert, End, Instance, Live, Outcome, Pause, Restart, Shutdown, Task};
use crate::pb::v1;

/// A task, with what was sampled of it, if anything was.
pub fn task(task: &Task, live: Option<&Live>) -> v1::Task {
    let etag = task.etag();
    let Task {
        name,
        uid,
        labels,
        annotations,
        spec,
        generation,
        last_generation: _,
        target: _,
        state,
        intent,
        instance: run,
        draining,
        candidate: _,
        restart: restarts,
        swap,
        observation,
        outcome: last,
        circuit,
        alerts,
        pause: rests,
        create_time,
        update_time,
        end,
        fate: _,
    } = task;
    let (end_time, expire_time) =
        end.map(|End { time, expire_time }| (timestamp(time), timestamp(expire_time))).unzip();
    v1::Task {
        name: name.to_string(),
        uid: uid.to_string(),
        labels: labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        annotations: annotations.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        spec: Some(render_spec(spec)),
        generation: generation.get(),
        etag: etag.as_str().to_owned(),
        state: v1::State::from(*state).into(),
        intent: v1::Intent::from(*intent).into(),
        instance: run.as_ref().map(instance),
        draining: draining.iter().map(instance).collect(),
        restart: Some(restart(restarts)),
        swap: swap.as_deref().map(render_swap),
        outcome: last.as_ref().map(outcome),
        circuit: Some(render_circuit(name.to_string(), *uid, circuit)),
        alerts: alerts.iter().map(alert).collect(),
        pause: rests.as_deref().map(pause),
        create_time: Some(timestamp(*create_time)),
        update_time: Some(timestamp(*update_time)),
        end_time,
        expire_time,
        live: live.map(render_live),
        observation: observation.as_deref().map(render_observation),
    }
}

pub(super) fn instance(instance: &Instance) -> v1::Instance {
    let Instance { generation, attempt, state, start_time, ready_time, stop_time, exit, shutdown: stop, blocked_since } =
        instance;
    v1::Instance {
        generation: generation.get(),
        attempt: attempt.get(),
        state: v1::InstanceState::from(*state).into(),
        start_time: Some(timestamp(*start_time)),
        ready_time: ready_time.map(timestamp),
        stop_time: stop_time.map(timestamp),
        exit: exit.map_or(v1::Exit::Unspecified, v1::Exit::from).into(),
        shutdown: stop.map(shutdown),
        blocked_since: blocked_since.map(timestamp),
    }
}

pub(super) fn shutdown(shutdown: Shutdown) -> v1::Shutdown {
    let Shutdown { asked: _, asked_time, graceful_duration, abort_duration } = shutdown;
    v1::Shutdown {
        asked_time: Some(timestamp(asked_time)),
        graceful_duration: graceful_duration.map(duration),
        abort_duration: abort_duration.map(duration),
    }
}

pub(super) fn outcome(outcome: &Outcome) -> v1::Outcome {
    let Outcome { exit, asked, message, time } = outcome;
    v1::Outcome {
        exit: v1::Exit::from(*exit).into(),
        asked: v1::Asked::from(*asked).into(),
        message: message.clone(),
        time: Some(timestamp(*time)),
    }
}

pub(super) fn pause(pause: &Pause) -> v1::Pause {
    let Pause { reason, expire_time } = pause;
    v1::Pause { reason: reason.as_str().to_owned(), expire_time: expire_time.map(timestamp) }
}

pub(super) fn restart(restart: &Restart) -> v1::Restart {
    let Restart { count, next_time } = restart;
    v1::Restart { count: *count, next_time: next_time.map(timestamp) }
}

pub(super) fn alert(alert: &Alert) -> v1::Alert {
    let Alert { kind, raise_time, generation, attempt, message } = alert;
    v1::Alert {
        kind: v1::AlertKind::from(*kind).into(),
        raise_time: Some(timestamp(*raise_time)),
        generation: generation.get(),
        attempt: attempt.get(),
        message: message.clone(),
    }
}
