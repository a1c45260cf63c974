//! Whether tasks go back when what a swap has brought in fails, and only then: a second opinion (lifecycle.md §5, 8).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::super::{Command, Input};
use super::admission::Intake;
use super::recovery::{Kept, Recovery};
use super::roles::{Roles, is_running};
use super::{Checked, View, check};
use crate::model::*;

#[derive(Debug, Default)]
pub(super) struct Observations {
    known: BTreeMap<Uid, Observed>,
    /// What the newest swap was asked to do with the circuit, of those that clients asked for.
    policies: BTreeMap<Uid, Option<StatePolicy>>,
    input: Option<Input>,
}

#[derive(Debug)]
struct Observed {
    /// As clients see it.
    shown: Observation,
    /// When it ends, unless it has failed by then.
    until: Mono,
    failed: bool,
}

impl Observations {
    pub(super) fn before(&mut self, input: &Input) {
        self.input = Some(input.clone());
    }

    /// It goes on under the next server, for as long as is left of it.
    pub(super) fn crashed(&mut self, kept: &Kept<'_>) {
        self.known.clear();
        for task in kept.view.values().filter(|task| task.end.is_none()) {
            let Some(shown) = task.observation.as_deref().cloned() else { continue };
            let left = shown.expire_time.since(kept.now.wall).min(task.spec.swap().observation_time());
            let failed = !shown.failure.is_empty();
            // What was over while no server ran is not observed any more.
            if failed || left > Duration::ZERO {
                self.known.insert(task.uid, Observed { shown, until: kept.now.mono + left, failed });
            }
        }
        let running = |uid: &Uid| kept.view.values().any(|task| task.uid == *uid);
        self.policies.retain(|uid, _| running(uid));
    }

    /// The policy that the way back has to follow.
    pub(super) fn policy(&self, uid: Uid) -> Option<(Target, Option<StatePolicy>)> {
        self.known.get(&uid).map(|observed| (observed.shown.target, observed.shown.state_policy))
    }

    pub(super) fn event(
        &mut self,
        event: &Event,
        task: &Task,
        before: Option<&Task>,
        (roles, recovery): (&Roles, &Recovery),
        (draining, now): (bool, Now),
    ) -> Checked {
        let Some(before) = before else { return Ok(()) };
        match event.kind {
            EventType::SwapCommitted => self.committed(task, before, now),
            EventType::SwapStarted => match &self.input {
                Some(Input::Command(Command::Swap(asked, _))) if is_asked(asked, task) => {
                    self.policies.insert(task.uid, asked.state_policy);
                }
                _ => self.goes_back(event, task)?,
            },
            EventType::SwapRolledBack => {
                let reverts = task.swap.as_ref().is_some_and(|swap| !swap.revert_reason.is_empty());
                // Where a server has ended in its midst, the next one tries again.
                if reverts && !draining && !recovery.is_at_hand(task.uid) {
                    self.known.remove(&task.uid);
                }
            }
            // What callers tell may be of calls from before the swap.
            EventType::CircuitTripped
                if before.circuit.state == CircuitState::Closed
                    && task.circuit.trip_source == Some(EvidenceSource::Active) =>
            {
                self.fails(task, before);
            }
            EventType::InstanceEnded if roles.failing.contains(&task.uid) => self.fails(task, before),
            _ => {}
        }
        let cancels = matches!(&self.input, Some(Input::Command(Command::Cancel(cancel))) if cancel.name == task.name);
        // What is taken over is closed first.
        let ends = cancels && event.kind == EventType::SwapRolledBack && !recovery.is_at_hand(task.uid);
        if task.end.is_some() || task.intent == Intent::Cancel || ends {
            self.known.remove(&task.uid);
        }
        self.shows(event, task, now)
    }

    /// What was tried, and is no way back, is observed where its spec wants that.
    fn committed(&mut self, task: &Task, before: &Task, now: Now) {
        let Some(swap) = task.swap.as_ref().filter(|swap| swap.from_generation != swap.to_generation) else { return };
        self.known.remove(&task.uid);
        let tried = before.swap.as_ref().is_some_and(|swap| swap.phase == SwapPhase::Gating);
        let policy = task.spec.swap();
        if !tried || !policy.auto_revert() || !swap.revert_reason.is_empty() {
            return;
        }
        let shown = Observation {
            generation: before.generation,
            spec: Arc::clone(&before.spec),
            target: before.target,
            strategy: swap.strategy,
            state_policy: self.policies.get(&task.uid).copied().flatten(),
            expire_time: now.wall + policy.observation_time(),
            failure: String::new(),
        };
        let until = now.mono + policy.observation_time();
        self.known.insert(task.uid, Observed { shown, until, failed: false });
    }

    /// Its active instance has failed, or its circuit; while another swap runs, that decides.
    fn fails(&mut self, task: &Task, before: &Task) {
        let undecided = before.swap.as_ref().is_some_and(|swap| swap.phase < SwapPhase::Committed);
        if let Some(observed) = self.known.get_mut(&task.uid).filter(|_| !undecided) {
            observed.failed = true;
        }
    }

    /// The server's own swap goes back to what was there, and says why.
    fn goes_back(&self, event: &Event, task: &Task) -> Checked {
        let wrong = || format!("a swap of {} that nobody asked for: {:?}", task.name, task.swap);
        let observed = self.known.get(&task.uid).filter(|observed| observed.failed).ok_or_else(wrong)?;
        let swap = task.swap.as_ref().ok_or_else(wrong)?;
        let right = swap.to_spec == observed.shown.spec
            && swap.strategy == observed.shown.strategy
            && !swap.revert_reason.is_empty()
            && !has_stuck(task)
            && event.cause.actor == Actor::System("swap".into());
        check(right, wrong)
    }

    fn shows(&self, event: &Event, task: &Task, now: Now) -> Checked {
        let known = self.known.get(&task.uid);
        let is = task.observation.as_deref();
        let right = match (known, is) {
            (None, None) => true,
            (Some(known), Some(is)) => {
                let same = Observation { failure: String::new(), ..is.clone() }
                    == Observation { failure: String::new(), ..known.shown.clone() };
                same && is.failure.is_empty() != known.failed
            }
            // It was over with the last tick.
            (Some(known), None) => !known.failed && known.until <= now.mono,
            (None, Some(_)) => false,
        };
        check(right, || format!("{:?} of {} shows {is:?}, not {known:?}", event.kind, task.name))
    }

    /// Whether its end is still due.
    pub(super) fn is_timed(&self, uid: Uid) -> bool {
        self.known.get(&uid).is_some_and(|observed| !observed.failed)
    }

    /// What must hold after every step; where `ticked`, what is due now has happened, too.
    pub(super) fn after(
        &mut self,
        view: &View,
        (recovery, intake): (&Recovery, &Intake),
        (ticked, draining): (bool, bool),
        now: Now,
    ) -> Checked {
        let over = |it: &Observed| !it.failed && (it.until < now.mono || ticked && it.until == now.mono);
        self.known.retain(|_, observed| !over(observed));
        for task in view.values().filter(|task| !recovery.is_left(task.uid)) {
            let failed = self.known.get(&task.uid).is_some_and(|observed| observed.failed);
            let waits = is_running(task) || has_stuck(task) || draining || !intake.is_open();
            check(!failed || waits, || format!("{} had to go back", task.name))?;
        }
        Ok(())
    }
}

/// Whether a client has asked for what begins.
fn is_asked(asked: &SwapTask, task: &Task) -> bool {
    asked.name == task.name && task.swap.as_ref().is_some_and(|swap| swap.revert_reason.is_empty())
}

/// Whether an instance is in the way of every other one.
fn has_stuck(task: &Task) -> bool {
    let mut instances = task.instance.iter().chain(&task.draining);
    instances.any(|instance| instance.state == InstanceState::Stuck)
}

/// Whether the task is to go back, and has not.
pub(super) fn is_to_go_back(task: &Task) -> bool {
    task.observation.as_ref().is_some_and(|observation| !observation.failure.is_empty())
}
