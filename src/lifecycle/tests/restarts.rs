//! What follows when an instance ends unasked.

use super::*;

#[test]
fn failures_back_off_exponentially_until_the_policy_gives_up() {
    let (mut bench, mut id) = Bench::ready(custom());
    for expected in [1, 2, 4, 8, 16] {
        bench.end(id, RootEnd::Failed("broken".to_owned()));
        assert_eq!(bench.task().state, State::Pending);
        assert_eq!(bench.task().restart.next_time, Some(bench.now.wall + expected * SECOND));
        bench.pass(expected * SECOND - MS);
        assert_eq!(bench.task().state, State::Pending);
        bench.pass(MS);
        assert_eq!(bench.task().state, State::Starting);
        id = bench.launched();
    }
    assert_eq!(bench.task().instance.as_ref().unwrap().attempt, Attempt::new(6));
    bench.end(id, RootEnd::Panicked("broken".to_owned()));
    assert_eq!(bench.task().state, State::Failed);
    assert_eq!(bench.outcome(), (Exit::Panic, Asked::None));
    assert_eq!(bench.task().restart.count, 5);
}

#[test]
fn restarts_are_counted_anew_after_a_window_of_health() {
    let (mut bench, id) = Bench::ready(custom());
    bench.end(id, RootEnd::Failed(String::new()));
    bench.pass(SECOND);
    let id = bench.launched();
    bench.feed(Input::Ready(id));
    let window = bench.task().spec.restart().window();
    bench.pass(window);
    bench.end(id, RootEnd::Failed(String::new()));
    assert_eq!(bench.task().restart.count, 1);
    assert_eq!(bench.task().restart.next_time, Some(bench.now.wall + SECOND));
}

#[test]
fn without_restarts_the_first_failure_is_final() {
    let restart = RestartDraft { max_restarts: Some(0), ..RestartDraft::default() };
    let (mut bench, id) = Bench::ready(SpecDraft { restart, ..custom() });
    bench.end(id, RootEnd::Failed("broken".to_owned()));
    assert_eq!(bench.task().state, State::Failed);
}

#[test]
fn one_that_is_not_ready_in_time_is_stopped_and_restarted() {
    let start_timeout = Some(SECOND);
    let (mut bench, id) = Bench::started(SpecDraft { start_timeout, ..custom() });
    bench.pass(SECOND);
    assert_eq!(bench.task().state, State::Stopping);
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.outcome(), (Exit::Graceful, Asked::StartTimeout));
    assert_eq!(bench.task().state, State::Pending);
    bench.pass(SECOND);
    assert_eq!(bench.task().state, State::Starting);
}

#[test]
fn nothing_is_started_beside_a_stuck_instance() {
    let start_timeout = Some(SECOND);
    let (mut bench, id) = Bench::started(SpecDraft { start_timeout, ..custom() });
    for time in [SECOND, 5 * SECOND, 2 * SECOND, 600 * SECOND] {
        bench.pass(time);
    }
    assert_eq!((bench.task().state, bench.task().intent), (State::Stuck, Intent::Run));
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Launch { .. })), 1);
    bench.end(id, RootEnd::Cancelled);
    assert_eq!(bench.task().state, State::Pending);
}

#[test]
fn completing_unasked_succeeds_and_for_a_built_in_without_counted_runs_is_an_error() {
    let (mut bench, id) = Bench::ready(custom());
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.task().state, State::Succeeded);
    assert_eq!(bench.outcome(), (Exit::Completed, Asked::None));

    let (mut bench, id) = Bench::ready(tcp());
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.outcome(), (Exit::Error, Asked::None));
    assert_eq!(bench.task().state, State::Pending);

    let schedule = ScheduleDraft { max_runs: 1, ..ScheduleDraft::default() };
    let (mut bench, id) = Bench::ready(SpecDraft { schedule, ..tcp() });
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.outcome(), (Exit::Completed, Asked::None));
}

#[test]
fn a_task_that_backs_off_is_not_restarted_during_a_drain() {
    let (mut bench, id) = Bench::ready(custom());
    bench.end(id, RootEnd::Failed(String::new()));
    bench.drain(bench.now.mono + 7 * SECOND);
    bench.pass(60 * SECOND);
    assert_eq!(bench.task().state, State::Pending);
    assert!(bench.machine.is_drained());
}
