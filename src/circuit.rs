//! A task's circuit breaker: a pure machine, one for each task. Evidence and time go in, transitions come out.
//!
//! - [`Circuit`]: the states, and what moves it from one to the next.
//! - `window`: the newest results of a closed circuit.
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
//! - Nothing depends on the wall clock; a clock that goes backwards counts as one that stands.

mod stopwatch;
mod window;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::model::{
    CircuitPolicy, CircuitReason, CircuitState, CircuitStatus, Epoch, Mono, Now, Timestamp, Verdict, WindowCounts,
};
use stopwatch::Stopwatch;
use window::{Mark, Window};

/// A finished check, as evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The circuit's epoch when the check began.
    pub epoch: Epoch,
    /// What it found.
    pub verdict: Verdict,
    /// How long it took.
    pub latency: Duration,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disposition {
    /// It counted, or would have: an open circuit waits for time alone.
    Accepted,
    /// It came too late, or while no instance was ready; it changed nothing.
    Stale,
    /// It says nothing of the target; it changed nothing.
    Neutral,
}

/// A step from one state to the next. A reset may lead from `Closed` to `Closed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: CircuitState,
    /// The state after.
    pub to: CircuitState,
    /// Why; for the step to half open, why the circuit had opened.
    pub reason: CircuitReason,
}

/// A circuit breaker: its state, and the evidence that it has under its present epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circuit {
    phase: Phase,
    stopwatch: Stopwatch,
    epoch: Epoch,
    since_time: Timestamp,
    last_seen: Mono,
    streak: u8,
    reason: Option<CircuitReason>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Closed { window: Window },
    Open { lasts: Duration, reason: CircuitReason },
    HalfOpen { lasts: Duration, passed: u8 },
}

impl Circuit {
    /// A closed circuit, suspended until an instance is ready, in epoch 1.
    pub fn new(now: Now) -> Self {
        Self {
            phase: Phase::Closed { window: Window::default() },
            stopwatch: Stopwatch::Stopped { elapsed: Duration::ZERO },
            epoch: Epoch::new(1),
            since_time: now.wall,
            last_seen: now.mono,
            streak: 0,
            reason: None,
        }
    }

    /// The circuit of a task that an earlier server had, from what was last known of it, at `last_seen`: suspended until an instance
    /// is ready, in a new epoch and with nothing counted. What is left of an open span goes on then; a trial begins anew.
    pub fn restore(status: &CircuitStatus, policy: &CircuitPolicy, last_seen: Timestamp, now: Now) -> Self {
        let left = status.left.or_else(|| status.open_until.map(|until| until.since(last_seen)));
        let reason = status.reason.unwrap_or(CircuitReason::Failure);
        let (phase, since_time) = match status.state {
            CircuitState::Closed => (Phase::Closed { window: Window::default() }, status.since_time),
            CircuitState::Open => {
                let lasts = left.unwrap_or_default().min(policy.open_max());
                (Phase::Open { lasts, reason }, status.since_time)
            }
            CircuitState::HalfOpen => (Phase::Open { lasts: Duration::ZERO, reason }, now.wall),
        };
        Self {
            phase,
            stopwatch: Stopwatch::Stopped { elapsed: Duration::ZERO },
            epoch: status.epoch.next(),
            since_time,
            last_seen: now.mono,
            streak: u8::try_from(status.streak).unwrap_or(u8::MAX),
            reason: status.reason,
        }
    }

    /// Does what time demands: to be called when [`Circuit::next_due`] has come; every report begins with it. However late it
    /// comes, it makes one transition at the most.
    ///
    /// `chance`, here and elsewhere, is a number from 0 up to but not including 1, drawn anew for each call.
    pub fn settle(&mut self, policy: &CircuitPolicy, chance: f64, now: Now) -> Option<Transition> {
        let now = self.clamp(now);
        if self.stopwatch.is_stopped() {
            return None;
        }
        let elapsed = self.stopwatch.elapsed(now);
        match self.phase {
            Phase::Closed { .. } => {
                self.decay(policy, now);
                None
            }
            Phase::Open { lasts, reason } => (elapsed >= lasts).then(|| {
                let half_open = Phase::HalfOpen { lasts: policy.half_open_max(), passed: 0 };
                self.go(half_open, reason, now)
            }),
            Phase::HalfOpen { lasts, passed } => (elapsed >= lasts).then(|| {
                if u32::from(passed) >= policy.close_successes() {
                    self.close(CircuitReason::Waived, policy, now)
                } else {
                    self.open(CircuitReason::Inconclusive, policy, chance, now)
                }
            }),
        }
    }

    /// Takes in a finished check. One that made an instance ready counts only after [`Circuit::resume`].
    pub fn report(
        &mut self,
        sample: Sample,
        policy: &CircuitPolicy,
        chance: f64,
        now: Now,
    ) -> (Disposition, Option<Transition>) {
        let settled = self.settle(policy, chance, now);
        let now = self.clamp(now);
        // A transition that was due begins a new epoch, so there is never a second one.
        if sample.epoch != self.epoch || self.stopwatch.is_stopped() {
            return (Disposition::Stale, settled);
        }
        let failed = match sample.verdict {
            Verdict::Pass => false,
            Verdict::Fail => true,
            Verdict::Neutral => return (Disposition::Neutral, settled),
        };
        let slow = policy.slow_threshold().is_some_and(|threshold| sample.latency > threshold);
        let transition = self.count(Mark::new(failed, slow), policy, chance, now);
        (Disposition::Accepted, settled.or(transition))
    }

    fn count(&mut self, mark: Mark, policy: &CircuitPolicy, chance: f64, now: Now) -> Option<Transition> {
        match &mut self.phase {
            Phase::Closed { window } => {
                window.push(mark, policy);
                let trips = mark.bad() && window.trips(policy);
                trips.then(|| self.open(CircuitReason::Failure, policy, chance, now))
            }
            Phase::Open { .. } => None,
            Phase::HalfOpen { .. } if mark.bad() => Some(self.open(CircuitReason::Failure, policy, chance, now)),
            Phase::HalfOpen { passed, .. } => {
                *passed = passed.saturating_add(1);
                let enough = u32::from(*passed) >= policy.close_successes();
                enough.then(|| self.close(CircuitReason::Recovered, policy, now))
            }
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

    /// The thresholds change, the target does not. State, epoch, streak and evidence stay; a period that the new policy would
    /// have made shorter ends earlier, none ends later, and nothing opens or closes before time or evidence says so.
    pub fn retune(&mut self, from: &CircuitPolicy, to: &CircuitPolicy, now: Now) {
        let now = self.clamp(now);
        self.decay(from, now);
        let elapsed = self.stopwatch.elapsed(now);
        match &mut self.phase {
            Phase::Closed { window } => window.fit(to),
            Phase::Open { lasts, .. } => *lasts = (*lasts).min(elapsed + back_off(self.streak, to)),
            Phase::HalfOpen { lasts, .. } => *lasts = (*lasts).min(elapsed + to.half_open_max()),
        }
    }

    /// The target has changed: nothing that is known of the old one counts. Whether the circuit is suspended stays.
    pub fn reset(&mut self, now: Now) -> Transition {
        let now = self.clamp(now);
        self.streak = 0;
        self.go(Phase::Closed { window: Window::default() }, CircuitReason::Reset, now)
    }

    /// When [`Circuit::settle`] is to be called; `None` while closed or suspended.
    pub fn next_due(&self) -> Option<Mono> {
        match self.phase {
            Phase::Closed { .. } => None,
            Phase::Open { lasts, .. } | Phase::HalfOpen { lasts, .. } => self.stopwatch.due(lasts),
        }
    }

    /// The circuit as clients see it.
    pub fn status(&self) -> CircuitStatus {
        CircuitStatus {
            state: self.state(),
            suspended: self.stopwatch.is_stopped(),
            epoch: self.epoch,
            since_time: self.since_time,
            reason: self.reason,
            open_until: match self.phase {
                Phase::Open { lasts, .. } => self.stopwatch.due_time(lasts),
                Phase::Closed { .. } | Phase::HalfOpen { .. } => None,
            },
            left: match (&self.phase, &self.stopwatch) {
                (Phase::Open { lasts, .. }, Stopwatch::Stopped { elapsed }) => Some(lasts.saturating_sub(*elapsed)),
                _ => None,
            },
            streak: self.streak.into(),
        }
    }

    /// The state.
    pub const fn state(&self) -> CircuitState {
        match self.phase {
            Phase::Closed { .. } => CircuitState::Closed,
            Phase::Open { .. } => CircuitState::Open,
            Phase::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    /// What a check that begins now is to bear.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The evidence so far.
    pub fn counts(&self) -> WindowCounts {
        match &self.phase {
            Phase::Closed { window } => window.counts(),
            Phase::Open { .. } => WindowCounts::default(),
            Phase::HalfOpen { passed, .. } => WindowCounts { results: u32::from(*passed), ..WindowCounts::default() },
        }
    }

    /// Time does not go backwards.
    fn clamp(&mut self, now: Now) -> Now {
        self.last_seen = self.last_seen.max(now.mono);
        Now { mono: self.last_seen, wall: now.wall }
    }

    /// A closed circuit's streak shrinks by one for each stable period.
    fn decay(&mut self, policy: &CircuitPolicy, now: Now) {
        let (Phase::Closed { .. }, Stopwatch::Running { since }) = (&self.phase, &mut self.stopwatch) else { return };
        let period = policy.stable_for();
        if period.is_zero() {
            self.streak = 0;
        }
        while self.streak > 0 && now.mono.since(since.mono) >= period {
            self.streak -= 1;
            *since = Now { mono: since.mono + period, wall: since.wall + period };
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
        self.go(Phase::Closed { window: Window::default() }, reason, now)
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
