//! Counting what the events say: the one place where lifecycle events become metrics.

use crate::model::{AlertKind, Detail, Event, EventType, Instance, Task};
use crate::telemetry::Instances;

/// Counts an event that is about to be appended.
pub(super) fn observe(event: &Event, metrics: &Instances) {
    match (event.kind, &event.detail) {
        (EventType::InstanceStarting, _) => metrics.started(),
        (EventType::RestartScheduled, _) => metrics.restarted(),
        (EventType::InstanceEnded, Some(Detail::Instance(instance))) => {
            if let Some(exit) = instance.exit {
                metrics.ended(exit);
            }
            if let Some(task) = &event.task {
                observe_end(instance, task, metrics);
            }
        }
        (EventType::AlertRaised, Some(Detail::Alert(alert))) => {
            metrics.alert_raised(alert.kind);
            let shutdown = event.task.as_ref().and_then(|task| task.instance.as_ref()?.shutdown);
            // These two are raised exactly when a phase has run out.
            match (alert.kind, shutdown) {
                (AlertKind::AbortRequired, Some(shutdown)) => {
                    metrics.graceful_phase(shutdown.graceful_duration.unwrap_or_default(), false);
                }
                (AlertKind::AbortTimeout, Some(shutdown)) => {
                    metrics.abort_phase(shutdown.abort_duration.unwrap_or_default(), false);
                }
                _ => {}
            }
        }
        _ => {}
    }
}

/// Counts the phase in which an instance has ended. One that was stuck ended in none; a phase 1 that was cut short by force was
/// neither met nor missed.
fn observe_end(instance: &Instance, task: &Task, metrics: &Instances) {
    let was_stuck = task.alerts.iter().any(|alert| alert.kind == AlertKind::AbortTimeout);
    let Some(shutdown) = instance.shutdown.filter(|_| !was_stuck) else { return };
    match (shutdown.graceful_duration, shutdown.abort_duration) {
        (_, Some(took)) => metrics.abort_phase(took, true),
        (Some(took), None) => metrics.graceful_phase(took, true),
        (None, None) => {}
    }
}
