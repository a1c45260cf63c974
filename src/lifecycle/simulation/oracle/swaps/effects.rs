//! That each candidate that was built is launched or discarded, and that each instance is signalled for a reason.

use std::sync::Arc;

use super::super::super::super::{Command, Effect, Input, Launch};
use super::super::super::world::World;
use super::super::relief::Relief;
use super::super::roles::{Role, Roles};
use super::super::{Checked, View, check};
use super::{Build, Swaps, is_waited_for};
use crate::model::*;

impl Swaps {
    pub(in crate::lifecycle::simulation::oracle) fn effect(
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
}
