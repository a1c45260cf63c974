//! Whether swaps are refused (`verdict`), go on and end as lifecycle.md §5 says, and what is done for them (`effects`).

mod effects;
mod gates;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::super::{Command, Input};
use super::super::world::World;
use super::admission::Intake;
use super::recovery::{Kept, Recovery};
use super::relief::Relief;
use super::roles::{Live, Role, Roles, is_running};
use super::{Checked, View, check};
use crate::model::*;
use gates::Gates;
pub(super) use verdict::{preempts, previews, verdict};

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
