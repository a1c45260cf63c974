//! A task as the loop holds it: what clients see of it, and what runs for it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::run::{Phase, Run};
use super::swap::Swapping;
use crate::circuit::Circuit;
use crate::model::{
    AlertKind, Asked, Attempt, CircuitState, Generation, Instance, InstanceId, InstanceState, Intent, Mono, Now,
    Observation, Pause, Regime, Sequence, State, Task,
};

/// A task. At most two instances of it live.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) task: Arc<Task>,
    /// The instance that counts: its checks drive the circuit, and its fate is the task's.
    pub(super) active: Option<Run>,
    /// A second instance: a swap's candidate, or one that stops beside the active one, or is stuck there.
    pub(super) beside: Option<Box<Run>>,
    pub(super) swap: Option<Box<Swapping>>,
    /// Whether what the newest swap has brought in is observed.
    pub(super) observation: Option<Box<Observation>>,
    pub(super) circuit: Circuit,
    /// When the restarts that count were made.
    pub(super) restarts: VecDeque<Mono>,
    /// What becomes of the task once it has no active instance any more, and is alone.
    pub(super) held: Option<Held>,
    /// What the task's owner has said of its pause, as long as it is to last.
    pub(super) pause: Option<Box<Pause>>,
    /// Its last event.
    pub(super) told: Sequence,
}

/// What waits for the instance beside, or for the swap, to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// The task ends so.
    End(State),
    /// Its spec is started again, `once` and with no restart after that where so.
    Launch { once: bool },
}

impl Entry {
    /// A new task; its `TASK_CREATED` is still to be recorded.
    pub(super) fn new(task: Task, circuit: Circuit) -> Self {
        Self {
            task: Arc::new(task),
            active: None,
            beside: None,
            swap: None,
            observation: None,
            circuit,
            restarts: VecDeque::new(),
            held: None,
            pause: None,
            told: Sequence::default(),
        }
    }

    /// The live run of that name.
    pub(super) fn run(&self, id: InstanceId) -> Option<&Run> {
        self.runs().find(|run| run.id == id)
    }

    /// The live run of that name.
    pub(super) fn run_mut(&mut self, id: InstanceId) -> Option<&mut Run> {
        let beside = self.beside.as_deref_mut();
        self.active.iter_mut().chain(beside).find(|run| run.id == id)
    }

    /// Every live run, the active one first.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.active.iter().chain(self.beside.as_deref())
    }

    /// Takes out a run that has ended.
    pub(super) fn take(&mut self, id: InstanceId) -> Option<Run> {
        let active = self.active.take_if(|run| run.id == id);
        active.or_else(|| self.beside.take_if(|run| run.id == id).map(|run| *run))
    }

    /// Whether nothing but the active instance can have a say in what becomes of the task.
    pub(super) fn is_alone(&self) -> bool {
        self.beside.is_none() && self.swap.is_none() && !self.reverts()
    }

    /// Whether nothing lives of it, nor is a swap to bring something.
    pub(super) fn is_idle(&self) -> bool {
        self.active.is_none() && self.beside.is_none() && self.swap.is_none()
    }

    /// Whether the run is the active one; its facts count, and no other's do.
    pub(super) fn is_active(&self, id: InstanceId) -> bool {
        self.active.as_ref().is_some_and(|run| run.id == id)
    }

    /// Whether the run is the candidate of a swap that has not been decided.
    pub(super) fn is_candidate(&self, id: InstanceId) -> bool {
        self.swap.as_ref().is_some_and(|swapping| swapping.tries(id))
    }

    /// Whether the active instance is ready.
    pub(super) fn is_ready(&self) -> bool {
        self.active.as_ref().is_some_and(|run| matches!(run.phase, Phase::Ready))
    }

    /// Whether an instance that should be gone is in the way of another.
    pub(super) fn has_stuck(&self) -> bool {
        self.runs().any(Run::is_stuck)
    }

    /// Whether an instance still stops that a swap has asked to, or that was its candidate: the next one waits for that.
    pub(super) fn lingers(&self) -> bool {
        let lingers = |run: &Run| run.stop().is_some_and(|stop| stop.asked == Asked::Swap) && !run.is_stuck();
        self.active.as_ref().is_some_and(lingers) || self.beside.as_ref().is_some_and(|run| !run.is_stuck())
    }

    /// Whether an alert of the kind is open about an instance.
    pub(super) fn has_alert(&self, (generation, attempt): (Generation, Attempt), kind: AlertKind) -> bool {
        let key = (kind, generation, attempt);
        self.task.alerts.iter().any(|alert| (alert.kind, alert.generation, alert.attempt) == key)
    }

    /// What stops beside the active instance, as clients see it. A candidate is not among them unless it has been refused.
    pub(super) fn draining(&self) -> Vec<Instance> {
        self.beside.iter().filter(|run| !self.is_candidate(run.id)).map(|run| run.instance()).collect()
    }

    /// The candidate of a swap that has not been decided.
    pub(super) fn candidate(&self) -> Option<Instance> {
        self.beside.iter().find(|run| self.is_candidate(run.id)).map(|run| run.instance())
    }

    /// How the task ends once nothing beside it lives any more, where that has been decided.
    pub(super) const fn fate(&self) -> Option<State> {
        match self.held {
            Some(Held::End(state)) => Some(state),
            Some(Held::Launch { .. }) | None => None,
        }
    }

    /// The task's state as long as it has not ended: a function of its intent and its instances (lifecycle.md §1).
    pub(super) fn state(&self, intent: Intent) -> State {
        let active = self.active.as_ref().map(|run| state_of(run.instance().state));
        let beside = self.beside.as_ref().map(|run| match state_of(run.instance().state) {
            State::Starting | State::Running if self.is_candidate(run.id) => State::Starting,
            // It has been replaced, and will be told so once that has been committed.
            State::Starting | State::Running => State::Stopping,
            stopping => stopping,
        });
        match intent {
            Intent::Run => active.or(beside).unwrap_or(State::Pending),
            Intent::Pause => active.max(beside).unwrap_or(State::Paused),
            Intent::Cancel => active.max(beside).unwrap_or(State::Cancelled),
        }
    }

    /// Without a ready instance the circuit is suspended.
    pub(super) fn settle_circuit(&mut self, now: Now) {
        if self.is_ready() { self.circuit.resume(now) } else { self.circuit.suspend(now) }
    }

    /// Under what the active instance's checks run.
    pub(super) fn regime(&self) -> Regime {
        let trial = (self.circuit.state() == CircuitState::HalfOpen).then(|| self.task.spec.circuit().trial_interval());
        Regime { epoch: self.circuit.epoch(), counted: true, trial_interval: trial }
    }

    /// Under what the checks of another instance run: they drive nothing.
    pub(super) fn shadow_regime(&self) -> Regime {
        Regime { epoch: self.circuit.epoch(), counted: false, trial_interval: None }
    }
}

const fn state_of(instance: InstanceState) -> State {
    match instance {
        InstanceState::Starting => State::Starting,
        InstanceState::Ready => State::Running,
        InstanceState::Stopping => State::Stopping,
        InstanceState::Aborting => State::Aborting,
        InstanceState::Stuck => State::Stuck,
        InstanceState::Ended => State::Pending,
    }
}
