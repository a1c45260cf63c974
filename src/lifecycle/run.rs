//! One run of a monitor, from its launch until it and its children have ended: the instance machine of lifecycle.md §1 and the
//! two-phase shutdown of §2.

use std::sync::Arc;
use std::time::Duration;

use super::io::RootEnd;
use super::relief::RELIEVED;
use super::restore::INTERRUPTED;
use crate::model::{
    Asked, Attempt, Cause, Exit, Generation, Instance, InstanceId, InstanceState, Mono, Now, Shutdown, TaskSpec,
    Timestamp,
};

/// A live instance.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) id: InstanceId,
    pub(super) spec: Arc<TaskSpec>,
    pub(super) phase: Phase,
    /// How the root ended, while children outlive it.
    pub(super) root: Option<RootEnd>,
    pub(super) work: Work,
    /// A failure before it is ready ends its task, whatever the restart policy says.
    pub(super) once: bool,
    /// Whether it marks its checks, so that one can be asked for.
    pub(super) marks_checks: bool,
    /// Whether its thread was given up because it blocks it.
    pub(super) lost: bool,
    /// Since when a poll of it has kept its thread, where that is too long and goes on.
    pub(super) blocked_since: Option<Timestamp>,
    /// Whether it lived under an earlier server, and has not been shown as ended yet.
    pub(super) past: bool,
    generation: Generation,
    attempt: Attempt,
    start_time: Timestamp,
    ready_time: Option<Timestamp>,
}

/// Where a run is.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    Starting,
    Ready,
    /// Phase 1, since it was asked. On the heap, as in all phases: there are many runs, and few of them stop.
    Stopping(Box<Stop>),
    /// Phase 2, since then.
    Aborting(Box<Stop>, Mono),
    /// Both phases have run out; phase 2 took this long.
    Stuck(Box<Stop>, Duration),
}

/// A shutdown under way: why, since when, and until when at the most. Both deadlines are absolute and only ever move nearer.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub(super) asked: Asked,
    pub(super) cause: Cause,
    since: Now,
    /// How long phase 1 took; set when it ends.
    graceful: Option<Duration>,
    /// The end of phase 1.
    pub(super) grace_deadline: Mono,
    /// The end of phase 2.
    pub(super) abort_deadline: Mono,
}

/// What the run is doing, for `long_running_task`. A monitor that marks no checks is one piece of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// When the present piece began; `None` between two checks.
    pub(super) since: Option<Mono>,
}

/// What asking a run to stop changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// It was running and is now in phase 1.
    Begun,
    /// It was stopping already.
    Joined,
}

impl Run {
    pub(super) fn new(id: InstanceId, spec: Arc<TaskSpec>, generation: Generation, attempt: Attempt, now: Now) -> Self {
        let work = Work { since: Some(now.mono) };
        Self {
            id,
            phase: Phase::Starting,
            root: None,
            work,
            once: false,
            marks_checks: spec.monitor().is_built_in(),
            lost: false,
            blocked_since: None,
            past: false,
            generation,
            attempt,
            start_time: now.wall,
            ready_time: None,
            spec,
        }
    }

    /// How long the present piece of work may take until LONG_RUNNING_TASK. A check that is given up after its timeout takes a moment
    /// longer than that: where the threshold is the timeout, as it is by default, that is no reason for an alert.
    pub(super) fn long_after(&self) -> Duration {
        let (after, timeout) = (self.spec.watchdog().long_running_after(), self.spec.schedule().timeout());
        if self.marks_checks && timeout <= after { after.max(timeout + timeout / 10) } else { after }
    }

    /// One that lived under an earlier server, as the log last showed it.
    pub(super) fn past(id: InstanceId, spec: Arc<TaskSpec>, instance: &Instance, now: Now) -> Self {
        let Instance { generation, attempt, state, start_time, ready_time, shutdown, blocked_since, .. } = *instance;
        let stop = || {
            let (asked, since) = shutdown.map_or((Asked::None, now.wall), |stop| (stop.asked, stop.asked_time));
            Box::new(Stop {
                asked,
                cause: Cause::system("restart", INTERRUPTED),
                since: Now { mono: now.mono, wall: since },
                graceful: shutdown.and_then(|stop| stop.graceful_duration),
                grace_deadline: now.mono,
                abort_deadline: now.mono,
            })
        };
        let phase = match state {
            InstanceState::Starting => Phase::Starting,
            InstanceState::Ready | InstanceState::Ended => Phase::Ready,
            InstanceState::Stopping => Phase::Stopping(stop()),
            InstanceState::Aborting => Phase::Aborting(stop(), now.mono),
            InstanceState::Stuck => {
                let took = shutdown.and_then(|stop| stop.abort_duration).unwrap_or_default();
                Phase::Stuck(stop(), took)
            }
        };
        let run = Self::new(id, spec, generation, attempt, now);
        Self { phase, start_time, ready_time, blocked_since, past: true, ..run }
    }

    /// The instance as clients see it.
    pub(super) fn instance(&self) -> Instance {
        let (state, stop, abort_duration) = match &self.phase {
            Phase::Starting => (InstanceState::Starting, None, None),
            Phase::Ready => (InstanceState::Ready, None, None),
            Phase::Stopping(stop) => (InstanceState::Stopping, Some(stop), None),
            Phase::Aborting(stop, _) => (InstanceState::Aborting, Some(stop), None),
            Phase::Stuck(stop, took) => (InstanceState::Stuck, Some(stop), Some(*took)),
        };
        Instance {
            generation: self.generation,
            attempt: self.attempt,
            state,
            start_time: self.start_time,
            ready_time: self.ready_time,
            stop_time: None,
            exit: None,
            shutdown: stop.map(|stop| Shutdown {
                asked: stop.asked,
                asked_time: stop.since.wall,
                graceful_duration: stop.graceful,
                abort_duration,
            }),
            blocked_since: self.blocked_since,
        }
    }

    /// The instance as clients see it once it has ended.
    pub(super) fn ended_instance(mut self, exit: Exit, now: Now) -> Instance {
        let mut abort_duration = None;
        self.blocked_since = None;
        match &mut self.phase {
            Phase::Starting | Phase::Ready => {}
            // When exactly it ended nobody knows.
            Phase::Stopping(_) | Phase::Aborting(..) if self.past => {}
            Phase::Stopping(stop) => stop.graceful = Some(now.mono.since(stop.since.mono)),
            Phase::Aborting(_, since) => abort_duration = Some(now.mono.since(*since)),
            Phase::Stuck(_, took) => abort_duration = Some(*took),
        }
        let mut instance = self.instance();
        if let Some(shutdown) = &mut instance.shutdown {
            shutdown.abort_duration = abort_duration;
        }
        Instance { state: InstanceState::Ended, stop_time: Some(now.wall), exit: Some(exit), ..instance }
    }

    pub(super) const fn generation(&self) -> Generation {
        self.generation
    }

    pub(super) const fn attempt(&self) -> Attempt {
        self.attempt
    }

    pub(super) fn stop(&self) -> Option<&Stop> {
        match &self.phase {
            Phase::Starting | Phase::Ready => None,
            Phase::Stopping(stop) | Phase::Aborting(stop, _) | Phase::Stuck(stop, _) => Some(stop),
        }
    }

    pub(super) const fn was_ready(&self) -> bool {
        self.ready_time.is_some()
    }

    pub(super) const fn is_stuck(&self) -> bool {
        matches!(self.phase, Phase::Stuck(..))
    }

    /// Whether its thread is not to be had back until it ends, or its poll returns.
    pub(super) const fn is_lost(&self) -> bool {
        self.lost || self.is_stuck()
    }

    /// Whether one of its polls keeps its thread for too long, as far as that is known.
    pub(super) const fn blocks(&self) -> bool {
        self.lost || self.blocked_since.is_some()
    }

    /// Why it was asked to stop, if it was.
    pub(super) fn asked(&self) -> Asked {
        self.stop().map_or(Asked::None, |stop| stop.asked)
    }

    pub(super) fn make_ready(&mut self, now: Now) {
        self.phase = Phase::Ready;
        self.ready_time = Some(now.wall);
    }

    /// `shutdown_task`, its first half: asks the run to stop, or draws the deadlines of a stop under way nearer; never away.
    /// The caller enters phase 2 when `grace_deadline` has come.
    pub(super) fn ask(&mut self, asked: Asked, cause: Cause, bound: Option<Mono>, now: Now) -> Asking {
        let (grace, abort) = (self.spec.shutdown().grace_timeout(), self.spec.shutdown().abort_timeout());
        let abort_deadline = bound.map_or(now.mono + grace + abort, |bound| bound.min(now.mono + grace + abort));
        let grace_deadline = (now.mono + grace).min(abort_deadline.before(abort));
        match &mut self.phase {
            Phase::Starting | Phase::Ready => {
                let stop = Stop { asked, cause, since: now, graceful: None, grace_deadline, abort_deadline };
                self.phase = Phase::Stopping(Box::new(stop));
                Asking::Begun
            }
            Phase::Stopping(stop) | Phase::Aborting(stop, _) | Phase::Stuck(stop, _) => {
                stop.grace_deadline = stop.grace_deadline.min(grace_deadline);
                stop.abort_deadline = stop.abort_deadline.min(abort_deadline);
                Asking::Joined
            }
        }
    }

    /// A cancel has joined a stop that something else had begun: what follows is the client's doing.
    pub(super) fn attribute(&mut self, cause: Cause) {
        if let Phase::Stopping(stop) | Phase::Aborting(stop, _) | Phase::Stuck(stop, _) = &mut self.phase {
            stop.cause = cause;
        }
    }

    /// Phase 1 ends without an exit: by its deadline or, where `forced`, because a client would not wait for that. False where
    /// it was not under way.
    pub(super) fn enter_abort(&mut self, forced: bool, now: Now) -> bool {
        let Phase::Stopping(stop) = &mut self.phase else { return false };
        stop.graceful = Some(now.mono.since(stop.since.mono));
        if forced {
            stop.grace_deadline = now.mono;
            stop.abort_deadline = stop.abort_deadline.min(now.mono + self.spec.shutdown().abort_timeout());
        }
        self.phase = Phase::Aborting(stop.clone(), now.mono);
        true
    }

    /// Phase 2 ends without an exit. False where it was not under way.
    pub(super) fn enter_stuck(&mut self, now: Now) -> bool {
        let Phase::Aborting(stop, since) = &self.phase else { return false };
        self.phase = Phase::Stuck(stop.clone(), now.mono.since(*since));
        true
    }

    /// How the run ended, from how its root and its children did (lifecycle.md §1).
    pub(super) fn exit(&self, root: RootEnd, child_aborted: bool) -> (Exit, String) {
        let aborting = matches!(self.phase, Phase::Aborting(..) | Phase::Stuck(..));
        match (root, self.asked()) {
            (RootEnd::Failed(message), _) => (Exit::Error, message),
            (RootEnd::Panicked(message), _) => (Exit::Panic, message),
            (RootEnd::Cancelled, _) if aborting => (Exit::Aborted, "it did not return, and was aborted".to_owned()),
            (RootEnd::Cancelled, _) => (Exit::Interrupted, "what it ran on has ended".to_owned()),
            (RootEnd::Displaced, _) => (Exit::Displaced, RELIEVED.to_owned()),
            (RootEnd::Interrupted, _) => (Exit::Interrupted, INTERRUPTED.to_owned()),
            (RootEnd::Returned, Asked::None) if self.may_complete() => (Exit::Completed, String::new()),
            (RootEnd::Returned, Asked::None) => {
                (Exit::Error, "it returned, though it had to run until it was asked to stop".to_owned())
            }
            (RootEnd::Returned, _) if child_aborted => {
                (Exit::Aborted, "it returned, but a child of it did not, and was aborted".to_owned())
            }
            (RootEnd::Returned, _) => (Exit::Graceful, String::new()),
        }
    }

    /// A built-in monitor runs until it is asked, unless its runs are counted.
    fn may_complete(&self) -> bool {
        !self.spec.monitor().is_built_in() || self.spec.schedule().max_runs().is_some()
    }
}

impl Stop {
    pub(super) const fn since(&self) -> Mono {
        self.since.mono
    }
}
