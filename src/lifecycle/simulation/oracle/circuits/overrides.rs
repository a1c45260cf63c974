//! Whether what operators decide over circuits lies there for as long as they want, and nothing else does.

use super::{Circuits, Known};
use crate::lifecycle::Command;
use crate::lifecycle::simulation::oracle::check;
use crate::model::*;

impl Circuits {
    /// What lies over a circuit changes by its operator and by time alone, and is told of. Whether the event is what the present
    /// command wants.
    pub(super) fn decided(&self, event: &Event, task: &Task, now: Now) -> Result<bool, String> {
        let known = self.known.get(&task.uid).ok_or("a circuit of nothing")?;
        let (was, is) = (known.status.overriding.as_deref(), task.circuit.overriding.as_deref());
        let wrong = || format!("{:?} of {}: the override was {was:?} and is {is:?}", event.kind, task.name);
        let by_time = is.is_none() && was.and_then(|was| was.expire_time).is_some_and(|expires| expires <= now.wall);
        if event.kind != EventType::CircuitOverridden {
            check(was == is, wrong)?;
            let resets = matches!(&self.decision, Some(Command::ResetCircuit(reset)) if reset.name == task.name);
            let by_wish = resets && event.kind == EventType::CircuitReset;
            check(
                !by_wish || matches!(&self.decision, Some(Command::ResetCircuit(it)) if it.cause == event.cause),
                wrong,
            )?;
            return Ok(by_wish);
        }
        check(event.detail == Some(Detail::Circuit(task.circuit.clone())), wrong)?;
        match &self.decision {
            Some(Command::Override(wanted)) if wanted.name == task.name => {
                let expected = wanted.mode.map(|mode| CircuitOverride {
                    mode,
                    reason: wanted.cause.reason.clone(),
                    since_time: now.wall,
                    expire_time: wanted.expire_time,
                });
                check(is == expected.as_ref() && was != is && event.cause == wanted.cause, wrong)?;
                Ok(true)
            }
            _ => {
                check(by_time && event.cause.actor == Actor::System("circuit".into()), wrong)?;
                Ok(false)
            }
        }
    }
}

impl Known {
    pub(super) fn is_overridden_for_too_long(&self, ticked: bool, now: Now) -> bool {
        let expires = self.status.overriding.as_ref().and_then(|lies| lies.expire_time);
        let due = expires.map(|expires| expires.max(self.kept_since.unwrap_or_default()));
        due.is_some_and(|expires| expires < now.wall || ticked && expires == now.wall)
    }
}
