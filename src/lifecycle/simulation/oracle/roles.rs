//! Which instance is what to its task, from the events alone, and what the task must look like by that (lifecycle.md §1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::super::{Input, RootEnd};
use super::super::world::World;
use super::{Checked, check};
use crate::model::*;

/// What clients know an instance by.
pub(super) type Key = (Uid, Generation, Attempt);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    spec: Arc<TaskSpec>,
    /// It stops because it had returned, and left children behind.
    unasked: bool,
    /// It is the old spec, started once more: where it never becomes ready, the task fails.
    once: bool,
}

#[derive(Debug, Default)]
pub(super) struct Roles {
    pub(super) live: BTreeMap<Key, Live>,
    /// Every instance that ever was.
    known: BTreeSet<Key>,
    /// The end that waits until the task is alone.
    held: BTreeMap<Uid, State>,
    /// Whose old spec is due once more.
    revived: BTreeSet<Uid>,
    /// The restarts since the newest spec took over.
    restarts: BTreeMap<Uid, u32>,
    /// How the roots have ended of which children live on.
    roots: BTreeMap<InstanceId, RootEnd>,
    /// The instance that the present input is about, and how that says it has ended: its root, and whether a child was aborted.
    end: Option<(Key, RootEnd, bool)>,
    pub(super) ended: usize,
}

pub(super) fn is_running(task: &Task) -> bool {
    task.swap.as_ref().is_some_and(|swap| !swap.is_ended())
}

impl Roles {
    pub(super) fn before(&mut self, input: &Input, world: &World) {
        let end = match input {
            Input::RootEnded { instance, end, children } => {
                if *children {
                    self.roots.insert(*instance, end.clone());
                }
                Some((*instance, end.clone(), false))
            }
            Input::ChildrenEnded { instance, aborted } => {
                self.roots.remove(instance).map(|end| (*instance, end, *aborted))
            }
            _ => None,
        };
        self.end = end.and_then(|(id, end, aborted)| Some((world.key(id)?, end, aborted)));
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
    pub(super) fn event(&mut self, event: &Event, task: &Task, before: Option<&Task>, draining: bool) -> Checked {
        match (event.kind, &event.detail) {
            (EventType::AlertRaised | EventType::AlertResolved, _) => {}
            (_, Some(Detail::Instance(instance))) => self.moved(instance, task, before, draining)?,
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
                let broke = swap.strategy == SwapStrategy::BreakBeforeMake && was == Some(SwapPhase::Starting);
                if broke && task.intent == Intent::Run && self.find(task.uid, Role::Active).is_none() {
                    self.revived.insert(task.uid);
                }
            }
            (EventType::TaskEnded, _) => self.task_ended(task, before)?,
            _ => {}
        }
        self.shows(task, draining)
    }

    /// An instance's events come in order, each once; only a cancel that joins a stop repeats one.
    fn moved(&mut self, instance: &Instance, task: &Task, before: Option<&Task>, draining: bool) -> Checked {
        let key = (task.uid, instance.generation, instance.attempt);
        let Some(live) = self.live.get_mut(&key) else { return self.launched(key, instance, task) };
        let (was, is) = (live.instance.state, instance.state);
        live.instance = instance.clone();
        live.unasked |= is == InstanceState::Stopping && self.end.as_ref().is_some_and(|(ended, ..)| *ended == key);
        if is == InstanceState::Ended {
            return self.instance_ended(key, task, before, draining);
        }
        check(was < is || was == is && task.intent == Intent::Cancel, || {
            format!("an instance of {} went from {was:?} to {is:?}", task.name)
        })
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
        check(!others.contains(&InstanceState::Stuck), || format!("{} is started beside a stuck one", task.name))?;
        let strategy = task.swap.as_ref().map(|swap| swap.strategy).filter(|_| role == Role::Candidate);
        let in_turn = match strategy {
            None => true,
            Some(SwapStrategy::MakeBeforeBreak) => self.is_ready(key.0),
            Some(SwapStrategy::BreakBeforeMake) => others.is_empty(),
        };
        check(in_turn, || format!("{} has a candidate beside {others:?}, {strategy:?}", task.name))?;
        let once = role == Role::Active && self.revived.remove(&key.0);
        let spec = match (role, &task.swap) {
            (Role::Candidate, Some(swap)) => Arc::clone(&swap.to_spec),
            _ => Arc::clone(&task.spec),
        };
        self.live.insert(key, Live { role, instance: instance.clone(), spec, unasked: false, once });
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
        check(task.restart == Restart::default(), || format!("{} keeps the old restarts", task.name))?;
        check(!was_ready || self.is_ready(task.uid), || format!("{} has no ready instance any more", task.name))
    }

    fn instance_ended(&mut self, key: Key, task: &Task, before: Option<&Task>, draining: bool) -> Checked {
        let live = self.live.remove(&key).ok_or("ended, but not live")?;
        self.ended += 1;
        let told = self.end.as_ref().filter(|(ended, ..)| *ended == key);
        let (_, root, child_aborted) = told.ok_or("ended by nothing that ends an instance")?;
        let asked = live.instance.shutdown.is_some() && !live.unasked;
        let unbounded = live.spec.monitor().is_built_in() && live.spec.schedule().max_runs().is_none();
        let expected = match root {
            RootEnd::Failed(_) => Exit::Error,
            RootEnd::Panicked(_) => Exit::Panic,
            RootEnd::Cancelled => Exit::Aborted,
            RootEnd::Displaced => Exit::Displaced,
            RootEnd::Returned if !asked && unbounded => Exit::Error,
            RootEnd::Returned if !asked => Exit::Completed,
            RootEnd::Returned if *child_aborted => Exit::Aborted,
            RootEnd::Returned => Exit::Graceful,
        };
        let exit = live.instance.exit;
        check(exit == Some(expected), || format!("{exit:?} instead of {expected:?}"))?;
        if live.role != Role::Active {
            let same = before.is_some_and(|before| before.outcome == task.outcome);
            check(same, || format!("{}'s outcome is that of another instance", task.name))?;
            let over = task.intent == Intent::Cancel && self.of(key.0).next().is_none();
            return check(task.state.is_ended() == over, || format!("{:?} as {:?} ends", task.state, live.role));
        }
        let outcome = task.outcome.as_ref().ok_or("ended without an outcome")?;
        check(outcome.exit == expected && asked == (outcome.asked != Asked::None), || format!("{outcome:?}"))?;
        self.becomes(&live, outcome, task, before, draining)
    }

    /// What becomes of a task whose active instance has ended.
    fn becomes(
        &mut self,
        live: &Live,
        outcome: &Outcome,
        task: &Task,
        before: Option<&Task>,
        draining: bool,
    ) -> Checked {
        let alone = self.of(task.uid).next().is_none();
        let failed_for_good = live.once && live.instance.ready_time.is_none();
        let end = match (task.intent, outcome.asked, outcome.exit) {
            (Intent::Cancel, ..) => alone.then_some(State::Cancelled),
            (Intent::Run, Asked::None, Exit::Completed) => Some(State::Succeeded),
            (Intent::Run, Asked::Drain | Asked::Swap, _) => None,
            _ if draining => None,
            _ if task.restart.next_time.is_some() => {
                check(!failed_for_good, || format!("{} is started more than once more", task.name))?;
                None
            }
            _ => {
                let early = !failed_for_good && task.restart.count < task.spec.restart().max_restarts();
                check(!early, || format!("{} is given up after {} restarts", task.name, task.restart.count))?;
                Some(State::Failed)
            }
        };
        let waits = task.intent == Intent::Run && (!alone || before.is_some_and(is_running));
        if let Some(end) = end.filter(|_| waits) {
            self.held.insert(task.uid, end);
        }
        let now = end.filter(|_| !waits);
        let is = task.state.is_ended().then_some(task.state);
        check(is == now, || format!("{:?} instead of {end:?}", task.state))
    }

    fn task_ended(&mut self, task: &Task, before: Option<&Task>) -> Checked {
        let held = self.held.remove(&task.uid);
        let before = before.map(|task| task.state).filter(|state| state.is_ended());
        let due = if task.intent == Intent::Cancel { Some(State::Cancelled) } else { before.or(held) };
        check(due == Some(task.state), || format!("{} ends {:?} instead of {due:?}", task.name, task.state))
    }

    /// The task's instances and its state are a function of its intent and what lives of it. A candidate is in no field until it
    /// is refused.
    fn shows(&self, task: &Task, draining: bool) -> Checked {
        let refused =
            |live: &Live| draining || task.intent == Intent::Cancel || live.instance.state >= InstanceState::Stopping;
        let active = self.find(task.uid, Role::Active);
        let beside = self.of(task.uid).map(|(_, live)| live).find(|live| live.role != Role::Active);
        let drains: Vec<_> = beside.filter(|live| live.role == Role::Replaced || refused(live)).into_iter().collect();
        let shown = task.draining.iter().eq(drains.iter().map(|live| &live.instance));
        check(shown, || format!("{} drains {:?}, not {drains:?}", task.name, task.draining))?;
        let live = task.instance.as_ref().filter(|instance| instance.state != InstanceState::Ended);
        check(live == active.map(|live| &live.instance), || format!("{} shows {live:?}, not {active:?}", task.name))?;
        let shown = task.instance.as_ref().is_none_or(|instance| instance.generation == task.generation);
        check(shown, || format!("{} shows an instance of another generation", task.name))?;
        let active = active.map(|live| state_of(&live.instance, State::Starting, State::Running));
        let beside = beside.map(|live| match drains.is_empty() {
            true => State::Starting,
            false => state_of(&live.instance, State::Stopping, State::Stopping),
        });
        let state = match task.intent {
            _ if task.end.is_some() => active.or(beside).unwrap_or(task.state),
            Intent::Run => active.or(beside).unwrap_or(State::Pending),
            Intent::Pause => active.max(beside).unwrap_or(State::Paused),
            Intent::Cancel => active.max(beside).unwrap_or(State::Cancelled),
        };
        check(task.state == state && state.is_ended() == task.end.is_some(), || {
            format!("{} is {:?} instead of {state:?}", task.name, task.state)
        })
    }

    /// What waits until the task is alone waits no longer than that.
    pub(super) fn after(&self, task: &Task) -> Checked {
        let alone = self.of(task.uid).next().is_none() && !is_running(task);
        check(!alone || !self.held.contains_key(&task.uid), || format!("{} had to end", task.name))
    }
}

fn state_of(instance: &Instance, starting: State, ready: State) -> State {
    match instance.state {
        InstanceState::Starting => starting,
        InstanceState::Ready => ready,
        InstanceState::Stopping => State::Stopping,
        InstanceState::Aborting => State::Aborting,
        InstanceState::Stuck => State::Stuck,
        InstanceState::Ended => State::Pending,
    }
}
