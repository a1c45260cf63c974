//! What must have happened by now, and must not have happened yet: deadlines, alerts, restarts, expiry.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::super::{Command, Effect, Input};
use super::super::world::World;
use super::{Checked, View, check};
use crate::model::*;

/// What is known of each live instance.
#[derive(Debug, Default)]
pub(super) struct Promises {
    live: BTreeMap<InstanceId, Known>,
    drain_bound: Option<Mono>,
    /// Whether a client's command is being carried out.
    commanded: bool,
}

#[derive(Debug)]
struct Known {
    uid: Uid,
    launched: Mono,
    /// Since when the present piece of work goes on.
    work: Option<Mono>,
    /// How long the last one took.
    took: Option<Duration>,
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
    pub(super) fn before(&mut self, input: &Input, view: &View, now: Mono) {
        self.commanded = matches!(input, Input::Command(Command::Cancel(_)));
        match input {
            Input::CheckBegan(id, at) => {
                if let Some(known) = self.live.get_mut(id) {
                    known.work = Some(*at);
                }
            }
            Input::CheckEnded(id, at, _) => {
                if let Some(known) = self.live.get_mut(id) {
                    known.took = known.work.take().map(|since| at.since(since));
                }
            }
            Input::Drain { bound } if self.drain_bound.is_none() => {
                self.drain_bound = Some(*bound);
                for known in self.live.values_mut() {
                    let Some(task) = view.values().find(|task| task.uid == known.uid) else { continue };
                    if let Some(stop) = known.stop.as_mut() {
                        // A phase that is over already ends with the next tick.
                        let before = bound.before(task.spec.shutdown().abort_timeout()).max(now);
                        (stop.grace, stop.abort) = (stop.grace.min(before), stop.abort.min((*bound).max(now)));
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn effect(&mut self, effect: &Effect, view: &View, now: Now) -> Checked {
        match effect {
            Effect::Launch(launch) => {
                let known =
                    Known { uid: launch.task.uid, launched: now.mono, work: Some(now.mono), took: None, stop: None };
                self.live.insert(launch.instance, known);
                Ok(())
            }
            Effect::Signal(id) => self.signalled(*id, view, now.mono),
            Effect::Abort(id) => self.aborted(*id, view, now.mono),
            _ => Ok(()),
        }
    }

    fn signalled(&mut self, id: InstanceId, view: &View, now: Mono) -> Checked {
        let known = self.live.get_mut(&id).ok_or("signalled, but not live")?;
        check(known.stop.is_none(), || format!("instance {id} is signalled twice"))?;
        let task = view.values().find(|task| task.uid == known.uid).ok_or("signalled without a task")?;
        let (grace, abort) = (task.spec.shutdown().grace_timeout(), task.spec.shutdown().abort_timeout());
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

    fn aborted(&mut self, id: InstanceId, view: &View, now: Mono) -> Checked {
        let commanded = self.commanded;
        let known = self.live.get_mut(&id).ok_or("aborted, but not live")?;
        let task = view.values().find(|task| task.uid == known.uid).ok_or("aborted without a task")?;
        let stop = known.stop.as_mut().ok_or("aborted before its signal")?;
        check(!stop.aborted, || format!("instance {id} is aborted twice"))?;
        check(commanded || stop.grace <= now, || format!("instance {id} is aborted before its time"))?;
        (stop.aborted, stop.forced) = (true, commanded);
        if commanded {
            stop.grace = stop.grace.min(now);
            stop.abort = stop.abort.min(now + task.spec.shutdown().abort_timeout());
        }
        Ok(())
    }

    /// An alert is raised for its reason only.
    pub(super) fn raised(&self, kind: AlertKind, task: &Task, now: Now) -> Checked {
        let known = self.live.values().find(|known| known.uid == task.uid).ok_or("an alert about nothing live")?;
        let watchdog = task.spec.watchdog();
        let state = task.instance.as_ref().map(|instance| instance.state);
        let is_over = |since: Option<Mono>, after: Duration| since.is_some_and(|since| since + after <= now.mono);
        let right = match kind {
            AlertKind::LongRunningTask => is_over(known.work, watchdog.long_running_after()),
            AlertKind::SlowCancellation => {
                is_over(known.stop.as_ref().map(|stop| stop.signalled), watchdog.slow_cancellation_after())
            }
            AlertKind::AbortRequired => !self.commanded && state == Some(InstanceState::Aborting),
            AlertKind::AbortTimeout => state == Some(InstanceState::Stuck),
        };
        check(right, || format!("{kind:?} about {} without a reason", task.name))
    }

    /// An alert of a live instance is resolved for its reason only.
    pub(super) fn resolved(&self, kind: AlertKind, task: &Task) -> Checked {
        let known = self.live.values().find(|known| known.uid == task.uid).ok_or("an alert about nothing live")?;
        let in_time = known.took.is_some_and(|took| took < task.spec.watchdog().long_running_after());
        check(kind == AlertKind::LongRunningTask && in_time, || format!("{kind:?} of {} is resolved alive", task.name))
    }

    /// What must hold after every step; where `ticked`, what is due now has happened, too.
    pub(super) fn after(&mut self, view: &View, world: &World, ticked: bool, now: Now) -> Checked {
        self.live.retain(|id, _| world.actors.get(id).is_some_and(|actor| actor.alive()));
        let late = |due: Mono| due < now.mono || ticked && due == now.mono;
        for (id, known) in &self.live {
            let task = view.values().find(|task| task.uid == known.uid).ok_or("an instance without a task")?;
            let state = task.instance.as_ref().map(|instance| instance.state).ok_or("a task without its instance")?;
            let missed = |what: &str| format!("instance {id} of {} is {state:?}: {what}", task.name);
            let open = |kind| task.alerts.iter().any(|alert| alert.kind == kind);
            let watchdog = task.spec.watchdog();
            let starting = known.launched + task.spec.start_timeout();
            check(state != InstanceState::Starting || !late(starting), || missed("it had to be ready"))?;
            if known.work.is_some_and(|since| late(since + watchdog.long_running_after())) {
                check(open(AlertKind::LongRunningTask), || missed("its work takes long, and no alert says so"))?;
            }
            let in_time = known.took.is_some_and(|took| took < watchdog.long_running_after());
            check(known.work.is_some() || !in_time || !open(AlertKind::LongRunningTask), || {
                missed("its work was done in time, and an alert says otherwise")
            })?;
            let signal_follows = (state < InstanceState::Stopping) == known.stop.is_none();
            check(signal_follows, || missed("the signal and the state differ"))?;
            let Some(stop) = &known.stop else { continue };
            check(stop.aborted == (state >= InstanceState::Aborting), || missed("the abort and the state differ"))?;
            check(state > InstanceState::Stopping || !late(stop.grace), || missed("phase 1 is over"))?;
            check((state == InstanceState::Stuck) == late(stop.abort) || state == InstanceState::Stuck, || {
                missed("phase 2 is over")
            })?;
            check(state != InstanceState::Stuck || stop.abort <= now.mono, || missed("stuck before its time"))?;
            check(open(AlertKind::AbortRequired) == (stop.aborted && !stop.forced), || missed("abort_required"))?;
            check(open(AlertKind::AbortTimeout) == (state == InstanceState::Stuck), || missed("abort_timeout"))?;
            if late(stop.signalled + watchdog.slow_cancellation_after()) {
                check(open(AlertKind::SlowCancellation), || missed("it is slow, and no alert says so"))?;
            }
        }
        view.values().try_for_each(|task| self.in_time(task, late, now))
    }

    fn in_time(&self, task: &Task, late: impl Fn(Mono) -> bool, now: Now) -> Checked {
        let due = |time: Timestamp| now.mono + time.since(now.wall);
        let is_late = |time: Timestamp| time < now.wall || time == now.wall && late(due(time));
        if let Some(end) = task.end {
            check(!is_late(end.expire_time), || format!("{} is kept for too long", task.name))?;
        }
        if task.state == State::Pending && self.drain_bound.is_none() {
            let next = task.restart.next_time.ok_or_else(|| format!("{} waits for nothing", task.name))?;
            check(!is_late(next), || format!("{} had to be started again", task.name))?;
            check(task.restart.count <= task.spec.restart().max_restarts(), || {
                format!("{} is restarted once too often", task.name)
            })?;
        }
        Ok(())
    }
}
