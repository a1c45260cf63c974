//! Time: what passes while no instance is ready, what stability forgives, and clocks that go wrong.

use super::*;
use CircuitReason::Failure;
use CircuitState::{HalfOpen, Open};
use Verdict::{Fail, Pass};

#[test]
fn a_suspended_open_circuit_keeps_its_remaining_time() {
    let mut bench = Bench::opened(in_a_row());
    let opened = bench.circuit.status();
    bench.advance(400 * MS);
    bench.circuit.suspend(bench.now);
    assert_eq!(bench.circuit.next_due(), None);
    let left = Some(600 * MS);
    assert_eq!(bench.circuit.status(), CircuitStatus { suspended: true, until: None, left, ..opened.clone() });
    bench.advance(3_600 * SECOND);
    assert_eq!(bench.settle(), None);
    bench.circuit.resume(bench.now);
    assert_eq!(bench.remaining(), Some(600 * MS));
    let until = bench.now.wall + 600 * MS;
    assert_eq!(bench.circuit.status(), CircuitStatus { until: Some(until), ..opened });
    bench.trial();
}

#[test]
fn a_restored_open_circuit_keeps_its_remaining_time_however_often_it_is_restored() {
    let mut bench = Bench::opened(in_a_row());
    bench.advance(600 * MS);
    let (mut status, mut seen) = (bench.circuit.status(), bench.now.wall);
    for _ in 0..3 {
        // Nobody counts the time in which there is no server.
        bench.advance(3_600 * SECOND);
        bench.circuit = Circuit::restore(&status, &bench.policy, seen, bench.now);
        assert_eq!(bench.circuit.status().left, Some(400 * MS), "nor that without an instance");
        bench.advance(60 * SECOND);
        (status, seen) = (bench.circuit.status(), bench.now.wall);
    }
    bench.circuit.resume(bench.now);
    assert_eq!(bench.remaining(), Some(400 * MS));
    bench.advance(100 * MS);
    let (status, seen) = (bench.circuit.status(), bench.now.wall);
    bench.circuit = Circuit::restore(&status, &bench.policy, seen, bench.now);
    bench.circuit.resume(bench.now);
    assert_eq!(bench.remaining(), Some(300 * MS), "what has passed since it went on has passed");
}

#[test]
fn a_suspended_trial_keeps_its_remaining_time_and_its_passes() {
    let mut bench = Bench::half_open(in_a_row());
    bench.check(Pass);
    bench.check(Pass);
    bench.advance(SECOND);
    let before = bench.remaining();
    bench.circuit.suspend(bench.now);
    bench.advance(3_600 * SECOND);
    assert_eq!((bench.settle(), bench.circuit.next_due()), (None, None));
    bench.circuit.resume(bench.now);
    assert_eq!(bench.remaining(), before);
    assert_eq!(bench.check(Pass).map(|transition| transition.reason), Some(CircuitReason::Recovered));
}

#[test]
fn suspending_and_resuming_twice_is_once() {
    let mut bench = Bench::opened(in_a_row());
    bench.advance(400 * MS);
    bench.circuit.suspend(bench.now);
    bench.advance(SECOND);
    bench.circuit.suspend(bench.now);
    bench.circuit.resume(bench.now);
    bench.advance(100 * MS);
    bench.circuit.resume(bench.now);
    assert_eq!(bench.remaining(), Some(500 * MS));
}

#[test]
fn results_are_inert_while_suspended() {
    let mut bench = Bench::new(in_a_row());
    bench.check(Fail);
    bench.check(Fail);
    bench.circuit.suspend(bench.now);
    let before = bench.circuit.clone();
    assert_eq!(bench.report(bench.sample(Fail)), (Disposition::Stale, None));
    assert_eq!(bench.circuit, before);
    bench.circuit.resume(bench.now);
    assert_eq!(bench.check(Fail).map(|transition| transition.to), Some(Open));
}

#[test]
fn a_reset_leaves_a_suspended_circuit_suspended() {
    let mut bench = Bench::opened(in_a_row());
    bench.circuit.suspend(bench.now);
    bench.circuit.reset(bench.now);
    assert!(bench.circuit.status().suspended);
}

/// Closed again, with a streak of 3, and forgiving one for each minute.
fn unstable() -> Bench {
    let mut bench = Bench::opened(CircuitDraft { stable_for: Some(60 * SECOND), ..in_a_row() });
    for _ in 0..2 {
        bench.trial();
        bench.check(Fail);
    }
    bench.trial();
    bench.recover();
    assert_eq!(bench.circuit.status().streak, 3);
    bench
}

#[test]
fn the_streak_shrinks_by_one_for_each_stable_period() {
    let mut bench = unstable();
    for (seconds, streak) in [(59, 3), (1, 2), (59, 2), (1, 1), (600, 0)] {
        bench.advance(seconds * SECOND);
        assert_eq!(bench.settle(), None);
        assert_eq!(bench.circuit.status().streak, streak);
    }
}

#[test]
fn a_late_timer_forgives_all_the_periods_that_have_passed() {
    let mut bench = unstable();
    bench.advance(150 * SECOND);
    bench.settle();
    assert_eq!(bench.circuit.status().streak, 1);
    bench.advance(30 * SECOND);
    bench.settle();
    assert_eq!(bench.circuit.status().streak, 0);
}

#[test]
fn a_trip_begins_with_what_is_left_of_the_streak() {
    let mut bench = unstable();
    bench.advance(60 * SECOND);
    bench.fail_until_open();
    assert_eq!((bench.circuit.status().streak, bench.remaining()), (3, Some(4 * SECOND)));
}

#[test]
fn stability_does_not_pass_while_suspended() {
    let mut bench = unstable();
    bench.advance(50 * SECOND);
    bench.circuit.suspend(bench.now);
    bench.advance(3_600 * SECOND);
    bench.circuit.resume(bench.now);
    bench.advance(9 * SECOND);
    bench.settle();
    assert_eq!(bench.circuit.status().streak, 3);
    bench.advance(SECOND);
    bench.settle();
    assert_eq!(bench.circuit.status().streak, 2);
}

#[test]
fn a_stable_period_of_zero_forgets_the_streak_at_close() {
    let mut bench = Bench::half_open(CircuitDraft { stable_for: Some(Duration::ZERO), ..in_a_row() });
    assert_eq!(bench.check(Fail), step(HalfOpen, Open, Failure));
    assert_eq!(bench.circuit.status().streak, 2);
    bench.trial();
    bench.recover();
    assert_eq!(bench.circuit.status().streak, 0);
}

#[test]
fn a_monotonic_clock_that_goes_backwards_stands_still() {
    let mut bench = Bench::opened(in_a_row());
    bench.advance(900 * MS);
    bench.settle();
    let due = bench.circuit.next_due();
    bench.now.mono = Mono::ZERO;
    assert_eq!((bench.settle(), bench.circuit.next_due()), (None, due));
    bench.circuit.suspend(bench.now);
    bench.circuit.resume(bench.now);
    assert_eq!(bench.circuit.next_due(), due);
}

#[test]
fn a_wall_clock_that_jumps_moves_nothing() {
    let mut bench = Bench::opened(in_a_row());
    let (due, status) = (bench.circuit.next_due(), bench.circuit.status());
    for wall in [0, u64::MAX] {
        bench.now.wall = Timestamp::from_nanos(wall);
        assert_eq!(bench.settle(), None);
        assert_eq!((bench.circuit.next_due(), bench.circuit.status()), (due, status.clone()));
    }
}
