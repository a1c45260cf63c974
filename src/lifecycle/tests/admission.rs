//! What is refused while the journal takes nothing in, what goes on, and what is made up for when it is open again.

use super::*;

impl Bench {
    fn admit(&mut self, admission: Admission) -> Vec<Effect> {
        self.feed(Input::Admission(admission))
    }

    /// What the command is answered with, and after what.
    fn answer(&mut self, command: Command) -> (Sequence, Result<Reply, Refusal>) {
        let effects = self.feed(Input::Command(command));
        let answer = effects.into_iter().find_map(|effect| match effect {
            Effect::Answer { after, reply } => Some((after, reply)),
            _ => None,
        });
        answer.expect("every command is answered in its own step")
    }

    fn launches(&self) -> usize {
        self.count(|effect| matches!(effect, Effect::Launch(_)))
    }

    fn remembered(&self) -> usize {
        self.count(|effect| matches!(effect, Effect::Remember(_)))
    }
}

fn cancel_as(id: u128) -> Command {
    let idempotency = request(id, b"");
    Command::Cancel(CancelTask { name: name(), force: false, etag: None, cause: cause(), idempotency })
}

/// A roll-back to what is not there.
fn in_vain(etag: Option<Etag>) -> Command {
    let refusal = Refusal::GenerationNotFound { name: name(), generation: None };
    let rollback = RollbackTask {
        name: name(),
        to_generation: None,
        strategy: None,
        state_policy: None,
        preempt: false,
        validate_only: false,
        etag,
        cause: cause(),
        idempotency: None,
    };
    Command::Vain(Box::new(rollback), refusal)
}

fn every_other() -> [Command; 7] {
    let pause = PauseTask { name: name(), expire_time: None, etag: None, cause: cause(), idempotency: None };
    [
        Command::Start(Box::new(start(custom(), None)), target("a")),
        Command::Swap(Box::new(swap(tcp())), target("b")),
        in_vain(None),
        Command::Pause(pause),
        Command::Resume(ResumeTask { name: name(), etag: None, cause: cause(), idempotency: None }),
        Command::Run(RunTask { name: name(), etag: None, cause: cause(), idempotency: None }),
        Command::Delete(DeleteTask { name: name(), etag: None, cause: cause(), idempotency: None }),
    ]
}

#[test]
fn what_is_wrong_with_a_rollback_sooner_is_told_sooner() {
    let (mut bench, _) = Bench::ready(tcp());
    let refused = bench.command(in_vain(Some(Etag::given("stale"))));
    assert!(matches!(refused, Err(Refusal::EtagMismatch { .. })), "{refused:?}");
    assert!(matches!(bench.command(in_vain(None)), Err(Refusal::GenerationNotFound { .. })));
    bench.drain(bench.now.mono + Duration::from_secs(7));
    assert_eq!(bench.command(in_vain(None)), Err(Refusal::ServerDraining));
}

#[test]
fn a_command_that_is_not_admitted_is_refused_at_once_whatever_it_is_about() {
    let (mut bench, _) = Bench::ready(tcp());
    for (admission, refusal) in [(Admission::Stalled, Refusal::JournalStalled), (Admission::Full, Refusal::StoreFull)] {
        bench.admit(admission);
        let before = bench.events.len();
        for command in every_other() {
            assert_eq!(bench.answer(command), (Sequence::default(), Err(refusal.clone())), "{admission:?}");
        }
        assert_eq!(bench.events.len(), before);
    }
    bench.admit(Admission::Open);
    assert!(matches!(bench.swap(tcp(), "b"), Ok(Reply::Accepted { .. })), "by itself");
}

#[test]
fn a_dry_run_changes_nothing_and_passes() {
    let mut bench = Bench::new();
    bench.admit(Admission::Full);
    let dry = StartTask { validate_only: true, ..start(custom(), None) };
    let (after, reply) = bench.answer(Command::Start(Box::new(dry), target("a")));
    assert!(matches!(reply, Ok(Reply::Accepted { .. })));
    assert_eq!(after, Sequence::default(), "nothing has happened yet");
}

#[test]
fn a_cancel_still_acts_and_its_answer_waits_for_what_it_did() {
    let (mut bench, id) = Bench::ready(custom());
    bench.admit(Admission::Stalled);
    let (after, reply) = bench.answer(cancel_as(1));
    assert!(matches!(reply, Ok(Reply::Accepted { .. })));
    assert_eq!(after, bench.events.last().unwrap().sequence);
    assert_eq!(bench.task().state, State::Stopping);
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::Signal(signalled) if *signalled == id)));
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.task().state, State::Cancelled, "facts are never refused");
    bench.admit(Admission::Open);
    let sequence = after;
    let (_, again) = bench.answer(cancel_as(1));
    assert!(matches!(again, Ok(Reply::Accepted { sequence: place, .. }) if place == sequence), "the original answer");
}

#[test]
fn a_second_cancel_leaves_nothing_that_could_pile_up() {
    let (mut bench, _) = Bench::ready(custom());
    bench.admit(Admission::Stalled);
    for request in 1..100 {
        bench.answer(cancel_as(request)).1.expect("acts");
    }
    assert_eq!((bench.remembered(), bench.kinds().len()), (1, 4), "{:?}", bench.kinds());
}

#[test]
fn what_has_long_been_committed_waits_for_nothing() {
    let (mut bench, first) = Bench::started(custom());
    bench.cancel(false).unwrap();
    bench.end(first, RootEnd::Returned);
    let ended = bench.events.last().unwrap().sequence;
    let other = TaskName::parse("namespaces/default/tasks/other").unwrap();
    let later = StartTask { name: other, ..start(custom(), request(7, b"")) };
    let start_later = || Command::Start(Box::new(later.clone()), target("a"));
    let (head, _) = bench.answer(start_later());
    assert!(ended < head);

    bench.admit(Admission::Stalled);
    let (after, reply) = bench.answer(cancel_as(1));
    assert_eq!(after, ended);
    assert!(
        matches!(reply, Ok(Reply::Accepted { sequence, .. }) if sequence == ended),
        "a cursor that can be followed"
    );
    let (after, reply) = bench.answer(start_later());
    assert_eq!(after, head, "one that was done is answered again");
    assert!(reply.is_ok());
}

#[test]
fn a_restart_that_comes_due_waits_until_the_journal_is_open() {
    let (mut bench, id) = Bench::ready(custom());
    bench.admit(Admission::Stalled);
    bench.end(id, RootEnd::Failed("down".to_owned()));
    assert_eq!(bench.kinds().last(), Some(&EventType::RestartScheduled));
    bench.pass(3600 * SECOND);
    assert_eq!(bench.launches(), 1);
    assert_eq!(bench.machine.next_due(), None, "nothing is due that may not happen");
    bench.admit(Admission::Open);
    assert_eq!(bench.machine.next_due(), Some(bench.now.mono));
    bench.pass(Duration::ZERO);
    assert_eq!((bench.launches(), bench.task().state), (2, State::Starting));
}

#[test]
fn a_restart_that_was_put_off_is_taken_back_by_a_cancel() {
    let (mut bench, id) = Bench::ready(custom());
    bench.admit(Admission::Stalled);
    bench.end(id, RootEnd::Failed("down".to_owned()));
    bench.pass(60 * SECOND);
    bench.cancel(false).unwrap();
    bench.admit(Admission::Open);
    bench.pass(60 * SECOND);
    assert_eq!((bench.launches(), bench.task().state), (1, State::Cancelled));
}

#[test]
fn a_start_that_waits_for_what_stops_waits_for_the_journal_too() {
    let (mut bench, id) = Bench::ready(custom());
    let pause = PauseTask { name: name(), expire_time: None, etag: None, cause: cause(), idempotency: None };
    bench.command(Command::Pause(pause)).unwrap();
    let resume = ResumeTask { name: name(), etag: None, cause: cause(), idempotency: None };
    bench.command(Command::Resume(resume)).unwrap();
    bench.admit(Admission::Stalled);
    bench.end(id, RootEnd::Returned);
    assert_eq!((bench.launches(), bench.task().state), (1, State::Pending));
    bench.admit(Admission::Open);
    assert_eq!((bench.launches(), bench.task().state), (2, State::Starting));
}

#[test]
fn pauses_and_ended_tasks_outlast_their_time() {
    let (mut bench, id) = Bench::ready(custom());
    let expire_time = Some(bench.now.wall + SECOND);
    let pause = PauseTask { name: name(), expire_time, etag: None, cause: cause(), idempotency: None };
    bench.command(Command::Pause(pause)).unwrap();
    bench.end(id, RootEnd::Returned);
    bench.admit(Admission::Stalled);
    bench.pass(60 * SECOND);
    assert_eq!(bench.task().state, State::Paused);
    bench.admit(Admission::Open);
    bench.pass(Duration::ZERO);
    assert_eq!(bench.task().state, State::Starting);

    bench.cancel(false).unwrap();
    bench.end(bench.launched(), RootEnd::Returned);
    bench.admit(Admission::Full);
    bench.pass(48 * 3600 * SECOND);
    assert!(!bench.kinds().contains(&EventType::TaskDeleted));
    bench.admit(Admission::Open);
    bench.pass(Duration::ZERO);
    assert_eq!(bench.kinds().last(), Some(&EventType::TaskDeleted));
}

#[test]
fn circuits_are_not_stepped_by_checks_nor_by_time() {
    let (mut bench, id) = Bench::ready(tcp());
    bench.admit(Admission::Stalled);
    for _ in 0..100 {
        bench.check(id, Verdict::Fail);
    }
    assert_eq!(bench.task().circuit.state, CircuitState::Closed);
    bench.admit(Admission::Open);
    for _ in 0..3 {
        bench.check(id, Verdict::Fail);
    }
    assert_eq!(bench.task().circuit.state, CircuitState::Open);

    bench.admit(Admission::Stalled);
    bench.pass(60 * SECOND);
    assert_eq!(bench.task().circuit.state, CircuitState::Open);
    bench.admit(Admission::Open);
    bench.pass(Duration::ZERO);
    assert_eq!(bench.task().circuit.state, CircuitState::HalfOpen);
}

#[test]
fn an_alert_is_raised_once_and_resolved_when_the_journal_is_open() {
    let (mut bench, id) = Bench::ready(tcp());
    bench.admit(Admission::Stalled);
    for _ in 0..10 {
        for lasts in [20 * SECOND, SECOND] {
            bench.feed(Input::CheckBegan(id, bench.now.mono));
            bench.feed(Input::PollBlocked(id, bench.now.mono));
            bench.pass(lasts);
            bench.feed(Input::PollReturned(id));
            bench.feed(Input::CheckEnded(id, bench.now.mono, evidence()));
        }
    }
    use EventType::{AlertRaised, AlertResolved};
    assert_eq!(bench.kinds()[3..], [AlertRaised, AlertRaised]);
    bench.admit(Admission::Open);
    assert_eq!(bench.kinds()[5..], [AlertResolved, AlertResolved]);
    assert_eq!(bench.open_alerts(), []);
}

#[test]
fn an_alert_that_has_a_reason_again_stays_open() {
    let (mut bench, id) = Bench::ready(custom());
    bench.admit(Admission::Stalled);
    bench.feed(Input::PollBlocked(id, bench.now.mono));
    bench.feed(Input::PollReturned(id));
    bench.feed(Input::PollBlocked(id, bench.now.mono));
    bench.admit(Admission::Open);
    assert_eq!(bench.open_alerts(), [AlertKind::PollBlocked]);
    bench.feed(Input::PollReturned(id));
    assert_eq!(bench.open_alerts(), []);
}

#[test]
fn a_swap_that_was_admitted_goes_on() {
    let (mut bench, old) = Bench::ready(custom());
    bench.swap(tcp(), "b").unwrap();
    bench.admit(Admission::Stalled);
    let new = bench.built();
    bench.feed(Input::Ready(new));
    assert_eq!((bench.task().generation, bench.phase()), (Generation::new(2), SwapPhase::Committed));
    bench.feed(Input::Committed(old));
    assert_eq!(bench.phase(), SwapPhase::Draining);
}

#[test]
fn relief_still_moves_what_is_in_the_way() {
    let (mut bench, id) = Bench::ready(custom());
    bench.admit(Admission::Stalled);
    bench.feed(Input::Stalled { culprit: InstanceId::default(), displaced: vec![id] });
    assert_eq!((bench.launches(), bench.task().state), (2, State::Starting));
}
