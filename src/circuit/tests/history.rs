//! Random histories of a circuit: what it was told, and what it was before and after.

use proptest::prelude::*;

use super::*;
use CircuitState::HalfOpen;

/// One thing that a circuit is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    Settle,
    Report(Sample),
    Suspend,
    Resume,
    Retune(CircuitPolicy),
    Reset,
}

/// An input, and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) input: Input,
    /// The one in force; where the input is a retune, until then.
    pub(super) policy: CircuitPolicy,
    pub(super) chance: f64,
    pub(super) now: Now,
    pub(super) before: Circuit,
    pub(super) after: Circuit,
    pub(super) disposition: Option<Disposition>,
    pub(super) transition: Option<Transition>,
}

impl Turn {
    fn take(circuit: &mut Circuit, input: Input, policy: CircuitPolicy, chance: f64, now: Now) -> Self {
        let before = circuit.clone();
        let (disposition, transition) = tell(circuit, &input, &policy, chance, now);
        Self { input, policy, chance, now, before, after: circuit.clone(), disposition, transition }
    }

    /// What time alone would have made of the circuit.
    pub(super) fn settled(&self) -> (Circuit, Option<Transition>) {
        let mut circuit = self.before.clone();
        let transition = circuit.settle(&self.policy, self.chance, self.now);
        (circuit, transition)
    }

    /// The sample, if it was taken in as evidence. Thought out anew: it bears the epoch that stands once time has had its due,
    /// an instance is ready, and it says something.
    pub(super) fn evidence(&self) -> Option<Sample> {
        let Input::Report(sample) = self.input else { return None };
        let settled = self.settled().0.status();
        let counts = !settled.suspended && sample.epoch == settled.epoch && sample.verdict != Verdict::Neutral;
        counts.then_some(sample)
    }

    pub(super) fn is_bad(&self, sample: &Sample) -> bool {
        sample.verdict == Verdict::Fail || self.is_slow(sample)
    }

    pub(super) fn is_slow(&self, sample: &Sample) -> bool {
        self.policy.slow_threshold().is_some_and(|threshold| sample.latency > threshold)
    }
}

/// Tells a circuit something.
pub(super) fn tell(
    circuit: &mut Circuit,
    input: &Input,
    policy: &CircuitPolicy,
    chance: f64,
    now: Now,
) -> (Option<Disposition>, Option<Transition>) {
    match input {
        Input::Settle => (None, circuit.settle(policy, chance, now)),
        Input::Report(sample) => {
            let (disposition, transition) = circuit.report(*sample, policy, chance, now);
            (Some(disposition), transition)
        }
        Input::Suspend => {
            circuit.suspend(now);
            (None, None)
        }
        Input::Resume => {
            circuit.resume(now);
            (None, None)
        }
        Input::Retune(to) => {
            circuit.retune(policy, to, now);
            (None, None)
        }
        Input::Reset => (None, Some(circuit.reset(now))),
    }
}

/// Everything that happened to a circuit that began with a ready instance.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) turns: Vec<Turn>,
    /// The policy and the time at the end.
    pub(super) policy: CircuitPolicy,
    pub(super) now: Now,
}

impl History {
    fn new(policies: &[[u8; 15]], steps: &[(u8, u8, u8)]) -> Self {
        let policies: Vec<CircuitPolicy> = policies.iter().map(some_policy).collect();
        let now =
            Now { mono: Mono::from_nanos(1_000_000_000_000), wall: Timestamp::from_nanos(1_700_000_000_000_000_000) };
        let mut circuit = Circuit::new(now);
        circuit.resume(now);
        let mut history = Self { turns: Vec::new(), policy: policies[0], now };
        for step in steps {
            history.step(&mut circuit, &policies, *step);
        }
        history
    }

    /// The circuit at the end.
    pub(super) fn circuit(&self) -> Option<Circuit> {
        self.turns.last().map(|turn| turn.after.clone())
    }

    /// About half of the steps are results, and a third lets time pass.
    fn step(&mut self, circuit: &mut Circuit, policies: &[CircuitPolicy], (kind, a, b): (u8, u8, u8)) {
        let (small, chance) = (u32::from(a), f64::from(b) / 256.0);
        let mut now = self.now;
        let input = match kind % 16 {
            0..=6 => Input::Report(some_sample(circuit, a, b)),
            7..=8 => {
                now = self.wait(small * 8 * MS);
                Input::Settle
            }
            9..=10 => {
                let left = circuit.next_due().map_or(100 * MS, |due| due.since(self.now.mono));
                now = self.wait(left);
                if a < 128 { Input::Settle } else { Input::Report(some_sample(circuit, a, b)) }
            }
            11 => {
                now.mono = now.mono.before(small * 10 * MS);
                Input::Settle
            }
            12 if a < 80 => Input::Suspend,
            12 => Input::Resume,
            13..=14 => Input::Retune(policies[usize::from(a) % policies.len()]),
            _ if a < 64 => Input::Reset,
            _ => {
                now = self.wait(small * 8 * MS);
                Input::Resume
            }
        };
        self.turns.push(Turn::take(circuit, input, self.policy, chance, now));
        if let Input::Retune(to) = input {
            self.policy = to;
        }
    }

    fn wait(&mut self, span: Duration) -> Now {
        self.now = Now { mono: self.now.mono + span, wall: self.now.wall + span };
        self.now
    }
}

/// A result; one in eight is of an older epoch.
fn some_sample(circuit: &Circuit, a: u8, b: u8) -> Sample {
    // Most results of a trial are good, or few would get far.
    let failures = if circuit.state() == HalfOpen { 1 } else { 3 };
    let verdict = match a % 8 {
        7 => Verdict::Neutral,
        n if n < failures => Verdict::Fail,
        _ => Verdict::Pass,
    };
    let latency = [10, 10, 50, 51][usize::from(b) % 4] * MS;
    let back = if b < 32 { u64::from(a / 8 % 4) + 1 } else { 0 };
    Sample { epoch: Epoch::new(circuit.epoch().get().saturating_sub(back)), verdict, latency }
}

/// A policy whose thresholds are low, so that short histories reach them.
fn some_policy(bytes: &[u8; 15]) -> CircuitPolicy {
    let [row, window, least, failed, slow, threshold, base, max, growth, jitter, passes, trial, half, stable, cap] =
        bytes.map(u32::from);
    let rate = |byte: u32| Some([0, 1, 2_500, 5_000, 10_000][byte as usize % 5]);
    let window = 1 + window % 8;
    let base = (1 + base % 10) * 100 * MS;
    let (passes, trial) = (1 + passes % 4, (1 + trial % 3) * 100 * MS);
    let draft = CircuitDraft {
        consecutive_failures: Some(row % 5),
        active_window: Some(window),
        active_min: Some(1 + least % window),
        failure_rate: rate(failed),
        slow_rate: rate(slow),
        slow_threshold: (threshold % 3 > 0).then_some(50 * MS),
        open_base: Some(base),
        open_max: Some(base * (1 + max % 8)),
        multiplier: Some(1.0 + f64::from(growth % 5) / 2.0),
        jitter: Some(f64::from(jitter % 6) / 10.0),
        close_successes: Some(passes),
        trial_interval: Some(trial),
        half_open_max: Some(passes * (trial + 100 * MS) + half % 10 * 100 * MS),
        stable_for: Some([0, 200, 1_000, 5_000][stable as usize % 4] * MS),
        streak_cap: Some(1 + cap % 5),
    };
    try_policy(draft).unwrap_or_else(|| policy(CircuitDraft { consecutive_failures: Some(2), ..draft }))
}

/// Histories of up to 48 turns under up to three policies.
pub(super) fn histories() -> impl Strategy<Value = History> {
    let policies = prop::collection::vec(any::<[u8; 15]>(), 1..=3);
    let steps = prop::collection::vec(any::<(u8, u8, u8)>(), 0..48);
    (policies, steps).prop_map(|(policies, steps)| History::new(&policies, &steps))
}
