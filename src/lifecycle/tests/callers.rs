//! What callers ask and tell, what operators decide over circuits, and what follows.

use super::*;

/// Four outcomes, half of them bad, open it for five seconds; one check and one call close it.
fn called() -> SpecDraft {
    let passive = PassiveDraft { min: Some(4), trial_permits: Some(1), ..PassiveDraft::default() };
    let circuit = CircuitDraft { jitter: Some(0.0), close_successes: Some(1), passive, ..CircuitDraft::default() };
    SpecDraft { circuit, ..custom() }
}

fn over(mode: Option<Override>, expire_time: Option<Timestamp>) -> OverrideCircuit {
    OverrideCircuit { name: name(), mode, expire_time, etag: None, cause: cause(), idempotency: None }
}

impl Bench {
    /// The answer to a call, and what it waits for.
    fn call(&mut self, call: Call) -> (Result<Reply, Refusal>, Sequence) {
        let effects = self.feed(Input::Call(call));
        let answer = effects.into_iter().find_map(|effect| match effect {
            Effect::Answer { after, reply } => Some((reply, after)),
            _ => None,
        });
        answer.expect("every call is answered in its own step")
    }

    fn acquire(&mut self) -> Permission {
        match self.call(Call::Acquire(name())).0 {
            Ok(Reply::Permission { uid, permission, now }) => {
                assert_eq!((uid, now), (self.task().uid, self.now));
                permission
            }
            reply => panic!("{reply:?}"),
        }
    }

    fn heard(&self, verdict: Verdict, lease: Option<Lease>) -> CallOutcome {
        let (uid, epoch) = (self.task().uid, self.task().circuit.epoch);
        CallOutcome {
            uid,
            sample: Sample { epoch, verdict, latency: MS, source: Source::Passive { reporter: 1, lease } },
        }
    }

    fn report(&mut self, outcomes: Vec<CallOutcome>) -> Vec<Disposition> {
        match self.call(Call::Report(outcomes)).0 {
            Ok(Reply::Dispositions(dispositions)) => dispositions,
            reply => panic!("{reply:?}"),
        }
    }

    fn override_with(&mut self, mode: Option<Override>, span: Option<Duration>) -> Result<Reply, Refusal> {
        self.command(Command::Override(over(mode, span.map(|span| self.now.wall + span))))
    }

    fn reset(&mut self) -> Result<Reply, Refusal> {
        self.command(Command::ResetCircuit(ResetCircuit {
            name: name(),
            etag: None,
            cause: cause(),
            idempotency: None,
        }))
    }

    fn overriding(&self) -> Option<Override> {
        self.task().circuit.overriding.as_ref().map(|lies| lies.mode)
    }

    /// As the journal shows the tasks, another server begins.
    fn restored(&self) -> Self {
        let head = self.machine.head();
        let past = Past { head, tasks: vec![self.task().clone().into()], unknown_kinds: [].into(), requests: vec![] };
        let limits = Limits { max_tasks: 10, max_stuck: 2 };
        let machine = Lifecycle::restore(past, limits, Fixed::default(), self.now);
        Self { machine, now: self.now, events: self.events.clone(), effects: vec![] }
    }
}

fn tripped() -> (Bench, InstanceId) {
    let (mut bench, id) = Bench::ready(called());
    let bad = vec![bench.heard(Verdict::Fail, None); 4];
    assert_eq!(bench.report(bad), [Disposition::Accepted; 4]);
    (bench, id)
}

#[test]
fn bad_outcomes_trip_the_circuit_in_one_event_that_says_whose_they_were() {
    let (bench, id) = tripped();
    let last = bench.events.last().expect("tripped");
    assert_eq!(last.kind, EventType::CircuitTripped);
    assert_eq!(last.cause, Cause::system("circuit", "too many calls failed or were slow, as callers report"));
    let circuit = &bench.task().circuit;
    assert_eq!((circuit.state, circuit.trip_source), (CircuitState::Open, Some(EvidenceSource::Passive)));
    assert_eq!(bench.regime(id).epoch, circuit.epoch, "checks are told");
    assert_eq!(bench.events.iter().filter(|event| event.kind == EventType::CircuitTripped).count(), 1);
}

#[test]
fn a_report_that_moves_nothing_leaves_no_event_and_is_counted() {
    let (mut bench, _) = Bench::ready(called());
    let before = bench.events.len();
    let outcome = bench.heard(Verdict::Pass, None);
    let (reply, after) = bench.call(Call::Report(vec![outcome; 3]));
    assert_eq!((reply, after), (Ok(Reply::Dispositions(vec![Disposition::Accepted; 3])), Sequence::default()));
    assert_eq!((bench.events.len(), bench.counted().passive.results), (before, 3));
}

#[test]
fn what_follows_a_trip_in_the_same_report_is_stale_and_the_answer_waits_for_no_commit() {
    let (mut bench, _) = Bench::ready(called());
    let outcome = bench.heard(Verdict::Fail, None);
    let (reply, after) = bench.call(Call::Report(vec![outcome; 6]));
    use Disposition::{Accepted, Stale};
    assert_eq!(reply, Ok(Reply::Dispositions(vec![Accepted, Accepted, Accepted, Accepted, Stale, Stale])));
    assert_eq!(after, Sequence::default(), "it has counted, whenever that shows");
}

#[test]
fn a_permit_waits_for_the_last_event_of_its_task_alone() {
    let (mut bench, _) = Bench::ready(called());
    let own = bench.machine.head();
    let other = StartTask { name: TaskName::parse("namespaces/default/tasks/other").unwrap(), ..start(custom(), None) };
    bench.command(Command::Start(Box::new(other), target("a"))).expect("starts");
    assert!(own < bench.machine.head());
    assert_eq!(bench.call(Call::Acquire(name())).1, own);
}

#[test]
fn asking_begins_a_trial_that_is_due_and_waits_for_its_event() {
    let (mut bench, id) = tripped();
    bench.now = Now { mono: bench.now.mono + 5 * SECOND, wall: bench.now.wall + 5 * SECOND };
    let (reply, after) = bench.call(Call::Acquire(name()));
    assert_eq!(
        (bench.events.last().map(|event| event.kind), after),
        (Some(EventType::CircuitHalfOpened), bench.machine.head())
    );
    let Ok(Reply::Permission { permission: Permission::Granted(permit), .. }) = reply else { panic!("{reply:?}") };
    assert_eq!(permit.epoch, bench.task().circuit.epoch);
    let lease = permit.lease.expect("a trial call has one");
    assert_eq!(bench.counted().passive.leases, 1);

    bench.check(id, Verdict::Pass);
    assert_eq!(bench.task().circuit.state, CircuitState::HalfOpen);
    let good = bench.heard(Verdict::Pass, Some(lease));
    assert_eq!(bench.report(vec![good, good]), [Disposition::Accepted, Disposition::Stale]);
    let last = bench.events.last().expect("recovered");
    assert_eq!(last.kind, EventType::CircuitRecovered);
    assert_eq!(last.cause, Cause::system("circuit", "1 checks in a row passed, and 1 trial calls went well"));
}

#[test]
fn a_bad_trial_call_opens_again_and_sets_the_timer_anew() {
    let (mut bench, _) = tripped();
    bench.pass(5 * SECOND);
    let Permission::Granted(Permit { lease, .. }) = bench.acquire() else { panic!("denied") };
    let bad = bench.heard(Verdict::Fail, lease);
    bench.report(vec![bad]);
    let last = bench.events.last().expect("opened");
    assert_eq!(
        (last.kind, &last.cause),
        (EventType::CircuitTripped, &Cause::system("circuit", "a trial call failed or was slow"))
    );
    let (uid, due) = (bench.task().uid, bench.now.mono + 10 * SECOND);
    assert_eq!(bench.machine.timers.due(Timer::Circuit(uid)), Some(due));
}

#[test]
fn nobody_is_answered_while_the_journal_takes_nothing_in() {
    for (admission, refusal) in [(Admission::Stalled, Refusal::JournalStalled), (Admission::Full, Refusal::StoreFull)] {
        let (mut bench, _) = Bench::ready(called());
        bench.feed(Input::Admission(admission));
        let bad = vec![bench.heard(Verdict::Fail, None); 4];
        for call in [Call::Acquire(name()), Call::Report(bad.clone())] {
            assert_eq!(bench.call(call), (Err(refusal.clone()), Sequence::default()));
        }
        assert_eq!(bench.override_with(Some(Override::Shadow), None), Err(refusal.clone()));
        assert_eq!(bench.reset(), Err(refusal));
        bench.feed(Input::Admission(Admission::Open));
        assert_eq!(bench.report(bad), [Disposition::Accepted; 4], "none of them has counted before");
    }
}

#[test]
fn a_task_that_is_not_there_has_no_circuit() {
    let (mut bench, _) = Bench::ready(called());
    let other = TaskName::parse("namespaces/default/tasks/other").unwrap();
    let refused = (Err(Refusal::TaskNotFound(other.clone())), Sequence::default());
    assert_eq!(bench.call(Call::Acquire(other)), refused);
    let gone = CallOutcome { uid: Uid::new(Uuid::from_u128(99)), ..bench.heard(Verdict::Fail, None) };
    assert_eq!(bench.report(vec![gone]), [Disposition::Stale]);
}

#[test]
fn an_ended_task_permits_nothing_and_hears_nothing_but_is_overridden_and_reset() {
    let (mut bench, id) = Bench::ready(called());
    bench.cancel(false).unwrap();
    bench.end(id, RootEnd::Returned);
    assert!(bench.task().state.is_ended());
    assert_eq!(bench.acquire(), Permission::Denied(Denial { retry_after: None }));
    let bad = vec![bench.heard(Verdict::Fail, None); 4];
    assert_eq!(bench.report(bad), [Disposition::Stale; 4]);
    bench.override_with(Some(Override::ForcedClosed), Some(SECOND)).unwrap();
    assert!(matches!(bench.acquire(), Permission::Granted(_)));
    bench.reset().unwrap();
    bench.pass(SECOND);
    assert_eq!((bench.overriding(), bench.task().state), (None, State::Cancelled));
    bench.override_with(Some(Override::ForcedClosed), Some(SECOND)).unwrap();
    bench.delete().unwrap();
    assert_eq!(bench.machine.timers.len(), 0, "deleted with its override");
}

#[test]
fn an_override_is_told_with_its_cause_and_ends_by_itself() {
    let (mut bench, _) = Bench::ready(called());
    bench.override_with(Some(Override::ForcedOpen), Some(SECOND)).unwrap();
    let last = bench.events.last().expect("told");
    assert_eq!((last.kind, &last.cause), (EventType::CircuitOverridden, &cause()));
    assert_eq!(bench.acquire(), Permission::Denied(Denial { retry_after: Some(SECOND) }));
    bench.pass(SECOND - MS);
    assert_eq!(bench.overriding(), Some(Override::ForcedOpen));
    bench.pass(MS);
    let last = bench.events.last().expect("told");
    assert_eq!((last.kind, bench.overriding()), (EventType::CircuitOverridden, None));
    assert_eq!(last.cause, Cause::system("circuit", "the override's time is over"));
    assert_eq!(bench.machine.timers.due(Timer::Override(bench.task().uid)), None);
}

#[test]
fn the_same_override_again_is_no_event_and_any_other_is() {
    let (mut bench, _) = Bench::ready(called());
    let until = Some(bench.now.wall + 9 * SECOND);
    let mut tell = |wanted: OverrideCircuit| {
        let before = bench.events.len();
        bench.command(Command::Override(wanted)).expect("is done");
        bench.events.len() - before
    };
    let other_words = Cause { reason: Reason::cut("maintenance".to_owned()), ..cause() };
    let told = [
        tell(over(None, None)),
        tell(over(Some(Override::ForcedOpen), until)),
        tell(over(Some(Override::ForcedOpen), until)),
        tell(over(Some(Override::ForcedOpen), None)),
        tell(over(Some(Override::Shadow), None)),
        tell(OverrideCircuit { cause: other_words, ..over(Some(Override::Shadow), None) }),
        tell(over(None, None)),
        tell(over(None, None)),
    ];
    assert_eq!(told, [0, 1, 0, 1, 1, 1, 1, 0]);
    assert_eq!(bench.machine.timers.due(Timer::Override(bench.task().uid)), None);
}

#[test]
fn an_override_that_is_over_already_is_refused() {
    let (mut bench, _) = Bench::ready(called());
    let refused = bench.override_with(Some(Override::Shadow), Some(Duration::ZERO));
    assert_eq!(refused, Err(Refusal::Invalid(Violations::one("expire_time", "must lie in the future"))));
}

#[test]
fn a_drain_refuses_operators_and_answers_callers() {
    let (mut bench, _) = Bench::ready(called());
    bench.override_with(Some(Override::ForcedClosed), None).unwrap();
    bench.drain(bench.now.mono + 60 * SECOND);
    assert_eq!(bench.override_with(None, None), Err(Refusal::ServerDraining));
    assert_eq!(bench.reset(), Err(Refusal::ServerDraining));
    assert!(matches!(bench.acquire(), Permission::Granted(_)));
}

#[test]
fn a_reset_by_a_client_begins_a_new_epoch_and_tells_the_checks() {
    let (mut bench, id) = tripped();
    let before = bench.task().circuit.epoch;
    bench.reset().unwrap();
    let last = bench.events.last().expect("told");
    assert_eq!((last.kind, &last.cause), (EventType::CircuitReset, &cause()));
    let circuit = &bench.task().circuit;
    assert_eq!((circuit.state, circuit.trip_source, circuit.epoch), (CircuitState::Closed, None, before.next()));
    assert_eq!(bench.regime(id).epoch, circuit.epoch);
    let uid = bench.task().uid;
    assert_eq!(bench.machine.timers.due(Timer::Circuit(uid)), None);
}

#[test]
fn callers_outcomes_take_no_observed_swap_back() {
    let swap = SwapDraft { auto_revert: true, observation_time: Some(60 * SECOND), ..SwapDraft::default() };
    let (mut bench, _) = Bench::ready(called());
    let labelled = SpecDraft { swap, ..called() };
    bench.swap(labelled, "a").expect("begins");
    let candidate = bench.built();
    bench.feed(Input::Ready(candidate));
    assert!(bench.task().observation.is_some(), "{:?}", bench.phase());
    let old = bench.task().draining.len();
    assert_eq!(old, 1, "the one before still stops");
    let before = bench.events.len();
    let bad = vec![bench.heard(Verdict::Fail, None); 4];
    assert_eq!(bench.report(bad), [Disposition::Accepted; 4]);
    assert_eq!(bench.events[before].kind, EventType::CircuitTripped);
    let observation = bench.task().observation.as_ref().expect("it goes on");
    assert_eq!(observation.failure, "", "the checks have the say");
}

#[test]
fn an_override_survives_its_server_and_ends_in_time() {
    let (mut bench, _) = Bench::ready(called());
    bench.override_with(Some(Override::ForcedOpen), Some(10 * SECOND)).unwrap();
    bench.now = Now { mono: Mono::from_nanos(5), wall: bench.now.wall + 4 * SECOND };
    let mut next = bench.restored();
    assert!(matches!(next.acquire(), Permission::Denied(Denial { retry_after: Some(_) })));
    next.feed(Input::Adopt);
    next.pass(6 * SECOND - MS);
    assert_eq!(next.overriding(), Some(Override::ForcedOpen));
    next.pass(MS);
    assert_eq!(next.overriding(), None);
}

#[test]
fn what_nobody_has_taken_over_is_shown_as_ended_before_its_override_is() {
    let (mut bench, _) = Bench::ready(called());
    bench.swap(SpecDraft { swap: SwapDraft { auto_revert: true, ..SwapDraft::default() }, ..called() }, "a").unwrap();
    bench.built();
    bench.override_with(Some(Override::ForcedOpen), Some(SECOND)).unwrap();
    assert!(bench.task().candidate.is_some());
    bench.now = Now { mono: Mono::from_nanos(5), wall: bench.now.wall + 60 * SECOND };
    let mut next = bench.restored();
    let before = next.events.len();
    next.pass(Duration::ZERO);
    assert_eq!(next.events.len(), before, "nothing is told of it");
    next.feed(Input::Adopt);
    let ended = next.kinds()[before..].iter().filter(|kind| **kind == EventType::InstanceEnded).count();
    assert_eq!(ended, 2, "the active one and the candidate");
    next.pass(Duration::ZERO);
    assert_eq!(next.kinds().last(), Some(&EventType::CircuitOverridden));
    assert_eq!(next.overriding(), None);
}

#[test]
fn a_permit_bears_no_epoch_that_a_crash_could_give_again() {
    let (mut bench, id) = Bench::ready(called());
    bench
        .command(Command::Pause(PauseTask {
            name: name(),
            expire_time: None,
            etag: None,
            cause: cause(),
            idempotency: None,
        }))
        .unwrap();
    bench.end(id, RootEnd::Returned);
    bench.override_with(Some(Override::ForcedClosed), None).unwrap();
    let shown = bench.task().circuit.epoch;
    // Nothing is told of a paused task, by however many servers.
    let mut next = bench.restored();
    next.feed(Input::Adopt);
    let permitted = next.acquire();
    assert_eq!(permitted, Permission::Granted(Permit { epoch: shown, lease: None }));
    let outcome = next.heard(Verdict::Fail, None);
    assert_eq!(outcome.sample.epoch, shown);
    assert_eq!(next.report(vec![outcome]), [Disposition::Stale]);
    assert_eq!(next.restored().acquire(), permitted);
}
