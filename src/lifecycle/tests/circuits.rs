//! What drives a task's circuit, and what follows.

use super::*;

fn tripped() -> (Bench, InstanceId) {
    let (mut bench, id) = Bench::ready(custom());
    for _ in 0..3 {
        bench.check(id, Verdict::Fail);
    }
    (bench, id)
}

#[test]
fn three_failures_in_a_row_trip_it_and_each_step_is_an_event() {
    use EventType::*;
    let (mut bench, id) = tripped();
    let open = bench.task().circuit.clone();
    assert_eq!((open.state, open.reason, open.streak), (CircuitState::Open, Some(CircuitReason::Failure), 1));
    assert_eq!(open.until, Some(bench.now.wall + 5 * SECOND));
    assert!(bench.regime(id).epoch == open.epoch && bench.regime(id).trial_interval.is_none());

    bench.pass(5 * SECOND - MS);
    assert_eq!(bench.task().circuit.state, CircuitState::Open);
    bench.pass(MS);
    assert_eq!(bench.task().circuit.state, CircuitState::HalfOpen);
    assert_eq!(bench.regime(id).trial_interval, Some(5 * SECOND), "checks are on trial");

    for _ in 0..3 {
        bench.check(id, Verdict::Pass);
    }
    assert_eq!(bench.task().circuit.state, CircuitState::Closed);
    assert_eq!(bench.regime(id).trial_interval, None);
    assert_eq!(bench.kinds()[3..], [CircuitTripped, CircuitHalfOpened, CircuitRecovered]);
}

#[test]
fn a_half_open_circuit_without_results_opens_again_at_its_deadline() {
    let (mut bench, _) = tripped();
    bench.pass(5 * SECOND);
    bench.pass(60 * SECOND);
    let circuit = bench.task().circuit.clone();
    assert_eq!((circuit.state, circuit.reason), (CircuitState::Open, Some(CircuitReason::Inconclusive)));
}

#[test]
fn what_is_shown_of_the_window_follows_the_circuit_without_a_check() {
    let (mut bench, id) = tripped();
    bench.pass(5 * SECOND);
    bench.check(id, Verdict::Pass);
    assert_eq!(bench.counted().results, 1);
    bench.pass(60 * SECOND);
    assert_eq!((bench.task().circuit.state, bench.counted()), (CircuitState::Open, WindowCounts::default()));
}

#[test]
fn a_check_that_began_before_the_trial_proves_nothing_in_it() {
    let (mut bench, id) = tripped();
    let late = Evidence { regime: bench.regime(id), verdict: Verdict::Fail, latency: MS };
    bench.pass(5 * SECOND);
    let (before, events) = (bench.task().circuit.clone(), bench.events.len());
    bench.feed(Input::CheckEnded(id, bench.now.mono, late));
    assert_eq!((bench.task().circuit.clone(), bench.events.len()), (before, events));
}

#[test]
fn without_a_ready_instance_it_is_suspended_and_keeps_its_time() {
    let (mut bench, id) = tripped();
    bench.pass(2 * SECOND);
    bench.end(id, RootEnd::Failed("down".to_owned()));
    assert!(bench.task().circuit.suspended && bench.task().circuit.state == CircuitState::Open);
    bench.pass(600 * SECOND);
    assert_eq!(bench.task().circuit.state, CircuitState::Open);
    let again = bench.launched();
    bench.feed(Input::Ready(again));
    assert!(!bench.task().circuit.suspended);
    bench.pass(3 * SECOND - MS);
    assert_eq!(bench.task().circuit.state, CircuitState::Open);
    bench.pass(MS);
    assert_eq!(bench.task().circuit.state, CircuitState::HalfOpen);
}

#[test]
fn checks_of_an_instance_that_is_not_ready_count_nothing() {
    let (mut bench, id) = Bench::started(custom());
    for _ in 0..5 {
        bench.check(id, Verdict::Fail);
    }
    assert_eq!(bench.task().circuit.state, CircuitState::Closed);
}

#[test]
fn an_ended_task_leaves_no_timer_of_its_circuit() {
    let (mut bench, id) = tripped();
    bench.cancel(false).unwrap();
    bench.end(id, RootEnd::Returned);
    bench.delete().unwrap();
    assert_eq!(bench.machine.timers.len(), 0);
}
