//! The machine's facts, one by one, and its invariants for every sequence of inputs.

mod history;
mod leases;
mod model;
mod opening;
mod overrides;
mod passive;
mod properties;
mod reach;
mod retuning;
mod suspension;
mod trial;

use std::time::Duration;

use super::*;
use crate::model::{
    CircuitDraft, CircuitOverride, CircuitStatus, Denial, Disposition, Lease, MonitorDraft, Override, PassiveCounts,
    PassiveDraft, Permission, Permit, Reason, Sample, ScheduleDraft, Source, SpecDraft, TaskSpec, TcpDraft, Verdict,
    Violations, WindowCounts,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The policy of a task that checks every 100 ms; `None` where the draft is refused.
fn try_policy(circuit: CircuitDraft) -> Option<CircuitPolicy> {
    let tcp = TcpDraft { address: "127.0.0.1:9".to_owned(), steps: Vec::new() };
    let schedule = ScheduleDraft { interval: Some(100 * MS), timeout: Some(100 * MS), max_runs: 0 };
    let draft = SpecDraft { monitor: Some(MonitorDraft::Tcp(tcp)), schedule, circuit, ..SpecDraft::default() };
    TaskSpec::try_new(draft, &mut Violations::new()).map(|spec| *spec.circuit())
}

fn policy(circuit: CircuitDraft) -> CircuitPolicy {
    try_policy(circuit).expect("valid")
}

/// The consecutive rule alone, without chance: opens at the third failure for a second, two, four, at the most eight.
fn in_a_row() -> CircuitDraft {
    CircuitDraft {
        failure_rate: Some(0),
        open_base: Some(SECOND),
        open_max: Some(8 * SECOND),
        jitter: Some(0.0),
        ..CircuitDraft::default()
    }
}

/// A circuit with its policy and clocks.
#[derive(Clone)]
struct Bench {
    circuit: Circuit,
    policy: CircuitPolicy,
    now: Now,
}

impl Bench {
    /// With a ready instance.
    fn new(draft: CircuitDraft) -> Self {
        let now = Now { mono: Mono::from_nanos(1_000_000_000), wall: Timestamp::from_nanos(1_700_000_000_000_000_000) };
        let mut circuit = Circuit::new(now);
        circuit.resume(now);
        Self { circuit, policy: policy(draft), now }
    }

    /// Opened by failures; its back-off is that of the first time.
    fn opened(draft: CircuitDraft) -> Self {
        let mut bench = Self::new(draft);
        bench.fail_until_open();
        bench
    }

    /// On trial after its first time open.
    fn half_open(draft: CircuitDraft) -> Self {
        let mut bench = Self::opened(draft);
        bench.trial();
        bench
    }

    fn fail_until_open(&mut self) {
        while self.circuit.state() == CircuitState::Closed {
            self.check(Verdict::Fail);
        }
    }

    /// Waits for the trial.
    fn trial(&mut self) {
        self.wait_until_due();
        assert_eq!(self.settle().map(|transition| transition.to), Some(CircuitState::HalfOpen));
    }

    /// Passes the trial.
    fn recover(&mut self) {
        while self.circuit.state() == CircuitState::HalfOpen {
            self.check(Verdict::Pass);
        }
        assert_eq!(self.circuit.status().reason, Some(CircuitReason::Recovered));
    }

    fn advance(&mut self, span: Duration) {
        self.now = Now { mono: self.now.mono + span, wall: self.now.wall + span };
    }

    fn remaining(&self) -> Option<Duration> {
        self.circuit.next_due().map(|due| due.since(self.now.mono))
    }

    fn wait_until_due(&mut self) {
        self.advance(self.remaining().expect("something is due"));
    }

    fn settle(&mut self) -> Option<Transition> {
        self.circuit.settle(&self.policy, 0.0, self.now)
    }

    fn sample(&self, verdict: Verdict) -> Sample {
        Sample { epoch: self.circuit.epoch(), verdict, latency: MS, source: Source::Active }
    }

    fn report(&mut self, sample: Sample) -> (Disposition, Option<Transition>) {
        self.circuit.report(sample, &self.policy, 0.0, self.now)
    }

    /// A fast check under the present epoch.
    fn check(&mut self, verdict: Verdict) -> Option<Transition> {
        self.report(self.sample(verdict)).1
    }

    /// A passing check that took long.
    fn slow(&mut self) -> Option<Transition> {
        self.report(Sample { latency: SECOND, ..self.sample(Verdict::Pass) }).1
    }

    /// A fast call under the present epoch, by this reporter.
    fn sample_of_a_call(&self, verdict: Verdict, reporter: u64, lease: Option<Lease>) -> Sample {
        Sample { source: Source::Passive { reporter, lease }, ..self.sample(verdict) }
    }

    /// The outcome of a call without a lease.
    fn call(&mut self, verdict: Verdict, reporter: u64) -> (Disposition, Option<Transition>) {
        self.report(self.sample_of_a_call(verdict, reporter, None))
    }

    /// The outcome of a trial call.
    fn call_with(&mut self, verdict: Verdict, lease: Lease) -> (Disposition, Option<Transition>) {
        self.report(self.sample_of_a_call(verdict, 1, Some(lease)))
    }

    /// Asks whether to call; time alone moves nothing by that.
    fn acquire(&mut self) -> Permission {
        let (permission, moved) = self.circuit.acquire(&self.policy, 0.0, self.now);
        assert_eq!(moved, None);
        permission
    }

    /// Takes a lease.
    fn lease(&mut self) -> Lease {
        match self.acquire() {
            Permission::Granted(Permit { lease: Some(lease), .. }) => lease,
            permission => panic!("{permission:?}"),
        }
    }

    fn retune(&mut self, draft: CircuitDraft) {
        let to = policy(draft);
        self.circuit.retune(&self.policy, &to, self.now);
        self.policy = to;
    }
}

fn step(from: CircuitState, to: CircuitState, reason: CircuitReason) -> Option<Transition> {
    Some(Transition { from, to, reason })
}

#[test]
fn a_circuit_is_small() {
    assert!(size_of::<Circuit>() <= 128, "{}", size_of::<Circuit>());
}

#[test]
fn a_new_circuit_is_closed_and_suspended_in_epoch_1() {
    let now = Now { mono: Mono::from_nanos(5), wall: Timestamp::from_nanos(7) };
    let circuit = Circuit::new(now);
    let expected = CircuitStatus {
        state: CircuitState::Closed,
        suspended: true,
        epoch: Epoch::new(1),
        since_time: now.wall,
        reason: None,
        until: None,
        left: None,
        streak: 0,
        trip_source: None,
        overriding: None,
        flapping: false,
    };
    assert_eq!((circuit.status(), circuit.counts(), circuit.next_due()), (expected, WindowCounts::default(), None));
}
