//! The alerts: each is raised once per instance and kind, and resolved when its instance has ended at the latest.

use super::io::Chance;
use super::record::Change;
use super::run::{Run, Work};
use super::{Lifecycle, Timer};
use crate::model::{Alert, AlertKind, Attempt, Cause, Generation, InstanceId, Mono, Now, Pretty, Uid};

impl<C: Chance> Lifecycle<C> {
    pub(super) fn on_slow_cancellation(&mut self, id: InstanceId, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let Some(stop) = entry.run(id).and_then(Run::stop) else { return };
        let message = format!("no exit {} after it was asked to stop", Pretty::about(now.mono.since(stop.since())));
        self.raise(id, AlertKind::SlowCancellation, message, now);
    }

    /// A piece of work begins. The timer is set only where none is: one that is set for an earlier piece finds out, when it
    /// fires, which piece it has to look at. So a check costs no timer.
    pub(super) fn on_check_began(&mut self, id: InstanceId, at: Mono) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let Some(run) = entry.run_mut(id) else { return };
        run.work = Work { since: Some(at), is_check: true };
        run.marks_checks = true;
        let due = at + run.long_after();
        if !self.timers.is_set(Timer::LongRunning(id)) {
            self.timers.set(Timer::LongRunning(id), due);
        }
    }

    pub(super) fn on_check_ended(&mut self, id: InstanceId, at: Mono, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let Some(run) = entry.run_mut(id) else { return };
        let Some(since) = run.work.since.take() else { return };
        if at.since(since) < run.long_after() {
            self.resolve_live(id, AlertKind::LongRunningTask, now);
        }
    }

    pub(super) fn on_long_running(&mut self, id: InstanceId, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let Some(run) = entry.run(id) else { return };
        let after = run.long_after();
        match run.work.since {
            Some(since) if since + after <= now.mono => {
                let took = Pretty::about(now.mono.since(since));
                self.raise(id, AlertKind::LongRunningTask, format!("a piece of work has run for {took}"), now);
            }
            Some(since) => self.timers.set(Timer::LongRunning(id), since + after),
            None => {}
        }
    }

    /// Raises an alert about an instance, unless it is open.
    pub(super) fn raise(&mut self, id: InstanceId, kind: AlertKind, message: String, now: Now) {
        let Some((uid, entry)) = self.entry_of(id) else { return };
        let Some((generation, attempt)) = entry.run(id).map(|run| (run.generation(), run.attempt())) else { return };
        if entry.has_alert((generation, attempt), kind) {
            return self.intake.keep_alert(id, kind);
        }
        let alert = Alert { kind, raise_time: now.wall, generation, attempt, message };
        self.record(uid, Cause::system("watchdog", ""), Change::AlertRaised(alert), now);
    }

    /// The reason for an alert about a live instance is gone, if there is such an alert. What comes and goes with every check must
    /// not be told of each time while nothing of that is committed: the alert stays until the journal is open.
    pub(super) fn resolve_live(&mut self, id: InstanceId, kind: AlertKind, now: Now) {
        let Some((uid, entry)) = self.entry_of(id) else { return };
        let Some(about) = entry.run(id).map(|run| (run.generation(), run.attempt())) else { return };
        if !entry.has_alert(about, kind) {
            return;
        }
        if !self.intake.is_open() {
            return self.intake.put_off_resolution(id, kind);
        }
        let why = match kind {
            AlertKind::PollBlocked => "the poll has returned",
            _ => "a later piece of work has ended in time",
        };
        self.resolve(uid, about, kind, why, now);
    }

    /// Resolves every open alert about an instance that has ended.
    pub(super) fn resolve_all(&mut self, uid: Uid, about: (Generation, Attempt), now: Now) {
        for kind in AlertKind::ALL {
            if self.tasks.get(&uid).is_some_and(|entry| entry.has_alert(about, kind)) {
                self.resolve(uid, about, kind, "the instance has ended", now);
            }
        }
    }

    fn resolve(
        &mut self,
        uid: Uid,
        (generation, attempt): (Generation, Attempt),
        kind: AlertKind,
        why: &str,
        now: Now,
    ) {
        let change = Change::AlertResolved { kind, generation, attempt };
        self.record(uid, Cause::system("watchdog", why), change, now);
    }
}
