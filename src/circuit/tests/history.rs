//! Random histories of a circuit: what it was told, and what it was before and after.

use proptest::prelude::*;

use super::*;
use CircuitState::HalfOpen;

/// One thing that a circuit is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    Settle,
    Report(Sample),
    Acquire,
    /// Lays an override over the circuit for so long, or takes it away.
    Override(Option<(Override, Option<Duration>)>),
    ExpireOverride,
    Suspend,
    Resume,
    Retune(CircuitPolicy),
    Reset,
}

impl Input {
    /// Whether time gets its due first.
    pub(super) const fn settles(&self) -> bool {
        matches!(self, Self::Settle | Self::Report(_) | Self::Acquire)
    }
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
    /// The leases of the circuit's epoch that were neither used nor expired once time had had its due, and how many there had been:
    /// from a list of our own.
    pub(super) live: Vec<Lease>,
    pub(super) given: u32,
    pub(super) answer: Answer,
    pub(super) transition: Option<Transition>,
}

/// What a circuit says to an input, transitions aside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    Nothing,
    Disposition(Disposition),
    Permission(Permission),
    Expired(bool),
}

impl Turn {
    /// What time alone would have made of the circuit.
    pub(super) fn settled(&self) -> (Circuit, Option<Transition>) {
        let mut circuit = self.before.clone();
        let transition = circuit.settle(&self.policy, self.chance, self.now);
        (circuit, transition)
    }

    /// The sample, if it was taken in as evidence.
    pub(super) fn evidence(&self) -> Option<Sample> {
        let Input::Report(sample) = self.input else { return None };
        (self.expected(&sample) == Disposition::Accepted).then_some(sample)
    }

    /// What is to become of a sample. Thought out anew: it counts if it bears the epoch that stands before and after time has had its
    /// due, an instance is ready, it says something, and, where a trial is on, it is a check or a call with a lease that is live.
    pub(super) fn expected(&self, sample: &Sample) -> Disposition {
        let settled = self.settled().0.status();
        let half_open = settled.state == HalfOpen;
        let (called, lease) = match sample.source {
            Source::Active => (false, None),
            Source::Passive { lease, .. } => (true, lease),
        };
        let now = self.now.mono.max(self.before.last_seen);
        match lease {
            _ if [self.before.epoch(), settled.epoch] != [sample.epoch; 2] => Disposition::Stale,
            Some(lease) if !half_open || lease.number >= self.given => Disposition::Stale,
            Some(lease) if !self.live.contains(&lease) => {
                if lease.until <= now {
                    Disposition::Expired
                } else {
                    Disposition::Duplicate
                }
            }
            _ if settled.suspended => Disposition::Stale,
            _ if sample.verdict == Verdict::Neutral => Disposition::Neutral,
            None if half_open && called => Disposition::Ignored,
            _ => Disposition::Accepted,
        }
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
) -> (Answer, Option<Transition>) {
    match input {
        Input::Settle => return (Answer::Nothing, circuit.settle(policy, chance, now)),
        Input::Report(sample) => {
            let (disposition, transition) = circuit.report(*sample, policy, chance, now);
            return (Answer::Disposition(disposition), transition);
        }
        Input::Acquire => {
            let (permission, transition) = circuit.acquire(policy, chance, now);
            return (Answer::Permission(permission), transition);
        }
        Input::Override(wanted) => {
            let wanted = wanted.map(|(mode, span)| CircuitOverride {
                mode,
                reason: Reason::default(),
                since_time: now.wall,
                expire_time: span.map(|span| now.wall + span),
            });
            circuit.override_with(wanted, now);
        }
        Input::ExpireOverride => return (Answer::Expired(circuit.expire_override(now)), None),
        Input::Suspend => circuit.suspend(now),
        Input::Resume => circuit.resume(now),
        Input::Retune(to) => circuit.retune(policy, to, now),
        Input::Reset => return (Answer::Nothing, Some(circuit.reset(now))),
    }
    (Answer::Nothing, None)
}

/// Everything that happened to a circuit that began with a ready instance.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) turns: Vec<Turn>,
    /// The policy and the time at the end.
    pub(super) policy: CircuitPolicy,
    pub(super) now: Now,
    /// Every lease that was given, and under which epoch; those of the last that are live.
    leases: Vec<(Epoch, Lease)>,
    live: Vec<Lease>,
}

impl History {
    fn new(policies: &[[u8; 21]], steps: &[(u8, u8, u8)]) -> Self {
        let policies: Vec<CircuitPolicy> = policies.iter().map(some_policy).collect();
        let now =
            Now { mono: Mono::from_nanos(1_000_000_000_000), wall: Timestamp::from_nanos(1_700_000_000_000_000_000) };
        let mut circuit = Circuit::new(now);
        circuit.resume(now);
        let mut history = Self { turns: Vec::new(), policy: policies[0], now, leases: Vec::new(), live: Vec::new() };
        for step in steps {
            history.step(&mut circuit, &policies, *step);
        }
        history
    }

    /// The circuit at the end.
    pub(super) fn circuit(&self) -> Option<Circuit> {
        self.turns.last().map(|turn| turn.after.clone())
    }

    /// About half of the steps are results, and a quarter lets time pass.
    fn step(&mut self, circuit: &mut Circuit, policies: &[CircuitPolicy], (kind, a, b): (u8, u8, u8)) {
        let (small, chance) = (u32::from(a), f64::from(b) / 256.0);
        let mut now = self.now;
        let input = match kind % 24 {
            0..=6 => Input::Report(some_sample(circuit, a, b)),
            16..=18 => Input::Report(self.some_call(circuit, a, b)),
            19..=21 => Input::Acquire,
            22 if a < 96 => {
                Input::Override(Some((Override::ALL[usize::from(a % 3)], (b % 2 == 0).then_some(small * 10 * MS))))
            }
            22 if a < 160 => Input::Override(None),
            22 | 23 => Input::ExpireOverride,
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
        let turn = self.turn(circuit, input, chance, now);
        self.turns.push(turn);
        if let Input::Retune(to) = input {
            self.policy = to;
        }
    }

    fn turn(&mut self, circuit: &mut Circuit, input: Input, chance: f64, now: Now) -> Turn {
        let before = circuit.clone();
        // With other inputs time gets its due later.
        let epoch = if input.settles() {
            let mut settled = before.clone();
            settled.settle(&self.policy, chance, now);
            settled.epoch()
        } else {
            before.epoch()
        };
        let clamped = now.mono.max(before.last_seen);
        if epoch != before.epoch() {
            self.live.clear();
        }
        self.live.retain(|lease| clamped < lease.until);
        let live = self.live.clone();
        let given = self.leases.iter().filter(|(of, _)| *of == epoch).count() as u32;
        let (answer, transition) = tell(circuit, &input, &self.policy, chance, now);
        match (input, answer) {
            (_, Answer::Permission(Permission::Granted(Permit { epoch, lease: Some(lease) }))) => {
                self.leases.push((epoch, lease));
                self.live.push(lease);
            }
            (Input::Report(Sample { epoch: of, source: Source::Passive { lease: Some(lease), .. }, .. }), _)
                if of == epoch =>
            {
                self.live.retain(|live| *live != lease);
            }
            _ => {}
        }
        if circuit.epoch() != epoch {
            self.live.clear();
        }
        Turn {
            input,
            policy: self.policy,
            chance,
            now,
            before,
            after: circuit.clone(),
            live,
            given,
            answer,
            transition,
        }
    }

    /// The outcome of a call: with one of the newest leases, with one that never was, or without.
    fn some_call(&self, circuit: &Circuit, a: u8, b: u8) -> Sample {
        let sample = some_sample(circuit, a, b);
        let lease = match b % 8 {
            0..=4 => self.leases.iter().rev().nth(usize::from(b / 8 % 4)).copied(),
            5 => Some((sample.epoch, Lease { number: u32::from(a), until: self.now.mono + MS })),
            _ => None,
        };
        let epoch = lease.map_or(sample.epoch, |(epoch, _)| epoch);
        let reporter = u64::from(a / 16 % 4);
        Sample { epoch, source: Source::Passive { reporter, lease: lease.map(|(_, lease)| lease) }, ..sample }
    }

    fn wait(&mut self, span: Duration) -> Now {
        self.now = Now { mono: self.now.mono + span, wall: self.now.wall + span };
        self.now
    }
}

/// A result; one in eight is of an older epoch, or of one that was never given out.
fn some_sample(circuit: &Circuit, a: u8, b: u8) -> Sample {
    // Most results of a trial are good, or few would get far.
    let failures = if circuit.state() == HalfOpen { 1 } else { 3 };
    let verdict = match a % 8 {
        7 => Verdict::Neutral,
        n if n < failures => Verdict::Fail,
        _ => Verdict::Pass,
    };
    let latency = [10, 10, 50, 51][usize::from(b) % 4] * MS;
    let epoch = match (circuit.epoch(), u64::from(a / 8 % 4)) {
        (epoch, _) if b >= 32 => epoch,
        (epoch, 0) => epoch.next(),
        (epoch, back) => Epoch::new(epoch.get().saturating_sub(back)),
    };
    Sample { epoch, verdict, latency, source: Source::Active }
}

/// A policy whose thresholds are low, so that short histories reach them.
fn some_policy(bytes: &[u8; 21]) -> CircuitPolicy {
    let [own @ .., span, few, reporters, permits, at_once, ttl] = bytes.map(u32::from);
    let [row, window, least, failed, slow, threshold, base, max, growth, jitter, passes, trial, half, stable, cap] =
        own;
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
        passive: PassiveDraft {
            window: Some((1 + span % 3) * SECOND),
            min: Some(1 + few % 5),
            min_reporters: Some(1 + reporters % 3),
            trial_permits: Some(permits % 5),
            trial_concurrency: Some(1 + at_once % (permits % 5).max(1)),
            lease_ttl: Some((1 + ttl % 9) * 100 * MS),
        },
    };
    try_policy(draft).unwrap_or_else(|| policy(CircuitDraft { consecutive_failures: Some(2), ..draft }))
}

/// Histories of up to 64 turns under up to three policies.
pub(super) fn histories() -> impl Strategy<Value = History> {
    let policies = prop::collection::vec(any::<[u8; 21]>(), 1..=3);
    let steps = prop::collection::vec(any::<(u8, u8, u8)>(), 0..64);
    (policies, steps).prop_map(|(policies, steps)| History::new(&policies, &steps))
}
