//! Every interleaving there is of two callers, their leases, checks, time and a restart, over three epochs: the machine itself, not a
//! model of it.

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::*;
use crate::model::Source::{Active, Passive};
use CircuitState::{Closed, HalfOpen, Open};
use Verdict::{Fail, Neutral, Pass};

/// A step of the clock.
const TICK: Duration = Duration::from_millis(100);
/// How many there are.
const TICKS: u8 = 7;
/// Three epochs are gone through, and how the fourth begins is looked at.
const LAST_EPOCH: u64 = 4;
/// A caller that has seen the lease of this number asks for no more.
const LEASES: u32 = 2;

struct World {
    policy: CircuitPolicy,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    circuit: Circuit,
    ticks: u8,
    /// What the callers' newest permits bear, and whether they have told of it.
    callers: [Option<(Permit, bool)>; 2],
    /// Under what the check under way began.
    check: Option<Epoch>,
    /// The epoch that begins next has to be later.
    newest: Epoch,
    /// What was stored last.
    stored: CircuitStatus,
    /// When the state that stands is over.
    due: Option<Mono>,
    tally: Tally,
    broken: Option<&'static str>,
}

/// What was counted under the present epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Tally {
    checks: u8,
    calls: u8,
    bad: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Tick,
    Begin,
    End(Verdict),
    Acquire(usize),
    Tell(usize, Verdict),
    Untold(Verdict),
    Crash,
}

impl State {
    fn now(&self) -> Now {
        let span = u32::from(self.ticks) * TICK;
        // The wall clock decides nothing.
        Now { mono: Mono::from_nanos(1_000_000_000) + span, wall: Timestamp::from_nanos(7_000_000_000) }
    }

    /// The leases that are out: neither used nor expired, of the present epoch.
    fn live(&self) -> Vec<Lease> {
        [0, 1].into_iter().filter_map(|caller| self.leased(caller)).collect()
    }

    fn leased(&self, caller: usize) -> Option<Lease> {
        let (permit, told) = self.callers[caller]?;
        let lease = permit.lease.filter(|lease| self.now().mono < lease.until)?;
        (!told && permit.epoch == self.circuit.epoch()).then_some(lease)
    }

    fn blame(&mut self, holds: bool, what: &'static str) {
        if !holds && self.broken.is_none() {
            self.broken = Some(what);
        }
    }

    /// What a transition has to be, given what was told: `told` is the sample that counts, and whether it is bad.
    fn moved(&mut self, transition: Option<Transition>, told: Option<(Sample, bool)>, policy: &CircuitPolicy) {
        let over = self.due.is_some_and(|due| due <= self.now().mono);
        let tally = self.tally;
        if let Some(Transition { from, to, reason }) = transition {
            self.blame(self.circuit.epoch() > self.newest, "an epoch is used again");
            let bad = told.is_some_and(|(_, bad)| bad);
            let good = told.is_some_and(|(_, bad)| !bad);
            let checks = u32::from(tally.checks) >= policy.close_successes();
            let called = self.stored.trip_source != Some(EvidenceSource::Passive)
                || u32::from(tally.calls) >= policy.passive().trial_permits();
            let right = match (from, to, reason) {
                (Closed | HalfOpen, Open, CircuitReason::Failure) => bad,
                (Open, HalfOpen, _) => over,
                (HalfOpen, Open, CircuitReason::Inconclusive) => over && !checks,
                (HalfOpen, Closed, CircuitReason::Waived) => over && checks,
                (HalfOpen, Closed, CircuitReason::Recovered) => good && checks && called && !tally.bad,
                _ => false,
            };
            self.blame(right, "a step that nothing calls for");
            self.newest = self.circuit.epoch();
            self.stored = self.circuit.status();
            self.tally = Tally::default();
        } else {
            self.blame(self.circuit.epoch() == self.newest, "an epoch without a step");
            self.blame(!over, "its time is over, and it stays");
            self.blame(self.due == self.circuit.next_due(), "a deadline has moved");
        }
        self.due = self.circuit.next_due();
        self.blame(self.circuit.state() == Closed || self.due.is_some(), "nothing will move it on");
    }

    fn tell(&mut self, sample: Sample, expected: Disposition, policy: &CircuitPolicy) {
        let before = self.circuit.clone();
        let (disposition, transition) = self.circuit.report(sample, policy, 0.0, self.now());
        self.blame(disposition == expected, "it is answered wrongly");
        let counts = expected == Disposition::Accepted;
        if counts && before.state() == HalfOpen {
            match sample.source {
                _ if sample.verdict == Fail => self.tally.bad = true,
                Active => self.tally.checks += 1,
                Passive { .. } => self.tally.calls += 1,
            }
        }
        let told = counts.then_some((sample, sample.verdict == Fail));
        self.moved(transition, told, policy);
        if !counts {
            self.blame(before.state() == self.circuit.state(), "what does not count moves it");
        }
    }
}

impl World {
    /// A trial is over at its third tick, a lease at its second; the circuit is open for two.
    fn new() -> Self {
        let draft = CircuitDraft {
            consecutive_failures: Some(1),
            failure_rate: Some(5_000),
            active_window: Some(1),
            open_base: Some(2 * TICK),
            open_max: Some(2 * TICK),
            jitter: Some(0.0),
            close_successes: Some(1),
            trial_interval: Some(TICK),
            half_open_max: Some(3 * TICK),
            passive: PassiveDraft {
                min: Some(1),
                trial_permits: Some(2),
                trial_concurrency: Some(2),
                lease_ttl: Some(2 * TICK),
                ..PassiveDraft::default()
            },
            ..CircuitDraft::default()
        };
        Self { policy: policy(draft) }
    }

    /// What is to become of the outcome that a caller tells.
    fn expected(state: &State, permit: Permit, verdict: Verdict) -> Disposition {
        let now = state.now().mono;
        match (permit.lease, verdict) {
            _ if permit.epoch != state.circuit.epoch() => Disposition::Stale,
            (Some(lease), _) if !state.live().contains(&lease) => {
                if lease.until <= now {
                    Disposition::Expired
                } else {
                    Disposition::Duplicate
                }
            }
            (_, Neutral) => Disposition::Neutral,
            (None, _) if state.circuit.state() == HalfOpen => Disposition::Ignored,
            _ => Disposition::Accepted,
        }
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let now = Now { mono: Mono::from_nanos(1_000_000_000), wall: Timestamp::from_nanos(7_000_000_000) };
        let mut circuit = Circuit::new(now);
        circuit.resume(now);
        let (newest, stored) = (circuit.epoch(), circuit.status());
        vec![State {
            circuit,
            ticks: 0,
            callers: [None; 2],
            check: None,
            newest,
            stored,
            due: None,
            tally: Tally::default(),
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.circuit.epoch().get() >= LAST_EPOCH {
            return;
        }
        if state.ticks < TICKS {
            actions.push(Action::Tick);
        }
        // What was seen of a target that is well need not be told for ever.
        let told = state.circuit.state() == Closed && state.circuit.counts().passive.results > 0;
        actions.extend([Fail, Pass].into_iter().filter(|verdict| *verdict == Fail || !told).map(Action::Untold));
        match state.check {
            None => actions.push(Action::Begin),
            // More than enough have passed: one more says nothing new.
            Some(_) if state.tally.checks > 1 => actions.extend([Fail, Neutral].map(Action::End)),
            Some(_) => actions.extend([Pass, Fail, Neutral].map(Action::End)),
        }
        for caller in [0, 1] {
            if state.callers[caller]
                .is_some_and(|(permit, _)| permit.lease.is_some() || permit.epoch != state.circuit.epoch())
            {
                actions.extend([Pass, Fail, Neutral].map(|verdict| Action::Tell(caller, verdict)));
            }
            // One that has a lease calls, and tells of it, or does not; it asks for no other.
            let newest = state.callers[caller].and_then(|(permit, _)| permit.lease).map_or(0, |lease| lease.number);
            if state.leased(caller).is_none() && newest < LEASES {
                actions.push(Action::Acquire(caller));
            }
        }
        actions.push(Action::Crash);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let policy = &self.policy;
        match action {
            Action::Tick => {
                state.ticks += 1;
                let transition = state.circuit.settle(policy, 0.0, state.now());
                state.moved(transition, None, policy);
            }
            Action::Begin => state.check = Some(state.circuit.epoch()),
            Action::End(verdict) => {
                let epoch = state.check.take()?;
                let sample = Sample { epoch, verdict, latency: MS, source: Active };
                let expected = match verdict {
                    _ if epoch != state.circuit.epoch() => Disposition::Stale,
                    Neutral => Disposition::Neutral,
                    Pass | Fail => Disposition::Accepted,
                };
                state.tell(sample, expected, policy);
            }
            Action::Acquire(caller) => {
                let (live, calls) = (state.live().len() as u32, u32::from(state.tally.calls));
                let (permission, transition) = state.circuit.acquire(policy, 0.0, state.now());
                state.moved(transition, None, policy);
                match permission {
                    Permission::Granted(permit) => {
                        let spare = live < policy.passive().trial_concurrency()
                            && live + calls < policy.passive().trial_permits();
                        let right = match permit.lease {
                            None => state.circuit.state() == Closed,
                            Some(lease) => state.circuit.state() == HalfOpen && spare && !state.live().contains(&lease),
                        };
                        state.blame(right, "a permit that is not due");
                        state.callers[caller] = Some((permit, false));
                    }
                    Permission::Denied(_) => state.blame(state.circuit.state() != Closed, "denied while closed"),
                }
            }
            Action::Tell(caller, verdict) => {
                let (permit, _) = state.callers[caller]?;
                let source = Passive { reporter: caller as u64, lease: permit.lease };
                let expected = Self::expected(&state, permit, verdict);
                state.callers[caller] = Some((permit, true));
                state.tell(Sample { epoch: permit.epoch, verdict, latency: MS, source }, expected, policy);
            }
            Action::Untold(verdict) => {
                let permit = Permit { epoch: state.circuit.epoch(), lease: None };
                let expected = Self::expected(&state, permit, verdict);
                let source = Passive { reporter: 2, lease: None };
                state.tell(Sample { epoch: permit.epoch, verdict, latency: MS, source }, expected, policy);
            }
            Action::Crash => {
                let now = state.now();
                state.circuit = Circuit::restore(&state.stored, policy, now.wall, now);
                state.circuit.resume(now);
                let epoch = state.circuit.epoch();
                state.blame(epoch > state.newest, "an epoch is used again after a restart");
                state.check = None;
                state.tally = Tally::default();
                state.due = state.circuit.next_due();
                // What was given to callers before is none of the new server's, who has to have stored its epoch before it gives any.
                (state.newest, state.stored) = (epoch, state.circuit.status());
                let transition = state.circuit.settle(policy, 0.0, now);
                state.moved(transition, None, policy);
            }
        }
        // What bears an epoch before the last is no different from what bears that one.
        let late = |epoch: Epoch| epoch.next() < state.circuit.epoch();
        state.check = state.check.filter(|epoch| !late(*epoch));
        state.callers = state.callers.map(|caller| caller.filter(|(permit, _)| !late(permit.epoch)));
        // It is about what people are told.
        state.circuit.flapping = Flapping::default();
        let leases = state.circuit.counts().passive.leases as usize;
        let live = state.live().len();
        state.blame(leases == live, "a lease is lost, or one is out too many");
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is broken", |_, state: &State| state.broken.is_none()),
            Property::sometimes("callers open it, and their trial closes it", |_, state: &State| {
                let status = state.circuit.status();
                status.state == Closed
                    && status.reason == Some(CircuitReason::Recovered)
                    && status.trip_source == Some(EvidenceSource::Passive)
            }),
        ]
    }
}

#[test]
fn no_interleaving_breaks_it() {
    let checker = World::new().checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    checker.assert_properties();
    // Less would be a model that has lost some of what it looked at.
    assert!(checker.unique_state_count() > 50_000, "{}", checker.unique_state_count());
}
