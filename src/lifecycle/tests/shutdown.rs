//! The two-phase shutdown, of one and of all.

use super::*;

#[test]
fn a_cooperative_task_ends_gracefully_and_says_so() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    assert_eq!(bench.task().state, State::Stopping);
    bench.pass(30 * MS);
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.task().state, State::Cancelled);
    assert_eq!(bench.outcome(), (Exit::Graceful, Asked::Cancel));
    let instance = bench.task().instance.clone().unwrap();
    assert_eq!(instance.shutdown.unwrap().graceful_duration, Some(30 * MS));
    assert_eq!(instance.shutdown.unwrap().abort_duration, None);
    use EventType::*;
    assert_eq!(
        bench.kinds(),
        [TaskCreated, InstanceStarting, InstanceReady, InstanceStopping, InstanceEnded, TaskEnded]
    );
}

#[test]
fn the_state_changes_before_the_signal() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    let stopping =
        |effect: &Effect| matches!(effect, Effect::Append(event) if event.kind == EventType::InstanceStopping);
    let state = bench.effects.iter().position(stopping).unwrap();
    let signal = bench.effects.iter().position(|effect| matches!(effect, Effect::Signal(s) if *s == id)).unwrap();
    assert!(state < signal);
}

#[test]
fn one_that_ignores_the_token_is_aborted_after_five_seconds() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.pass(5 * SECOND - MS);
    assert_eq!(bench.task().state, State::Stopping);
    assert!(bench.open_alerts().is_empty());
    bench.pass(MS);
    assert_eq!(bench.task().state, State::Aborting);
    assert_eq!(bench.open_alerts(), [AlertKind::AbortRequired, AlertKind::SlowCancellation]);
    bench.end(id, RootEnd::Cancelled);
    assert_eq!(bench.outcome(), (Exit::Aborted, Asked::Cancel));
    assert_eq!(bench.task().state, State::Cancelled);
    assert!(bench.open_alerts().is_empty());
}

#[test]
fn a_zombie_is_stuck_after_seven_seconds_and_reaped_hours_later() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.pass(5 * SECOND);
    bench.pass(2 * SECOND);
    assert_eq!(bench.task().state, State::Stuck);
    assert_eq!((bench.machine.live(), bench.machine.stuck()), (1, 1));
    assert!(bench.open_alerts().contains(&AlertKind::AbortTimeout));
    assert_eq!(bench.delete(), Err(Refusal::TaskLive(name())));
    bench.pass(4 * 3600 * SECOND);
    bench.end(id, RootEnd::Cancelled);
    assert_eq!(bench.task().state, State::Cancelled);
    assert_eq!((bench.machine.live(), bench.machine.stuck()), (0, 0));
    assert!(bench.open_alerts().is_empty());
    let ended = bench.kinds().iter().position(|kind| *kind == EventType::InstanceEnded).unwrap();
    let resolved = bench.kinds().iter().rposition(|kind| *kind == EventType::AlertResolved).unwrap();
    assert!(ended < resolved, "alerts resolve after the end that resolves them");
}

#[test]
fn an_exit_between_the_phases_is_graceful_though_abort_was_called() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.pass(5 * SECOND);
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.outcome(), (Exit::Graceful, Asked::Cancel));
}

#[test]
fn an_exit_that_came_in_time_is_not_overtaken_by_its_deadline() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.now.mono = bench.now.mono + 6 * SECOND;
    bench.end(id, RootEnd::Returned);
    bench.feed(Input::Tick);
    assert!(!bench.kinds().contains(&EventType::AlertRaised));
}

#[test]
fn cancel_while_starting_stops_the_instance() {
    let (mut bench, id) = Bench::started(custom());
    bench.cancel(false).unwrap();
    assert_eq!(bench.task().state, State::Stopping);
    bench.feed(Input::Ready(id));
    assert_eq!(bench.task().state, State::Stopping, "late readiness changes nothing");
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.task().state, State::Cancelled);
}

#[test]
fn cancel_while_backing_off_ends_the_task_at_once() {
    let (mut bench, id) = Bench::ready(custom());
    bench.end(id, RootEnd::Failed("broken".to_owned()));
    assert_eq!(bench.task().state, State::Pending);
    bench.cancel(false).unwrap();
    assert_eq!((bench.task().state, bench.task().intent), (State::Cancelled, Intent::Cancel));
    assert_eq!(bench.task().restart.next_time, None);
    bench.pass(120 * SECOND);
    assert_eq!(bench.task().state, State::Cancelled);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Launch { .. })), 1);
}

#[test]
fn a_double_cancel_changes_nothing() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    let events = bench.events.len();
    bench.pass(4 * SECOND);
    bench.cancel(false).unwrap();
    assert_eq!(bench.events.len(), events);
    bench.pass(SECOND);
    assert_eq!(bench.task().state, State::Aborting, "the first deadline holds");
    bench.end(id, RootEnd::Cancelled);
    bench.cancel(true).unwrap();
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Signal(_))), 1);
}

#[test]
fn cancel_then_force_skips_what_is_left_of_the_first_phase() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.pass(SECOND);
    bench.cancel(true).unwrap();
    assert_eq!(bench.task().state, State::Aborting);
    assert!(bench.open_alerts().is_empty(), "no deadline has passed");
    bench.pass(2 * SECOND);
    assert_eq!(bench.task().state, State::Stuck);
    bench.end(id, RootEnd::Cancelled);
    assert_eq!(bench.outcome(), (Exit::Aborted, Asked::Cancel));
}

#[test]
fn force_at_once_signals_and_aborts_in_one_step() {
    let (mut bench, _) = Bench::ready(custom());
    bench.cancel(true).unwrap();
    use EventType::*;
    assert_eq!(bench.kinds()[3..], [InstanceStopping, InstanceAborting]);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Signal(_) | Effect::Abort(_))), 2);
}

#[test]
fn with_no_grace_phase_two_begins_with_the_next_tick() {
    let (mut bench, id) = Bench::ready(grace(Duration::ZERO, SECOND));
    bench.cancel(false).unwrap();
    assert_eq!(bench.task().state, State::Stopping);
    bench.pass(Duration::ZERO);
    assert_eq!(bench.task().state, State::Aborting);
    assert_eq!(bench.open_alerts(), [AlertKind::AbortRequired]);
    bench.end(id, RootEnd::Cancelled);
    assert_eq!(bench.outcome().0, Exit::Aborted);
}

#[test]
fn a_bound_shorter_than_abort_leaves_phase_two_what_there_is() {
    let (mut bench, _) = Bench::ready(grace(5 * SECOND, 2 * SECOND));
    bench.drain(bench.now.mono + SECOND);
    bench.pass(Duration::ZERO);
    assert_eq!(bench.task().state, State::Aborting);
    bench.pass(SECOND);
    assert_eq!(bench.task().state, State::Stuck);
    assert!(bench.machine.is_drained());
}

#[test]
fn a_bound_takes_from_the_first_phase_before_the_second() {
    let (mut bench, _) = Bench::ready(grace(60 * SECOND, 2 * SECOND));
    bench.drain(bench.now.mono + 7 * SECOND);
    bench.pass(5 * SECOND - MS);
    assert_eq!(bench.task().state, State::Stopping);
    bench.pass(MS);
    assert_eq!(bench.task().state, State::Aborting);
    bench.pass(2 * SECOND);
    assert!(bench.machine.is_drained());
}

#[test]
fn a_panic_in_clean_up_is_in_the_outcome_and_restarts_nothing() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.end(id, RootEnd::Panicked("clean-up".to_owned()));
    assert_eq!(bench.task().state, State::Cancelled);
    assert_eq!(bench.outcome(), (Exit::Panic, Asked::Cancel));
    bench.pass(3600 * SECOND);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Launch { .. })), 1);
}

#[test]
fn a_child_that_outlives_its_root_keeps_the_instance_alive_until_it_is_aborted() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.feed(Input::RootEnded { instance: id, end: RootEnd::Returned, children: true });
    assert_eq!((bench.task().state, bench.machine.live()), (State::Stopping, 1));
    bench.pass(5 * SECOND);
    assert_eq!(bench.task().state, State::Aborting);
    bench.feed(Input::ChildrenEnded { instance: id, aborted: true });
    assert_eq!((bench.task().state, bench.machine.live()), (State::Cancelled, 0));
    assert_eq!(bench.outcome(), (Exit::Aborted, Asked::Cancel));
}

#[test]
fn children_of_a_root_that_returned_unasked_are_stopped_in_two_phases() {
    let (mut bench, id) = Bench::ready(custom());
    bench.feed(Input::RootEnded { instance: id, end: RootEnd::Returned, children: true });
    assert_eq!(bench.task().state, State::Stopping);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Signal(_))), 1);
    bench.feed(Input::ChildrenEnded { instance: id, aborted: false });
    assert_eq!(bench.task().state, State::Succeeded);
    assert_eq!(bench.outcome(), (Exit::Completed, Asked::None));
}

#[test]
fn a_cancel_joins_a_stop_under_way_and_is_on_record() {
    let start_timeout = Some(SECOND);
    let (mut bench, id) = Bench::started(SpecDraft { start_timeout, ..custom() });
    bench.pass(SECOND);
    let events = bench.events.len();
    bench.cancel(false).unwrap();
    assert_eq!(bench.events.len(), events + 1);
    let event = bench.events.last().unwrap();
    assert_eq!((event.kind, &event.cause.actor), (EventType::InstanceStopping, &cause().actor));
    assert_eq!(bench.task().intent, Intent::Cancel);
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.task().state, State::Cancelled);
    assert_eq!(bench.outcome().1, Asked::StartTimeout);
    assert_eq!(bench.events.last().unwrap().cause.actor, cause().actor, "who cancelled it has ended it");
}

#[test]
fn a_drain_stops_everything_starts_nothing_and_is_no_cancel() {
    let (mut bench, id) = Bench::ready(custom());
    bench.drain(bench.now.mono + 7 * SECOND);
    assert_eq!(bench.task().state, State::Stopping);
    assert!(!bench.machine.is_drained());
    bench.end(id, RootEnd::Returned);
    assert!(bench.machine.is_drained());
    assert_eq!((bench.task().state, bench.task().intent), (State::Pending, Intent::Run));
    assert_eq!(bench.outcome(), (Exit::Graceful, Asked::Drain));
    assert_eq!(bench.start(custom()), Err(Refusal::ServerDraining));
    bench.cancel(false).expect("a cancel is heard during a drain");
    bench.delete().expect("and so is a delete");
}
