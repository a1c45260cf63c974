//! Events.

use super::circuit::circuit;
use super::swap::swap;
use super::task::{alert, instance, outcome, pause, restart, task as full_task};
use super::time::timestamp;
use crate::model::{Cause, Detail, Event, Uid};
use crate::pb::v1;

/// How much of its task an event carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventView {
    /// Its name and uid.
    Basic,
    /// All of it, as it stood after the event.
    Full,
}

/// An event.
pub fn event(event: &Event, view: EventView) -> v1::Event {
    let Event { sequence, time, kind, generation, attempt, cause: why, detail: what, task } = event;
    v1::Event {
        sequence: sequence.get(),
        time: Some(timestamp(*time)),
        r#type: v1::EventType::from(*kind).into(),
        name: task.as_ref().map(|task| task.name.as_str().to_owned()).unwrap_or_default(),
        uid: task.as_ref().map(|task| task.uid.to_string()).unwrap_or_default(),
        generation: generation.get(),
        attempt: attempt.get(),
        cause: Some(cause(why)),
        detail: what
            .as_ref()
            .and_then(|what| detail(what, || task.as_ref().map(|task| (task.name.to_string(), task.uid)))),
        task: match view {
            EventView::Basic => None,
            EventView::Full => task.as_ref().map(|task| full_task(task, None)),
        },
    }
}

pub(super) fn cause(cause: &Cause) -> v1::Cause {
    let Cause { actor, reason, request_id } = cause;
    v1::Cause {
        actor: actor.to_string(),
        reason: reason.as_str().to_owned(),
        request_id: request_id.map(|id| id.to_string()).unwrap_or_default(),
    }
}

/// A circuit bears its task's name and uid, so it is rendered only with one; no event of a circuit is without.
pub(super) fn detail(detail: &Detail, task: impl FnOnce() -> Option<(String, Uid)>) -> Option<v1::event::Detail> {
    Some(match detail {
        Detail::Instance(wire) => v1::event::Detail::Instance(instance(wire)),
        Detail::Outcome(wire) => v1::event::Detail::Outcome(outcome(wire)),
        Detail::Alert(wire) => v1::event::Detail::Alert(alert(wire)),
        Detail::Pause(wire) => v1::event::Detail::Pause(pause(wire)),
        Detail::Restart(wire) => v1::event::Detail::Restart(restart(wire)),
        Detail::Swap(wire) => v1::event::Detail::Swap(Box::new(swap(wire))),
        Detail::Circuit(wire) => {
            let (name, uid) = task()?;
            v1::event::Detail::Circuit(circuit(name, uid, wire))
        }
    })
}
