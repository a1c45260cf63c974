//! The task manager's decisions: a pure, synchronous machine. [`Lifecycle::step`] takes what has happened and says what to do.
//!
//! It owns the state of all tasks. Everything that would make a decision irreproducible is an argument: time comes with each
//! input, uids and jitter from a [`Chance`], and its maps are ordered. So every decision can be simulated from a seed.
//!
//! - `io`: inputs and effects.
//! - `commands`: what clients ask for.
//! - `run`: one instance. `shutdown`: how it is stopped, in two phases. `supervise`: what follows when instances move, end and are
//!   started again. `next`: what becomes of a task then.
//! - `plan`: what has to be done to have an owner's tasks as it wants them.
//! - `swap`: one spec in another's place while it runs. `circuits`: what drives each task's circuit. `callers`: what callers ask
//!   of it and tell it, and what operators decide over it.
//! - `restore`: what an earlier server has left.
//! - `pauses`: tasks that rest, and checks made on demand. `relief`: polls that block their thread, and who is in their way.
//! - `watchdog`: the alerts.
//! - `admission`: what is refused while the journal takes nothing in, and what is put off until it does.
//! - `entry`: a task as the loop holds it. `record`: the one place where a task's status changes and yields its event.
//! - `timers`, `idempotency`: what they say.
//!
//! Rules: lifecycle.md §1, §2, §5, §6 and §7.

mod admission;
mod callers;
mod circuits;
mod commands;
mod entry;
mod idempotency;
mod io;
mod next;
mod pauses;
mod plan;
mod record;
mod relief;
mod restore;
mod run;
mod shutdown;
mod supervise;
mod swap;
mod timers;
mod watchdog;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use io::{Call, Chance, Command, Effect, Input, Launch, Reply, RootEnd};
pub use plan::{Step, is_excess, next_step, plan};
pub use restore::Past;

use crate::model::{Asked, Cause, InstanceId, Mono, Now, Sequence, TaskName, TaskSpec, Timestamp, Uid};
use admission::Intake;
use entry::Entry;
use idempotency::Requests;
use record::{Change, Log};
use restore::Orphans;
use timers::{Timer, Timers};

/// Every task, and what is to be done about it.
#[derive(Debug)]
pub struct Lifecycle<C> {
    tasks: BTreeMap<Uid, Entry>,
    names: BTreeMap<TaskName, Uid>,
    runs: BTreeMap<InstanceId, Uid>,
    /// The tasks whose swaps wait for a candidate to be built.
    candidates: BTreeMap<InstanceId, Uid>,
    orphans: Orphans,
    /// The one that is being closed.
    closing: Option<Uid>,
    /// Over how long the first checks of theirs are spread.
    restart_spread: Duration,
    /// When it went on where an earlier server had ended: what was due by then, was due while no server ran.
    began: Timestamp,
    stuck: usize,
    /// Instances that are stuck, or have a thread to themselves because they block it.
    lost: usize,
    timers: Timers,
    requests: Requests,
    log: Log,
    last_instance: InstanceId,
    /// Since which place in the log it drains.
    draining: Option<Sequence>,
    intake: Intake,
    limits: Limits,
    chance: C,
}

/// What there may be at the most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tasks, ended ones included.
    pub max_tasks: usize,
    /// Instances that are stuck or keep a thread to themselves by blocking it, when the next start or swap of a custom kind comes.
    pub max_stuck: usize,
}

impl<C: Chance> Lifecycle<C> {
    /// Without tasks, at the journal's `head`.
    pub fn new(head: Sequence, limits: Limits, chance: C) -> Self {
        Self {
            tasks: BTreeMap::new(),
            names: BTreeMap::new(),
            runs: BTreeMap::new(),
            candidates: BTreeMap::new(),
            orphans: Orphans::new(),
            closing: None,
            restart_spread: Duration::ZERO,
            began: Timestamp::default(),
            stuck: 0,
            lost: 0,
            timers: Timers::default(),
            requests: Requests::default(),
            log: Log { head, effects: Vec::new() },
            last_instance: InstanceId::default(),
            draining: None,
            intake: Intake::default(),
            limits,
            chance,
        }
    }

    /// Decides what follows from an input. The effects are to be executed in their order.
    pub fn step(&mut self, input: Input, now: Now) -> Vec<Effect> {
        match input {
            Input::Command(command) => self.command(command, now),
            Input::Call(call) => self.on_call(call, now),
            Input::Ready(id) => self.on_ready(id, now),
            Input::CheckBegan(id, at) => self.on_check_began(id, at),
            Input::CheckEnded(id, at, evidence) => {
                self.on_check_ended(id, at, now);
                self.on_evidence(id, evidence, now);
            }
            Input::Built(id, built) => self.on_built(id, built, now),
            Input::Committed(id) => self.on_committed(id, now),
            Input::RootEnded { instance, end, children } => self.on_root_ended(instance, end, children, now),
            Input::ChildrenEnded { instance, aborted } => self.on_children_ended(instance, aborted, now),
            Input::PollBlocked(id, since) => self.on_poll_blocked(id, since, now),
            Input::PollReturned(id) => self.on_poll_returned(id, now),
            Input::Stalled { culprit, displaced } => self.on_stalled(culprit, displaced, now),
            Input::HeldUp(id) => self.on_held_up(id, now),
            Input::Adopt => self.adopt(now),
            Input::Drain { bound, cause } => self.drain(bound, cause, now),
            Input::Admission(admission) => self.on_admission(admission, now),
            Input::Tick => self.tick(now),
        }
        std::mem::take(&mut self.log.effects)
    }

    /// When the next [`Input::Tick`] is due.
    pub fn next_due(&self) -> Option<Mono> {
        self.timers.next_due()
    }

    /// Live instances, stuck ones included.
    pub fn live(&self) -> usize {
        self.runs.len()
    }

    /// Instances that have outlived both phases of their shutdown.
    pub const fn stuck(&self) -> usize {
        self.stuck
    }

    /// What a live instance runs.
    pub fn spec(&self, id: InstanceId) -> Option<&Arc<TaskSpec>> {
        let entry = self.tasks.get(self.runs.get(&id)?)?;
        entry.run(id).map(|run| &run.spec)
    }

    /// Whose phase of a shutdown runs out with the next [`Input::Tick`]. Whoever feeds that says first which of them were
    /// [held up](Input::HeldUp).
    pub fn running_out(&self, now: Mono) -> Vec<InstanceId> {
        let phases = self.timers.due_by(now).filter_map(|timer| match timer {
            Timer::Grace(id) | Timer::Abort(id) => Some(id),
            _ => None,
        });
        phases.collect()
    }

    /// The place right behind what has been appended.
    pub const fn head(&self) -> Sequence {
        self.log.head
    }

    /// Whether a drain was asked for.
    pub const fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// The place in the log right after a drain began; the head as long as none has.
    pub const fn draining_since(&self) -> Sequence {
        match self.draining {
            Some(since) => since,
            None => self.log.head,
        }
    }

    /// Whether so many instances are stuck, or block a thread that was given up for them, that no more may be put at risk.
    pub const fn is_at_stuck_limit(&self) -> bool {
        self.lost >= self.limits.max_stuck
    }

    /// Whether a drain was asked for and has nothing left to wait for: what lives is stuck.
    pub fn is_drained(&self) -> bool {
        self.draining.is_some() && self.live() == self.stuck
    }

    fn tick(&mut self, now: Now) {
        while let Some(timer) = self.timers.pop_due(now.mono) {
            if !self.is_admitted(timer) {
                self.timers.put_off(timer);
                continue;
            }
            match timer {
                Timer::StartTimeout(id) => self.on_start_timeout(id, now),
                Timer::Grace(id) => self.on_grace_over(id, now),
                Timer::Abort(id) => self.on_abort_over(id, now),
                Timer::SlowCancellation(id) => self.on_slow_cancellation(id, now),
                Timer::LongRunning(id) => self.on_long_running(id, now),
                Timer::Healthy(id) => self.on_healthy(id, now),
                Timer::Restart(uid) => self.on_restart_due(uid, now),
                Timer::PauseExpires(uid) => self.on_pause_expired(uid, now),
                Timer::Observed(uid) => self.on_observed(uid),
                Timer::Circuit(uid) => self.on_circuit_due(uid, now),
                Timer::Override(uid) => self.on_override_due(uid, now),
                Timer::Expire(uid) => self.on_expired(uid, now),
            }
        }
    }

    fn drain(&mut self, bound: Mono, cause: Cause, now: Now) {
        if self.draining.is_some() {
            return;
        }
        self.log.record_draining(now, cause);
        self.draining = Some(self.log.head);
        let swapped: Vec<_> =
            self.tasks.iter().filter(|(_, entry)| entry.swap.is_some()).map(|(uid, _)| *uid).collect();
        for uid in swapped {
            self.abandon_swap(uid, "the server drains", now);
        }
        let live: Vec<_> = self.runs.keys().copied().collect();
        for id in live {
            let cause = Cause::system("drain", "the server drains");
            self.shutdown_task(id, Asked::Drain, cause, Some(bound), now);
        }
    }

    /// Applies a change to a task and appends its event.
    fn record(&mut self, uid: Uid, cause: Cause, change: Change, now: Now) {
        let Some(entry) = self.tasks.get_mut(&uid) else { return };
        self.log.record(entry, now, cause, change);
        if !entry.is_observed() {
            self.timers.clear(Timer::Observed(uid));
        }
        self.set_circuit_timer(uid);
    }

    /// The task that an instance belongs to; `None` once the instance has ended, which is what fences late facts off.
    fn entry_of(&mut self, id: InstanceId) -> Option<(Uid, &mut Entry)> {
        let uid = *self.runs.get(&id)?;
        Some((uid, self.tasks.get_mut(&uid)?))
    }
}
