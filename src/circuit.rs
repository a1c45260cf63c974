//! A task's circuit breaker: a pure machine, one for each task. Evidence and time go in, transitions come out.
//!
//! - [`Circuit`]: the states, and what moves it from one to the next.
//! - `evidence`: what checks and callers tell, and what becomes of it.
//! - `window`, `passive`: the newest results of a closed circuit: those of the task's own checks, and those that callers report.
//! - `trial`: what has gone well while half open, and the leases for trial calls.
//! - `permission`: whether a caller may call, also where an operator has decided it.
//! - `flapping`: whether checks contradict each other so often that it is not worth telling people of each step.
//! - `snapshot`: what is shown and stored, and a circuit made of that.
//! - `stopwatch`: the time spent in a state; it stands while no instance is ready.
//!
//! Its owner draws the chance, reads the clocks, holds the policy (the spec's), and calls [`Circuit::settle`] when
//! [`Circuit::next_due`] has come. A circuit never holds back a check: it says what is known, and clients act on it.
//!
//! # Invariants, as absences
//!
//! - No epoch is used twice; each transition and reset begins a new one.
//! - No result that was begun under another epoch changes anything, nor does one that comes while the circuit is suspended.
//! - No good or neutral result opens a circuit; no bad one closes it.
//! - No circuit stays open for longer than `open_max`, or half open for longer than `half_open_max`, while an instance is
//!   ready: time alone moves it on.
//! - Nothing but a shorter policy moves the end of an open period, and then only to an earlier time.
//! - No more calls than `trial_concurrency` have a lease at once, no more than `trial_permits` have one or have gone well; no lease
//!   counts twice, none counts after its time, and no call without one counts while half open.
//! - No circuit that callers' outcomes opened closes for checks alone, but by the deadline of its trial, or where the policy asks
//!   for no trial calls.
//! - No override moves the machine beneath it.
//! - Nothing depends on the wall clock; a clock that goes backwards counts as one that stands.

mod evidence;
mod flapping;
mod passive;
mod permission;
mod snapshot;
mod stopwatch;
mod trial;
mod window;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::model::{CircuitPolicy, CircuitReason, CircuitState, Epoch, EvidenceSource, Mono, Now, Timestamp};
use flapping::Flapping;
use passive::PassiveWindow;
use permission::Overriding;
use stopwatch::Stopwatch;
use trial::Trial;
use window::Window;

/// A step from one state to the next. A reset may lead from `Closed` to `Closed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transition {
    /// The state before.
    pub from: CircuitState,
    /// The state after.
    pub to: CircuitState,
    /// Why; for the step to half open, why the circuit had opened.
    pub reason: CircuitReason,
}

/// A circuit breaker: its state, and the evidence that it has under its present epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Circuit {
    phase: Phase,
    stopwatch: Stopwatch,
    epoch: Epoch,
    since_time: Timestamp,
    last_seen: Mono,
    streak: u8,
    reason: Option<CircuitReason>,
    trip_source: Option<EvidenceSource>,
    flapping: Flapping,
    overriding: Option<Box<Overriding>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Closed {
        window: Window,
        /// It is there from the first outcome on: few circuits have any.
        passive: Option<Box<PassiveWindow>>,
        /// How long the stable period lasts that was under way at a retune; `None`: as long as the policy says. Few have any.
        stable: Option<Box<Duration>>,
    },
    Open {
        lasts: Duration,
        reason: CircuitReason,
    },
    HalfOpen(Box<Trial>),
}

impl Phase {
    fn closed() -> Self {
        Self::Closed { window: Window::default(), passive: None, stable: None }
    }
}

impl Circuit {
    /// A closed circuit, suspended until an instance is ready, in epoch 1.
    pub fn new(now: Now) -> Self {
        Self {
            phase: Phase::closed(),
            stopwatch: Stopwatch::Stopped { elapsed: Duration::ZERO },
            epoch: Epoch::new(1),
            since_time: now.wall,
            last_seen: now.mono,
            streak: 0,
            reason: None,
            trip_source: None,
            flapping: Flapping::default(),
            overriding: None,
        }
    }

    /// Does what time demands: to be called when [`Circuit::next_due`] has come; every report begins with it. However late it
    /// comes, it makes one transition at the most.
    ///
    /// `chance`, here and elsewhere, is a number from 0 up to but not including 1, drawn anew for each call.
    pub fn settle(&mut self, policy: &CircuitPolicy, chance: f64, now: Now) -> Option<Transition> {
        let now = self.clamp(now);
        if let Phase::HalfOpen(trial) = &mut self.phase {
            trial.expire(now.mono);
        }
        if self.stopwatch.is_stopped() {
            return None;
        }
        let stopwatch = self.stopwatch;
        let is_over = |lasts: Duration| stopwatch.elapsed(now) >= lasts;
        match &self.phase {
            Phase::Closed { .. } => {
                self.decay(policy, now);
                None
            }
            Phase::Open { lasts, reason } => is_over(*lasts).then_some(*reason).map(|reason| {
                let trial = Trial::new(policy.half_open_max());
                self.go(Phase::HalfOpen(Box::new(trial)), reason, now)
            }),
            Phase::HalfOpen(trial) => is_over(trial.lasts).then_some(u32::from(trial.active)).map(|passed| {
                if passed >= policy.close_successes() {
                    self.close(CircuitReason::Waived, policy, now)
                } else {
                    self.open(CircuitReason::Inconclusive, policy, chance, now)
                }
            }),
        }
    }

    /// No instance is ready any more: the state stays, and its time stands still.
    pub fn suspend(&mut self, now: Now) {
        let now = self.clamp(now);
        self.stopwatch.stop(now);
    }

    /// An instance is ready: the state's time goes on where it stood.
    pub fn resume(&mut self, now: Now) {
        let now = self.clamp(now);
        self.stopwatch.resume(now);
    }

    /// The thresholds change, the target does not. State, epoch, streak and evidence stay. Of a period no more is left than
    /// the new policy gives one that begins now, and none ends later; nothing opens or closes before time or evidence says so.
    pub fn retune(&mut self, from: &CircuitPolicy, to: &CircuitPolicy, now: Now) {
        let now = self.clamp(now);
        self.decay(from, now);
        let elapsed = self.stopwatch.elapsed(now);
        match &mut self.phase {
            Phase::Closed { window, passive, stable } => {
                let period = stable.as_deref().copied().unwrap_or_else(|| from.stable_for());
                let period = period.min(elapsed + to.stable_for());
                *stable = (self.streak > 0 && period != to.stable_for()).then(|| Box::new(period));
                window.fit(to);
                if let Some(passive) = passive {
                    passive.fit(to.passive());
                }
            }
            Phase::Open { lasts, .. } => *lasts = (*lasts).min(elapsed + back_off(self.streak, to)),
            Phase::HalfOpen(trial) => trial.lasts = trial.lasts.min(elapsed + to.half_open_max()),
        }
    }

    /// The target has changed: nothing that is known of the old one counts. Whether the circuit is suspended stays.
    pub fn reset(&mut self, now: Now) -> Transition {
        let now = self.clamp(now);
        (self.streak, self.trip_source, self.flapping) = (0, None, Flapping::default());
        self.go(Phase::closed(), CircuitReason::Reset, now)
    }

    /// When [`Circuit::settle`] is to be called; `None` while closed or suspended.
    pub fn next_due(&self) -> Option<Mono> {
        self.lasts().and_then(|lasts| self.stopwatch.due(lasts))
    }

    /// The time that the present state has, if that ends by itself.
    const fn lasts(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Closed { .. } => None,
            Phase::Open { lasts, .. } => Some(*lasts),
            Phase::HalfOpen(trial) => Some(trial.lasts),
        }
    }

    /// The state.
    pub const fn state(&self) -> CircuitState {
        match self.phase {
            Phase::Closed { .. } => CircuitState::Closed,
            Phase::Open { .. } => CircuitState::Open,
            Phase::HalfOpen(_) => CircuitState::HalfOpen,
        }
    }

    /// What a check that begins now is to bear.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Time does not go backwards.
    fn clamp(&mut self, now: Now) -> Now {
        self.last_seen = self.last_seen.max(now.mono);
        Now { mono: self.last_seen, wall: now.wall }
    }

    /// A closed circuit's streak shrinks by one for each stable period.
    fn decay(&mut self, policy: &CircuitPolicy, now: Now) {
        let (Phase::Closed { stable, .. }, Stopwatch::Running { since }) = (&mut self.phase, &mut self.stopwatch)
        else {
            return;
        };
        if policy.stable_for().is_zero() {
            (self.streak, *stable) = (0, None);
        }
        while self.streak > 0 {
            let period = stable.as_deref().copied().unwrap_or_else(|| policy.stable_for());
            if now.mono.since(since.mono) < period {
                break;
            }
            self.streak -= 1;
            *since = Now { mono: since.mono + period, wall: since.wall + period };
            *stable = None;
        }
    }

    fn open(&mut self, reason: CircuitReason, policy: &CircuitPolicy, chance: f64, now: Now) -> Transition {
        if reason == CircuitReason::Failure {
            let streak = (u32::from(self.streak) + 1).min(policy.streak_cap());
            self.streak = u8::try_from(streak).unwrap_or(u8::MAX);
        }
        // Chance only shortens: nothing exceeds `open_max`, and clients of many circuits spread out below it.
        let lasts = back_off(self.streak, policy).mul_f64(1.0 - policy.jitter() * chance);
        self.go(Phase::Open { lasts, reason }, reason, now)
    }

    fn close(&mut self, reason: CircuitReason, policy: &CircuitPolicy, now: Now) -> Transition {
        if policy.stable_for().is_zero() {
            self.streak = 0;
        }
        self.go(Phase::closed(), reason, now)
    }

    /// The one place where the state changes.
    fn go(&mut self, phase: Phase, reason: CircuitReason, now: Now) -> Transition {
        let from = self.state();
        self.phase = phase;
        self.stopwatch.restart(now);
        self.epoch = self.epoch.next();
        self.since_time = now.wall;
        self.reason = Some(reason);
        Transition { from, to: self.state(), reason }
    }
}

/// How long the circuit stays open at this streak, chance aside.
fn back_off(streak: u8, policy: &CircuitPolicy) -> Duration {
    let growth = policy.multiplier().powi(i32::from(streak.max(1)) - 1);
    let most = policy.open_max();
    // Compared before it is a duration: the growth of a long streak is longer than any.
    let seconds = policy.open_base().as_secs_f64() * growth;
    if seconds < most.as_secs_f64() { Duration::from_secs_f64(seconds) } else { most }
}
