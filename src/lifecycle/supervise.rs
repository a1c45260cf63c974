//! What follows when instances are launched, move and end: restarts, the end of a task.

use std::sync::Arc;
use std::time::Duration;

use super::commands::end;
use super::entry::{Entry, Held};
use super::io::{Chance, Effect, Launch, RootEnd};
use super::next::{Ending, Next, next, next_beside};
use super::record::Change;
use super::relief::RELIEVED;
use super::run::{Phase, Run};
use super::{Lifecycle, Timer};
use crate::model::{Asked, Attempt, Cause, Exit, InstanceId, Now, Outcome, Pretty, Regime, Uid};

/// Over how long the first checks are spread of instances that are started again at once.
const SPREAD: Duration = Duration::from_secs(1);

/// How an instance begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entering {
    /// How long it may take to become ready.
    pub(super) ready_within: Duration,
    /// Under what its checks run.
    pub(super) regime: Regime,
    /// Over how long first checks are to be spread, where many instances are started at once.
    pub(super) spread: Duration,
}

impl<C: Chance> Lifecycle<C> {
    /// Starts the task's next instance; where it is to run `once`, a failure before it is ready ends the task.
    pub(super) fn launch(&mut self, uid: Uid, once: bool, cause: Cause, now: Now) {
        self.last_instance = self.last_instance.next();
        self.launch_as(self.last_instance, uid, once, cause, now);
    }

    /// Starts the task's next instance under a name that was given before.
    pub(super) fn launch_as(&mut self, id: InstanceId, uid: Uid, once: bool, cause: Cause, now: Now) {
        self.launch_spread(id, uid, once, Duration::ZERO, cause, now);
    }

    pub(super) fn launch_spread(
        &mut self,
        id: InstanceId,
        uid: Uid,
        once: bool,
        spread: Duration,
        cause: Cause,
        now: Now,
    ) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let last = entry.task.instance.as_ref().filter(|last| last.generation == entry.task.generation);
        let attempt = last.map_or(Attempt::default(), |last| last.attempt).next();
        let mut run = Run::new(id, Arc::clone(&entry.task.spec), entry.task.generation, attempt, now);
        run.once = once;
        let entering = Entering { ready_within: run.spec.start_timeout(), regime: entry.regime(), spread };
        entry.active = Some(run);
        self.enter(uid, id, entering, cause, now);
    }

    /// Starts the task's next instance in place of one that was displaced, and of which this much is known already.
    fn rehome(&mut self, uid: Uid, once: bool, marks_checks: bool, now: Now) {
        self.last_instance = self.last_instance.next();
        let id = self.last_instance;
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let attempt = entry.task.instance.as_ref().map_or(Attempt::default(), |last| last.attempt).next();
        let mut run = Run::new(id, Arc::clone(&entry.task.spec), entry.task.generation, attempt, now);
        (run.once, run.marks_checks) = (once, marks_checks);
        let entering = Entering { ready_within: run.spec.start_timeout(), regime: entry.regime(), spread: SPREAD };
        entry.active = Some(run);
        self.enter(uid, id, entering, Cause::system("relief", RELIEVED), now);
    }

    /// Has a run that is in its place in the entry begin.
    pub(super) fn enter(&mut self, uid: Uid, id: InstanceId, entering: Entering, cause: Cause, now: Now) {
        let Entering { ready_within, regime, spread } = entering;
        let Some(run) = self.tasks.get(&uid).and_then(|entry| entry.run(id)) else { return };
        let (spec, generation, attempt) = (Arc::clone(&run.spec), run.generation(), run.attempt());
        self.timers.set(Timer::StartTimeout(id), now.mono + ready_within);
        self.timers.set(Timer::LongRunning(id), now.mono + spec.watchdog().long_running_after());
        self.runs.insert(id, uid);
        self.moved(id, cause, now);
        let Some(entry) = self.tasks.get(&uid) else { return };
        let task = Arc::clone(&entry.task);
        self.log.effects.push(Effect::Launch(Launch { instance: id, task, spec, generation, attempt, regime, spread }));
    }

    pub(super) fn on_ready(&mut self, id: InstanceId, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let is_candidate = entry.is_candidate(id);
        let Some(run) = entry.run_mut(id).filter(|run| matches!(run.phase, Phase::Starting)) else { return };
        run.make_ready(now);
        self.timers.clear(Timer::StartTimeout(id));
        if is_candidate {
            return self.on_candidate_ready(id, now);
        }
        self.moved(id, Cause::system("monitor", "ready"), now);
    }

    pub(super) fn on_start_timeout(&mut self, id: InstanceId, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        if entry.is_candidate(id) {
            return self.on_candidate_late(id, now);
        }
        let Some(run) = entry.active.as_ref().filter(|run| run.id == id && matches!(run.phase, Phase::Starting)) else {
            return;
        };
        let reason = format!("not ready within {}", Pretty(run.spec.start_timeout()));
        self.shutdown_task(id, Asked::StartTimeout, Cause::system("shutdown", reason), None, now);
    }

    /// Records where the instance has come to.
    pub(super) fn moved(&mut self, id: InstanceId, cause: Cause, now: Now) {
        let Some((uid, entry)) = self.entry_of(id) else { return };
        let change = Change::Moved { run: id, intent: entry.task.intent };
        self.record(uid, cause, change, now);
    }

    /// The root has ended; the instance has only where no child outlives it. A root that returned unasked leaves its children
    /// nobody to stop them, so the shutdown does.
    pub(super) fn on_root_ended(&mut self, id: InstanceId, root: RootEnd, children: bool, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let is_candidate = entry.is_candidate(id);
        let Some(run) = entry.run_mut(id) else { return };
        if children {
            run.root = Some(root);
            if run.stop().is_some() {
                return;
            }
            let why = "has returned, but children of it live on";
            if is_candidate {
                return self.refuse(id, Asked::None, why.to_owned(), now);
            }
            self.shutdown_task(id, Asked::None, Cause::system("shutdown", format!("it {why}")), None, now);
        } else {
            self.ended(id, root, false, now);
        }
    }

    pub(super) fn on_children_ended(&mut self, id: InstanceId, aborted: bool, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let Some(root) = entry.run_mut(id).and_then(|run| run.root.take()) else { return };
        self.ended(id, root, aborted, now);
    }

    /// The instance has ended, and nothing of it is left: what becomes of its task is decided first, so that no event shows a
    /// task between two states.
    pub(super) fn ended(&mut self, id: InstanceId, root: RootEnd, child_aborted: bool, now: Now) {
        self.swap_decides(id);
        let chance = self.chance.unit();
        let Some(uid) = self.runs.remove(&id) else { return };
        self.timers.clear_instance(id);
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        let was_active = entry.is_active(id);
        let Some(run) = entry.take(id) else { return };
        self.stuck -= usize::from(run.is_stuck());
        self.lost -= usize::from(run.is_lost());
        let (exit, message) = run.exit(root, child_aborted);
        let (generation, attempt, marks_checks) = (run.generation(), run.attempt(), run.marks_checks);
        let asked = match (exit, run.asked()) {
            (Exit::Displaced, Asked::None) => Asked::Relief,
            (_, asked) => asked,
        };
        let cause = match run.stop() {
            Some(stop) => stop.cause.clone(),
            None if run.past => Cause::system("restart", message.clone()),
            None => Cause::system(if exit == Exit::Displaced { "relief" } else { "monitor" }, message.clone()),
        };
        let why = why(exit, &message);
        let next = match was_active {
            true => next(entry, Ending { run: &run, exit, how: &why }, self.draining.is_some(), chance, now),
            false => next_beside(entry, now),
        };
        let instance = run.ended_instance(exit, now);
        let outcome = was_active.then(|| Outcome { exit, asked, message: cut(message), time: now.wall });
        self.record(uid, cause.clone(), Change::Ended { instance, outcome, next }, now);
        self.resolve_all(uid, (generation, attempt), now);
        self.swap_goes_on(uid, id, &why, now);
        match next {
            Next::Rehome { once } => self.rehome(uid, once, marks_checks, now),
            next => self.settle(uid, next, cause, now),
        }
        self.settle_held(uid, now);
        self.revert(uid, now);
    }

    /// Says what becomes of a task whose instance has ended.
    fn settle(&mut self, uid: Uid, next: Next, cause: Cause, now: Now) {
        let Some(entry) = self.tasks.get(&uid) else { return };
        match next {
            Next::Stay | Next::Rehome { .. } => {}
            Next::Rest => self.record(uid, cause, Change::Paused, now),
            Next::Restart(restart) => {
                let delay = restart.next_time.map_or(Duration::ZERO, |time| time.since(now.wall));
                self.timers.set(Timer::Restart(uid), now.mono + delay);
                let cause = Cause::system("restart", format!("in {}", Pretty::about(delay)));
                self.record(uid, cause, Change::RestartScheduled, now);
            }
            Next::End(state, end) => {
                self.timers.set(Timer::Expire(uid), now.mono + entry.task.spec.terminal_ttl());
                self.record(uid, cause, Change::TaskEnded(end, state), now);
            }
        }
    }

    /// What waited for the swap, or for what stops, to end.
    pub(super) fn settle_held(&mut self, uid: Uid, now: Now) {
        // One that is to go back does not end before that; but what is due to be started is not held up.
        let is_due = |entry: &&mut Entry| {
            let may_end = entry.fate().is_none() || !entry.reverts();
            entry.is_idle() && may_end
        };
        let Some(entry) = self.tasks.get_mut(&uid).filter(is_due) else { return };
        if matches!(entry.held, Some(Held::Launch { .. })) && !self.intake.is_open() {
            return self.intake.put_off_launch(uid);
        }
        match entry.held.take() {
            None => {}
            Some(Held::End(state)) => {
                let next = Next::End(state, end(&entry.task, now));
                self.settle(uid, next, Cause::system("swap", "no other instance has taken over"), now);
            }
            Some(Held::Launch { .. }) if self.draining.is_some() => {}
            Some(Held::Launch { once }) => {
                let cause = Cause::system("restart", "nothing is in its way any more");
                self.launch(uid, once, cause, now);
            }
        }
    }

    pub(super) fn on_restart_due(&mut self, uid: Uid, now: Now) {
        if self.draining.is_some() {
            return;
        }
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        if entry.has_stuck() {
            entry.held = Some(Held::Launch { once: false });
            return;
        }
        let reason = format!("restart {}", entry.task.restart.count);
        self.launch(uid, false, Cause::system("restart", reason), now);
    }
}

/// How an instance ended, as part of a sentence.
fn why(exit: Exit, message: &str) -> String {
    let how = match exit {
        Exit::Completed | Exit::Graceful => "has ended",
        Exit::Aborted => "was aborted",
        Exit::Error => "has failed",
        Exit::Panic => "panicked",
        Exit::Interrupted => "was interrupted",
        Exit::Displaced => "was displaced",
    };
    if message.is_empty() { how.to_owned() } else { format!("{how}: {message}") }
}

fn cut(message: String) -> String {
    crate::model::cut(message, crate::model::limits::MESSAGE_BYTES)
}
