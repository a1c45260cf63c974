//! The trial of a half-open circuit, and how it closes.

use super::*;
use CircuitReason::{Failure, Inconclusive, Recovered, Reset, Waived};
use CircuitState::{Closed, HalfOpen, Open};
use Verdict::{Fail, Neutral, Pass};

#[test]
fn the_trial_begins_when_the_open_period_is_over() {
    let mut bench = Bench::opened(in_a_row());
    bench.advance(SECOND - MS);
    assert_eq!(bench.settle(), None);
    bench.advance(MS);
    assert_eq!(bench.settle(), step(Open, HalfOpen, Failure));
    assert_eq!(bench.remaining(), Some(bench.policy.half_open_max()));
    let (status, until) = (bench.circuit.status(), bench.now.wall + bench.policy.half_open_max());
    assert_eq!((status.epoch, status.until, status.streak), (Epoch::new(3), Some(until), 1));
}

#[test]
fn three_passes_close() {
    let mut bench = Bench::half_open(in_a_row());
    assert_eq!([bench.check(Pass), bench.check(Neutral), bench.check(Pass)], [None; 3]);
    assert_eq!(bench.circuit.counts(), WindowCounts { results: 2, ..WindowCounts::default() });
    assert_eq!(bench.check(Pass), step(HalfOpen, Closed, Recovered));
    assert_eq!((bench.circuit.next_due(), bench.circuit.counts()), (None, WindowCounts::default()));
}

#[test]
fn one_failure_opens_again_for_longer() {
    let mut bench = Bench::half_open(in_a_row());
    bench.check(Pass);
    bench.check(Pass);
    assert_eq!(bench.check(Fail), step(HalfOpen, Open, Failure));
    assert_eq!((bench.circuit.status().streak, bench.remaining()), (2, Some(2 * SECOND)));
}

#[test]
fn one_slow_pass_opens_again() {
    let mut bench = Bench::half_open(CircuitDraft { slow_threshold: Some(50 * MS), ..in_a_row() });
    assert_eq!(bench.slow(), step(HalfOpen, Open, Failure));
}

#[test]
fn a_trial_without_enough_passes_is_inconclusive_and_lengthens_nothing() {
    let mut bench = Bench::half_open(in_a_row());
    bench.check(Pass);
    bench.wait_until_due();
    assert_eq!(bench.settle(), step(HalfOpen, Open, Inconclusive));
    assert_eq!((bench.circuit.status().streak, bench.remaining()), (1, Some(SECOND)));
}

#[test]
fn a_trial_that_runs_out_with_enough_passes_is_waived() {
    let mut bench = Bench::half_open(in_a_row());
    bench.check(Pass);
    bench.check(Pass);
    bench.retune(CircuitDraft { close_successes: Some(2), ..in_a_row() });
    assert_eq!(bench.circuit.state(), HalfOpen);
    bench.wait_until_due();
    assert_eq!(bench.settle(), step(HalfOpen, Closed, Waived));
}

#[test]
fn nothing_that_is_told_moves_the_deadline() {
    let mut bench = Bench::half_open(in_a_row());
    let due = bench.circuit.next_due();
    for verdict in [Pass, Neutral, Pass] {
        bench.advance(100 * MS);
        bench.check(verdict);
        bench.call(Fail, 1);
        let lease = bench.lease();
        bench.call_with(Pass, lease);
        assert_eq!((bench.circuit.state(), bench.circuit.next_due()), (HalfOpen, due));
    }
}

#[test]
fn a_result_at_the_deadline_is_too_late() {
    let mut bench = Bench::half_open(in_a_row());
    bench.check(Pass);
    bench.check(Pass);
    bench.wait_until_due();
    let sample = bench.sample(Pass);
    assert_eq!(bench.report(sample), (Disposition::Stale, step(HalfOpen, Open, Inconclusive)));
}

#[test]
fn a_result_that_was_begun_while_open_is_no_trial() {
    let mut bench = Bench::opened(in_a_row());
    let sample = bench.sample(Fail);
    bench.wait_until_due();
    assert_eq!(bench.report(sample), (Disposition::Stale, step(Open, HalfOpen, Failure)));
    assert_eq!(bench.report(sample), (Disposition::Stale, None));
}

#[test]
fn a_late_timer_makes_one_transition_and_the_trial_has_its_whole_time() {
    let mut bench = Bench::opened(in_a_row());
    bench.advance(3_600 * SECOND);
    assert_eq!(bench.settle(), step(Open, HalfOpen, Failure));
    assert_eq!(bench.settle(), None);
    assert_eq!(bench.remaining(), Some(bench.policy.half_open_max()));
}

#[test]
fn a_reset_forgets_everything_but_the_epoch() {
    let mut closed = Bench::new(in_a_row());
    closed.check(Fail);
    for mut bench in [closed, Bench::opened(in_a_row()), Bench::half_open(in_a_row())] {
        let (from, epoch) = (bench.circuit.state(), bench.circuit.epoch());
        bench.advance(MS);
        assert_eq!(Some(bench.circuit.reset(bench.now)), step(from, Closed, Reset));
        let expected = CircuitStatus {
            state: Closed,
            suspended: false,
            epoch: epoch.next(),
            since_time: bench.now.wall,
            reason: Some(Reset),
            until: None,
            left: None,
            streak: 0,
            trip_source: None,
            overriding: None,
            flapping: false,
        };
        assert_eq!((bench.circuit.status(), bench.circuit.counts()), (expected, WindowCounts::default()));
        assert_eq!([bench.check(Fail), bench.check(Fail)], [None; 2]);
        assert_eq!(bench.check(Fail), step(Closed, Open, Failure));
    }
}
