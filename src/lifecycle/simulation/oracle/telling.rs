//! In which order a step tells what has happened, and what is left to happen after it.

use std::sync::Arc;

use super::super::super::{Lifecycle, Timer};
use super::super::Rng;
use super::super::world::World;
use super::{Checked, Oracle, check};
use crate::model::*;

impl Oracle {
    /// Each timer is of a live instance or of a task; that of an ended task is its expiry alone.
    pub(super) fn timers_are_needed(&self, machine: &Lifecycle<Rng>, world: &World, now: Now) -> Checked {
        let is_set = |timer| usize::from(machine.timers.is_set(timer));
        use Timer::{Abort, Grace, Healthy, LongRunning, SlowCancellation, StartTimeout};
        let of_instance = [StartTimeout, Grace, Abort, SlowCancellation, LongRunning, Healthy];
        let live = world.actors.iter().filter(|(_, actor)| actor.alive()).map(|(id, _)| *id);
        let mut counted: usize = live.map(|id| of_instance.map(|timer| is_set(timer(id))).iter().sum::<usize>()).sum();
        let left = |task: &Arc<Task>| self.recovery.is_left(task.uid);
        for task in self.view.values() {
            // That time goes on before anybody takes the task over.
            let observed = is_set(Timer::Observed(task.uid));
            counted += observed;
            let timed = self.observations.is_timed(task.uid);
            check(observed == usize::from(timed), || format!("{} is observed: {timed}", task.name))?;
        }
        for task in self.view.values().filter(|task| !left(task)) {
            let (restart, circuit) = (is_set(Timer::Restart(task.uid)), is_set(Timer::Circuit(task.uid)));
            let expiry = is_set(Timer::Expire(task.uid));
            let pause = is_set(Timer::PauseExpires(task.uid));
            let overriding = is_set(Timer::Override(task.uid));
            counted += restart + circuit + expiry + pause + overriding;
            let lies = task.circuit.overriding.as_ref().and_then(|lies| lies.expire_time);
            check(overriding == usize::from(lies.is_some()), || format!("{} is overridden: {lies:?}", task.name))?;
            let expires = task.pause.as_ref().and_then(|pause| pause.expire_time);
            // A drain lets it pass.
            let passed = self.draining && expires.is_some_and(|expires| expires <= now.wall);
            let right = expiry == usize::from(task.state.is_ended())
                && circuit == usize::from(!task.circuit.suspended && task.circuit.state != CircuitState::Closed)
                && (passed || pause == usize::from(expires.is_some()))
                && (restart == 0 || task.intent == Intent::Run && !task.state.is_ended());
            check(right, || format!("{} has timers that it must not have, or lacks one", task.name))?;
        }
        check(counted == machine.timers.len(), || "timers are left behind".to_owned())
    }

    /// First that the instance has ended, then of each alert that it is resolved, then what becomes of the swap, then of the task.
    /// Two of a task may end in one step, displaced both.
    pub(super) fn the_end_is_told(&self, uid: Uid) -> Checked {
        use EventType::{
            AlertResolved, InstanceEnded, InstanceStarting, RestartScheduled, SwapRolledBack, SwapStarted, TaskEnded,
            TaskPaused,
        };
        let Some(task) = self.view.values().find(|task| task.uid == uid) else { return Ok(()) };
        // What is taken over is looked at elsewhere.
        if self.recovery.is_taken_over(uid) {
            return Ok(());
        }
        let told: Vec<_> = self.step.iter().filter(|(of, _)| *of == uid).map(|(_, kind)| *kind).collect();
        let mut rest = told.as_slice();
        let mut right = !rest.is_empty();
        while right && !rest.is_empty() {
            let [InstanceEnded, after @ ..] = rest else {
                right = false;
                break;
            };
            let resolved = after.iter().take_while(|kind| **kind == AlertResolved).count();
            let after = &after[resolved..];
            let after = after.strip_prefix(&[SwapRolledBack]).unwrap_or(after);
            (right, rest) = match after {
                [InstanceStarting, rest @ ..] => (true, rest),
                [RestartScheduled, rest @ ..] => (task.restart.next_time.is_some(), rest),
                [TaskEnded, rest @ ..] => (task.state.is_ended(), rest),
                [TaskPaused, rest @ ..] => (task.state == State::Paused, rest),
                [InstanceEnded | SwapStarted, ..] => (true, after),
                rest => (!task.state.is_ended() && task.state != State::Paused, rest),
            };
            // It goes back to the spec before.
            rest = rest.strip_prefix(&[SwapStarted]).unwrap_or(rest);
        }
        check(right, || format!("the end of {} is told as {told:?}", task.name))
    }
}
