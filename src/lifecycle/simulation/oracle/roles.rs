//! Which instance is what to its task, from the events alone, and what the task must look like by that (lifecycle.md §1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::super::{Command, Input, RootEnd};
use super::super::world::World;
use super::recovery::Recovery;
use super::{Checked, check, displaced};
use crate::model::*;

/// What clients know an instance by.
pub(super) type Key = (Uid, Generation, Attempt);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Active,
    /// Of a swap that has not been committed.
    Candidate,
    /// By a swap that has been committed.
    Replaced,
}

/// A live instance.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) role: Role,
    /// As the log last showed it.
    pub(super) instance: Instance,
    pub(super) spec: Arc<TaskSpec>,
    /// Why it stops; `None` also where it had returned, and left children behind.
    pub(super) asked: Asked,
    /// Who wants it to stop, by the log and the commands after that.
    pub(super) stopper: Option<Cause>,
    /// Its task was resumed while it stopped.
    pub(super) resumed: bool,
    /// It is the old spec, started once more: where it never becomes ready, the task fails.
    pub(super) once: bool,
    /// It lived under an earlier server, and is to be shown as ended.
    pub(super) past: bool,
    /// When it was started; where it takes the place of a displaced candidate, when that was.
    pub(super) since: Timestamp,
}

#[derive(Debug)]
pub(super) struct Roles {
    pub(super) live: BTreeMap<Key, Live>,
    /// Every instance that ever was.
    pub(super) known: BTreeSet<Key>,
    /// The end that waits until the task is alone.
    pub(super) held: BTreeMap<Uid, State>,
    /// Whose old spec is due once more.
    pub(super) revived: BTreeSet<Uid>,
    /// Who was displaced in this step and is to be started again, and when it had been started.
    pub(super) displaced: BTreeMap<(Uid, Role), Timestamp>,
    /// The restarts since the newest spec took over.
    pub(super) restarts: BTreeMap<Uid, u32>,
    /// Whose active instance has failed in this step, as the restart policy counts it.
    pub(super) failing: BTreeSet<Uid>,
    /// How the roots have ended of which children live on.
    pub(super) roots: BTreeMap<InstanceId, RootEnd>,
    /// Who ends by the present input, and how that says so: its root, and whether a child was aborted.
    pub(super) ends: BTreeMap<Key, (RootEnd, bool)>,
    /// Why it asks instances to stop, where it does; and what it asks them by.
    pub(super) asking: Asked,
    pub(super) ended: usize,
}

pub(super) fn is_running(task: &Task) -> bool {
    task.swap.as_ref().is_some_and(|swap| !swap.is_ended())
}

impl Default for Roles {
    fn default() -> Self {
        Self {
            live: BTreeMap::new(),
            known: BTreeSet::new(),
            held: BTreeMap::new(),
            revived: BTreeSet::new(),
            displaced: BTreeMap::new(),
            restarts: BTreeMap::new(),
            failing: BTreeSet::new(),
            roots: BTreeMap::new(),
            ends: BTreeMap::new(),
            asking: Asked::None,
            ended: 0,
        }
    }
}

impl Roles {
    pub(super) fn before(&mut self, input: &Input, world: &World, now: Now) {
        self.displaced.clear();
        self.failing.clear();
        self.ends.clear();
        self.asking = match input {
            Input::Command(Command::Cancel(_)) => Asked::Cancel,
            Input::Command(Command::Pause(_)) => Asked::Pause,
            Input::Drain { .. } => Asked::Drain,
            Input::Built(..) | Input::Committed(_) | Input::Command(Command::Swap(..)) => Asked::Swap,
            Input::Tick => Asked::StartTimeout,
            _ => Asked::None,
        };
        match input {
            Input::RootEnded { instance, end, children } => {
                if *children {
                    self.roots.insert(*instance, end.clone());
                }
                self.ends.extend(world.key(*instance).map(|key| (key, (end.clone(), false))));
            }
            Input::ChildrenEnded { instance, aborted } => {
                let end = world.key(*instance).zip(self.roots.remove(instance));
                self.ends.extend(end.map(|(key, end)| (key, (end, *aborted))));
            }
            Input::Stalled { .. } | Input::HeldUp(_) => {
                for id in displaced(input) {
                    // What its root has said of its end stands.
                    let end = self.roots.remove(id).unwrap_or(RootEnd::Displaced);
                    self.ends.extend(world.key(*id).map(|key| (key, (end, true))));
                }
            }
            Input::PollBlocked(id, since) => self.blocks(world.key(*id), Some((*since, now))),
            Input::PollReturned(id) => self.blocks(world.key(*id), None),
            _ => {}
        }
    }

    fn blocks(&mut self, key: Option<Key>, since: Option<(Mono, Now)>) {
        if let Some(live) = key.and_then(|key| self.live.get_mut(&key)) {
            live.instance.blocked_since = since.map(|(since, now)| blocks_since(since, now));
        }
    }

    /// A client wants what stops already to stop: from here on that is told of.
    pub(super) fn joins(&mut self, uid: Uid, cause: &Cause) {
        for (_, live) in self.live.iter_mut().filter(|(key, live)| key.0 == uid && live.stopper.is_some()) {
            live.stopper = Some(cause.clone());
        }
    }

    /// Whether the instance's root has ended, and children of it live on.
    pub(super) fn has_root(&self, id: InstanceId) -> bool {
        self.roots.contains_key(&id)
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Live> {
        self.live.get(key)
    }

    /// The live instances of a task.
    pub(super) fn of(&self, uid: Uid) -> impl Iterator<Item = (&Key, &Live)> {
        let all = (Generation::default(), Attempt::default());
        self.live.range((uid, all.0, all.1)..).take_while(move |(key, _)| key.0 == uid)
    }

    pub(super) fn find(&self, uid: Uid, role: Role) -> Option<&Live> {
        self.of(uid).map(|(_, live)| live).find(|live| live.role == role)
    }

    pub(super) fn is_ready(&self, uid: Uid) -> bool {
        self.find(uid, Role::Active).is_some_and(|live| live.instance.state == InstanceState::Ready)
    }

    /// Takes in an event, then compares its after-image.
    pub(super) fn event(
        &mut self,
        event: &Event,
        task: &Task,
        before: Option<&Task>,
        draining: bool,
        recovery: &Recovery,
    ) -> Checked {
        match (event.kind, &event.detail) {
            (EventType::AlertRaised | EventType::AlertResolved, _) => {}
            (_, Some(Detail::Instance(instance))) => self.moved(event, instance, task, before, draining)?,
            (EventType::RestartScheduled, _) => {
                let made = self.restarts.entry(task.uid).or_default();
                *made += 1;
                check(task.restart.count <= *made, || {
                    format!("restarts of an earlier spec count: {}", task.restart.count)
                })?;
            }
            (EventType::SwapCommitted, Some(Detail::Swap(swap))) if swap.from_generation != swap.to_generation => {
                self.committed(task)?;
            }
            (EventType::SwapRolledBack, Some(Detail::Swap(swap))) => {
                let was = before.and_then(|task| task.swap.as_ref()).map(|swap| swap.phase);
                let tried = matches!(was, Some(SwapPhase::Starting | SwapPhase::Gating));
                let broke = swap.strategy == SwapStrategy::BreakBeforeMake && tried;
                let recovers = recovery.is_at_hand(task.uid);
                // Preempted, it has broken what still stops.
                let active = self.find(task.uid, Role::Active).map(|live| live.asked);
                let stopped = active.is_none() || self.asking == Asked::Swap && active == Some(Asked::Swap);
                if broke && !recovers && task.intent == Intent::Run && stopped {
                    self.revived.insert(task.uid);
                }
            }
            (EventType::TaskEnded, _) => self.task_ended(task, before, recovery.is_unknown(task.uid))?,
            (EventType::TaskResumed, _) => {
                self.revived.remove(&task.uid);
                self.held.remove(&task.uid);
                let active = self.live.iter_mut().find(|(key, live)| key.0 == task.uid && live.role == Role::Active);
                if let Some((_, active)) = active {
                    active.resumed = true;
                }
            }
            (EventType::TaskPaused, _) => {
                self.held.remove(&task.uid);
                self.revived.remove(&task.uid);
            }
            _ => {}
        }
        self.shows(task, draining)
    }

    /// An instance's events come in order, each once; only a cancel or a pause that joins a stop repeats one.
    fn moved(
        &mut self,
        event: &Event,
        instance: &Instance,
        task: &Task,
        before: Option<&Task>,
        draining: bool,
    ) -> Checked {
        let key = (task.uid, instance.generation, instance.attempt);
        let Some(live) = self.live.get_mut(&key) else { return self.launched(key, instance, task) };
        let (was, is) = (live.instance.state, instance.state);
        live.instance = instance.clone();
        if was < InstanceState::Stopping && is == InstanceState::Stopping {
            let unasked = self.ends.contains_key(&key);
            let late = self.asking == Asked::StartTimeout && live.role == Role::Candidate;
            live.asked = if unasked {
                Asked::None
            } else if late {
                Asked::Swap
            } else {
                self.asking
            };
            live.stopper = Some(event.cause.clone());
        }
        // What a restart will know of it.
        let asked = instance.shutdown.map_or(Asked::None, |stop| stop.asked);
        check(asked == live.asked, || format!("{} is shown to be asked {asked:?}, not {:?}", task.name, live.asked))?;
        if task.intent != Intent::Run {
            self.held.remove(&key.0);
            self.revived.remove(&key.0);
        }
        if is == InstanceState::Ended {
            let stopper = live.stopper.as_ref();
            check(stopper.is_none_or(|stopper| *stopper == event.cause), || {
                format!("{} ends because of {:?}, not of {stopper:?}", task.name, event.cause)
            })?;
            return self.instance_ended(key, task, before, draining);
        }
        let joins = was == is && task.intent != Intent::Run && before.is_some_and(|it| it.intent != task.intent);
        check(was < is || joins, || format!("an instance of {} went from {was:?} to {is:?}", task.name))
    }

    fn launched(&mut self, key: Key, instance: &Instance, task: &Task) -> Checked {
        check(instance.state == InstanceState::Starting, || format!("{instance:?} begins in its midst"))?;
        check(task.intent == Intent::Run, || "an instance is started after a cancel".to_owned())?;
        check(self.known.insert(key), || format!("{key:?} is used again"))?;
        let previous = Attempt::new(key.2.get() - 1);
        check(previous == Attempt::default() || self.known.contains(&(key.0, key.1, previous)), || {
            format!("an attempt before {key:?} is left out")
        })?;
        let role = if key.1 == task.generation { Role::Active } else { Role::Candidate };
        check(self.find(key.0, role).is_none(), || format!("{} has a second {role:?}", task.name))?;
        let others = self.of(key.0).map(|(_, live)| live.instance.state).collect::<Vec<_>>();
        check(others.len() < 2, || format!("{} has a third instance", task.name))?;
        // One that was displaced had run beside a stuck one already.
        let again = self.displaced.remove(&(key.0, role));
        let stuck = again.is_none() && others.contains(&InstanceState::Stuck);
        check(!stuck, || format!("{} is started beside a stuck one", task.name))?;
        let strategy = task.swap.as_ref().map(|swap| swap.strategy).filter(|_| role == Role::Candidate);
        let in_turn = match strategy {
            None => true,
            _ if again.is_some() => true,
            // What was ready has been stopped by a swap that this one has preempted.
            _ if self.revived.contains(&key.0) => others.is_empty(),
            Some(SwapStrategy::MakeBeforeBreak) => self.is_ready(key.0),
            Some(SwapStrategy::BreakBeforeMake) => others.is_empty(),
        };
        check(in_turn, || format!("{} has a candidate beside {others:?}, {strategy:?}", task.name))?;
        let once = role == Role::Active && self.revived.remove(&key.0);
        let spec = match (role, &task.swap) {
            (Role::Candidate, Some(swap)) => Arc::clone(&swap.to_spec),
            _ => Arc::clone(&task.spec),
        };
        let since = again.unwrap_or(instance.start_time);
        let (instance, asked) = (instance.clone(), Asked::None);
        self.live
            .insert(key, Live { role, instance, spec, asked, stopper: None, resumed: false, once, past: false, since });
        Ok(())
    }

    /// The cut-over. What is ready is never replaced by what is not.
    fn committed(&mut self, task: &Task) -> Checked {
        let was_ready = self.is_ready(task.uid);
        for live in self.live.iter_mut().filter(|(key, _)| key.0 == task.uid).map(|(_, live)| live) {
            live.role = if live.role == Role::Candidate { Role::Active } else { Role::Replaced };
        }
        self.held.remove(&task.uid);
        self.restarts.remove(&task.uid);
        let revives = self.revived.remove(&task.uid);
        check(!revives || self.is_ready(task.uid), || format!("{} has lost what could come back", task.name))?;
        check(task.restart == Restart::default(), || format!("{} keeps the old restarts", task.name))?;
        check(!was_ready || self.is_ready(task.uid), || format!("{} has no ready instance any more", task.name))
    }
}

/// Since when a poll blocks, by the watchdog's coarse clock.
pub(super) fn blocks_since(since: Mono, now: Now) -> Timestamp {
    now.wall.before(now.mono.since(since))
}
