//! What must have happened by now, and must not have happened yet: deadlines, alerts, restarts, expiry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::super::{Command, Effect, Input};
use super::super::world::World;
use super::admission::Intake;
use super::recovery::Recovery;
use super::roles::{Key, Role, Roles, is_running};
use super::{Checked, View, check};
use crate::model::*;

/// What is known of each live instance.
#[derive(Debug, Default)]
pub(super) struct Promises {
    live: BTreeMap<InstanceId, Known>,
    /// Until when the candidates that were displaced in this step have to be ready.
    displaced: BTreeMap<(Uid, Generation), Mono>,
    drain_bound: Option<Mono>,
    /// Whether a client's command is being carried out.
    commanded: bool,
}

#[derive(Debug)]
struct Known {
    key: Key,
    spec: Arc<TaskSpec>,
    /// By when it has to be ready, as long as it is not replaced.
    ready_by: Mono,
    /// Whether it has become so.
    was_ready: bool,
    /// Since when the present piece of work goes on.
    work: Option<Mono>,
    /// Whether that is a check, which its timeout ends: the first piece is none.
    checks: bool,
    /// How long the last one took.
    took: Option<Duration>,
    /// Whether one has ended in time.
    was_in_time: bool,
    stop: Option<Stop>,
}

#[derive(Debug)]
struct Stop {
    signalled: Mono,
    grace: Mono,
    abort: Mono,
    aborted: bool,
    forced: bool,
}

impl Promises {
    pub(super) fn before(&mut self, input: &Input, now: Mono) {
        self.displaced.clear();
        self.commanded = matches!(input, Input::Command(Command::Cancel(_)));
        match input {
            Input::Ready(id) => {
                if let Some(known) = self.live.get_mut(id) {
                    known.was_ready = true;
                }
            }
            Input::CheckBegan(id, at) => {
                if let Some(known) = self.live.get_mut(id) {
                    (known.work, known.checks) = (Some(*at), true);
                }
            }
            Input::CheckEnded(id, at, _) => {
                if let Some(known) = self.live.get_mut(id) {
                    known.took = known.work.take().map(|since| at.since(since));
                    known.was_in_time |= known.is_in_time();
                }
            }
            Input::Drain { bound, .. } if self.drain_bound.is_none() => {
                self.drain_bound = Some(*bound);
                for known in self.live.values_mut() {
                    if let Some(stop) = known.stop.as_mut() {
                        // A phase that is over already ends with the next tick.
                        let before = bound.before(known.spec.shutdown().abort_timeout()).max(now);
                        (stop.grace, stop.abort) = (stop.grace.min(before), stop.abort.min((*bound).max(now)));
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn effect(&mut self, effect: &Effect, now: Now) -> Checked {
        match effect {
            Effect::Launch(launch) => {
                let is_candidate = launch.generation != launch.task.generation;
                let spec = Arc::clone(&launch.spec);
                let within = if is_candidate { spec.swap().readiness_timeout() } else { spec.start_timeout() };
                let key = (launch.task.uid, launch.generation, launch.attempt);
                // Another's time goes on.
                let goes_on = self.displaced.get(&(key.0, key.1)).copied().filter(|_| is_candidate);
                let (ready_by, work) = (goes_on.unwrap_or(now.mono + within), Some(now.mono));
                let (checks, was_ready, took, was_in_time, stop) = (false, false, None, false, None);
                let known = Known { key, spec, ready_by, was_ready, work, checks, took, was_in_time, stop };
                self.live.insert(launch.instance, known);
                Ok(())
            }
            Effect::Signal(id) => self.signalled(*id, now.mono),
            Effect::Abort(id) => self.aborted(*id, now.mono),
            Effect::Displace(id) => {
                let displaced = self.live.remove(id).ok_or("displaced, but not live")?;
                // One that was ready has used its time, and the next one begins from the beginning.
                if !displaced.was_ready {
                    self.displaced.insert((displaced.key.0, displaced.key.1), displaced.ready_by);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn signalled(&mut self, id: InstanceId, now: Mono) -> Checked {
        let known = self.live.get_mut(&id).ok_or("signalled, but not live")?;
        check(known.stop.is_none(), || format!("instance {id} is signalled twice"))?;
        let (grace, abort) = (known.spec.shutdown().grace_timeout(), known.spec.shutdown().abort_timeout());
        let end = now + grace + abort;
        let end = self.drain_bound.filter(|bound| *bound >= now).map_or(end, |bound| bound.min(end));
        known.stop = Some(Stop {
            signalled: now,
            grace: (now + grace).min(end.before(abort)).max(now),
            abort: end,
            aborted: false,
            forced: false,
        });
        Ok(())
    }

    fn aborted(&mut self, id: InstanceId, now: Mono) -> Checked {
        let commanded = self.commanded;
        let known = self.live.get_mut(&id).ok_or("aborted, but not live")?;
        let stop = known.stop.as_mut().ok_or("aborted before its signal")?;
        check(!stop.aborted, || format!("instance {id} is aborted twice"))?;
        check(commanded || stop.grace <= now, || format!("instance {id} is aborted before its time"))?;
        (stop.aborted, stop.forced) = (true, commanded);
        if commanded {
            stop.grace = stop.grace.min(now);
            stop.abort = stop.abort.min(now + known.spec.shutdown().abort_timeout());
        }
        Ok(())
    }

    fn about(&self, alert: &Alert, uid: Uid) -> Result<&Known, String> {
        let key = (uid, alert.generation, alert.attempt);
        Ok(self.live.values().find(|known| known.key == key).ok_or("an alert about nothing live")?)
    }

    /// An alert is raised for its reason only.
    pub(super) fn raised(&self, alert: &Alert, uid: Uid, roles: &Roles, now: Now) -> Checked {
        let known = self.about(alert, uid)?;
        let watchdog = known.spec.watchdog();
        let state = roles.get(&known.key).map(|live| live.instance.state);
        let is_over = |since: Option<Mono>, after: Duration| since.is_some_and(|since| since + after <= now.mono);
        let right = match alert.kind {
            AlertKind::LongRunningTask => is_over(known.work, known.long_after()),
            AlertKind::SlowCancellation => {
                is_over(known.stop.as_ref().map(|stop| stop.signalled), watchdog.slow_cancellation_after())
            }
            AlertKind::AbortRequired => !self.commanded && state == Some(InstanceState::Aborting),
            AlertKind::AbortTimeout => state == Some(InstanceState::Stuck),
            // Who was told of it knows.
            AlertKind::PollBlocked => true,
        };
        check(right, || format!("{alert:?} without a reason"))
    }

    /// An alert of a live instance is resolved for its reason only, which may have been there a while ago where the journal opens.
    pub(super) fn resolved(&self, alert: &Alert, uid: Uid, opens: bool) -> Checked {
        let known = self.about(alert, uid)?;
        let in_time = known.is_in_time() || opens && known.was_in_time;
        check(alert.kind == AlertKind::LongRunningTask && in_time, || format!("{alert:?} is resolved alive"))
    }

    /// What must hold after every step; where `ticked`, what is due now has happened, too.
    pub(super) fn after(
        &mut self,
        view: &View,
        roles: &Roles,
        world: &World,
        (recovery, intake): (&Recovery, &Intake),
        ticked: bool,
        now: Now,
    ) -> Checked {
        self.live.retain(|id, _| world.actors.get(id).is_some_and(|actor| actor.alive()));
        let late = |due: Mono| due < now.mono || ticked && due == now.mono;
        for (id, known) in &self.live {
            let task = view.values().find(|task| task.uid == known.key.0).ok_or("an instance without a task")?;
            let live = roles.get(&known.key).ok_or_else(|| format!("nobody knows instance {id}"))?;
            let state = live.instance.state;
            let waits = state == InstanceState::Starting && live.role != Role::Replaced;
            let told = || format!("instance {id} of {} is {state:?}", task.name);
            check(!waits || !late(known.ready_by), || format!("{}: it had to be ready", told()))?;
            known.kept(state, task, late, (intake.is_open(), now)).map_err(|missed| format!("{}: {missed}", told()))?;
        }
        if !intake.puts_off(now) {
            let mut taken_over = view.values().filter(|task| !recovery.is_left(task.uid));
            taken_over.try_for_each(|task| self.in_time(task, recovery, late, now))?;
        }
        let all_stuck = || roles.live.values().all(|live| live.instance.state == InstanceState::Stuck);
        check(!self.drain_bound.is_some_and(late) || all_stuck(), || "not drained by its bound".to_owned())
    }

    fn in_time(&self, task: &Task, recovery: &Recovery, late: impl Fn(Mono) -> bool, now: Now) -> Checked {
        let due = |time: Timestamp| now.mono + time.since(now.wall);
        let is_late = |time: Timestamp| {
            let time = recovery.due(task.uid, time);
            time < now.wall || time == now.wall && late(due(time))
        };
        if let Some(end) = task.end {
            check(!is_late(end.expire_time), || format!("{} is kept for too long", task.name))?;
        }
        // Without one, the candidate that is being built decides.
        let held = task.restart.next_time.is_none() && is_running(task);
        if task.state == State::Pending && self.drain_bound.is_none() && !held {
            let next = task.restart.next_time.ok_or_else(|| format!("{} waits for nothing", task.name))?;
            check(!is_late(next), || format!("{} had to be started again", task.name))?;
            check(task.restart.count <= task.spec.restart().max_restarts(), || {
                format!("{} is restarted once too often", task.name)
            })?;
        }
        Ok(())
    }
}

impl Known {
    /// Whether its last piece of work was done in time.
    fn is_in_time(&self) -> bool {
        self.took.is_some_and(|took| took < self.long_after())
    }

    /// From when on a piece of work takes long. A check has a tenth of its timeout, and 250 ms at the least, to be given up, where it
    /// would have been over just then.
    fn long_after(&self) -> Duration {
        let (after, timeout) = (self.spec.watchdog().long_running_after(), self.spec.schedule().timeout());
        let given_up = (timeout.saturating_mul(11) / 10).max(timeout + Duration::from_millis(250));
        if self.checks && (timeout..given_up).contains(&after) { given_up } else { after }
    }

    /// Whether the alerts and the phases of its shutdown are what they must be by now.
    fn kept(
        &self,
        state: InstanceState,
        task: &Task,
        late: impl Fn(Mono) -> bool,
        (admits, now): (bool, Now),
    ) -> Checked {
        let open = |kind| {
            let about = |alert: &Alert| (task.uid, alert.generation, alert.attempt) == self.key;
            task.alerts.iter().any(|alert| alert.kind == kind && about(alert))
        };
        let fails = |holds: bool, missed: &str| check(holds, || missed.to_owned());
        let watchdog = self.spec.watchdog();
        let is_long = self.work.is_some_and(|since| late(since + self.long_after()));
        fails(!is_long || open(AlertKind::LongRunningTask), "its work takes long, and no alert says so")?;
        let in_time = admits && self.work.is_none() && self.is_in_time();
        fails(!in_time || !open(AlertKind::LongRunningTask), "its work was done in time, and an alert says otherwise")?;
        fails((state < InstanceState::Stopping) == self.stop.is_none(), "the signal and the state differ")?;
        let Some(stop) = &self.stop else { return Ok(()) };
        fails(stop.aborted == (state >= InstanceState::Aborting), "the abort and the state differ")?;
        fails(state > InstanceState::Stopping || !late(stop.grace), "phase 1 is over")?;
        fails(state == InstanceState::Stuck || !late(stop.abort), "phase 2 is over")?;
        fails(state != InstanceState::Stuck || stop.abort <= now.mono, "stuck before its time")?;
        fails(open(AlertKind::AbortRequired) == (stop.aborted && !stop.forced), "abort_required")?;
        fails(open(AlertKind::AbortTimeout) == (state == InstanceState::Stuck), "abort_timeout")?;
        let is_slow = late(stop.signalled + watchdog.slow_cancellation_after());
        fails(!is_slow || open(AlertKind::SlowCancellation), "it is slow, and no alert says so")
    }
}
