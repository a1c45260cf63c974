//! The invariants, checked from outside: what the machine was told, what it said, and what the world knows.

mod answers;
mod circuits;
mod promises;
mod roles;
mod swaps;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::super::{Effect, Input, Launch, Lifecycle, Reply, Timer};
use super::Rng;
use super::world::World;
use crate::model::*;
use answers::Answers;
use circuits::Circuits;
use promises::Promises;
use roles::{Role, Roles};
use swaps::Swaps;

/// What clients see: the fold of the log.
type View = BTreeMap<TaskName, Arc<Task>>;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    head: Sequence,
    hasher: DefaultHasher,
    view: View,
    uids: BTreeSet<Uid>,
    launched: BTreeSet<InstanceId>,
    answers: Answers,
    promises: Promises,
    roles: Roles,
    swaps: Swaps,
    circuits: Circuits,
    /// The instance that the present input has ended, as the world knows.
    must_end: Option<InstanceId>,
    ended_in_step: Option<TaskName>,
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
        Effect::Build { instance, spec } => format!("build {instance} by {}", spec.swap().strategy().name()),
        Effect::Answer { after, reply: Ok(Reply::Accepted { task, sequence }) } => {
            format!("answer {} as {} of {sequence}, after {after}", task.name.id(), task.state.name())
        }
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
        self.ended_in_step = None;
        self.ticked = matches!(input, Input::Tick);
        self.answers.before(input, &self.view, self.head, self.draining, now)?;
        self.promises.before(input, now.mono);
        self.roles.before(input, world);
        self.swaps.before(input);
        self.circuits.before(input, &self.view, &self.roles, world);
        self.must_end = match input {
            Input::RootEnded { instance, .. } | Input::ChildrenEnded { instance, .. } => {
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
            Effect::Launch(launch) => self.launch(launch, world),
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
            Effect::AwaitCommit { after, .. } => {
                check(*after == self.head, || format!("a cut-over waits for {after} at {}", self.head))
            }
            Effect::Promote { instance, uid, .. } => {
                let key = world.key(*instance).filter(|key| key.0 == *uid);
                let active = key.and_then(|key| self.roles.get(&key)).is_some_and(|live| live.role == Role::Active);
                check(active, || format!("instance {instance} is not active"))
            }
            _ => Ok(()),
        }?;
        self.promises.effect(effect, now)?;
        self.circuits.effect(effect)?;
        self.swaps.effect(effect, &self.view, &self.roles, world, now)
    }

    /// What the log says of an instance of the world.
    fn state_of(&self, id: InstanceId, world: &World) -> Option<InstanceState> {
        self.roles.get(&world.key(id)?).map(|live| live.instance.state)
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
        let before = self.view.get(&task.name).cloned();
        self.circuits_and_swaps_follow(event, task, before.as_deref(), now)?;
        if event.kind == EventType::TaskDeleted {
            check(task.state.is_ended(), || format!("{} is deleted alive", task.name))?;
            let by_ttl = event.cause.actor == Actor::System("ttl");
            check(!by_ttl || task.end.is_some_and(|end| end.expire_time <= now.wall), || {
                format!("{} is deleted before its time", task.name)
            })?;
            self.view.remove(&task.name);
            return Ok(());
        }
        if event.kind == EventType::InstanceEnded {
            self.ended_in_step = Some(task.name.clone());
            let key = (task.uid, event.generation, event.attempt);
            let lives = world.actors.iter().any(|(id, actor)| actor.alive() && world.key(*id) == Some(key));
            check(!lives, || format!("an instance of {} is said to have ended, but lives", task.name))?;
        }
        self.alerted(event, task, now)?;
        self.view.insert(task.name.clone(), Arc::clone(task));
        Ok(())
    }

    /// What lives of a task first: the rest depends on that.
    fn circuits_and_swaps_follow(&mut self, event: &Event, task: &Task, before: Option<&Task>, now: Now) -> Checked {
        self.roles.event(event, task, before, self.draining)?;
        self.swaps.event(event, task, before)?;
        self.circuits.event(event, task, &self.roles, now)
    }

    /// An alert is raised where it is not open and for its reason, and resolved where it is open.
    fn alerted(&self, event: &Event, task: &Task, now: Now) -> Checked {
        let Some(Detail::Alert(alert)) = &event.detail else { return Ok(()) };
        let key = |alert: &Alert| (alert.kind, alert.generation, alert.attempt);
        let before = self.view.get(&task.name);
        let was_open = before.is_some_and(|task| task.alerts.iter().any(|open| key(open) == key(alert)));
        let is_open = task.alerts.contains(alert);
        let raised = event.kind == EventType::AlertRaised;
        check(raised == is_open && raised != was_open, || format!("{:?} of {:?}", event.kind, alert.kind))?;
        match raised {
            true => self.promises.raised(alert, task.uid, &self.roles, now),
            // The end resolves whatever is open.
            false if self.ended_in_step.is_some() => Ok(()),
            false => self.promises.resolved(alert, task.uid),
        }
    }

    fn launch(&mut self, launch: &Launch, world: &World) -> Checked {
        let (id, task) = (launch.instance, &launch.task);
        check(self.launched.insert(id), || format!("instance {id} is launched twice"))?;
        let live: Vec<_> = world.actors.iter().filter(|(_, actor)| actor.uid == task.uid && actor.alive()).collect();
        check(live.len() < 2, || format!("{} is started beside two live instances", task.name))?;
        let stuck = live.iter().any(|(id, _)| self.state_of(**id, world) == Some(InstanceState::Stuck));
        check(!stuck, || format!("{} is started beside a stuck instance", task.name))?;
        check(task.intent == Intent::Run, || format!("{} is started after a cancel", task.name))?;
        check(!self.draining, || format!("{} is started during a drain", task.name))
    }

    /// What must hold between any two steps.
    pub(super) fn after(&mut self, machine: &Lifecycle<Rng>, world: &World, now: Now) -> Checked {
        if let Some(id) = self.must_end {
            check(self.ended_in_step.is_some(), || format!("instance {id} has ended, and nobody says so"))?;
        }
        let live = world.actors.values().filter(|actor| actor.alive()).count();
        check(machine.live() == live, || format!("{} instances are counted, {live} live", machine.live()))?;
        let (known, ended) = (self.roles.live.len(), self.roles.ended);
        let sum = known == live && self.launched.len() == live + ended;
        check(sum, || format!("{} launched, {live} live, {known} shown, {ended} ended", self.launched.len()))?;
        let folded = machine.tasks.len() == self.view.len()
            && machine.tasks.values().all(|entry| {
                self.view
                    .get(&entry.task.name)
                    .is_some_and(|task| Arc::ptr_eq(task, &entry.task) || *task == entry.task)
            });
        check(folded, || "the machine's tasks are not the fold of its events".to_owned())?;
        self.timers_are_needed(machine, world)?;
        self.the_end_is_told()?;
        self.promises.after(&self.view, &self.roles, world, self.ticked, now)?;
        self.swaps.after(&self.view, &self.roles, world)?;
        self.circuits.after(&self.view, &self.roles, world, self.ticked, now)?;
        self.view.values().try_for_each(|task| self.task_is_sound(task))
    }

    /// Each timer is of a live instance or of a task; that of an ended task is its expiry alone.
    fn timers_are_needed(&self, machine: &Lifecycle<Rng>, world: &World) -> Checked {
        let is_set = |timer| usize::from(machine.timers.is_set(timer));
        let of_instance =
            [Timer::StartTimeout, Timer::Grace, Timer::Abort, Timer::SlowCancellation, Timer::LongRunning];
        let live = world.actors.iter().filter(|(_, actor)| actor.alive()).map(|(id, _)| *id);
        let mut counted: usize = live.map(|id| of_instance.map(|timer| is_set(timer(id))).iter().sum::<usize>()).sum();
        for task in self.view.values() {
            let (restart, circuit) = (is_set(Timer::Restart(task.uid)), is_set(Timer::Circuit(task.uid)));
            let expiry = is_set(Timer::Expire(task.uid));
            counted += restart + circuit + expiry;
            let right = expiry == usize::from(task.state.is_ended())
                && circuit == usize::from(!task.circuit.suspended && task.circuit.state != CircuitState::Closed)
                && (restart == 0 || task.intent == Intent::Run && !task.state.is_ended());
            check(right, || format!("{} has timers that it must not have, or lacks one", task.name))?;
        }
        check(counted == machine.timers.len(), || "timers are left behind".to_owned())
    }

    /// First that the instance has ended, then of each alert that it is resolved, then what becomes of the swap, then of the task.
    fn the_end_is_told(&self) -> Checked {
        let Some(task) = self.ended_in_step.as_ref().and_then(|name| self.view.get(name)) else { return Ok(()) };
        let rest = self.step.strip_prefix(&[EventType::InstanceEnded]).unwrap_or(&[EventType::InstanceEnded]);
        let resolved = rest.iter().take_while(|kind| **kind == EventType::AlertResolved).count();
        let rest = &rest[resolved..];
        let rest = rest.strip_prefix(&[EventType::SwapRolledBack]).unwrap_or(rest);
        let right = match rest {
            [] | [EventType::InstanceStarting] => !task.state.is_ended(),
            [EventType::RestartScheduled] => task.restart.next_time.is_some(),
            [EventType::TaskEnded] => task.state.is_ended(),
            _ => false,
        };
        check(right, || format!("the end of {} is told as {:?}", task.name, self.step))
    }

    fn task_is_sound(&self, task: &Task) -> Checked {
        let alone = self.roles.of(task.uid).next().is_none();
        check(!alone || task.alerts.is_empty(), || format!("{} has ended, its alerts have not", task.name))?;
        check(alone || !task.state.is_ended(), || format!("{} has ended, and something lives", task.name))?;
        let keys: BTreeSet<_> = task.alerts.iter().map(|open| (open.kind, open.generation, open.attempt)).collect();
        check(keys.len() == task.alerts.len(), || format!("{} has the same alert twice", task.name))?;
        self.roles.after(task)
    }

    /// Whether a candidate that was built was left behind.
    pub(super) fn has_builds(&self) -> bool {
        self.swaps.has_builds()
    }
}
