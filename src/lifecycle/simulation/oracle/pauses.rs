//! Whether tasks rest and go on as lifecycle.md §4 says.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::{Command, Input};
use super::answers::Verdict;
use super::recovery::{Kept, Recovery};
use super::roles::{Roles, is_running};
use super::{Checked, View, check};
use crate::model::*;

#[derive(Debug, Default)]
pub(super) struct Pauses {
    input: Option<Input>,
    /// Of whom the log has said that they rest.
    resting: BTreeSet<Uid>,
    /// Who is to be started by a resumption, and has made so many restarts that count.
    resumed: BTreeMap<Uid, u32>,
    /// Who was said to be paused in this step.
    told: BTreeSet<Uid>,
}

/// What a pause must be answered, by what clients see of its task, its etag aside.
pub(super) fn pause(pause: &PauseTask, task: &Task, draining: bool) -> Verdict {
    let stops = task.intent == Intent::Run && matches!(task.state, State::Stopping | State::Aborting);
    if draining {
        Verdict::Refused(Refusal::ServerDraining)
    } else if stops || is_over(task) {
        Verdict::Refused(not_running(task))
    } else if task.intent == Intent::Run && is_running(task) {
        Verdict::Refused(Refusal::SwapInProgress(task.name.clone()))
    } else if task.pause.as_ref().is_some_and(|known| known.expire_time == pause.expire_time) {
        Verdict::Idle
    } else {
        Verdict::Done
    }
}

pub(super) fn resume(task: &Task, draining: bool) -> Verdict {
    match task.intent {
        _ if draining => Verdict::Refused(Refusal::ServerDraining),
        _ if is_over(task) => Verdict::Refused(not_running(task)),
        Intent::Pause => Verdict::Done,
        Intent::Run | Intent::Cancel => Verdict::Idle,
    }
}

/// `marks`: whether the active instance is known to mark its checks.
pub(super) fn run(task: &Task, draining: bool, marks: bool) -> Verdict {
    let ready = task.instance.as_ref().is_some_and(|instance| instance.state == InstanceState::Ready);
    match (draining, ready, marks) {
        (true, ..) => Verdict::Refused(Refusal::ServerDraining),
        (_, false, _) => Verdict::Refused(not_running(task)),
        (_, _, false) => Verdict::Refused(Refusal::NoChecks(task.name.clone())),
        (false, true, true) => Verdict::Checks,
    }
}

fn is_over(task: &Task) -> bool {
    task.state.is_ended() || task.intent == Intent::Cancel
}

fn not_running(task: &Task) -> Refusal {
    Refusal::TaskNotRunning { name: task.name.clone(), state: task.state }
}

/// The pause that a client asks for in this step, where the event is of it: what is taken over is closed first.
fn asked<'a>(input: Option<&'a Input>, event: &Event, task: &Task, recovers: bool) -> Option<&'a PauseTask> {
    match input {
        Some(Input::Command(Command::Pause(pause))) if pause.name == task.name => {
            Some(pause).filter(|asked| !recovers || asked.cause == event.cause)
        }
        _ => None,
    }
}

impl Pauses {
    pub(super) fn before(&mut self, input: &Input) {
        self.told.clear();
        self.input = Some(input.clone());
    }

    pub(super) fn crashed(&mut self, kept: &Kept<'_>) {
        let rest = kept.view.values().filter(|task| task.state == State::Paused);
        *self = Self { resting: rest.map(|task| task.uid).collect(), ..Self::default() };
    }

    pub(super) fn event(
        &mut self,
        event: &Event,
        task: &Task,
        before: Option<&Task>,
        recovery: &Recovery,
        now: Now,
    ) -> Checked {
        let wrong = |what: &str| format!("{:?} of {}: {what}", event.kind, task.name);
        check(task.pause.is_some() == (task.intent == Intent::Pause), || wrong("the intent and the pause differ"))?;
        let was = before.map_or(Intent::Run, |before| before.intent);
        let recovers = recovery.is_at_hand(task.uid);
        let asked = asked(self.input.as_ref(), event, task, recovers);
        let begins = was == Intent::Run && task.intent == Intent::Pause;
        check(!begins || asked.is_some(), || wrong("nobody wants it to rest"))?;
        if let Some(asked) = asked {
            let pause = task.pause.as_ref().map(|pause| (&pause.reason, pause.expire_time));
            check(pause == Some((&asked.cause.reason, asked.expire_time)), || {
                wrong("another pause than was asked for")
            })?;
        }
        let ends = was == Intent::Pause && task.intent == Intent::Run;
        let ends_unknown = recovery.is_unknown(task.uid) && event.kind == EventType::TaskEnded;
        check(ends_unknown || ends == (event.kind == EventType::TaskResumed), || wrong("it is to run again"))?;
        match event.kind {
            EventType::TaskPaused => {
                let detail = task.pause.clone().map(Detail::Pause);
                let once = self.told.insert(task.uid) || recovers;
                check(once && event.detail == detail, || wrong("told wrongly, or twice"))?;
                let rests = task.state == State::Paused;
                check(rests || asked.is_some(), || wrong("it does not rest yet"))?;
                let again = rests && !self.resting.insert(task.uid);
                check(!again || asked.is_some(), || wrong("it rests already"))
            }
            EventType::TaskResumed => self.resumed(event, task, before, now).map_err(|what| wrong(&what)),
            EventType::InstanceStarting if task.instance.as_ref().is_some_and(|it| it.attempt == event.attempt) => {
                let made = self.resumed.remove(&task.uid);
                check(made.is_none_or(|made| made == task.restart.count), || wrong("that it is resumed counts"))
            }
            EventType::TaskEnded if ends_unknown => {
                self.resting.remove(&task.uid);
                Ok(())
            }
            EventType::RestartScheduled | EventType::TaskEnded if task.intent == Intent::Run => {
                check(!self.resumed.contains_key(&task.uid), || wrong("it was resumed, and had to start"))
            }
            EventType::SwapCommitted | EventType::TaskEnded | EventType::TaskDeleted => {
                self.resumed.remove(&task.uid);
                if task.intent != Intent::Pause {
                    self.resting.remove(&task.uid);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn resumed(&mut self, event: &Event, task: &Task, before: Option<&Task>, now: Now) -> Checked {
        let pause = before.and_then(|before| before.pause.clone());
        let over = pause.as_ref().and_then(|pause| pause.expire_time).is_some_and(|expires| expires <= now.wall);
        let right = match &self.input {
            Some(Input::Command(Command::Resume(resume))) => resume.name == task.name && event.cause == resume.cause,
            Some(Input::Tick) => over && event.cause.actor == Actor::System("pause".into()),
            _ => false,
        };
        check(right, || "for no reason".to_owned())?;
        check(event.detail == pause.map(Detail::Pause), || "of another pause".to_owned())?;
        self.resting.remove(&task.uid);
        self.resumed.insert(task.uid, task.restart.count);
        Ok(())
    }

    /// What must hold after every step; where `ticked`, what is due now has happened, too.
    pub(super) fn after(
        &mut self,
        view: &View,
        roles: &Roles,
        recovery: &Recovery,
        (ticked, draining): (bool, bool),
        now: Now,
    ) -> Checked {
        for task in view.values().filter(|task| !recovery.is_left(task.uid)) {
            let rests = task.intent == Intent::Pause && roles.of(task.uid).next().is_none();
            check(rests == (task.state == State::Paused), || format!("{} is {:?}", task.name, task.state))?;
            check(rests == self.resting.contains(&task.uid), || format!("{} rests, and nobody says so", task.name))?;
            if task.intent != Intent::Run {
                self.resumed.remove(&task.uid);
            }
            let Some(expires) = task.pause.as_ref().and_then(|pause| pause.expire_time) else { continue };
            let expires = recovery.due(task.uid, expires);
            let over = expires < now.wall || ticked && expires == now.wall;
            check(draining || !over, || format!("the pause of {} is over", task.name))?;
        }
        Ok(())
    }
}
