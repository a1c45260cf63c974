//! What follows when instances are launched, move and end: the two-phase shutdown, restarts, the end of a task.

use std::sync::Arc;
use std::time::Duration;

use super::commands::end;
use super::io::{Chance, Effect, RootEnd};
use super::record::{Change, Entry, Next};
use super::run::{Asking, Phase, Run};
use super::{Lifecycle, Timer};
use crate::model::{
    AlertKind, Asked, Attempt, Cause, Exit, InstanceId, Intent, Mono, Now, Outcome, Pretty, Restart, RestartPolicy,
    State, Uid,
};

/// How much of a back-off jitter may take away, so that tasks that failed together do not come back together.
const JITTER: f64 = 0.2;

impl<C: Chance> Lifecycle<C> {
    /// Starts the task's next instance.
    pub(super) fn launch(&mut self, uid: Uid, cause: Cause, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        self.last_instance = self.last_instance.next();
        let id = self.last_instance;
        let last = entry.task.instance.as_ref().filter(|last| last.generation == entry.task.generation);
        let attempt = last.map_or(Attempt::default(), |last| last.attempt).next();
        let run = Run::new(id, Arc::clone(&entry.task.spec), entry.task.generation, attempt, now);
        self.timers.set(Timer::StartTimeout(id), now.mono + run.spec.start_timeout());
        self.timers.set(Timer::LongRunning(id), now.mono + run.spec.watchdog().long_running_after());
        let change = Change::Moved { instance: run.instance(), intent: entry.task.intent };
        entry.run = Some(run);
        self.runs.insert(id, uid);
        self.log.record(entry, now, cause, change);
        self.log.effects.push(Effect::Launch { instance: id, task: Arc::clone(&entry.task) });
    }

    pub(super) fn on_ready(&mut self, id: InstanceId, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let Some(run) = entry.run.as_mut().filter(|run| matches!(run.phase, Phase::Starting)) else { return };
        run.make_ready(now);
        self.timers.clear(Timer::StartTimeout(id));
        self.moved(id, Cause::system("monitor", "ready"), now);
    }

    pub(super) fn on_start_timeout(&mut self, id: InstanceId, now: Now) {
        let Some((uid, entry)) = self.entry_of(id) else { return };
        let Some(run) = entry.run.as_ref().filter(|run| matches!(run.phase, Phase::Starting)) else { return };
        let reason = format!("not ready within {}", Pretty(run.spec.start_timeout()));
        self.shutdown_task(uid, Asked::StartTimeout, Cause::system("shutdown", reason), None, now);
    }

    /// The two-phase shutdown (lifecycle.md §2): asks the task's instance to stop, by `bound` at the latest. An instance that is
    /// stopping already is not given more time, and shares the result. The state changes before the signal: otherwise a fast
    /// exit would look unasked and be restarted.
    pub(super) fn shutdown_task(&mut self, uid: Uid, asked: Asked, cause: Cause, bound: Option<Mono>, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let Some(run) = entry.run.as_mut() else { return };
        let (id, slow_after) = (run.id, run.spec.watchdog().slow_cancellation_after());
        let asking = run.ask(asked, cause.clone(), bound, now);
        if let Some(stop) = run.stop() {
            match run.phase {
                Phase::Stopping(_) => self.timers.set(Timer::Grace(id), stop.grace_deadline),
                Phase::Aborting(..) => self.timers.set(Timer::Abort(id), stop.abort_deadline),
                Phase::Starting | Phase::Ready | Phase::Stuck(..) => {}
            }
        }
        let intent = if asked == Asked::Cancel { Intent::Cancel } else { entry.task.intent };
        match asking {
            Asking::Begun => {
                self.timers.clear(Timer::StartTimeout(id));
                self.timers.set(Timer::SlowCancellation(id), now.mono + slow_after);
                let change = Change::Moved { instance: run.instance(), intent };
                self.log.record(entry, now, cause, change);
                self.log.effects.push(Effect::Signal(id));
            }
            Asking::Joined if intent != entry.task.intent => {
                run.attribute(cause.clone());
                let change = Change::Moved { instance: run.instance(), intent };
                self.log.record(entry, now, cause, change);
            }
            Asking::Joined => {}
        }
    }

    /// A client would not wait for the end of phase 1.
    pub(super) fn force(&mut self, uid: Uid, cause: Cause, now: Now) {
        let Some(run) = self.tasks.get_mut(&uid).and_then(|entry| entry.run.as_mut()) else { return };
        let id = run.id;
        if run.enter_abort(true, now) {
            self.abort(id, cause, now);
        }
    }

    pub(super) fn on_grace_over(&mut self, id: InstanceId, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let Some(run) = entry.run.as_mut() else { return };
        let Some(request_id) = run.stop().map(|stop| stop.cause.request_id) else { return };
        if !run.enter_abort(false, now) {
            return;
        }
        let waited = Pretty::about(run.stop().map_or(Duration::ZERO, |stop| now.mono.since(stop.since())));
        let cause = Cause { request_id, ..Cause::system("shutdown", format!("no exit within {waited}")) };
        self.abort(id, cause, now);
        self.raise(id, AlertKind::AbortRequired, format!("no exit {waited} after it was asked to stop: aborted"), now);
    }

    /// Phase 2 has begun: says so, then aborts the root and every child.
    fn abort(&mut self, id: InstanceId, cause: Cause, now: Now) {
        self.moved(id, cause, now);
        self.timers.clear(Timer::Grace(id));
        let Some((_, entry)) = self.entry_of(id) else { return };
        if let Some(deadline) = entry.run.as_ref().and_then(Run::stop).map(|stop| stop.abort_deadline) {
            self.timers.set(Timer::Abort(id), deadline);
        }
        self.log.effects.push(Effect::Abort(id));
    }

    pub(super) fn on_abort_over(&mut self, id: InstanceId, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let Some(run) = entry.run.as_mut() else { return };
        let Some(request_id) = run.stop().map(|stop| stop.cause.request_id) else { return };
        if !run.enter_stuck(now) {
            return;
        }
        let took = run.instance().shutdown.and_then(|shutdown| shutdown.abort_duration).unwrap_or_default();
        let reason = format!("no exit {} after the abort", Pretty::about(took));
        self.stuck += 1;
        let cause = Cause { request_id, ..Cause::system("shutdown", reason.clone()) };
        self.moved(id, cause, now);
        self.raise(
            id,
            AlertKind::AbortTimeout,
            format!("{reason}: it blocks its thread, or ignores being dropped"),
            now,
        );
    }

    /// Records where the instance has come to.
    fn moved(&mut self, id: InstanceId, cause: Cause, now: Now) {
        let Some(entry) = self.runs.get(&id).and_then(|uid| self.tasks.get_mut(uid)) else { return };
        let Some(run) = &entry.run else { return };
        let change = Change::Moved { instance: run.instance(), intent: entry.task.intent };
        self.log.record(entry, now, cause, change);
    }

    /// The root has ended; the instance has only where no child outlives it. A root that returned unasked leaves its children
    /// nobody to stop them, so the shutdown does.
    pub(super) fn on_root_ended(&mut self, id: InstanceId, root: RootEnd, children: bool, now: Now) {
        let Some((uid, entry)) = self.entry_of(id) else { return };
        let Some(run) = entry.run.as_mut() else { return };
        if children {
            run.root = Some(root);
            let cause = Cause::system("shutdown", "it has returned, but children of it live on");
            if run.stop().is_none() {
                self.shutdown_task(uid, Asked::None, cause, None, now);
            }
        } else {
            self.ended(id, root, false, now);
        }
    }

    pub(super) fn on_children_ended(&mut self, id: InstanceId, aborted: bool, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let Some(root) = entry.run.as_mut().and_then(|run| run.root.take()) else { return };
        self.ended(id, root, aborted, now);
    }

    /// The instance has ended, and nothing of it is left: what becomes of its task is decided first, so that no event shows a
    /// task between two states.
    fn ended(&mut self, id: InstanceId, root: RootEnd, child_aborted: bool, now: Now) {
        let Some(uid) = self.runs.remove(&id) else { return };
        self.timers.clear_instance(id);
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let Some(run) = entry.run.take() else { return };
        self.stuck -= usize::from(run.is_stuck());
        let (exit, message) = run.exit(root, child_aborted);
        let asked = run.asked();
        let cause = match run.stop() {
            Some(stop) => stop.cause.clone(),
            None => Cause::system("monitor", message.clone()),
        };
        let next = next(entry, asked, exit, self.draining, self.chance.unit(), now);
        let instance = run.ended_instance(exit, now);
        let outcome = Outcome { exit, asked, message: cut(message), time: now.wall };
        self.log.record(entry, now, cause.clone(), Change::Ended { instance, outcome, next });
        self.resolve_all(uid, now);
        self.settle(uid, next, cause, now);
    }

    /// Says what becomes of a task whose instance has ended.
    fn settle(&mut self, uid: Uid, next: Next, cause: Cause, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        match next {
            Next::Stay => {}
            Next::Restart(restart) => {
                let delay = restart.next_time.map_or(Duration::ZERO, |time| time.since(now.wall));
                self.timers.set(Timer::Restart(uid), now.mono + delay);
                let cause = Cause::system("restart", format!("in {}", Pretty::about(delay)));
                self.log.record(entry, now, cause, Change::RestartScheduled);
            }
            Next::End(state, end) => {
                self.timers.set(Timer::Expire(uid), now.mono + entry.task.spec.terminal_ttl());
                self.log.record(entry, now, cause, Change::TaskEnded(end, state));
            }
        }
    }

    pub(super) fn on_restart_due(&mut self, uid: Uid, now: Now) {
        if self.draining {
            return;
        }
        let Some(entry) = self.tasks.get(&uid) else { return };
        let reason = format!("restart {}", entry.task.restart.count);
        self.launch(uid, Cause::system("restart", reason), now);
    }
}

/// What becomes of a task whose instance has ended (lifecycle.md §1): a cancel wins over everything, only a failure that nobody
/// asked for is followed by a restart, and a drain leaves the task as it is.
fn next(entry: &mut Entry, asked: Asked, exit: Exit, draining: bool, chance: f64, now: Now) -> Next {
    let task = &entry.task;
    match (task.intent, asked, exit) {
        (Intent::Cancel, ..) | (Intent::Run, Asked::Cancel, _) => Next::End(State::Cancelled, end(task, now)),
        (Intent::Run, Asked::None, Exit::Completed) => Next::End(State::Succeeded, end(task, now)),
        (Intent::Run, Asked::Drain | Asked::Swap, _) => Next::Stay,
        (Intent::Run, Asked::None | Asked::StartTimeout, _) if draining => Next::Stay,
        (Intent::Run, Asked::None | Asked::StartTimeout, _) => {
            let policy = *task.spec.restart();
            while entry.restarts.front().is_some_and(|made| now.mono.since(*made) >= policy.window()) {
                entry.restarts.pop_front();
            }
            let made = u32::try_from(entry.restarts.len()).unwrap_or(u32::MAX);
            if made >= policy.max_restarts() {
                return Next::End(State::Failed, end(&entry.task, now));
            }
            entry.restarts.push_back(now.mono);
            let delay = backoff(&policy, made, chance);
            Next::Restart(Restart { count: made + 1, next_time: Some(now.wall + delay) })
        }
    }
}

/// The wait before the next restart: doubled with each one that counts, at most `max_backoff`, less up to a fifth by chance.
fn backoff(policy: &RestartPolicy, made: u32, chance: f64) -> Duration {
    let doubled = policy.initial_backoff().saturating_mul(2_u32.saturating_pow(made));
    doubled.min(policy.max_backoff()).mul_f64(1.0 - JITTER * chance)
}

fn cut(message: String) -> String {
    crate::model::cut(message, crate::model::limits::MESSAGE_BYTES)
}
