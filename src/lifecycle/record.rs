//! The one place where a task's status changes, and where that yields its event.

use std::collections::VecDeque;
use std::sync::Arc;

use super::io::Effect;
use super::run::Run;
use crate::model::{
    Alert, AlertKind, Attempt, Cause, Detail, End, Event, EventType, Generation, Instance, InstanceState, Intent, Mono,
    Now, Outcome, Restart, Sequence, State, Task,
};

/// A task: what clients see of it, and what runs.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) task: Arc<Task>,
    pub(super) run: Option<Run>,
    /// When the restarts that count were made.
    pub(super) restarts: VecDeque<Mono>,
}

/// What has happened to a task.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Created,
    /// The run has come to where `instance` says. Where a cancel joins a stop that something else had begun, the present place
    /// is recorded once more, so that the log shows who wants what.
    Moved {
        instance: Instance,
        intent: Intent,
    },
    Ended {
        instance: Instance,
        outcome: Outcome,
        next: Next,
    },
    RestartScheduled,
    TaskEnded(End, State),
    Deleted,
    AlertRaised(Alert),
    AlertResolved(AlertKind),
}

/// What becomes of a task whose instance has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Next {
    /// It ends.
    End(State, End),
    /// It is started again.
    Restart(Restart),
    /// It stays as it is, to be started when the server runs again.
    Stay,
}

/// The log's head, and what the present step has appended.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) head: Sequence,
    pub(super) effects: Vec<Effect>,
}

impl Log {
    /// Applies a change to a task and appends its event, with the task as it stands then.
    pub(super) fn record(&mut self, entry: &mut Entry, now: Now, cause: Cause, change: Change) {
        let (kind, detail, about) = apply(entry, now, change);
        let (generation, attempt) = about.unwrap_or((entry.task.generation, Attempt::default()));
        let task = Some(Arc::clone(&entry.task));
        self.append(Event { sequence: self.head, time: now.wall, kind, generation, attempt, cause, detail, task });
    }

    /// Appends the one event that is about no task.
    pub(super) fn record_draining(&mut self, now: Now, cause: Cause) {
        let (kind, detail, task) = (EventType::ServerDraining, None, None);
        let (generation, attempt) = (Generation::default(), Attempt::default());
        self.append(Event { sequence: self.head, time: now.wall, kind, generation, attempt, cause, detail, task });
    }

    fn append(&mut self, event: Event) {
        self.head = self.head.next();
        self.effects.push(Effect::Append(Event { sequence: self.head, ..event }));
    }
}

type About = Option<(Generation, Attempt)>;

fn apply(entry: &mut Entry, now: Now, change: Change) -> (EventType, Option<Detail>, About) {
    let task = Arc::make_mut(&mut entry.task);
    task.update_time = now.wall;
    match change {
        Change::Created => (EventType::TaskCreated, None, None),
        Change::Moved { instance, intent } => {
            let (kind, state) = moved(instance.state);
            (task.state, task.intent) = (state, intent);
            task.restart.next_time = None;
            task.instance = Some(instance.clone());
            let about = Some((instance.generation, instance.attempt));
            (kind, Some(Detail::Instance(instance)), about)
        }
        Change::Ended { instance, outcome, next } => {
            let about = Some((instance.generation, instance.attempt));
            task.instance = Some(instance.clone());
            task.outcome = Some(outcome);
            match next {
                Next::End(state, end) => (task.state, task.end) = (state, Some(end)),
                Next::Restart(restart) => (task.state, task.restart) = (State::Pending, restart),
                Next::Stay => task.state = State::Pending,
            }
            (EventType::InstanceEnded, Some(Detail::Instance(instance)), about)
        }
        Change::RestartScheduled => (EventType::RestartScheduled, Some(Detail::Restart(task.restart)), None),
        Change::TaskEnded(end, state) => {
            (task.state, task.end) = (state, Some(end));
            task.restart.next_time = None;
            if state == State::Cancelled {
                task.intent = Intent::Cancel;
            }
            (EventType::TaskEnded, task.outcome.clone().map(Detail::Outcome), None)
        }
        Change::Deleted => (EventType::TaskDeleted, None, None),
        Change::AlertRaised(alert) => {
            task.alerts.push(alert.clone());
            (EventType::AlertRaised, Some(Detail::Alert(alert.clone())), Some((alert.generation, alert.attempt)))
        }
        Change::AlertResolved(kind) => {
            let resolved = task.alerts.iter().position(|alert| alert.kind == kind).map(|n| task.alerts.remove(n));
            let about = resolved.as_ref().map(|alert| (alert.generation, alert.attempt));
            (EventType::AlertResolved, resolved.map(Detail::Alert), about)
        }
    }
}

/// Where the instance is decides the event, and where the task is.
const fn moved(state: InstanceState) -> (EventType, State) {
    match state {
        InstanceState::Starting => (EventType::InstanceStarting, State::Starting),
        InstanceState::Ready => (EventType::InstanceReady, State::Running),
        InstanceState::Stopping => (EventType::InstanceStopping, State::Stopping),
        InstanceState::Aborting => (EventType::InstanceAborting, State::Aborting),
        InstanceState::Stuck => (EventType::InstanceStuck, State::Stuck),
        InstanceState::Ended => (EventType::InstanceEnded, State::Pending),
    }
}

impl Entry {
    /// A new task; its `TASK_CREATED` is still to be recorded.
    pub(super) fn new(task: Task) -> Self {
        Self { task: Arc::new(task), run: None, restarts: VecDeque::new() }
    }

    /// Whether an alert of the kind is open.
    pub(super) fn has_alert(&self, kind: AlertKind) -> bool {
        self.task.alerts.iter().any(|alert| alert.kind == kind)
    }
}
