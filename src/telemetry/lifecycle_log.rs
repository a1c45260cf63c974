//! One log line for each lifecycle event, from this one place.

mod limiter;

use tracing::{Level, enabled, error_span};

use crate::model::{
    Asked, CircuitReason, CircuitState, CircuitStatus, Detail, Event, EventType, Exit, Instance, Outcome, Pretty,
    State, Swap, SwapPhase, Task,
};

use super::metrics::exit_label;

pub use limiter::RateLimiter;
use limiter::{Importance, Verdict};

/// What filters call these lines; the module's own path says nothing to an operator. The span has it too, or a filter that lets
/// only this target through would strip the lines of their task.
const TARGET: &str = "switchyard::event";

/// Logs an event: WARN for a raised alert, a stuck instance, one that panicked or failed unasked, a swap that was rolled back and
/// a circuit that opened; INFO for what ends such trouble, for pauses and for the drain; DEBUG for what every task goes through, which
/// would be 50,000 lines for an apply of 10,000. ERROR is left to faults of our own. `limiter` may hold the line back, and then the task's next line says how many were.
///
/// Logging blocks where standard error does: call it from a thread that may wait, never from the manager's loop.
pub fn log_event(event: &Event, limiter: &mut RateLimiter) {
    let line = Line::of(event);
    // What nobody sees is not to take the place of what somebody would.
    if !line.is_seen() {
        return;
    }
    let Some(task) = event.task.as_deref() else {
        return line.emit(event, None);
    };
    let verdict = limiter.admit(task.uid, line.importance, event.time);
    if let Some(forgotten) = limiter.take_forgotten() {
        tracing::info!(target: TARGET, lines = forgotten.lines, tasks = forgotten.tasks, "lifecycle lines were suppressed");
    }
    if let Verdict::Admitted { suppressed } = verdict {
        // A span of a lower level would be filtered out before the warnings within it, and they would lose their fields.
        let span = error_span!(
            target: TARGET,
            "lifecycle",
            // Not `name`: in JSON that is the span's own.
            task = %task.name,
            uid = %task.uid,
            generation = event.generation.get(),
            attempt = event.attempt.get(),
        );
        span.in_scope(|| line.emit(event, suppressed));
    }
}

/// How much an event matters to somebody who looks for what is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Weight {
    /// Every task goes through it.
    #[default]
    Routine,
    Notable,
    Warning,
}

/// What an event's line says. Texts that come from clients or monitors are fields, which the formats quote: no newline of
/// theirs can forge a line.
#[derive(Debug, Default, PartialEq)]
struct Line<'a> {
    message: &'static str,
    weight: Weight,
    importance: Importance,
    kind: Option<&'a str>,
    exit: Option<&'static str>,
    asked: Option<&'static str>,
    restarts: Option<u32>,
    alert: Option<&'static str>,
    detail: Option<&'a str>,
    swap: Option<&'a Swap>,
    circuit: Option<&'a CircuitStatus>,
    paused_for: Option<Pretty>,
}

impl<'a> Line<'a> {
    fn of(event: &'a Event) -> Self {
        let task = event.task.as_deref();
        let once = |message| Self { message, importance: Importance::Once, ..Self::default() };
        let routine = |message| Self { message, ..Self::default() };
        let notable = |message| Self { weight: Weight::Notable, ..routine(message) };
        let warning =
            |message| Self { message, weight: Weight::Warning, importance: Importance::Warning, ..Self::default() };
        match event.kind {
            EventType::TaskCreated => {
                Self { kind: task.map(|task| task.spec.monitor().kind()), ..once("task created") }
            }
            EventType::InstanceStarting => routine("instance starting"),
            EventType::InstanceReady => routine("instance ready"),
            EventType::InstanceStopping => routine("instance stopping"),
            EventType::InstanceAborting => routine("instance aborting"),
            EventType::InstanceStuck => warning("instance stuck"),
            EventType::InstanceEnded => match beside(event, task) {
                // Of a candidate that failed, the end of its swap warns.
                Some(instance) => Self { exit: instance.exit.map(exit_label), ..routine("instance ended") },
                None => {
                    let outcome = outcome(event, task);
                    let line = if outcome.is_some_and(has_failed) { warning } else { routine };
                    line("instance ended").with_outcome(outcome)
                }
            },
            EventType::RestartScheduled => {
                Self { restarts: task.map(|task| task.restart.count), ..routine("restart scheduled") }
            }
            EventType::TaskPaused => (Self { weight: Weight::Notable, ..once("task paused") }).with_pause(event),
            EventType::TaskResumed => Self { weight: Weight::Notable, ..once("task resumed") },
            EventType::TaskEnded => once(ended(task)).with_outcome(outcome(event, task)),
            EventType::TaskDeleted => once("task deleted"),
            EventType::SwapStarted if goes_back(event) => warning("swap started to go back").with_swap(event),
            EventType::SwapStarted => routine("swap started").with_swap(event),
            EventType::SwapCommitted => routine("swap committed").with_swap(event),
            EventType::SwapRolledBack if is_cancelled(event) => routine("swap cancelled").with_swap(event),
            EventType::SwapRolledBack => warning("swap rolled back").with_swap(event),
            EventType::CircuitTripped => warning("circuit tripped").with_circuit(event),
            EventType::CircuitHalfOpened => notable("circuit half-opened").with_circuit(event),
            EventType::CircuitRecovered => notable("circuit recovered").with_circuit(event),
            EventType::CircuitReset => notable("circuit reset").with_circuit(event),
            EventType::CircuitOverridden => notable("circuit override changed").with_circuit(event),
            EventType::AlertRaised => warning("alert raised").with_alert(event),
            EventType::AlertResolved => notable("alert resolved").with_alert(event),
            EventType::ServerDraining => Self { weight: Weight::Notable, ..once("server draining") },
        }
    }

    fn is_seen(&self) -> bool {
        match self.weight {
            Weight::Routine => enabled!(target: TARGET, Level::DEBUG),
            Weight::Notable => enabled!(target: TARGET, Level::INFO),
            Weight::Warning => true,
        }
    }

    fn with_outcome(self, outcome: Option<&'a Outcome>) -> Self {
        let Some(outcome) = outcome else { return self };
        let detail = Some(outcome.message.as_str()).filter(|message| !message.is_empty());
        Self { exit: Some(exit_label(outcome.exit)), asked: asked_label(outcome.asked), detail, ..self }
    }

    fn with_pause(self, event: &'a Event) -> Self {
        match &event.detail {
            Some(Detail::Pause(pause)) => {
                let paused_for = pause.expire_time.map(|until| Pretty::about(until.since(event.time)));
                Self { paused_for, ..self }
            }
            _ => self,
        }
    }

    fn with_alert(self, event: &'a Event) -> Self {
        match &event.detail {
            Some(Detail::Alert(alert)) => {
                Self { alert: Some(alert.kind.label()), detail: Some(&alert.message), ..self }
            }
            _ => self,
        }
    }

    fn with_swap(self, event: &'a Event) -> Self {
        match &event.detail {
            Some(Detail::Swap(swap)) => {
                let words = [swap.error.as_str(), swap.revert_reason.as_str()];
                let detail = words.into_iter().find(|words| !words.is_empty());
                Self { swap: Some(swap), detail, ..self }
            }
            _ => self,
        }
    }

    fn with_circuit(self, event: &'a Event) -> Self {
        match &event.detail {
            Some(Detail::Circuit(circuit)) => Self { circuit: Some(circuit), ..self },
            _ => self,
        }
    }

    fn emit(&self, event: &Event, suppressed: Option<u64>) {
        let Self {
            message,
            weight,
            importance: _,
            kind,
            exit,
            asked,
            restarts,
            alert,
            detail,
            swap,
            circuit,
            paused_for,
        } = self;
        let reason = Some(event.cause.reason.as_str()).filter(|reason| !reason.is_empty());
        let opened = circuit.filter(|circuit| circuit.state == CircuitState::Open);
        let open_for = opened.and_then(|circuit| circuit.until).map(|until| Pretty::about(until.since(event.time)));
        // A macro's level is part of its call site, so each level needs its own.
        macro_rules! emit {
            ($level:expr) => {
                tracing::event!(
                    target: TARGET,
                    $level,
                    event = event.kind.name(),
                    sequence = event.sequence.get(),
                    actor = %event.cause.actor,
                    reason,
                    kind,
                    exit,
                    asked,
                    restarts,
                    alert,
                    phase = swap.map(|swap| swap.phase.name()),
                    from_generation = swap.map(|swap| swap.from_generation.get()),
                    to_generation = swap.map(|swap| swap.to_generation.get()),
                    circuit = circuit.map(|circuit| circuit.state.label()),
                    circuit_reason = circuit.and_then(|circuit| circuit.reason).map(CircuitReason::label),
                    open_for = open_for.map(tracing::field::display),
                    paused_for = paused_for.map(tracing::field::display),
                    epoch = circuit.map(|circuit| circuit.epoch.get()),
                    detail,
                    suppressed,
                    "{message}"
                )
            };
        }
        match weight {
            Weight::Routine => emit!(Level::DEBUG),
            Weight::Notable => emit!(Level::INFO),
            Weight::Warning => emit!(Level::WARN),
        }
    }
}

fn ended(task: Option<&Task>) -> &'static str {
    match task.map(|task| task.state) {
        Some(State::Succeeded) => "task succeeded",
        Some(State::Failed) => "task failed",
        Some(State::Cancelled) => "task cancelled",
        _ => "task ended",
    }
}

/// The outcome that the event is about: its own, or else the one that the task now has.
fn outcome<'a>(event: &'a Event, task: Option<&'a Task>) -> Option<&'a Outcome> {
    match &event.detail {
        Some(Detail::Outcome(outcome)) => Some(outcome),
        _ => task?.outcome.as_ref(),
    }
}

/// The instance that the event is about, where that is not the task's active one: the task's outcome is then another's.
fn beside<'a>(event: &'a Event, task: Option<&Task>) -> Option<&'a Instance> {
    let Some(Detail::Instance(instance)) = &event.detail else { return None };
    let about = |other: &Instance| (other.generation, other.attempt) == (instance.generation, instance.attempt);
    let is_active = task.and_then(|task| task.instance.as_ref()).is_none_or(about);
    (!is_active).then_some(instance)
}

/// Whether the server itself swaps, because what was swapped in has failed.
fn goes_back(event: &Event) -> bool {
    matches!(&event.detail, Some(Detail::Swap(swap)) if !swap.revert_reason.is_empty())
}

/// Whether somebody wanted the task or the server to stop, and its swap with it.
fn is_cancelled(event: &Event) -> bool {
    matches!(&event.detail, Some(Detail::Swap(swap)) if swap.phase == SwapPhase::Cancelled)
}

/// Whether the monitor failed of its own accord, rather than on its way out.
fn has_failed(outcome: &Outcome) -> bool {
    matches!(outcome.exit, Exit::Panic | Exit::Error) && outcome.asked == Asked::None
}

/// `None` where nobody asked.
fn asked_label(asked: Asked) -> Option<&'static str> {
    match asked {
        Asked::None => None,
        Asked::Cancel => Some("cancel"),
        Asked::Drain => Some("drain"),
        Asked::StartTimeout => Some("start_timeout"),
        Asked::Swap => Some("swap"),
        Asked::Pause => Some("pause"),
        Asked::Relief => Some("relief"),
    }
}

#[cfg(test)]
mod tests;
