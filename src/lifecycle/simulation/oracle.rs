//! The invariants, checked from outside: what the machine was told, what it said, and what the world knows.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::super::{Effect, Input, Lifecycle, Reply};
use super::Rng;
use super::world::World;
use crate::model::*;

/// What a stop may take beyond its phases.
const SLACK: Duration = Duration::from_millis(500);

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    head: Sequence,
    hasher: DefaultHasher,
    /// The fold of the log.
    view: BTreeMap<TaskName, Arc<Task>>,
    uids: BTreeSet<Uid>,
    /// The state of each instance that ever was, by what clients know of it.
    instances: BTreeMap<(Uid, Generation, Attempt), InstanceState>,
    /// The newest instance.
    last: InstanceId,
    started: usize,
    ended: usize,
    /// By when each instance that was told to stop must have ended or be stuck.
    stops: BTreeMap<InstanceId, Mono>,
    /// Instances that the present input has ended, as the world knows.
    must_end: Option<InstanceId>,
    ended_in_step: bool,
    drain_bound: Option<Mono>,
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
        Effect::Launch { instance, task } => format!("launch {instance} for {}", task.name.id()),
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
        self.ended_in_step = false;
        self.must_end = match input {
            Input::RootEnded { instance, .. } | Input::ChildrenEnded { instance, .. } => {
                world.actors.get(instance).filter(|actor| !actor.alive()).map(|_| *instance)
            }
            _ => None,
        };
        if let Input::Drain { bound } = input {
            self.drain_bound.get_or_insert(*bound);
        }
        check(now.mono > Mono::ZERO, || "time does not begin".to_owned())
    }

    pub(super) fn effect(&mut self, effect: &Effect, world: &World, now: Now) -> Checked {
        line(effect).hash(&mut self.hasher);
        match effect {
            Effect::Append(event) => self.event(event, world),
            Effect::Launch { instance, task } => self.launch(*instance, task, world),
            Effect::Signal(id) => self.signal(*id, world, now),
            Effect::Abort(id) => check(self.state_of(*id, world) == Some(InstanceState::Aborting), || {
                format!("instance {id} is aborted before the log says so")
            }),
            Effect::Answer { after, reply, .. } => self.answer(*after, reply),
            Effect::Forget(uid) => check(!self.view.values().any(|task| task.uid == *uid), || {
                format!("{uid} is forgotten though it exists")
            }),
        }
    }

    /// What clients know of an instance of the world.
    fn state_of(&self, id: InstanceId, world: &World) -> Option<InstanceState> {
        let uid = world.actors.get(&id)?.uid;
        self.view.values().find(|task| task.uid == uid)?.instance.as_ref().map(|instance| instance.state)
    }

    fn event(&mut self, event: &Event, world: &World) -> Checked {
        check(event.sequence == self.head.next(), || format!("{} does not follow {}", event.sequence, self.head))?;
        self.head = event.sequence;
        let Some(task) = &event.task else {
            return check(event.kind == EventType::ServerDraining, || format!("{:?} without a task", event.kind));
        };
        if event.kind == EventType::TaskCreated {
            check(self.uids.insert(task.uid), || format!("the uid {} is used again", task.uid))?;
            check(!self.view.contains_key(&task.name), || format!("{} is created twice", task.name))?;
        }
        if event.kind == EventType::TaskDeleted {
            check(task.state.is_ended(), || format!("{} is deleted alive", task.name))?;
            self.view.remove(&task.name);
            return Ok(());
        }
        self.instance_moved(event, task, world)?;
        let consistent = task.state.is_ended() == task.end.is_some()
            && (task.intent == Intent::Run || !matches!(task.state, State::Pending | State::Running | State::Starting));
        check(consistent, || format!("{:?} with intent {:?} and end {:?}", task.state, task.intent, task.end))?;
        self.view.insert(task.name.clone(), Arc::clone(task));
        Ok(())
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
                    self.ended_in_step = true;
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
        let outcome = task.outcome.as_ref().ok_or("ended without an outcome")?;
        check(outcome.exit == exit, || format!("two exits: {exit:?} and {:?}", outcome.exit))?;
        let asked = instance.shutdown.is_some() && outcome.asked != Asked::None;
        match exit {
            Exit::Graceful => check(asked, || "graceful, but not asked".to_owned()),
            Exit::Aborted => check(instance.shutdown.is_some_and(|s| s.abort_duration.is_some()), || {
                "aborted without phase 2".to_owned()
            }),
            Exit::Completed => check(!asked, || "completed, but asked".to_owned()),
            Exit::Interrupted => Err("nothing interrupts in this world".to_owned()),
            Exit::Error | Exit::Panic => Ok(()),
        }
    }

    fn launch(&mut self, id: InstanceId, task: &Task, world: &World) -> Checked {
        check(self.last < id, || format!("instance {id} is launched twice"))?;
        self.last = id;
        let live = world.actors.values().filter(|actor| actor.uid == task.uid && actor.alive()).count();
        check(live == 0, || format!("{} is started beside a live instance", task.name))?;
        check(self.drain_bound.is_none(), || format!("{} is started during a drain", task.name))
    }

    fn signal(&mut self, id: InstanceId, world: &World, now: Now) -> Checked {
        check(self.state_of(id, world) == Some(InstanceState::Stopping), || {
            format!("instance {id} is signalled before the log says so")
        })?;
        let uid = world.actors.get(&id).map(|actor| actor.uid);
        let task = self.view.values().find(|task| Some(task.uid) == uid).ok_or("signalled without a task")?;
        let deadline = now.mono + task.spec.shutdown().total();
        let deadline = self.drain_bound.filter(|bound| *bound > now.mono).map_or(deadline, |bound| bound.min(deadline));
        let twice = self.stops.insert(id, deadline + SLACK).is_some();
        check(!twice, || format!("instance {id} is signalled twice"))
    }

    fn answer(&self, after: Sequence, reply: &Result<Reply, Refusal>) -> Checked {
        check(after == self.head, || format!("an answer waits for {after} at {}", self.head))?;
        if let Ok(Reply::Accepted { sequence, .. } | Reply::Deleted { sequence }) = reply {
            check(*sequence <= after, || format!("the cursor {sequence} lies after {after}"))?;
        }
        Ok(())
    }

    /// What must hold between any two steps.
    pub(super) fn after(&mut self, machine: &Lifecycle<Rng>, world: &World, now: Now) -> Checked {
        if let Some(id) = self.must_end {
            check(self.ended_in_step, || format!("instance {id} has ended, and nobody says so"))?;
            self.stops.remove(&id);
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
        self.deadlines_hold(world, now)?;
        self.view.values().try_for_each(|task| self.task_is_sound(task))
    }

    fn deadlines_hold(&self, world: &World, now: Now) -> Checked {
        for (id, deadline) in self.stops.iter().filter(|(_, deadline)| **deadline < now.mono) {
            let state = self.state_of(*id, world);
            check(state == Some(InstanceState::Stuck), || {
                format!("instance {id} is {state:?} {:?} after its bound", now.mono.since(*deadline))
            })?;
        }
        Ok(())
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
