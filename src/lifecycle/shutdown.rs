//! The two-phase shutdown (lifecycle.md §2): an instance is asked to stop, then aborted, then counted as stuck.

use std::time::Duration;

use super::io::{Chance, Effect};
use super::record::Change;
use super::run::{Asking, Phase, Run};
use super::{Lifecycle, Timer};
use crate::model::{AlertKind, Asked, Cause, InstanceId, Intent, Mono, Now, Pretty};

impl<C: Chance> Lifecycle<C> {
    /// Asks an instance to stop, by `bound` at the latest. One that is stopping already
    /// is not given more time, and shares the result. The state changes before the signal: otherwise a fast exit would look
    /// unasked and be restarted.
    pub(super) fn shutdown_task(&mut self, id: InstanceId, asked: Asked, cause: Cause, bound: Option<Mono>, now: Now) {
        let Some((uid, entry)) = self.entry_of(id) else { return };
        let intent = match asked {
            Asked::Cancel => Intent::Cancel,
            Asked::Pause => Intent::Pause,
            _ => entry.task.intent,
        };
        let says_more = intent != entry.task.intent;
        let Some(run) = entry.run_mut(id) else { return };
        let slow_after = run.spec.watchdog().slow_cancellation_after();
        let asking = run.ask(asked, cause.clone(), bound, now);
        let deadline = match (&run.phase, run.stop()) {
            (Phase::Stopping(_), Some(stop)) => Some((Timer::Grace(id), stop.grace_deadline)),
            (Phase::Aborting(..), Some(stop)) => Some((Timer::Abort(id), stop.abort_deadline)),
            _ => None,
        };
        if asking == Asking::Joined && matches!(asked, Asked::Cancel | Asked::Pause) {
            run.attribute(cause.clone());
        }
        if let Some((timer, due)) = deadline {
            self.timers.set(timer, due);
        }
        match asking {
            Asking::Begun => {
                self.timers.clear(Timer::StartTimeout(id));
                self.timers.clear(Timer::Healthy(id));
                self.timers.set(Timer::SlowCancellation(id), now.mono + slow_after);
                self.record(uid, cause, Change::Moved { run: id, intent }, now);
                self.log.effects.push(Effect::Signal(id));
            }
            Asking::Joined if says_more => self.record(uid, cause, Change::Moved { run: id, intent }, now),
            Asking::Joined => {}
        }
    }

    /// A client would not wait for the end of phase 1.
    pub(super) fn force(&mut self, id: InstanceId, cause: Cause, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        if entry.run_mut(id).is_some_and(|run| run.enter_abort(true, now)) {
            self.abort(id, cause, now);
        }
    }

    pub(super) fn on_grace_over(&mut self, id: InstanceId, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let Some(run) = entry.run_mut(id) else { return };
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
        if let Some(deadline) = entry.run(id).and_then(Run::stop).map(|stop| stop.abort_deadline) {
            self.timers.set(Timer::Abort(id), deadline);
        }
        self.log.effects.push(Effect::Abort(id));
    }

    pub(super) fn on_abort_over(&mut self, id: InstanceId, now: Now) {
        let Some((uid, entry)) = self.entry_of(id) else { return };
        let Some(run) = entry.run_mut(id) else { return };
        let Some(request_id) = run.stop().map(|stop| stop.cause.request_id) else { return };
        if !run.enter_stuck(now) {
            return;
        }
        let newly_lost = !run.lost;
        let took = run.instance().shutdown.and_then(|shutdown| shutdown.abort_duration).unwrap_or_default();
        let reason = format!("no exit {} after the abort", Pretty::about(took));
        self.stuck += 1;
        self.lost += usize::from(newly_lost);
        self.swap_decides(id);
        let cause = Cause { request_id, ..Cause::system("shutdown", reason.clone()) };
        self.moved(id, cause, now);
        self.raise(
            id,
            AlertKind::AbortTimeout,
            format!("{reason}: it blocks its thread, or ignores being dropped"),
            now,
        );
        self.swap_goes_on(uid, id, "is stuck", now);
    }
}
