//! The one place where a task's status changes, and where that yields its event.

use std::sync::Arc;

use super::entry::Entry;
use super::io::Effect;
use super::next::Next;
use crate::model::{
    Alert, AlertKind, Annotations, Attempt, Cause, Detail, End, Event, EventType, Generation, Instance, InstanceId,
    InstanceState, Intent, Now, Outcome, Pause, Restart, Sequence, State, Swap, Task,
};

/// What has happened to a task. Where its runs, its swap and its circuit stand by then, its entry knows.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Created,
    /// The run has come to where it is now. Where a cancel joins a stop that something else had begun, the present place is
    /// recorded once more, so that the log shows who wants what.
    Moved {
        run: InstanceId,
        intent: Intent,
    },
    /// A run has ended, and is no longer in its entry. With an outcome if it was the active one.
    Ended {
        instance: Instance,
        outcome: Option<Outcome>,
        next: Next,
    },
    RestartScheduled,
    /// Nothing is live, as the entry's pause wants it; or that has been told already, and the end of the pause has moved.
    Paused,
    /// The pause, no longer the entry's, is over.
    Resumed(Box<Pause>),
    TaskEnded(End, State),
    /// It cannot be started here, and ends.
    NotStartable(Outcome, End),
    Deleted,
    AlertRaised(Alert),
    AlertResolved {
        kind: AlertKind,
        generation: Generation,
        attempt: Attempt,
    },
    SwapStarted,
    /// The swap's spec and annotations are the task's now.
    SwapCommitted(Annotations),
    /// A swap that changes nothing but annotations.
    Annotated(Box<Swap>, Annotations),
    SwapRolledBack,
    Circuit(EventType),
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
        entry.settle_circuit(now);
        let (kind, detail, about) = apply(entry, now, change);
        let (generation, attempt) = about.unwrap_or((entry.task.generation, Attempt::default()));
        let task = Some(Arc::clone(&entry.task));
        self.append(Event { sequence: self.head, time: now.wall, kind, generation, attempt, cause, detail, task });
        entry.told = self.head;
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
type Told = (EventType, Option<Detail>, About);

fn apply(entry: &mut Entry, now: Now, change: Change) -> Told {
    let moved = match change {
        Change::Moved { run, intent } => moved(entry, run, intent),
        _ => None,
    };
    refresh(entry, now);
    let has_active = entry.active.is_some();
    let task = Arc::make_mut(&mut entry.task);
    let told = match change {
        Change::Moved { .. } => tell_moved(moved),
        Change::Ended { instance, outcome, next } => tell_ended(task, instance, outcome, next),
        Change::Created => (EventType::TaskCreated, None, None),
        Change::RestartScheduled => (EventType::RestartScheduled, Some(Detail::Restart(task.restart)), None),
        Change::Paused => {
            task.intent = Intent::Pause;
            task.restart.next_time = None;
            (EventType::TaskPaused, task.pause.clone().map(Detail::Pause), None)
        }
        Change::Resumed(pause) => {
            task.intent = Intent::Run;
            (EventType::TaskResumed, Some(Detail::Pause(pause)), None)
        }
        Change::TaskEnded(end, state) => {
            (task.state, task.end) = (state, Some(end));
            task.restart.next_time = None;
            if state == State::Cancelled {
                task.intent = Intent::Cancel;
            }
            (EventType::TaskEnded, task.outcome.clone().map(Detail::Outcome), None)
        }
        Change::NotStartable(outcome, end) => {
            (task.intent, task.state, task.end) = (Intent::Run, State::Failed, Some(end));
            (task.restart.next_time, task.pause) = (None, None);
            task.outcome = Some(outcome.clone());
            (EventType::TaskEnded, Some(Detail::Outcome(outcome)), None)
        }
        Change::Deleted => (EventType::TaskDeleted, None, None),
        Change::AlertRaised(alert) => tell_raised(task, alert),
        Change::AlertResolved { kind, generation, attempt } => tell_resolved(task, kind, (generation, attempt)),
        Change::SwapStarted => (EventType::SwapStarted, task.swap.clone().map(Detail::Swap), None),
        Change::SwapCommitted(annotations) => tell_committed(task, annotations, has_active),
        Change::Annotated(swap, annotations) => {
            (task.annotations, task.swap) = (annotations, Some(swap.clone()));
            (EventType::SwapCommitted, Some(Detail::Swap(swap)), None)
        }
        Change::SwapRolledBack => (EventType::SwapRolledBack, task.swap.clone().map(Detail::Swap), None),
        Change::Circuit(kind) => (kind, Some(Detail::Circuit(task.circuit.clone())), None),
    };
    if task.end.is_some() {
        (task.observation, entry.observation) = (None, None);
    } else {
        let intent = task.intent;
        Arc::make_mut(&mut entry.task).state = entry.state(intent);
    }
    told
}

/// The run that has moved, as it stands; and what its task's owner wants by that.
fn moved(entry: &mut Entry, run: InstanceId, intent: Intent) -> Option<Instance> {
    let instance = entry.run(run).map(|run| run.instance());
    // What moves beside the active instance says nothing of its next start.
    let restarts_no_more = entry.is_active(run) || intent != Intent::Run;
    let task = Arc::make_mut(&mut entry.task);
    task.intent = intent;
    if restarts_no_more {
        task.restart.next_time = None;
    }
    instance
}

/// Shows the entry's runs, swap and circuit as they stand.
fn refresh(entry: &mut Entry, now: Now) {
    let swap = entry.swap.as_ref().map(|swapping| Box::new(swapping.swap.clone()));
    let (active, draining) = (entry.active.as_ref().map(|run| run.instance()), entry.draining());
    let (candidate, fate) = (entry.candidate().map(Box::new), entry.fate());
    let (circuit, pause, observation) = (entry.circuit.status(), &entry.pause, &entry.observation);
    let task = Arc::make_mut(&mut entry.task);
    task.update_time = now.wall;
    (task.circuit, task.draining, task.candidate) = (circuit, draining, candidate);
    task.pause.clone_from(pause);
    task.observation.clone_from(observation);
    task.fate = fate;
    if active.is_some() {
        task.instance = active;
    }
    if swap.is_some() {
        task.swap = swap;
    }
}

fn tell_ended(task: &mut Task, instance: Instance, outcome: Option<Outcome>, next: Next) -> Told {
    if let Some(outcome) = outcome {
        (task.instance, task.outcome) = (Some(instance.clone()), Some(outcome));
    }
    match next {
        Next::End(state, end) => (task.state, task.end) = (state, Some(end)),
        Next::Restart(restart) => task.restart = restart,
        Next::Stay | Next::Rehome { .. } | Next::Rest => {}
    }
    let about = Some((instance.generation, instance.attempt));
    (EventType::InstanceEnded, Some(Detail::Instance(instance)), about)
}

fn tell_raised(task: &mut Task, alert: Alert) -> Told {
    let about = Some((alert.generation, alert.attempt));
    task.alerts.push(alert.clone());
    (EventType::AlertRaised, Some(Detail::Alert(alert)), about)
}

fn tell_resolved(task: &mut Task, kind: AlertKind, about: (Generation, Attempt)) -> Told {
    let open = |alert: &Alert| (alert.kind, (alert.generation, alert.attempt)) == (kind, about);
    let resolved = task.alerts.iter().position(open).map(|n| task.alerts.remove(n));
    (EventType::AlertResolved, resolved.map(Detail::Alert), Some(about))
}

fn tell_committed(task: &mut Task, annotations: Annotations, has_active: bool) -> Told {
    task.annotations = annotations;
    if let Some(swap) = &task.swap {
        (task.generation, task.spec) = (swap.to_generation, Arc::clone(&swap.to_spec));
    }
    task.restart = Restart::default();
    if !has_active {
        task.instance = None;
    }
    (EventType::SwapCommitted, task.swap.clone().map(Detail::Swap), None)
}

/// Where the instance is decides the event.
fn tell_moved(instance: Option<Instance>) -> Told {
    let kind = match instance.as_ref().map(|instance| instance.state) {
        Some(InstanceState::Starting) => EventType::InstanceStarting,
        Some(InstanceState::Ready) => EventType::InstanceReady,
        Some(InstanceState::Stopping) => EventType::InstanceStopping,
        Some(InstanceState::Aborting) => EventType::InstanceAborting,
        Some(InstanceState::Stuck) => EventType::InstanceStuck,
        Some(InstanceState::Ended) | None => EventType::InstanceEnded,
    };
    let about = instance.as_ref().map(|instance| (instance.generation, instance.attempt));
    (kind, instance.map(Detail::Instance), about)
}
