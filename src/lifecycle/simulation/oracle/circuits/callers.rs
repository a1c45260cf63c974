//! Whether callers are answered as circuit.md says, and their outcomes counted: each call is thought through before the machine is
//! told, from what was shown of the circuit and what callers have said.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::{Circuits, Known};
use crate::lifecycle::simulation::oracle::{Checked, View, check};
use crate::lifecycle::{Call, Reply};
use crate::model::*;

/// So many permits of a task are kept by those who call.
const KEPT: usize = 16;

/// The step that a circuit must make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) to: CircuitState,
    pub(super) reason: CircuitReason,
    /// Who has tripped it, by the step where that is one.
    pub(super) trip_source: Option<EvidenceSource>,
}

/// An outcome in a list: in which tenth of a window it came, whether it failed and was slow, and whose it is.
type Outcome = (u64, bool, bool, u64);

/// What callers have told of the present epoch, and what they hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    list: Vec<Outcome>,
    live: Vec<Lease>,
    given: u32,
    pub(super) passed: u32,
}

impl Heard {
    /// The window has another length.
    pub(super) fn retunes(&mut self, from: &CircuitPolicy, to: &CircuitPolicy) {
        let (old, new) = (tenth(from), tenth(to));
        self.list.iter_mut().for_each(|outcome| {
            outcome.0 = u64::try_from(u128::from(outcome.0) * u128::from(old) / u128::from(new)).expect("small");
        });
    }

    fn counts(&self, state: CircuitState) -> PassiveCounts {
        let count = |which: fn(&Outcome) -> bool| {
            u32::try_from(self.list.iter().filter(|outcome| which(outcome)).count()).expect("few")
        };
        let leases = u32::try_from(self.live.len()).expect("few");
        match state {
            CircuitState::Closed => {
                PassiveCounts { results: count(|_| true), failed: count(|it| it.1), slow: count(|it| it.2), leases: 0 }
            }
            CircuitState::Open => PassiveCounts::default(),
            CircuitState::HalfOpen => PassiveCounts { results: self.passed, leases, ..PassiveCounts::default() },
        }
    }

    /// Takes an outcome of a closed circuit in; whether enough of them are bad, by enough callers.
    fn trips(&mut self, outcome: Outcome, policy: &CircuitPolicy) -> bool {
        self.list.push(outcome);
        self.list.retain(|(number, ..)| number + 10 > outcome.0);
        let PassiveCounts { results, failed, slow, .. } = self.counts(CircuitState::Closed);
        let accusers: BTreeSet<_> = self.list.iter().filter(|it| it.1 || it.2).map(|it| it.3).collect();
        let reaches = |count: u32, rate: Option<u32>| rate.is_some_and(|rate| count * 10_000 >= rate * results);
        let by_slowness = policy.slow_threshold().is_some() && reaches(slow, policy.slow_rate());
        (outcome.1 || outcome.2)
            && results >= policy.passive().min()
            && accusers.len() >= usize::try_from(policy.passive().min_reporters()).expect("small")
            && (reaches(failed, policy.failure_rate()) || by_slowness)
    }
}

fn tenth(policy: &CircuitPolicy) -> u64 {
    u64::try_from(policy.passive().window().as_nanos() / 10).expect("an hour at the most")
}

/// What the present call must be answered.
#[derive(Debug)]
enum Answer {
    Refused(Refusal),
    Permission(Uid, Expected),
    Dispositions(Vec<Disposition>),
}

#[derive(Debug)]
enum Expected {
    Permit(Permit),
    /// The bounds of what it is to wait, where anybody knows.
    Denial(Option<(Duration, Duration)>),
}

/// What callers know, across crashes.
#[derive(Debug, Default)]
pub(in crate::lifecycle::simulation::oracle) struct Callers {
    answer: Option<Answer>,
    /// The steps that the present call must bring about, in their order.
    foreseen: VecDeque<(Uid, Step)>,
    /// The answers that nobody has seen yet, in their order, and the permits in them.
    unseen: VecDeque<Option<(Uid, Permit)>>,
    permits: BTreeMap<Uid, Vec<Permit>>,
    /// Under which server an epoch was told to anybody first.
    told: BTreeMap<(Uid, Epoch), u32>,
    server: u32,
}

impl Callers {
    /// Callers outlive servers, and keep what they were told.
    pub(super) fn crashed(self) -> Self {
        let Self { permits, told, server, .. } = self;
        Self { permits, told, server: server + 1, ..Self::default() }
    }

    pub(super) fn of(&self, uid: Uid) -> &[Permit] {
        self.permits.get(&uid).map_or(&[], Vec::as_slice)
    }

    /// The step that the present call must bring about next.
    pub(super) fn next(&mut self, uid: Uid) -> Option<Step> {
        let (of, step) = *self.foreseen.front()?;
        (of == uid).then(|| self.foreseen.pop_front())?;
        Some(step)
    }

    /// Everything that was foreseen has happened.
    pub(super) fn after(&self) -> Checked {
        check(self.foreseen.is_empty() && self.answer.is_none(), || format!("a call had to bring about {self:?}"))
    }

    fn keep(&mut self, seen: Option<(Uid, Permit)>) {
        let Some((uid, permit)) = seen else { return };
        self.told.entry((uid, permit.epoch)).or_insert(self.server);
        let permits = self.permits.entry(uid).or_default();
        permits.push(permit);
        let over = permits.len().saturating_sub(KEPT);
        permits.drain(..over);
    }

    /// Any answer is under way; which of them are permits matters here.
    pub(in crate::lifecycle::simulation::oracle) fn answered(&mut self, reply: &Result<Reply, Refusal>) {
        let permit = match reply {
            Ok(Reply::Permission { uid, permission: Permission::Granted(permit), .. }) => Some((*uid, *permit)),
            _ => None,
        };
        self.unseen.push_back(permit);
    }

    /// The next answer is seen.
    pub(in crate::lifecycle::simulation::oracle) fn acknowledged(&mut self) {
        let seen = self.unseen.pop_front().flatten();
        self.keep(seen);
    }

    /// The newest answer is given at once: itself, or that it is not yet durable.
    pub(in crate::lifecycle::simulation::oracle) fn at_once(&mut self, shows: bool) {
        let seen = self.unseen.pop_back().flatten().filter(|_| shows);
        self.keep(seen);
    }
}

impl Circuits {
    pub(in crate::lifecycle::simulation::oracle) fn callers(&mut self) -> &mut Callers {
        &mut self.callers
    }

    pub(in crate::lifecycle::simulation::oracle) fn permits(&self, uid: Uid) -> &[Permit] {
        self.callers.of(uid)
    }

    /// Thinks a call through. `refusal`: why nobody is answered now.
    pub(super) fn asked(&mut self, call: &Call, view: &View, refusal: Option<Refusal>, now: Now) {
        let answer = match (refusal, call) {
            (Some(refusal), _) => Answer::Refused(refusal),
            (None, Call::Acquire(name)) => match view.get(name) {
                Some(task) => Answer::Permission(task.uid, self.permission(task, now)),
                None => Answer::Refused(Refusal::TaskNotFound(name.clone())),
            },
            (None, Call::Report(outcomes)) => {
                let mut moved = BTreeSet::new();
                let of = |outcome: &CallOutcome| self.outcome(outcome, view, &mut moved, now);
                Answer::Dispositions(outcomes.iter().map(of).collect())
            }
        };
        self.callers.answer = Some(answer);
    }

    /// A call begins with what time demands.
    fn settle(&mut self, task: &Task, now: Now) -> Option<Step> {
        let known = self.known.get_mut(&task.uid)?;
        known.heard.live.retain(|lease| now.mono < lease.until);
        let step = known.due(task.spec.circuit(), now)?;
        self.callers.foreseen.push_back((task.uid, step));
        Some(step)
    }

    fn permission(&mut self, task: &Task, now: Now) -> Expected {
        let step = self.settle(task, now);
        let policy = task.spec.circuit();
        let Some(known) = self.known.get(&task.uid) else { return Expected::Denial(None) };
        let status = &known.status;
        let epoch = if step.is_some() { status.epoch.next() } else { status.epoch };
        let permit = |lease| Expected::Permit(Permit { epoch, lease });
        let waits = |left: Duration, least| {
            let most = left.mul_f64(1.0 + policy.jitter()) + Duration::from_nanos(100);
            Expected::Denial(Some((least, most)))
        };
        match status.overriding.as_deref() {
            Some(lies) if lies.mode.permits() => return permit(None),
            Some(lies) => {
                let left = lies.expire_time.map(|expires| expires.since(now.wall));
                return left.map_or(Expected::Denial(None), |left| waits(left, left));
            }
            None if status.suspended || known.left.is_some() => return Expected::Denial(None),
            None => {}
        }
        let fresh = Heard::default();
        let (state, heard, lasted) = match step {
            Some(step) => (step.to, &fresh, Duration::ZERO),
            None => (status.state, &known.heard, known.lasted(now.mono)),
        };
        let (live, passive) = (u32::try_from(heard.live.len()).expect("few"), policy.passive());
        match state {
            CircuitState::Closed => permit(None),
            // How long a span is that begins now, the machine's chance says.
            CircuitState::Open if step.is_some() => waits(policy.open_max(), Duration::ZERO),
            CircuitState::Open => {
                let left = status.until.map_or(Duration::MAX, |until| until.since(now.wall));
                waits(left, left)
            }
            CircuitState::HalfOpen
                if live < passive.trial_concurrency() && live + heard.passed < passive.trial_permits() =>
            {
                permit(Some(Lease { number: heard.given, until: now.mono + passive.lease_ttl() }))
            }
            CircuitState::HalfOpen => {
                let limit = if step.is_some() { policy.half_open_max() } else { known.limit };
                waits(limit.saturating_sub(lasted).min(policy.trial_interval()), Duration::ZERO)
            }
        }
    }

    fn outcome(&mut self, outcome: &CallOutcome, view: &View, moved: &mut BTreeSet<Uid>, now: Now) -> Disposition {
        let CallOutcome { uid, sample } = outcome;
        let Some(task) = view.values().find(|task| task.uid == *uid) else { return Disposition::Stale };
        // The epoch that begins with a step is known to nobody yet.
        if moved.contains(uid) || self.settle(task, now).is_some() {
            moved.insert(*uid);
            return Disposition::Stale;
        }
        let Some(known) = self.known.get_mut(uid) else { return Disposition::Stale };
        let (disposition, step) = known.hears(sample, task.spec.circuit(), now);
        if let Some(step) = step {
            moved.insert(*uid);
            self.callers.foreseen.push_back((*uid, step));
        }
        let first = self.callers.told.get(&(*uid, sample.epoch)).copied().unwrap_or(self.callers.server);
        // What a former server has permitted is never heard of here; its epoch was another's then.
        if first < self.callers.server { Disposition::Stale } else { disposition }
    }

    /// Compares the machine's answer.
    pub(in crate::lifecycle::simulation::oracle) fn answered(
        &mut self,
        reply: &Result<Reply, Refusal>,
        now: Now,
    ) -> Checked {
        let expected = self.callers.answer.take().ok_or("an answer to nothing")?;
        let right = match (&expected, reply) {
            (Answer::Refused(expected), Err(refusal)) => expected == refusal,
            (Answer::Dispositions(expected), Ok(Reply::Dispositions(told))) => expected == told,
            (Answer::Permission(of, expected), Ok(Reply::Permission { uid, permission, now: told })) => {
                let right = match (expected, permission) {
                    (Expected::Permit(expected), Permission::Granted(permit)) => expected == permit,
                    (Expected::Denial(None), Permission::Denied(denial)) => denial.retry_after.is_none(),
                    (Expected::Denial(Some((least, most))), Permission::Denied(denial)) => {
                        denial.retry_after.is_some_and(|wait| *least <= wait && wait <= *most)
                    }
                    _ => false,
                };
                right && of == uid && *told == now
            }
            _ => false,
        };
        check(right, || format!("callers are answered {reply:?}, not {expected:?}"))?;
        let Ok(Reply::Permission { uid, permission: Permission::Granted(Permit { lease: Some(lease), .. }), .. }) =
            reply
        else {
            return Ok(());
        };
        if let Some(known) = self.known.get_mut(uid) {
            known.heard.live.push(*lease);
            known.heard.given += 1;
        }
        Ok(())
    }

    /// What is shown of callers' outcomes after a report of some.
    pub(super) fn counted(&self, known: &Known, counts: &WindowCounts) -> Checked {
        let Some(Answer::Dispositions(_)) = self.callers.answer else { return Ok(()) };
        let expected = known.heard.counts(known.status.state);
        check(counts.passive == expected, || format!("{counts:?} are counted of callers, not {expected:?}"))
    }
}

impl Known {
    /// The step that is due by now.
    fn due(&self, policy: &CircuitPolicy, now: Now) -> Option<Step> {
        let status = &self.status;
        if status.suspended || self.left.is_some() {
            return None;
        }
        let (to, reason) = match status.state {
            CircuitState::Closed => return None,
            CircuitState::Open => {
                status.until.filter(|until| *until <= now.wall)?;
                (CircuitState::HalfOpen, status.reason?)
            }
            CircuitState::HalfOpen if self.lasted(now.mono) < self.limit => return None,
            CircuitState::HalfOpen if self.tally.passes >= policy.close_successes() => {
                (CircuitState::Closed, CircuitReason::Waived)
            }
            CircuitState::HalfOpen => (CircuitState::Open, CircuitReason::Inconclusive),
        };
        Some(Step { to, reason, trip_source: status.trip_source })
    }

    /// What becomes of an outcome, and the step that it brings about.
    fn hears(&mut self, sample: &Sample, policy: &CircuitPolicy, now: Now) -> (Disposition, Option<Step>) {
        let Source::Passive { reporter, lease } = sample.source else { return (Disposition::Stale, None) };
        let on_trial = self.status.state == CircuitState::HalfOpen;
        if self.left.is_some() || sample.epoch != self.status.epoch {
            return (Disposition::Stale, None);
        }
        if let Some(lease) = lease {
            match self.heard.live.iter().position(|live| *live == lease) {
                _ if !on_trial || lease.number >= self.heard.given => return (Disposition::Stale, None),
                None if lease.until <= now.mono => return (Disposition::Expired, None),
                None => return (Disposition::Duplicate, None),
                Some(nth) => drop(self.heard.live.remove(nth)),
            }
        }
        if self.status.suspended {
            return (Disposition::Stale, None);
        }
        let slow = policy.slow_threshold().is_some_and(|slow| sample.latency > slow);
        let failed = match sample.verdict {
            Verdict::Neutral => return (Disposition::Neutral, None),
            verdict => verdict == Verdict::Fail,
        };
        let opens = |trip_source| Step { to: CircuitState::Open, reason: CircuitReason::Failure, trip_source };
        let step = match self.status.state {
            CircuitState::Closed => {
                let number = now.mono.as_nanos() / tenth(policy);
                let trips = self.heard.trips((number, failed, slow, reporter), policy);
                trips.then(|| opens(Some(EvidenceSource::Passive)))
            }
            CircuitState::Open => None,
            CircuitState::HalfOpen if lease.is_none() => return (Disposition::Ignored, None),
            CircuitState::HalfOpen if failed || slow => Some(opens(self.status.trip_source)),
            CircuitState::HalfOpen => {
                self.heard.passed += 1;
                let (to, reason) = (CircuitState::Closed, CircuitReason::Recovered);
                self.is_well(policy).then_some(Step { to, reason, trip_source: self.status.trip_source })
            }
        };
        (Disposition::Accepted, step)
    }

    /// Whether enough checks have passed and, where callers had opened it, enough calls have gone well.
    pub(super) fn is_well(&self, policy: &CircuitPolicy) -> bool {
        let by_callers = self.status.trip_source == Some(EvidenceSource::Passive);
        self.tally.passes >= policy.close_successes()
            && (!by_callers || self.heard.passed >= policy.passive().trial_permits())
    }
}
