//! Blocked polls, and those who are in their way.

use super::*;

const LIMITS: Limits = Limits { max_tasks: 10, max_stuck: 2 };

impl Bench {
    /// The instance's thread is given up, with these on it.
    fn stall(&mut self, culprit: InstanceId, displaced: &[InstanceId]) {
        self.feed(Input::Stalled { culprit, displaced: displaced.to_vec() });
    }

    /// A culprit that this bench knows nothing else of.
    fn displace(&mut self, displaced: InstanceId) {
        self.stall(InstanceId::new(4711), &[displaced]);
    }
}

#[test]
fn a_blocked_poll_is_an_alert_and_shows_since_when_while_it_lasts() {
    let (mut bench, id) = Bench::ready(custom());
    let since = bench.now;
    bench.pass(SECOND);
    bench.feed(Input::PollBlocked(id, since.mono));
    assert_eq!(bench.open_alerts(), [AlertKind::PollBlocked]);
    assert_eq!(bench.task().instance.as_ref().unwrap().blocked_since, Some(since.wall));
    let events = bench.events.len();
    bench.feed(Input::PollBlocked(id, since.mono));
    assert_eq!(bench.events.len(), events, "once");
    bench.feed(Input::PollReturned(id));
    assert!(bench.open_alerts().is_empty());
    assert_eq!(bench.task().instance.as_ref().unwrap().blocked_since, None);
}

#[test]
fn its_end_resolves_it_and_news_of_the_dead_change_nothing() {
    let (mut bench, id) = Bench::ready(custom());
    bench.feed(Input::PollBlocked(id, bench.now.mono));
    bench.end(id, RootEnd::Failed("x".to_owned()));
    assert!(bench.open_alerts().is_empty());
    assert_eq!(bench.task().instance.as_ref().unwrap().blocked_since, None);
    let events = bench.events.len();
    bench.feed(Input::PollReturned(id));
    bench.feed(Input::PollBlocked(id, bench.now.mono));
    bench.stall(id, &[id]);
    assert_eq!((bench.events.len(), bench.machine.lost), (events, 0));
}

#[test]
fn a_displaced_instance_ends_and_starts_again_at_once_and_no_restart_counts() {
    use EventType::*;
    let (mut bench, id) = Bench::ready(custom());
    let before = bench.events.len();
    bench.displace(id);
    assert_eq!(bench.kinds()[before..], [InstanceEnded, InstanceStarting]);
    assert_eq!(bench.outcome(), (Exit::Displaced, Asked::Relief));
    let task = bench.task();
    assert_eq!((task.state, task.restart.count), (State::Starting, 0));
    assert_eq!(task.instance.as_ref().unwrap().attempt, Attempt::new(2));
    let launch = bench.effects.iter().rev().find_map(|effect| match effect {
        Effect::Launch(launch) => Some(launch.clone()),
        _ => None,
    });
    assert!(launch.is_some_and(|launch| !launch.spread.is_zero() && launch.instance != id));
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Displace(_))), 1);
    let events = bench.events.len();
    bench.end(id, RootEnd::Cancelled);
    assert_eq!(bench.events.len(), events, "its real end, later, is nobody's");
}

#[test]
fn its_open_alerts_are_resolved_and_none_is_raised() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.pass(5 * SECOND);
    assert_eq!(bench.open_alerts(), [AlertKind::AbortRequired, AlertKind::SlowCancellation]);
    bench.displace(id);
    assert_eq!((bench.task().state, bench.outcome()), (State::Cancelled, (Exit::Displaced, Asked::Cancel)));
    assert!(bench.open_alerts().is_empty());
    assert!(bench.pass(60 * SECOND).is_empty());
}

#[test]
fn one_of_which_only_children_are_left_ends_as_its_root_did() {
    let (mut bench, id) = Bench::ready(custom());
    bench.feed(Input::RootEnded { instance: id, end: RootEnd::Returned, children: true });
    assert_eq!(bench.task().state, State::Stopping);
    bench.displace(id);
    assert_eq!((bench.task().state, bench.outcome()), (State::Succeeded, (Exit::Completed, Asked::None)));
    assert_eq!(bench.launched(), id, "its work is done");
}

#[test]
fn a_pause_and_a_drain_are_done_with_what_is_displaced() {
    let (mut bench, id) = Bench::ready(custom());
    let pause = PauseTask { name: name(), expire_time: None, etag: None, cause: cause(), idempotency: None };
    bench.command(Command::Pause(pause)).unwrap();
    bench.displace(id);
    assert_eq!(bench.task().state, State::Paused);
    let (mut bench, id) = Bench::ready(custom());
    bench.drain(bench.now.mono + 7 * SECOND);
    bench.displace(id);
    assert_eq!((bench.task().state, bench.machine.is_drained()), (State::Pending, true));
}

#[test]
fn that_it_was_not_ready_in_time_was_not_its_doing() {
    let (mut bench, id) = Bench::started(SpecDraft { start_timeout: Some(SECOND), ..custom() });
    bench.pass(SECOND);
    assert_eq!(bench.task().state, State::Stopping);
    bench.displace(id);
    assert_eq!((bench.task().state, bench.task().restart.count), (State::Starting, 0));
}

#[test]
fn what_is_known_of_its_checks_and_its_circuit_goes_on() {
    let (mut bench, id) = Bench::ready(custom());
    bench.check(id, Verdict::Fail);
    bench.displace(id);
    let again = bench.launched();
    bench.feed(Input::Ready(again));
    bench.check(again, Verdict::Fail);
    assert_eq!(bench.counted().consecutive, 2);
    let run = RunTask { name: name(), etag: None, cause: cause(), idempotency: None };
    assert!(bench.command(Command::Run(run)).is_ok());
}

#[test]
fn a_displaced_candidate_is_tried_again_within_what_is_left_of_its_time() {
    let readiness_timeout = Some(10 * SECOND);
    let draft = SpecDraft { swap: SwapDraft { readiness_timeout, ..SwapDraft::default() }, ..tcp() };
    let (mut bench, old) = Bench::ready(custom());
    bench.swap(draft, "a").unwrap();
    let first = bench.built();
    bench.pass(6 * SECOND);
    bench.displace(first);
    let second = bench.launched();
    assert!(second != first && second != old);
    assert_eq!(bench.phase(), SwapPhase::Starting);
    bench.pass(4 * SECOND - MS);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Signal(_))), 0);
    bench.feed(Input::Ready(second));
    assert_eq!((bench.phase(), bench.task().generation), (SwapPhase::Committed, Generation::new(2)));
    assert_eq!(bench.task().instance.as_ref().unwrap().attempt, Attempt::new(2));

    let (mut bench, _) = Bench::ready(custom());
    bench.swap(SpecDraft { swap: SwapDraft { readiness_timeout, ..SwapDraft::default() }, ..tcp() }, "a").unwrap();
    let first = bench.built();
    bench.pass(6 * SECOND);
    bench.displace(first);
    let second = bench.launched();
    bench.pass(4 * SECOND);
    bench.end(second, RootEnd::Returned);
    assert_eq!(bench.phase(), SwapPhase::RolledBack);
}

#[test]
fn the_active_instance_of_a_swap_is_displaced_without_ending_that() {
    let (mut bench, old) = Bench::ready(custom());
    bench.swap(tcp(), "a").unwrap();
    let candidate = bench.built();
    bench.displace(old);
    let again = bench.launched();
    assert!(again != candidate && again != old);
    bench.feed(Input::Ready(candidate));
    bench.feed(Input::Committed(again));
    bench.end(again, RootEnd::Returned);
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::Done, State::Running));
}

#[test]
fn an_instance_that_was_to_make_room_for_a_swap_has_done_so_when_it_is_displaced() {
    let (mut bench, old) = Bench::ready(custom());
    let strategy = Some(SwapStrategy::BreakBeforeMake);
    bench.swap(SpecDraft { swap: SwapDraft { strategy, ..SwapDraft::default() }, ..tcp() }, "a").unwrap();
    let candidate = bench.built();
    assert_eq!(bench.task().state, State::Stopping);
    bench.displace(old);
    assert_eq!(bench.launched(), candidate);
}

#[test]
fn at_the_stuck_limit_custom_kinds_are_refused_until_a_thread_comes_back() {
    let (mut bench, id) = Bench::ready(custom());
    bench.machine.limits = Limits { max_stuck: 1, ..LIMITS };
    let other = |draft| {
        let start = StartTask { name: TaskName::parse("namespaces/default/tasks/b").unwrap(), ..start(draft, None) };
        Command::Start(Box::new(start), target("b"))
    };
    bench.stall(id, &[]);
    assert!(bench.machine.is_at_stuck_limit());
    assert_eq!(bench.command(other(custom())), Err(Refusal::StuckLimit(1)));
    let kept = bench.command(Command::Swap(Box::new(swap(grace(SECOND, SECOND))), target("a")));
    assert_eq!(kept, Err(Refusal::StuckLimit(1)));
    assert!(bench.command(other(tcp())).is_ok(), "built-in kinds put no thread at risk");
    bench.feed(Input::PollReturned(id));
    assert!(!bench.machine.is_at_stuck_limit());
    assert!(bench.command(Command::Swap(Box::new(swap(grace(SECOND, SECOND))), target("a"))).is_ok());
}

#[test]
fn one_that_is_held_up_while_it_stops_is_displaced_and_not_stuck() {
    let (mut bench, id) = Bench::ready(custom());
    bench.feed(Input::HeldUp(id));
    assert_eq!(bench.task().state, State::Running, "it was told nothing that it could miss");
    bench.cancel(false).unwrap();
    bench.now = Now { mono: bench.now.mono + 5 * SECOND, wall: bench.now.wall + 5 * SECOND };
    assert_eq!(bench.machine.running_out(bench.now.mono), [id]);
    bench.feed(Input::HeldUp(id));
    assert_eq!((bench.task().state, bench.outcome()), (State::Cancelled, (Exit::Displaced, Asked::Cancel)));
    assert!(bench.machine.running_out(bench.now.mono).is_empty());
    bench.pass(60 * SECOND);
    assert!(!bench.kinds().contains(&EventType::AlertRaised));
}

#[test]
fn one_that_blocks_its_own_thread_again_is_lost_again() {
    let (mut bench, id) = Bench::ready(custom());
    bench.stall(id, &[]);
    bench.feed(Input::PollReturned(id));
    assert_eq!(bench.machine.lost, 0);
    bench.stall(id, &[]);
    assert_eq!(bench.machine.lost, 1);
}

#[test]
fn an_instance_is_lost_once_however_it_comes_to_that() {
    let (mut bench, id) = Bench::ready(custom());
    bench.stall(id, &[]);
    bench.stall(id, &[]);
    bench.cancel(false).unwrap();
    bench.pass(5 * SECOND);
    bench.pass(2 * SECOND);
    assert_eq!((bench.machine.stuck(), bench.machine.lost), (1, 1));
    bench.feed(Input::PollReturned(id));
    assert_eq!(bench.machine.lost, 1, "it is stuck as before");
    bench.end(id, RootEnd::Cancelled);
    assert_eq!((bench.machine.stuck(), bench.machine.lost), (0, 0));
}
