//! What the simulator and reviews have found about going on where an earlier server ended, one small story each.

use std::collections::BTreeSet;

use super::*;

/// The day after which a request is forgotten.
const DAY: Duration = Duration::from_secs(86_400);

/// The server is killed with everything appended, and another begins a second later, which does not know these kinds.
fn killed(bench: Bench, unknown_kinds: &[&str]) -> Bench {
    let tasks = vec![Arc::new(bench.task().clone())];
    let requests = bench.effects.iter().filter_map(|effect| match effect {
        Effect::Remember(request) => Some(request.clone()),
        _ => None,
    });
    let unknown_kinds: BTreeSet<_> = unknown_kinds.iter().map(|kind| (*kind).to_owned()).collect();
    let head = bench.events.last().map(|event| event.sequence).unwrap_or_default();
    let past = Past { head, tasks, unknown_kinds, requests: requests.collect() };
    let now = Now { mono: Mono::from_nanos(1), wall: bench.now.wall + SECOND };
    let machine = Lifecycle::restore(past, bench.machine.limits, Fixed::default(), now);
    Bench { machine, now, events: bench.events, effects: bench.effects }
}

fn break_before_make() -> SpecDraft {
    SpecDraft { swap: SwapDraft { strategy: Some(SwapStrategy::BreakBeforeMake), ..SwapDraft::default() }, ..custom() }
}

/// In the middle of a swap whose old instance has ended, and whose candidate is not ready.
fn breaking() -> Bench {
    let (mut bench, old) = Bench::ready(custom());
    bench.swap(break_before_make(), "a").unwrap();
    bench.built();
    bench.end(old, RootEnd::Returned);
    assert!(bench.task().candidate.is_some());
    bench
}

fn launches(effects: &[Effect]) -> Vec<&Launch> {
    let launches = effects.iter().filter_map(|effect| match effect {
        Effect::Launch(launch) => Some(launch),
        _ => None,
    });
    launches.collect()
}

#[test]
fn a_client_cannot_start_what_nobody_knows_any_more() {
    let (mut bench, id) = Bench::ready(custom());
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
    let mut bench = killed(bench, &["test"]);
    let before = bench.effects.len();
    let resume = ResumeTask { name: name(), etag: None, cause: cause(), idempotency: None };
    let refused = bench.command(Command::Resume(resume)).unwrap_err();
    assert_eq!(refused, Refusal::TaskNotRunning { name: name(), state: State::Failed });
    assert!(launches(&bench.effects[before..]).is_empty());
    assert_eq!((bench.task().state, bench.task().intent), (State::Failed, Intent::Run));
}

#[test]
fn a_client_cannot_swap_what_nobody_knows_any_more() {
    let (bench, _) = Bench::ready(custom());
    let mut bench = killed(bench, &["test"]);
    bench.swap(break_before_make(), "a").unwrap_err();
    assert!(bench.task().state == State::Failed && bench.task().swap.is_none());
}

#[test]
fn a_swap_that_a_crash_rolls_back_starts_nothing_of_an_unknown_kind() {
    let mut bench = killed(breaking(), &["test"]);
    let effects = bench.feed(Input::Adopt);
    assert!(launches(&effects).is_empty());
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::RolledBack, State::Failed));
}

#[test]
fn the_old_spec_that_a_crash_brings_back_spreads_its_first_check_as_all_do() {
    let mut bench = killed(breaking(), &[]);
    let effects = bench.feed(Input::Adopt);
    let launches = launches(&effects);
    assert!(launches.len() == 1 && !launches[0].spread.is_zero() && launches[0].generation == Generation::new(1));
    assert_eq!(bench.phase(), SwapPhase::RolledBack);
}

#[test]
fn a_request_that_was_done_anew_after_a_day_is_remembered_for_a_day() {
    let (mut bench, _) = Bench::ready(custom());
    let cancel = || {
        Command::Cancel(CancelTask {
            name: name(),
            force: false,
            etag: None,
            cause: cause(),
            idempotency: request(1, b""),
        })
    };
    bench.command(cancel()).unwrap();
    bench.pass(DAY);
    let Ok(Reply::Accepted { sequence: anew, .. }) = bench.command(cancel()) else { panic!("refused") };
    let mut bench = killed(bench, &[]);
    // The journal still holds the first one, which is too old; it takes the second with it no more.
    bench.pass(SECOND);
    let head = bench.machine.log.head;
    let Ok(Reply::Accepted { sequence, .. }) = bench.command(cancel()) else { panic!("refused") };
    assert!(
        sequence == anew && bench.count(|effect| matches!(effect, Effect::Remember(_))) == 2,
        "{sequence} of {head}"
    );
}

fn cancel_by(etag: Option<Etag>, idempotency: Option<Idempotency>) -> Command {
    Command::Cancel(CancelTask { name: name(), force: false, etag, cause: cause(), idempotency })
}

/// A ready task, beside another that was cancelled by request 1.
fn beside_a_cancelled_one() -> Bench {
    let mut bench = Bench::new();
    let other = || TaskName::parse("namespaces/default/tasks/other").unwrap();
    let start = StartTask { name: other(), ..start(custom(), None) };
    bench.command(Command::Start(Box::new(start), target("a"))).unwrap();
    let idempotency = request(1, b"other");
    let cancel = CancelTask { name: other(), force: false, etag: None, cause: cause(), idempotency };
    bench.command(Command::Cancel(cancel)).unwrap();
    bench.start(custom()).unwrap();
    let id = bench.launched();
    bench.feed(Input::Ready(id));
    bench
}

#[test]
fn a_cancel_that_is_refused_while_the_journal_takes_nothing_in_takes_the_task_over_nevertheless() {
    let stale = || cancel_by(Some(Etag::given("stale")), None);
    let reused = || cancel_by(None, request(1, b""));
    for (admission, refused) in [(Admission::Stalled, stale()), (Admission::Full, stale()), (Admission::Full, reused())]
    {
        let mut bench = killed(beside_a_cancelled_one(), &[]);
        bench.feed(Input::Admission(admission));
        let (events, effects) = (bench.events.len(), bench.effects.len());
        for _ in 0..2 {
            let refusal = bench.command(refused.clone()).unwrap_err();
            assert!(matches!(refusal, Refusal::EtagMismatch { .. } | Refusal::RequestIdReused), "{refusal:?}");
        }
        assert_eq!(bench.kinds()[events..], [EventType::InstanceEnded, EventType::InstanceStarting], "once");
        let launches = launches(&bench.effects[effects..]);
        assert!(launches.len() == 1 && !launches[0].spread.is_zero() && bench.task().state == State::Starting);
    }
}

#[test]
fn what_is_not_admitted_takes_the_task_over_and_is_refused_at_once() {
    let (bench, _) = Bench::ready(custom());
    let mut bench = killed(bench, &[]);
    bench.feed(Input::Admission(Admission::Full));
    let delete = DeleteTask { name: name(), etag: None, cause: cause(), idempotency: None };
    let effects = bench.feed(Input::Command(Command::Delete(delete)));
    let Some(Effect::Answer { after, reply }) = effects.last() else { panic!("it is answered") };
    assert_eq!((*after, reply), (Sequence::default(), &Err(Refusal::StoreFull)));
    assert_eq!((launches(&effects).len(), bench.machine.orphans()), (1, 0));
}

#[test]
fn a_pause_ends_when_it_was_to_though_the_journal_takes_nothing_in_when_it_is_taken_over() {
    let (mut bench, id) = Bench::ready(custom());
    let expire_time = Some(bench.now.wall + 60 * SECOND);
    let pause = PauseTask { name: name(), expire_time, etag: None, cause: cause(), idempotency: None };
    bench.command(Command::Pause(pause)).unwrap();
    bench.end(id, RootEnd::Returned);
    let mut bench = killed(bench, &[]);
    bench.feed(Input::Admission(Admission::Stalled));
    bench.feed(Input::Adopt);
    assert_eq!(bench.machine.next_due(), Some(bench.now.mono + 59 * SECOND));
    bench.pass(60 * SECOND);
    assert_eq!(bench.task().state, State::Paused, "that a client's pause is over can wait");
    bench.feed(Input::Admission(Admission::Open));
    bench.pass(Duration::ZERO);
    assert_eq!(bench.task().state, State::Starting);
}

#[test]
fn a_dry_run_takes_over_what_it_looks_at_though_the_journal_takes_nothing_in() {
    let (bench, _) = Bench::ready(custom());
    let mut bench = killed(bench, &[]);
    let dry = Command::Swap(Box::new(SwapTask { validate_only: true, ..swap(tcp()) }), target("b"));
    bench.feed(Input::Admission(Admission::Stalled));
    assert!(bench.command(dry).is_ok());
    assert_eq!((bench.task().state, bench.machine.orphans()), (State::Starting, 0));
}
