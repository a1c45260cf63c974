//! Counting what the events say: the one place where lifecycle events become metrics.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::model::{
    AlertKind, CircuitState, CircuitStatus, Detail, Event, EventType, Exit, Instance, Shutdown, Task, Timestamp, Uid,
};
use crate::telemetry::{Circuits, Instances, Metrics, Swaps};

/// Counts each event, and remembers what one event alone does not tell.
#[derive(Debug)]
pub(super) struct Observer {
    instances: Instances,
    circuits: Circuits,
    swaps: Swaps,
    /// Swaps that have not ended, and since when.
    swapping: HashMap<Uid, (Uuid, Timestamp)>,
    /// The circuits that are not closed, and since when.
    not_closed: HashMap<Uid, (CircuitState, Timestamp)>,
}

impl Observer {
    /// `tasks` are those that an earlier server has left.
    pub(super) fn new<'a>(metrics: &Metrics, tasks: impl Iterator<Item = &'a Arc<Task>>) -> Self {
        // A trial begins anew: after a restart it is an open circuit.
        let left = |task: &Arc<Task>| {
            let (state, since) = (task.circuit.state, task.circuit.since_time);
            (state != CircuitState::Closed).then_some((task.uid, (CircuitState::Open, since)))
        };
        Self {
            instances: metrics.instances.clone(),
            circuits: metrics.circuits.clone(),
            swaps: metrics.swaps.clone(),
            swapping: HashMap::new(),
            not_closed: tasks.filter_map(left).collect(),
        }
    }

    /// Counts an event that is about to be appended.
    pub(super) fn observe(&mut self, event: &Event) {
        let Some(task) = &event.task else { return };
        match (event.kind, &event.detail) {
            (EventType::InstanceStarting, _) => self.instances.started(),
            (EventType::RestartScheduled, _) => self.instances.restarted(),
            (EventType::InstanceEnded, Some(Detail::Instance(instance))) => self.ended(instance, task),
            (EventType::AlertRaised, Some(Detail::Alert(alert))) => {
                let shutdown = task.instance_of(alert.generation, alert.attempt).and_then(|about| about.shutdown);
                self.alert_raised(alert.kind, shutdown);
            }
            (EventType::SwapStarted, Some(Detail::Swap(swap))) => {
                self.swapping.insert(task.uid, (swap.id, event.time));
            }
            // What lies over the circuit moves nothing.
            (EventType::CircuitOverridden, _) => {}
            (_, Some(Detail::Circuit(circuit))) => self.circuit_moved(task.uid, circuit, event.time),
            (EventType::TaskDeleted, _) => {
                self.not_closed.remove(&task.uid);
            }
            _ => {}
        }
        self.swap_ended(task, event.time);
    }

    fn ended(&self, instance: &Instance, task: &Task) {
        if let Some(exit) = instance.exit {
            self.instances.ended(exit);
        }
        let key = (AlertKind::AbortTimeout, instance.generation, instance.attempt);
        let was_stuck = task.alerts.iter().any(|alert| (alert.kind, alert.generation, alert.attempt) == key);
        let was_displaced = instance.exit == Some(Exit::Displaced);
        // One that was stuck or displaced ended in no phase; a phase 1 that was cut short by force was neither met nor missed.
        let Some(shutdown) = instance.shutdown.filter(|_| !was_stuck && !was_displaced) else { return };
        match (shutdown.graceful_duration, shutdown.abort_duration) {
            (_, Some(took)) => self.instances.abort_phase(took, true),
            (Some(took), None) => self.instances.graceful_phase(took, true),
            (None, None) => {}
        }
    }

    fn alert_raised(&self, kind: AlertKind, shutdown: Option<Shutdown>) {
        self.instances.alert_raised(kind);
        // These two are raised exactly when a phase has run out.
        match (kind, shutdown) {
            (AlertKind::AbortRequired, Some(shutdown)) => {
                self.instances.graceful_phase(shutdown.graceful_duration.unwrap_or_default(), false);
            }
            (AlertKind::AbortTimeout, Some(shutdown)) => {
                self.instances.abort_phase(shutdown.abort_duration.unwrap_or_default(), false);
            }
            _ => {}
        }
    }

    fn circuit_moved(&mut self, uid: Uid, circuit: &CircuitStatus, now: Timestamp) {
        let before = match circuit.state {
            CircuitState::Closed => self.not_closed.remove(&uid),
            state => self.not_closed.insert(uid, (state, now)),
        };
        if let Some((CircuitState::Open, since)) = before {
            self.circuits.was_open(now.since(since));
        }
        if let Some(reason) = circuit.reason {
            let from = before.map_or(CircuitState::Closed, |(state, _)| state);
            self.circuits.transition(from, circuit.state, reason);
        }
    }

    /// The end of a swap rides on whichever event brings it about.
    fn swap_ended(&mut self, task: &Task, now: Timestamp) {
        let Some((id, since)) = self.swapping.get(&task.uid) else { return };
        if let Some(swap) = task.swap.as_ref().filter(|swap| swap.id == *id && swap.is_ended()) {
            self.swaps.ended(swap.phase, now.since(*since));
            self.swapping.remove(&task.uid);
        }
    }
}
