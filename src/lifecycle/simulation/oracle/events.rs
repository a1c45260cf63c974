//! What each event and each launch must be by what was seen before.

use std::sync::Arc;

use super::super::super::Launch;
use super::super::world::World;
use super::{Checked, Oracle, check};
use crate::model::*;

impl Oracle {
    pub(super) fn event(&mut self, event: &Event, world: &World, now: Now) -> Checked {
        check(event.sequence == self.head.next(), || format!("{} does not follow {}", event.sequence, self.head))?;
        self.head = event.sequence;
        self.history.event(event);
        let Some(task) = &event.task else {
            let right = event.kind == EventType::ServerDraining && self.drain.take().as_ref() == Some(&event.cause);
            return check(right, || format!("{event:?} without a task, or by another cause"));
        };
        self.step.push((task.uid, event.kind));
        self.intake.event(event, task, self.ended_in_step.contains(&task.uid))?;
        if event.kind == EventType::TaskCreated {
            check(self.uids.insert(task.uid), || format!("the uid {} is used again", task.uid))?;
            check(!self.view.contains_key(&task.name), || format!("{} is created twice", task.name))?;
        }
        let before = self.view.get(&task.name).cloned();
        self.circuits_and_swaps_follow(event, task, before.as_deref(), now)?;
        if event.kind == EventType::TaskDeleted {
            check(task.state.is_ended(), || format!("{} is deleted alive", task.name))?;
            let by_ttl = event.cause.actor == Actor::System("ttl".into());
            check(
                !by_ttl || task.end.is_some_and(|end| self.recovery.due(task.uid, end.expire_time) <= now.wall),
                || format!("{} is deleted before its time", task.name),
            )?;
            self.view.remove(&task.name);
            return Ok(());
        }
        if event.kind == EventType::InstanceEnded {
            self.ended_in_step.insert(task.uid);
            let key = (task.uid, event.generation, event.attempt);
            let lives = world.actors.iter().any(|(id, actor)| actor.alive() && world.key(*id) == Some(key));
            check(!lives, || format!("an instance of {} is said to have ended, but lives", task.name))?;
        }
        if event.kind == EventType::InstanceStuck {
            self.relief.stuck((task.uid, event.generation, event.attempt), world, now)?;
        }
        self.alerted(event, task, world, now)?;
        self.view.insert(task.name.clone(), Arc::clone(task));
        Ok(())
    }

    /// What lives of a task first: the rest depends on that.
    fn circuits_and_swaps_follow(&mut self, event: &Event, task: &Task, before: Option<&Task>, now: Now) -> Checked {
        self.recovery.event(event, task)?;
        let recovery = &self.recovery;
        self.roles.event(event, task, before, self.draining, recovery)?;
        self.observations.event(event, task, before, (&self.roles, recovery), (self.draining, now))?;
        self.swaps.event(event, task, before, (recovery, &self.relief), &self.roles, now)?;
        self.generations.event(event, task)?;
        self.pauses.event(event, task, before, recovery, now)?;
        self.relief.event(event, task, before)?;
        let reverts = self.observations.policy(task.uid);
        self.circuits.event(event, (task, before), (&self.roles, reverts), now)
    }

    /// An alert is raised where it is not open and for its reason, and resolved where it is open.
    fn alerted(&self, event: &Event, task: &Task, world: &World, now: Now) -> Checked {
        let Some(Detail::Alert(alert)) = &event.detail else { return Ok(()) };
        let key = |alert: &Alert| (alert.kind, alert.generation, alert.attempt);
        let before = self.view.get(&task.name);
        let was_open = before.is_some_and(|task| task.alerts.iter().any(|open| key(open) == key(alert)));
        let is_open = task.alerts.contains(alert);
        let raised = event.kind == EventType::AlertRaised;
        check(raised == is_open && raised != was_open, || format!("{:?} of {:?}", event.kind, alert.kind))?;
        match raised {
            true if alert.kind == AlertKind::PollBlocked => self.relief.raised(alert, task.uid, world),
            true => self.promises.raised(alert, task.uid, &self.roles, now),
            // The end resolves whatever is open.
            false if self.ended_in_step.contains(&task.uid) => Ok(()),
            // That it must not be is seen after the step.
            false if alert.kind == AlertKind::PollBlocked => Ok(()),
            false => self.promises.resolved(alert, task.uid, self.intake.opens()),
        }
    }

    pub(super) fn launch(&mut self, launch: &Launch, world: &World) -> Checked {
        let (id, task) = (launch.instance, &launch.task);
        check(self.launched.insert(id), || format!("instance {id} is launched twice"))?;
        let live: Vec<_> = world.actors.iter().filter(|(_, actor)| actor.uid == task.uid && actor.alive()).collect();
        check(live.len() < 2, || format!("{} is started beside two live instances", task.name))?;
        check(task.intent == Intent::Run, || format!("{} is started after a cancel", task.name))?;
        // Many are, after a crash; but the one that a client resumes.
        let resumed = self.step.contains(&(task.uid, EventType::TaskResumed));
        let is_spread = !launch.spread.is_zero();
        let overslept = self.recovery.is_overslept(task.uid);
        let right = !self.recovery.is_at_hand(task.uid) || is_spread != resumed || overslept;
        check(right && (is_spread || !overslept), || format!("the first check of {} is not spread", task.name))?;
        check(!self.draining, || format!("{} is started during a drain", task.name))
    }
}
