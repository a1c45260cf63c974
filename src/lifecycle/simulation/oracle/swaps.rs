//! Whether swaps are refused, go on and end as lifecycle.md §5 says; and that each candidate that was built is launched or
//! discarded, each instance signalled for a reason.

mod gates;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::super::{Command, Effect, Input, Launch};
use super::super::world::World;
use super::admission::Intake;
use super::recovery::{Kept, Recovery};
use super::relief::Relief;
use super::roles::{Live, Role, Roles, is_running};
use super::{Checked, Seen, View, check};
use crate::model::*;
use gates::Gates;

#[derive(Debug, Default)]
pub(super) struct Swaps {
    /// What the present step is fed with.
    input: Option<Input>,
    /// What the newest swap that began is to bring in.
    wanted: BTreeMap<Uid, (Arc<TaskSpec>, Annotations)>,
    /// The newest generation given.
    newest: BTreeMap<Uid, Generation>,
    builds: BTreeMap<InstanceId, Build>,
    gates: Gates,
    /// The tasks of whose instances one may stop that is of no swap any more.
    preempted: BTreeSet<Uid>,
    draining: bool,
}

#[derive(Debug)]
struct Build {
    uid: Uid,
    /// Whether it could be built, once that is known.
    built: Option<bool>,
    /// Its swap has been preempted meanwhile.
    given_up: bool,
}

/// What a swap must be answered, by what clients see of its task.
pub(super) fn verdict(swap: &SwapTask, task: &Task, seen: &Seen<'_>) -> Result<(), Refusal> {
    let name = || swap.name.clone();
    let not_running = Err(Refusal::TaskNotRunning { name: name(), state: task.state });
    let mut instances = task.instance.iter().chain(&task.draining);
    let other = *task.spec != swap.spec;
    if seen.draining {
        Err(Refusal::ServerDraining)
    } else if swap
        .former
        .is_some_and(|former| former.uid != task.uid || former.before.is_some_and(|before| before != task.generation))
    {
        Err(Refusal::GenerationsMoved(name()))
    } else if !swap.labels.is_empty() && swap.labels != task.labels {
        Err(Refusal::LabelsImmutable(name()))
    } else if task.intent == Intent::Cancel || task.state.is_ended() {
        not_running
    } else if !(swap.preempt && swap.validate_only)
        && (is_running(task) && !preempts(swap, task) || !swap.preempt && lingers(task))
    {
        Err(Refusal::SwapInProgress(name()))
    } else if other && instances.any(|instance| instance.state == InstanceState::Stuck) {
        Err(Refusal::PredecessorStuck(name()))
    } else if other && matches!(task.state, State::Stopping | State::Aborting) && !is_running(task) && !lingers(task) {
        not_running
    } else {
        let full = seen.relief.refuses(&swap.spec, seen.roles, seen.world).filter(|_| other);
        full.map_or(Ok(()), Err)
    }
}

/// Whether it ends a swap that runs, and that has not been committed.
pub(super) fn preempts(swap: &SwapTask, task: &Task) -> bool {
    swap.preempt && task.swap.as_ref().is_some_and(|other| other.phase < SwapPhase::Committed)
}

/// Whether something still stops of a swap that has ended, as only one does that was preempted.
fn lingers(task: &Task) -> bool {
    let stops = |live: &&Instance| matches!(live.state, InstanceState::Stopping | InstanceState::Aborting);
    let by_swap = |live: &Instance| live.shutdown.is_some_and(|stop| stop.asked == Asked::Swap);
    let active = task.instance.as_ref().filter(stops).is_some_and(by_swap);
    !is_running(task) && (active || task.draining.iter().any(|live| stops(&live)))
}

/// Whether a dry run shows what would be.
pub(super) fn previews(swap: &SwapTask, seen: &Task, shown: &Task) -> bool {
    let same = *seen.spec == swap.spec;
    let rest = Task { annotations: seen.annotations.clone(), spec: seen.spec.clone(), ..shown.clone() };
    let generation = if same { shown.generation == seen.generation } else { shown.generation > seen.generation };
    let rest = Task { generation: seen.generation, ..rest };
    rest == *seen && generation && *shown.spec == swap.spec && shown.annotations == swap.annotations
}

/// Whether an instance still stops that a swap has asked to, or that was its candidate.
fn is_waited_for(uid: Uid, roles: &Roles) -> bool {
    let stops = |live: &Live| matches!(live.instance.state, InstanceState::Stopping | InstanceState::Aborting);
    roles.of(uid).any(|(_, live)| stops(live) && (live.role == Role::Candidate || live.asked == Asked::Swap))
}

impl Swaps {
    pub(super) fn before(&mut self, input: &Input) {
        if let Input::Built(id, built) = input
            && let Some(build) = self.builds.get_mut(id)
        {
            build.built = Some(built.is_ok());
        }
        self.draining |= matches!(input, Input::Drain { .. });
        self.input = Some(input.clone());
    }

    /// Nothing is being built any more.
    pub(super) fn crashed(&mut self, kept: &Kept<'_>) {
        let wanted = std::mem::take(&mut self.wanted);
        *self = Self { wanted, newest: kept.history.generations(), ..Self::default() };
    }

    pub(super) fn event(
        &mut self,
        event: &Event,
        task: &Task,
        before: Option<&Task>,
        (recovery, relief): (&Recovery, &Relief),
        roles: &Roles,
        now: Now,
    ) -> Checked {
        let Some(before) = before else {
            self.newest.insert(task.uid, task.generation);
            return Ok(());
        };
        let (was, is) = (before.swap.as_ref(), task.swap.as_ref());
        let begins = was.map(|swap| swap.id) != is.map(|swap| swap.id);
        let phases = || format!("{:?}: a swap of {} from {was:?} to {is:?}", event.kind, task.name);
        let told = event.kind;
        let right = match (was.filter(|_| !begins).map(|swap| swap.phase), is.map(|swap| swap.phase)) {
            (None, None) => true,
            (None, Some(SwapPhase::Building)) => !is_running(before) && told == EventType::SwapStarted,
            (None, Some(SwapPhase::Done)) => !is_running(before) && told == EventType::SwapCommitted,
            (Some(was), Some(is)) if was == is => {
                !matches!(told, EventType::SwapStarted | EventType::SwapCommitted | EventType::SwapRolledBack)
            }
            // A candidate that was ready is displaced, and the next one begins from the beginning.
            (Some(SwapPhase::Gating), Some(SwapPhase::Starting)) => told == EventType::InstanceEnded,
            (Some(was), Some(SwapPhase::RolledBack | SwapPhase::Cancelled)) => {
                was < SwapPhase::Committed && told == EventType::SwapRolledBack
            }
            (Some(was), Some(is)) => {
                let commits = was < SwapPhase::Committed && is >= SwapPhase::Committed;
                was < is && !was.is_ended() && commits == (told == EventType::SwapCommitted)
            }
            _ => false,
        };
        check(right, phases)?;
        check(
            is_running(task) || is.is_none_or(|swap| swap.error.is_empty() == (swap.phase == SwapPhase::Done)),
            phases,
        )?;
        match told {
            EventType::SwapStarted => self.started(task)?,
            EventType::SwapCommitted => {
                if before.swap.as_ref().is_some_and(|swap| swap.phase == SwapPhase::Gating) {
                    let candidate = roles.find(task.uid, Role::Active).map(|live| &live.instance);
                    let blocks = candidate.is_some_and(|it| relief.blocks((task.uid, it.generation, it.attempt)));
                    self.gates.opens(task, self.input.as_ref(), blocks, now)?;
                }
                self.gates.event(event, task, roles, now);
                return self.committed(task, before);
            }
            // How it had to end is looked at elsewhere.
            EventType::SwapRolledBack if recovery.is_at_hand(task.uid) => {}
            EventType::SwapRolledBack => self.rolled_back(task, roles)?,
            _ => {}
        }
        self.gates.event(event, task, roles, now);
        let same = (&task.spec, task.generation, &task.annotations, &task.labels)
            == (&before.spec, before.generation, &before.annotations, &before.labels);
        check(same, || format!("{told:?} changes what only a swap may change of {}", task.name))
    }

    fn started(&mut self, task: &Task) -> Checked {
        let swap = task.swap.as_ref().ok_or("no swap")?;
        if !swap.revert_reason.is_empty() {
            // Why, and to what, is looked at elsewhere.
            let newest = self.newest.insert(task.uid, swap.to_generation);
            let right = newest < Some(swap.to_generation) && swap.from_generation == task.generation;
            self.wanted.insert(task.uid, (Arc::clone(&swap.to_spec), task.annotations.clone()));
            return check(right && !self.draining, || format!("{} goes back by {swap:?}", task.name));
        }
        let Some(Input::Command(Command::Swap(asked, _))) = &self.input else { return Err("nobody asked".to_owned()) };
        let strategy = asked.strategy.unwrap_or(asked.spec.swap().strategy());
        let back = swap.rollback_to == asked.former.map(|former| former.generation);
        let right = *swap.to_spec == asked.spec && swap.strategy == strategy && swap.from_generation == task.generation;
        check(right && back && *task.spec != asked.spec, || format!("asked for {asked:?}, got {swap:?}"))?;
        let newest = self.newest.insert(task.uid, swap.to_generation);
        check(newest < Some(swap.to_generation), || format!("generation {} is given again", swap.to_generation))?;
        self.wanted.insert(task.uid, (Arc::new(asked.spec.clone()), asked.annotations.clone()));
        check(task.intent != Intent::Cancel && !self.draining, || "a swap of what is to end".to_owned())
    }

    fn committed(&mut self, task: &Task, before: &Task) -> Checked {
        let swap = task.swap.as_ref().ok_or("no swap")?;
        check(task.intent != Intent::Cancel && !self.draining, || "a cut-over after a cancel or a drain".to_owned())?;
        if swap.from_generation == swap.to_generation {
            let Some(Input::Command(Command::Swap(asked, _))) = &self.input else {
                return Err("nobody asked".to_owned());
            };
            // Since when it blocks may be news: one that blocks once more while the journal takes nothing in is not told of again.
            let instance = |task: &Task| task.instance.clone().map(|it| Instance { blocked_since: None, ..it });
            let same =
                (&task.spec, task.generation, instance(task)) == (&before.spec, before.generation, instance(before));
            return check(same && task.annotations == asked.annotations, || format!("not annotations alone: {task:?}"));
        }
        let (spec, annotations) = self.wanted.get(&task.uid).ok_or("nobody asked")?;
        let right = task.spec == *spec && task.annotations == *annotations;
        check(right && task.generation == swap.to_generation, || format!("asked for {spec:?}, got {task:?}"))
    }

    /// `CANCELLED` is what a cancel, a drain or another swap brings about; but one that had failed before says so.
    fn rolled_back(&mut self, task: &Task, roles: &Roles) -> Checked {
        let cancels = matches!(&self.input, Some(Input::Command(_) | Input::Drain { .. }));
        let phase = task.swap.as_ref().map(|swap| swap.phase);
        if let Some(Input::Command(Command::Swap(swap, _))) = &self.input {
            let candidate = roles.find(task.uid, Role::Candidate).map(|live| live.instance.state);
            let words = task.swap.as_ref().is_some_and(|swap| swap.error == "another swap has preempted it");
            let stops = candidate.is_none_or(|state| state >= InstanceState::Stopping);
            let right =
                swap.preempt && swap.name == task.name && stops && words == (phase == Some(SwapPhase::Cancelled));
            self.preempted.insert(task.uid);
            for build in self.builds.values_mut().filter(|build| build.uid == task.uid && build.built.is_none()) {
                build.given_up = true;
            }
            return check(right, || format!("a swap of {} is preempted, and ends {:?}", task.name, task.swap));
        }
        let right = match phase {
            Some(SwapPhase::Cancelled) => cancels || self.draining || task.intent == Intent::Cancel,
            _ => !cancels,
        };
        check(right, || format!("a swap of {} ends {phase:?}", task.name))
    }

    pub(super) fn effect(
        &mut self,
        effect: &Effect,
        view: &View,
        (roles, relief): (&Roles, &Relief),
        world: &World,
        now: Now,
    ) -> Checked {
        match effect {
            Effect::Build { instance, spec } => {
                let of = |task: &&Arc<Task>| {
                    task.swap
                        .as_ref()
                        .is_some_and(|swap| swap.phase == SwapPhase::Building && Arc::ptr_eq(&swap.to_spec, spec))
                };
                let task = view.values().find(of).ok_or("a build for nothing")?;
                let uid = task.uid;
                let building = self.builds.values().any(|build| build.uid == uid && !build.given_up);
                check(!building, || format!("two are built for {}", task.name))?;
                check(!is_waited_for(uid, roles), || {
                    format!("{instance} is built beside what {} has lost", task.name)
                })?;
                let twice = self.builds.insert(*instance, Build { uid, built: None, given_up: false });
                check(twice.is_none(), || format!("{instance} is built twice"))
            }
            Effect::Launch(launch) => self.launched(launch),
            Effect::Discard(id) => {
                let build = self.builds.remove(id).ok_or_else(|| format!("{id} is discarded, but is no candidate"))?;
                check(build.built.is_some(), || format!("{id} is discarded before it is built"))
            }
            Effect::Signal(id) => self.signalled(*id, view, (roles, relief), world, now),
            _ => Ok(()),
        }
    }

    /// What runs was built where it is a swap's, and is what the task says.
    fn launched(&mut self, launch: &Launch) -> Checked {
        let spec = match &launch.task.swap {
            Some(swap) if swap.to_generation == launch.generation => &swap.to_spec,
            _ => &launch.task.spec,
        };
        check(*spec == launch.spec, || format!("{} runs another spec", launch.instance))?;
        let Some(build) = self.builds.remove(&launch.instance) else { return Ok(()) };
        let right = build.built == Some(true) && !build.given_up && build.uid == launch.task.uid;
        check(right, || format!("{} is launched, but was not built", launch.instance))
    }

    /// An instance is asked to stop because of a cancel or a drain, or for a reason that depends on what it is to its task.
    fn signalled(
        &self,
        id: InstanceId,
        view: &View,
        (roles, relief): (&Roles, &Relief),
        world: &World,
        now: Now,
    ) -> Checked {
        let key = world.key(id).ok_or("signalled, but not live")?;
        let live = roles.get(&key).ok_or("signalled, but has ended")?;
        let task = view.values().find(|task| task.uid == key.0).ok_or("signalled without a task")?;
        let is_late = |within| live.since + within <= now.wall && live.instance.ready_time.is_none();
        let right = match self.input.as_ref() {
            Some(Input::Command(Command::Cancel(cancel))) => cancel.name == task.name,
            Some(Input::Command(Command::Swap(swap, _))) => {
                swap.preempt && swap.name == task.name && live.role == Role::Candidate
            }
            Some(Input::Command(Command::Pause(pause))) => pause.name == task.name && task.intent == Intent::Pause,
            Some(Input::Drain { .. }) => true,
            Some(Input::RootEnded { instance, children, .. }) => *instance == id && *children,
            Some(Input::Committed(replaced)) => live.role == Role::Replaced && *replaced == id,
            Some(Input::Built(candidate, Ok(()))) => {
                let swap = task.swap.as_ref().filter(|swap| swap.strategy == SwapStrategy::BreakBeforeMake);
                let waits = self.builds.get(candidate).is_some_and(|build| build.uid == task.uid);
                live.role == Role::Active && live.instance.ready_time.is_some() && swap.is_some() && waits
            }
            Some(Input::Tick) => match (live.role, &task.swap) {
                (Role::Active, _) => is_late(task.spec.start_timeout()),
                (Role::Candidate, Some(_)) if live.instance.ready_time.is_some() => {
                    self.gates.is_over(key.0, now) && relief.blocks(key)
                }
                (Role::Candidate, Some(swap)) => is_late(swap.to_spec.swap().readiness_timeout()),
                _ => false,
            },
            _ => false,
        };
        check(right, || format!("the {:?} instance {id} of {} is told to stop", live.role, task.name))
    }

    /// What must hold after every step: a swap that has not ended waits for something, and one that has ended for nothing.
    pub(super) fn after(
        &mut self,
        view: &View,
        roles: &Roles,
        world: &World,
        (recovery, intake): (&Recovery, &Intake),
        ticked: bool,
        now: Now,
    ) -> Checked {
        self.builds.retain(|_, build| build.built != Some(false));
        self.preempted.retain(|uid| is_waited_for(*uid, roles));
        for task in view.values().filter(|task| !recovery.is_left(task.uid)) {
            self.waits(task, roles)?;
            self.gates.after(task, roles, (intake.puts_off(now), ticked), now)?;
        }
        for (id, build) in self.builds.iter().filter(|(_, build)| build.built == Some(true)) {
            let task = view.values().find(|task| task.uid == build.uid);
            let phase = task.and_then(|task| task.swap.as_ref()).map(|swap| swap.phase);
            check(phase == Some(SwapPhase::Starting), || format!("{id} is built, and neither launched nor discarded"))?;
        }
        let Some(Input::Committed(id)) = &self.input else { return Ok(()) };
        let waits = world.actors.get(id).is_some_and(|actor| actor.alive() && actor.signalled.is_none());
        check(!waits, || format!("{id} is replaced for good, and is not told"))
    }

    fn waits(&self, task: &Task, roles: &Roles) -> Checked {
        let beside = roles.of(task.uid).map(|(_, live)| live).find(|live| live.role != Role::Active);
        let beside = beside.map(|live| (live.role, live.instance.state == InstanceState::Stuck));
        let active = roles.find(task.uid, Role::Active).map(|live| live.instance.state);
        let phase = task.swap.as_ref().map(|swap| swap.phase).filter(|phase| !phase.is_ended());
        let build = |built| self.builds.values().any(|it| it.uid == task.uid && !it.given_up && it.built == built);
        let waited_for = is_waited_for(task.uid, roles);
        let right = match phase {
            None => beside.is_none_or(|(_, stuck)| stuck || self.preempted.contains(&task.uid)),
            Some(SwapPhase::Building) if waited_for => self.preempted.contains(&task.uid) && !build(None),
            Some(SwapPhase::Building) => beside.is_none_or(|(_, stuck)| stuck) && build(None),
            Some(SwapPhase::Starting) if build(Some(true)) => {
                let stops = matches!(active, Some(InstanceState::Stopping | InstanceState::Aborting));
                beside.is_none() && stops
            }
            Some(SwapPhase::Starting) => beside == Some((Role::Candidate, false)),
            Some(SwapPhase::Gating) => {
                let candidate = roles.find(task.uid, Role::Candidate).filter(|live| live.instance.ready_time.is_some());
                candidate.is_some_and(|live| live.spec.swap().min_healthy_time() > Duration::ZERO)
            }
            Some(SwapPhase::Committed | SwapPhase::Draining) => beside == Some((Role::Replaced, false)),
            Some(_) => false,
        };
        let is_over = !task.state.is_ended() || phase.is_none();
        check(right && is_over, || {
            format!("{}'s swap is {phase:?}, beside it {beside:?}, active {active:?}", task.name)
        })
    }

    pub(super) fn has_builds(&self) -> bool {
        !self.builds.is_empty()
    }
}
