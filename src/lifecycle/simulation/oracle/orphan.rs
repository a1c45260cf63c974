//! A task that an earlier server has left, and what it had to become.

use std::sync::Arc;

use super::observations::is_to_go_back;
use super::roles::{Key, Live, Role, is_running};
use super::{Checked, check};
use crate::model::*;

#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) left: Arc<Task>,
    /// Whether the new server knows its kind.
    pub(super) known: bool,
}

/// Of whom everything that stops does so because of the crash.
fn cause() -> Cause {
    Cause::system("restart", "the server ended under it")
}

fn is_alive(instance: &Instance) -> bool {
    instance.state != InstanceState::Ended
}

impl Orphan {
    /// The instances that lived, as if they did still.
    pub(super) fn ghosts(&self) -> Vec<(Key, Live)> {
        let active = self.left.instance.iter().filter(|it| is_alive(it)).map(|it| (Role::Active, it));
        let beside = self.left.draining.iter().filter(|it| is_alive(it)).chain(self.left.candidate.as_deref());
        let beside = beside.map(|it| match it.generation < self.left.generation {
            true => (Role::Replaced, it),
            false => (Role::Candidate, it),
        });
        active.chain(beside).map(|(role, instance)| self.ghost(role, instance)).collect()
    }

    fn ghost(&self, role: Role, instance: &Instance) -> (Key, Live) {
        let live = Live {
            role,
            instance: instance.clone(),
            spec: Arc::clone(&self.left.spec),
            asked: instance.shutdown.map_or(Asked::None, |stop| stop.asked),
            stopper: Some(cause()),
            resumed: false,
            once: false,
            past: true,
            since: instance.start_time,
        };
        ((self.left.uid, instance.generation, instance.attempt), live)
    }

    /// How its swap must have ended, where that ran.
    fn swap(&self) -> Option<SwapPhase> {
        let swap = self.left.swap.as_ref().filter(|swap| !swap.is_ended())?;
        let candidate = self.left.draining.iter().find(|it| it.generation == swap.to_generation);
        let asked = candidate.and_then(|candidate| candidate.shutdown).map(|stop| stop.asked);
        Some(match (swap.phase, asked) {
            (SwapPhase::Committed | SwapPhase::Draining, _) => SwapPhase::Done,
            (_, Some(Asked::Cancel | Asked::Drain)) => SwapPhase::Cancelled,
            _ => SwapPhase::RolledBack,
        })
    }

    /// The task once all that lived has been shown as ended.
    pub(super) fn closed(&self, now: Now) -> Task {
        let mut task = Task::clone(&self.left);
        task.draining.clear();
        task.candidate = None;
        if let Some(instance) = &mut task.instance {
            instance.state = InstanceState::Ended;
        }
        if let (Some(phase), Some(swap)) = (self.swap(), &mut task.swap) {
            swap.phase = phase;
        }
        task.state = match (task.intent, task.fate) {
            (Intent::Cancel, _) => State::Cancelled,
            (_, Some(fate)) if !is_to_go_back(&self.left) => fate,
            _ if !self.known => State::Failed,
            (Intent::Pause, _) => State::Paused,
            (Intent::Run, _) => State::Pending,
        };
        let end = End { time: now.wall, expire_time: now.wall };
        task.end = task.state.is_ended().then_some(end);
        task
    }

    /// Nothing but what had to be decided has been.
    pub(super) fn told(&self, task: &Task, told: &[EventType], adopted: bool) -> Checked {
        let count = |wanted: EventType| told.iter().filter(|kind| **kind == wanted).count();
        let ended = self.ghosts().len();
        check(count(EventType::InstanceEnded) == ended, || format!("{ended} instances had to end"))?;
        let rolled_back = self.swap().is_some_and(|phase| phase != SwapPhase::Done);
        check(count(EventType::SwapRolledBack) == usize::from(rolled_back), || "its swap is told wrongly".to_owned())?;
        let same_swap = || task.swap.as_ref().map(|swap| swap.id) == self.left.swap.as_ref().map(|swap| swap.id);
        if let (Some(phase), true) = (self.swap(), same_swap()) {
            let is = task.swap.as_ref().map(|swap| swap.phase);
            check(is == Some(phase), || format!("its swap is {is:?} instead of {phase:?}"))?;
        }
        if !adopted {
            return Ok(());
        }
        let kinds = [EventType::SwapCommitted, EventType::TaskResumed, EventType::TaskDeleted];
        check(kinds.iter().all(|kind| count(*kind) == 0), || "nobody wants that".to_owned())?;
        let rests = self.left.intent == Intent::Pause && ended > 0;
        check(count(EventType::TaskPaused) == usize::from(rests), || "told to rest wrongly".to_owned())?;
        // What was to go back does so now, unless its owner wants it to end, or nobody can start it.
        let goes_back = is_to_go_back(&self.left) && self.left.intent != Intent::Cancel && self.known;
        check(count(EventType::SwapStarted) == usize::from(goes_back), || "it had to go back".to_owned())?;
        check(goes_back || same_swap() && !is_running(task), || "its swap goes on".to_owned())?;
        let same = self.left.intent == task.intent || !self.known && task.intent == Intent::Run;
        check(same && self.left.generation == task.generation, || "its owner's wish is another".to_owned())
    }
}
