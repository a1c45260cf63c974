//! Tasks that rest (lifecycle.md §4): the instance stops in two phases, the task keeps its name, its history and its circuit, and
//! goes on with a new attempt. And checks on demand.

use std::sync::Arc;
use std::time::Duration;

use super::entry::Held;
use super::io::{Chance, Effect, Reply};
use super::record::Change;
use super::{Lifecycle, Timer};
use crate::model::{
    Asked, Cause, Intent, Now, Pause, PauseTask, Refusal, ResumeTask, RunTask, State, Task, Timestamp, Uid, Violations,
};

impl<C: Chance> Lifecycle<C> {
    /// Stops a task until it is resumed. What is paused already is told again only where the end of its pause moves.
    pub(super) fn pause(&mut self, pause: PauseTask, now: Now) -> Result<(Uid, Reply), Refusal> {
        let PauseTask { name, expire_time, etag, cause, idempotency: _ } = pause;
        if expire_time.is_some_and(|expires| expires <= now.wall) {
            return Err(Refusal::Invalid(Violations::one("expire_time", "must lie in the future")));
        }
        let (uid, task) = self.find(&name, etag.as_ref())?;
        if self.draining.is_some() {
            return Err(Refusal::ServerDraining);
        }
        let stops = task.intent == Intent::Run && matches!(task.state, State::Stopping | State::Aborting);
        if stops || !may_go_on(task) {
            return Err(Refusal::TaskNotRunning { name, state: task.state });
        }
        if task.intent == Intent::Run && self.tasks.get(&uid).is_some_and(|entry| entry.swap.is_some()) {
            return Err(Refusal::SwapInProgress(name));
        }
        let told = task.pause.as_deref().map(|pause| pause.expire_time);
        if told != Some(expire_time) {
            self.rest(uid, expire_time, cause, now);
        }
        Ok((uid, self.accepted(uid)?))
    }

    /// The task is to rest from now on, until then.
    fn rest(&mut self, uid: Uid, expire_time: Option<Timestamp>, cause: Cause, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        entry.pause = Some(Box::new(Pause { reason: cause.reason.clone(), expire_time }));
        match expire_time {
            Some(expires) => self.timers.set(Timer::PauseExpires(uid), now.mono + expires.since(now.wall)),
            None => self.timers.clear(Timer::PauseExpires(uid)),
        }
        entry.held = None;
        self.timers.clear(Timer::Restart(uid));
        let live: Vec<_> = entry.runs().map(|run| run.id).collect();
        if entry.task.intent == Intent::Pause || live.is_empty() {
            return self.record(uid, cause, Change::Paused, now);
        }
        for id in live {
            self.shutdown_task(id, Asked::Pause, cause.clone(), None, now);
        }
    }

    /// Has a paused task run again.
    pub(super) fn resume(&mut self, resume: ResumeTask, now: Now) -> Result<(Uid, Reply), Refusal> {
        let ResumeTask { name, etag, cause, idempotency: _ } = resume;
        let (uid, task) = self.find(&name, etag.as_ref())?;
        if self.draining.is_some() {
            return Err(Refusal::ServerDraining);
        }
        if !may_go_on(task) {
            return Err(Refusal::TaskNotRunning { name, state: task.state });
        }
        if task.intent == Intent::Pause {
            self.go_on(uid, Duration::ZERO, cause, now);
        }
        Ok((uid, self.accepted(uid)?))
    }

    /// The pause has lasted for as long as it was to. A server that drains starts nothing.
    pub(super) fn on_pause_expired(&mut self, uid: Uid, now: Now) {
        if self.draining.is_some() {
            return;
        }
        let pause = self.tasks.get(&uid).and_then(|entry| entry.pause.as_ref());
        let was_over = pause.and_then(|pause| pause.expire_time).is_some_and(|expires| expires <= self.began);
        // What was due while no server ran is due for many tasks at once, like those that ran.
        let spread = if was_over { self.restart_spread } else { Duration::ZERO };
        self.go_on(uid, spread, Cause::system("pause", "its time is over"), now);
    }

    fn go_on(&mut self, uid: Uid, spread: Duration, cause: Cause, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let Some(pause) = entry.pause.take() else { return };
        self.timers.clear(Timer::PauseExpires(uid));
        self.record(uid, cause.clone(), Change::Resumed(pause), now);
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        if entry.is_idle() {
            self.last_instance = self.last_instance.next();
            self.launch_spread(self.last_instance, uid, false, spread, cause, now);
        } else {
            entry.held = Some(Held::Launch { once: false });
        }
    }

    /// Has the active instance make a check now.
    pub(super) fn check_now(&mut self, run: RunTask) -> Result<(Uid, Reply), Refusal> {
        let RunTask { name, etag, cause: _, idempotency: _ } = run;
        let (uid, task) = self.find(&name, etag.as_ref())?;
        if self.draining.is_some() {
            return Err(Refusal::ServerDraining);
        }
        let not_running = Refusal::TaskNotRunning { name: name.clone(), state: task.state };
        let Some(entry) = self.tasks.get(&uid).filter(|entry| entry.is_ready()) else { return Err(not_running) };
        match &entry.active {
            Some(active) if active.marks_checks => {
                self.log.effects.push(Effect::CheckNow(active.id));
                Ok((uid, Reply::Checking { task: Arc::clone(&entry.task) }))
            }
            _ => Err(Refusal::NoChecks(name)),
        }
    }
}

/// Whether the task has not ended, nor been told to.
fn may_go_on(task: &Task) -> bool {
    !task.state.is_ended() && task.intent != Intent::Cancel
}
