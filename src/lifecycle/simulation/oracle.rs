//! The invariants, checked from outside: what the machine was told, what it said, and what the world knows.

mod answers;
mod promises;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::super::{Effect, Input, Lifecycle, RootEnd};
use super::Rng;
use super::world::World;
use crate::model::*;
use answers::Answers;
use promises::Promises;

/// What clients see: the fold of the log.
type View = BTreeMap<TaskName, Arc<Task>>;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    head: Sequence,
    hasher: DefaultHasher,
    view: View,
    uids: BTreeSet<Uid>,
    /// The state of each instance that ever was, by what clients know of it.
    instances: BTreeMap<(Uid, Generation, Attempt), InstanceState>,
    /// The newest instance.
    last: InstanceId,
    started: usize,
    ended: usize,
    answers: Answers,
    promises: Promises,
    /// Instances that the present input has ended, as the world knows.
    must_end: Option<InstanceId>,
    ended_in_step: Option<TaskName>,
    /// How the root has ended of which children live on.
    roots: BTreeMap<InstanceId, RootEnd>,
    /// How the present input says that an instance has ended: its root, and whether a child had to be aborted.
    end: Option<(RootEnd, bool)>,
    /// The present step's events, and what it was fed with.
    step: Vec<EventType>,
    ticked: bool,
    draining: bool,
}

type Checked = Result<(), String>;

fn check(holds: bool, violation: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(violation()) }
}

/// An effect in one line.
pub(super) fn line(effect: &Effect) -> String {
    match effect {
        Effect::Append(event) => {
            let task = event.task.as_ref();
            let (name, state) = (task.map(|task| task.name.id()), task.map(|task| task.state.name()));
            format!("#{} {} {name:?} attempt {} {state:?}", event.sequence, event.kind.name(), event.attempt)
        }
        Effect::Launch(launch) => format!("launch {} for {}", launch.instance, launch.task.name.id()),
        other => format!("{other:?}"),
    }
}

impl Oracle {
    pub(super) fn task(&self, name: &TaskName) -> Option<&Arc<Task>> {
        self.view.get(name)
    }

    pub(super) fn names(&self) -> Vec<TaskName> {
        self.view.keys().cloned().collect()
    }

    pub(super) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    pub(super) fn before(&mut self, input: &Input, world: &World, now: Now) -> Checked {
        self.step.clear();
        (self.ended_in_step, self.end) = (None, None);
        self.ticked = matches!(input, Input::Tick);
        self.answers.before(input, &self.view, self.head, self.draining, now)?;
        self.promises.before(input, &self.view, now.mono);
        self.must_end = match input {
            Input::RootEnded { instance, end, children } => {
                if *children {
                    self.roots.insert(*instance, end.clone());
                }
                self.end = Some((end.clone(), false));
                world.actors.get(instance).filter(|actor| !actor.alive()).map(|_| *instance)
            }
            Input::ChildrenEnded { instance, aborted } => {
                self.end = self.roots.remove(instance).map(|end| (end, *aborted));
                world.actors.get(instance).filter(|actor| !actor.alive()).map(|_| *instance)
            }
            _ => None,
        };
        self.draining |= matches!(input, Input::Drain { .. });
        check(now.mono > Mono::ZERO, || "time does not begin".to_owned())
    }

    pub(super) fn effect(&mut self, effect: &Effect, world: &World, now: Now) -> Checked {
        line(effect).hash(&mut self.hasher);
        match effect {
            Effect::Append(event) => self.event(event, world, now),
            Effect::Launch(launch) => self.launch(launch.instance, &launch.task, world),
            Effect::Signal(id) => check(self.state_of(*id, world) == Some(InstanceState::Stopping), || {
                format!("instance {id} is signalled before the log says so")
            }),
            Effect::Abort(id) => check(self.state_of(*id, world) == Some(InstanceState::Aborting), || {
                format!("instance {id} is aborted before the log says so")
            }),
            Effect::Answer { after, reply } => {
                check(*after == self.head, || format!("an answer waits for {after} at {}", self.head))?;
                self.answers.answered(reply, &self.view, *after, now)
            }
            Effect::Forget(uid) => check(!self.view.values().any(|task| task.uid == *uid), || {
                format!("{uid} is forgotten though it exists")
            }),
            _ => Ok(()),
        }?;
        self.promises.effect(effect, &self.view, now)
    }

    /// What clients know of an instance of the world.
    fn state_of(&self, id: InstanceId, world: &World) -> Option<InstanceState> {
        let uid = world.actors.get(&id)?.uid;
        self.view.values().find(|task| task.uid == uid)?.instance.as_ref().map(|instance| instance.state)
    }

    fn event(&mut self, event: &Event, world: &World, now: Now) -> Checked {
        check(event.sequence == self.head.next(), || format!("{} does not follow {}", event.sequence, self.head))?;
        self.head = event.sequence;
        self.step.push(event.kind);
        let Some(task) = &event.task else {
            return check(event.kind == EventType::ServerDraining, || format!("{:?} without a task", event.kind));
        };
        if event.kind == EventType::TaskCreated {
            check(self.uids.insert(task.uid), || format!("the uid {} is used again", task.uid))?;
            check(!self.view.contains_key(&task.name), || format!("{} is created twice", task.name))?;
        }
        if event.kind == EventType::TaskDeleted {
            check(task.state.is_ended(), || format!("{} is deleted alive", task.name))?;
            let by_ttl = event.cause.actor == Actor::System("ttl");
            check(!by_ttl || task.end.is_some_and(|end| end.expire_time <= now.wall), || {
                format!("{} is deleted before its time", task.name)
            })?;
            self.view.remove(&task.name);
            return Ok(());
        }
        self.instance_moved(event, task, world)?;
        self.alerted(event, task, now)?;
        let consistent = task.state.is_ended() == task.end.is_some()
            && (task.intent == Intent::Run || !matches!(task.state, State::Pending | State::Running | State::Starting));
        check(consistent, || format!("{:?} with intent {:?} and end {:?}", task.state, task.intent, task.end))?;
        self.view.insert(task.name.clone(), Arc::clone(task));
        Ok(())
    }

    /// An alert is raised where it is not open and for its reason, and resolved where it is open.
    fn alerted(&self, event: &Event, task: &Task, now: Now) -> Checked {
        let Some(Detail::Alert(alert)) = &event.detail else { return Ok(()) };
        let was_open = self.view.get(&task.name).is_some_and(|task| task.alerts.iter().any(|a| a.kind == alert.kind));
        let is_open = task.alerts.contains(alert);
        let raised = event.kind == EventType::AlertRaised;
        check(raised == is_open && raised != was_open, || format!("{:?} of {:?}", event.kind, alert.kind))?;
        match raised {
            true => self.promises.raised(alert.kind, task, now),
            // The end resolves whatever is open.
            false if self.ended_in_step.is_some() => Ok(()),
            false => self.promises.resolved(alert.kind, task),
        }
    }

    /// An instance's events come in order, each once; only a cancel that joins a stop repeats one.
    fn instance_moved(&mut self, event: &Event, task: &Task, world: &World) -> Checked {
        let Some(Detail::Instance(instance)) = &event.detail else { return Ok(()) };
        let key = (task.uid, instance.generation, instance.attempt);
        let before = self.instances.insert(key, instance.state);
        match (before, instance.state) {
            (None, InstanceState::Starting) => {
                self.started += 1;
                check(task.intent == Intent::Run, || "an instance is started after a cancel".to_owned())
            }
            (Some(before), state) if before < state => {
                if state == InstanceState::Ended {
                    self.ended += 1;
                    self.ended_in_step = Some(task.name.clone());
                    let alive = world.actors.values().filter(|actor| actor.uid == task.uid && actor.alive()).count();
                    check(alive == 0, || format!("{} is said to have ended, but lives", task.name))?;
                    self.outcome_is_true(instance, task)?;
                }
                Ok(())
            }
            (Some(before), state) if before == state && task.intent == Intent::Cancel => Ok(()),
            (before, state) => Err(format!("an instance of {} went from {before:?} to {state:?}", task.name)),
        }
    }

    fn outcome_is_true(&self, instance: &Instance, task: &Task) -> Checked {
        let exit = instance.exit.ok_or("ended without an exit")?;
        let Outcome { exit: told, asked, .. } = task.outcome.as_ref().ok_or("ended without an outcome")?;
        let (root, child_aborted) = self.end.as_ref().ok_or("ended by nothing that ends an instance")?;
        let unbounded = task.spec.monitor().is_built_in() && task.spec.schedule().max_runs().is_none();
        let expected = match (root, asked) {
            (RootEnd::Failed(_), _) => Exit::Error,
            (RootEnd::Panicked(_), _) => Exit::Panic,
            (RootEnd::Cancelled, _) => Exit::Aborted,
            (RootEnd::Returned, Asked::None) if unbounded => Exit::Error,
            (RootEnd::Returned, Asked::None) => Exit::Completed,
            (RootEnd::Returned, _) if *child_aborted => Exit::Aborted,
            (RootEnd::Returned, _) => Exit::Graceful,
        };
        check((exit, *told) == (expected, expected), || format!("{exit:?} and {told:?} instead of {expected:?}"))?;
        let policy = task.spec.restart();
        let state = match (task.intent, asked, exit) {
            (Intent::Cancel, ..) => State::Cancelled,
            (Intent::Run, Asked::None, Exit::Completed) => State::Succeeded,
            _ if self.draining || task.restart.next_time.is_some() => State::Pending,
            _ => State::Failed,
        };
        check(task.state == state, || format!("{:?} instead of {state:?}", task.state))?;
        let early = state == State::Failed && task.restart.count < policy.max_restarts();
        check(!early, || format!("{} is given up after {} restarts", task.name, task.restart.count))
    }

    fn launch(&mut self, id: InstanceId, task: &Task, world: &World) -> Checked {
        check(self.last < id, || format!("instance {id} is launched twice"))?;
        self.last = id;
        let live = world.actors.values().filter(|actor| actor.uid == task.uid && actor.alive()).count();
        check(live == 0, || format!("{} is started beside a live instance", task.name))?;
        check(!self.draining, || format!("{} is started during a drain", task.name))
    }

    /// What must hold between any two steps.
    pub(super) fn after(&mut self, machine: &Lifecycle<Rng>, world: &World, now: Now) -> Checked {
        if let Some(id) = self.must_end {
            check(self.ended_in_step.is_some(), || format!("instance {id} has ended, and nobody says so"))?;
        }
        let live = world.actors.values().filter(|actor| actor.alive()).count();
        check(machine.live() == live, || format!("{} instances are counted, {live} live", machine.live()))?;
        check(self.started == live + self.ended, || {
            format!("{} started, {live} live, {} ended", self.started, self.ended)
        })?;
        let folded = machine.tasks.len() == self.view.len()
            && machine.tasks.values().all(|entry| {
                self.view
                    .get(&entry.task.name)
                    .is_some_and(|task| Arc::ptr_eq(task, &entry.task) || *task == entry.task)
            });
        check(folded, || "the machine's tasks are not the fold of its events".to_owned())?;
        // Each live instance has five at the most, and a task without one waits to be started or deleted.
        check(machine.timers.len() <= 5 * live + self.view.len(), || "timers are left behind".to_owned())?;
        self.the_end_is_told()?;
        self.promises.after(&self.view, world, self.ticked, now)?;
        self.view.values().try_for_each(|task| self.task_is_sound(task))
    }

    /// First that the instance has ended, then of each alert that it is resolved, then what becomes of the task.
    fn the_end_is_told(&self) -> Checked {
        let Some(task) = self.ended_in_step.as_ref().and_then(|name| self.view.get(name)) else { return Ok(()) };
        let told = |last: &[EventType]| {
            let rest = self.step.strip_prefix(&[EventType::InstanceEnded]).and_then(|rest| rest.strip_suffix(last));
            rest.is_some_and(|rest| rest.iter().all(|kind| *kind == EventType::AlertResolved))
        };
        let right = match task.state {
            State::Pending if task.restart.next_time.is_some() => told(&[EventType::RestartScheduled]),
            State::Pending => told(&[]),
            _ => told(&[EventType::TaskEnded]),
        };
        check(right, || format!("the end of {} is told as {:?}", task.name, self.step))
    }

    fn task_is_sound(&self, task: &Task) -> Checked {
        let live = task.instance.as_ref().is_some_and(|instance| instance.state != InstanceState::Ended);
        check(live || task.alerts.is_empty(), || format!("{} has ended, its alerts have not", task.name))?;
        check(live != (task.state.is_ended() || task.state == State::Pending), || {
            format!("{} is {:?} with instance {:?}", task.name, task.state, task.instance)
        })?;
        let kinds: BTreeSet<_> = task.alerts.iter().map(|alert| alert.kind).collect();
        check(kinds.len() == task.alerts.len(), || format!("{} has the same alert twice", task.name))
    }
}
