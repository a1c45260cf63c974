//! Whether candidates take over when they have been ready for long enough, and not before: a second opinion.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::super::super::Input;
use super::super::roles::{Role, Roles};
use super::super::{Checked, check};
use crate::model::*;

/// The candidates that are ready, and when each has been so for long enough.
#[derive(Debug, Default)]
pub(super) struct Gates(BTreeMap<Uid, Gate>);

#[derive(Debug)]
struct Gate {
    due: Mono,
    /// That was over while the journal took nothing in, so that the next tick decides.
    put_off: bool,
}

impl Gates {
    pub(super) fn event(&mut self, event: &Event, task: &Task, roles: &Roles, now: Now) {
        let key = (task.uid, event.generation, event.attempt);
        let is_candidate = || roles.get(&key).is_some_and(|live| live.role == Role::Candidate);
        match (event.kind, &task.swap) {
            (EventType::InstanceReady, Some(swap)) if is_candidate() => {
                let due = now.mono + swap.to_spec.swap().min_healthy_time();
                self.0.insert(task.uid, Gate { due, put_off: false });
            }
            // Also the next candidate of the same swap begins from the beginning.
            (_, Some(swap)) if swap.phase == SwapPhase::Gating => {}
            _ => drop(self.0.remove(&task.uid)),
        }
    }

    /// The candidate takes over.
    pub(super) fn opens(&self, task: &Task, input: Option<&Input>, blocks: bool, now: Now) -> Checked {
        let wrong = |what: &str| format!("the candidate of {} takes over: {what}", task.name);
        let gate = self.0.get(&task.uid).ok_or_else(|| wrong("it is not ready"))?;
        check(gate.due <= now.mono, || wrong("it has not been ready for long enough"))?;
        let waited = task.spec.swap().min_healthy_time() > Duration::ZERO;
        check(waited == matches!(input, Some(Input::Tick)), || wrong("not by the time that has passed"))?;
        check(!waited || !blocks, || wrong("it blocks its thread"))
    }

    /// Whether the candidate has been ready for so long that it may be refused for seeming so alone.
    pub(super) fn is_over(&self, uid: Uid, now: Now) -> bool {
        self.0.get(&uid).is_some_and(|gate| gate.due <= now.mono)
    }

    /// What must hold after every step; where `ticked`, what is due now has happened, too.
    pub(super) fn after(&mut self, task: &Task, roles: &Roles, (puts_off, ticked): (bool, bool), now: Now) -> Checked {
        let Some(gate) = self.0.get_mut(&task.uid) else { return Ok(()) };
        let over = gate.due < now.mono || ticked && gate.due == now.mono;
        if puts_off {
            gate.put_off |= over;
            return Ok(());
        }
        gate.put_off &= !ticked;
        // One that was refused, or is cancelled, waits for its end alone.
        let candidate = roles.find(task.uid, Role::Candidate).map(|live| live.instance.state);
        let waits = candidate == Some(InstanceState::Ready) && over && !gate.put_off;
        check(!waits, || format!("{}'s candidate has been ready for long enough", task.name))
    }
}
