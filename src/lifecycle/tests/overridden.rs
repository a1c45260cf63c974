//! Overrides and permits over the end of a server.

use super::*;

fn over(mode: Option<Override>, expire_time: Option<Timestamp>) -> Command {
    let (etag, idempotency) = (None, None);
    Command::Override(OverrideCircuit { name: name(), mode, expire_time, etag, cause: cause(), idempotency })
}

impl Bench {
    fn acquire(&mut self) -> Permission {
        let effects = self.feed(Input::Call(Call::Acquire(name())));
        let answer = effects.into_iter().find_map(|effect| match effect {
            Effect::Answer { reply: Ok(Reply::Permission { permission, .. }), .. } => Some(permission),
            _ => None,
        });
        answer.expect("answered")
    }

    fn tell(&mut self, sample: Sample) -> Disposition {
        let uid = self.task().uid;
        let effects = self.feed(Input::Call(Call::Report(vec![CallOutcome { uid, sample }])));
        let answer = effects.into_iter().find_map(|effect| match effect {
            Effect::Answer { reply: Ok(Reply::Dispositions(told)), .. } => Some(told),
            _ => None,
        });
        answer.expect("answered")[0]
    }
}

#[test]
fn an_override_that_expired_while_no_server_ran_ends_once_its_task_is_taken_over() {
    use EventType::*;
    let (mut bench, _) = Bench::ready(custom());
    let soon = bench.now.wall + SECOND;
    bench.command(over(Some(Override::ForcedOpen), Some(soon))).expect("laid");
    bench.restart(60 * SECOND);
    let before = bench.events.len();
    bench.pass(SECOND);
    assert_eq!(bench.kinds()[before..], [], "what was left alive is not closed yet");
    assert_eq!(bench.adopt(), [InstanceEnded, InstanceStarting]);
    bench.pass(Duration::ZERO);
    assert_eq!(bench.kinds().last(), Some(&CircuitOverridden));
    assert_eq!((bench.task().circuit.overriding.as_ref(), bench.task().state), (None, State::Starting));
}

#[test]
fn no_permit_bears_an_epoch_that_may_come_again() {
    let (mut bench, _) = Bench::ready(custom());
    bench.command(over(Some(Override::ForcedClosed), None)).expect("laid");
    let pause = PauseTask { name: name(), expire_time: None, etag: None, cause: cause(), idempotency: None };
    bench.command(Command::Pause(pause)).expect("pauses");
    let id = bench.launched();
    bench.end(id, RootEnd::Returned);
    let stored = bench.task().circuit.epoch;
    for _ in 0..2 {
        bench.restart(SECOND);
        bench.adopt();
        let Permission::Granted(permit) = bench.acquire() else { panic!("it is forced closed") };
        assert_eq!((permit.epoch, permit.lease), (stored, None), "no later one has been stored");
        let source = Source::Passive { reporter: 1, lease: None };
        let sample = Sample { epoch: permit.epoch, verdict: Verdict::Fail, latency: MS, source };
        assert_eq!(bench.tell(sample), Disposition::Stale);
    }
}

#[test]
fn callers_reports_revert_no_swap() {
    let circuit =
        CircuitDraft { passive: PassiveDraft { min: Some(1), ..PassiveDraft::default() }, ..CircuitDraft::default() };
    let draft = || SpecDraft { circuit, ..custom() };
    let (mut bench, old) = Bench::ready(draft());
    let watch = SwapDraft { auto_revert: true, observation_time: Some(60 * SECOND), ..SwapDraft::default() };
    bench.swap(SpecDraft { swap: watch, terminal_ttl: Some(SECOND), ..draft() }, "a").expect("begins");
    let new = bench.built();
    bench.feed(Input::Ready(new));
    bench.feed(Input::Committed(old));
    bench.end(old, RootEnd::Returned);
    assert!(bench.task().observation.is_some());
    let source = Source::Passive { reporter: 1, lease: None };
    let epoch = bench.task().circuit.epoch;
    assert_eq!(bench.tell(Sample { epoch, verdict: Verdict::Fail, latency: MS, source }), Disposition::Accepted);
    assert_eq!((bench.task().circuit.state, bench.phase()), (CircuitState::Open, SwapPhase::Done));
    assert!(bench.task().observation.is_some(), "the checks have the say");
}
