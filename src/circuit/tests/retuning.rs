//! New thresholds for the same target.

use super::*;
use CircuitState::{Closed, HalfOpen, Open};
use Verdict::{Fail, Pass};

#[test]
fn a_retune_keeps_state_epoch_streak_and_evidence() {
    let mut closed = Bench::new(in_a_row());
    closed.check(Fail);
    let mut half_open = Bench::half_open(in_a_row());
    half_open.check(Pass);
    for mut bench in [closed, Bench::opened(in_a_row()), half_open] {
        let before = (bench.circuit.status(), bench.circuit.counts());
        bench.retune(CircuitDraft { consecutive_failures: Some(7), close_successes: Some(9), ..in_a_row() });
        assert_eq!((bench.circuit.status(), bench.circuit.counts()), before);
    }
}

#[test]
fn a_retune_neither_opens_nor_closes_but_the_next_result_does() {
    let mut bench = Bench::new(in_a_row());
    bench.check(Fail);
    bench.check(Fail);
    bench.retune(CircuitDraft { consecutive_failures: Some(1), ..in_a_row() });
    assert_eq!((bench.circuit.state(), bench.settle()), (Closed, None));
    assert_eq!(bench.check(Fail).map(|transition| transition.to), Some(Open));

    let mut bench = Bench::half_open(in_a_row());
    bench.check(Pass);
    bench.retune(CircuitDraft { close_successes: Some(1), ..in_a_row() });
    assert_eq!((bench.circuit.state(), bench.settle()), (HalfOpen, None));
    assert_eq!(bench.check(Pass).map(|transition| transition.reason), Some(CircuitReason::Recovered));
}

#[test]
fn a_retune_cuts_the_window_and_keeps_the_newest_results() {
    let mut bench = Bench::new(CircuitDraft { consecutive_failures: Some(4), ..in_a_row() });
    for verdict in [Fail, Fail, Pass, Fail, Pass, Fail] {
        bench.check(verdict);
    }
    bench.retune(CircuitDraft { active_window: Some(3), consecutive_failures: Some(4), ..in_a_row() });
    assert_eq!(
        bench.circuit.counts(),
        WindowCounts { results: 3, failed: 2, slow: 0, consecutive: 1, ..WindowCounts::default() }
    );
    bench.retune(CircuitDraft { active_window: Some(5), consecutive_failures: Some(4), ..in_a_row() });
    bench.check(Pass);
    assert_eq!(
        bench.circuit.counts(),
        WindowCounts { results: 4, failed: 2, slow: 0, consecutive: 0, ..WindowCounts::default() }
    );
}

#[test]
fn slow_results_count_for_nothing_once_the_threshold_is_gone() {
    let slow = CircuitDraft { consecutive_failures: Some(9), slow_threshold: Some(50 * MS), ..in_a_row() };
    let mut bench = Bench::new(CircuitDraft { slow_rate: Some(10_000), active_min: Some(6), ..slow });
    for _ in 0..5 {
        assert_eq!(bench.slow(), None);
    }
    bench.retune(CircuitDraft { slow_threshold: None, slow_rate: Some(1), ..slow });
    assert_eq!(bench.check(Fail), None);
}

#[test]
fn a_retune_shortens_an_open_period() {
    let long = CircuitDraft { open_base: Some(60 * SECOND), open_max: Some(60 * SECOND), ..in_a_row() };
    for shorter in [in_a_row(), CircuitDraft { open_max: Some(SECOND), ..in_a_row() }] {
        let mut bench = Bench::opened(long);
        bench.advance(10 * SECOND);
        bench.retune(shorter);
        assert_eq!(bench.remaining(), Some(SECOND));
        assert_eq!(bench.circuit.status().until, Some(bench.now.wall + SECOND));
    }
}

#[test]
fn a_retune_shortens_a_trial() {
    let half_open_max = Some(600 * SECOND);
    let mut bench = Bench::half_open(CircuitDraft { half_open_max, ..in_a_row() });
    bench.advance(100 * SECOND);
    bench.retune(in_a_row());
    assert_eq!(bench.remaining(), Some(60 * SECOND));
}

#[test]
fn a_retune_lengthens_nothing() {
    let longer = CircuitDraft {
        open_base: Some(60 * SECOND),
        open_max: Some(60 * SECOND),
        half_open_max: Some(600 * SECOND),
        ..in_a_row()
    };
    for mut bench in [Bench::opened(in_a_row()), Bench::half_open(in_a_row())] {
        bench.advance(300 * MS);
        let before = (bench.circuit.next_due(), bench.circuit.status());
        bench.retune(longer);
        assert_eq!((bench.circuit.next_due(), bench.circuit.status()), before);
    }
}

#[test]
fn a_retune_of_a_suspended_circuit_shortens_what_remains() {
    let long = CircuitDraft { open_base: Some(60 * SECOND), open_max: Some(60 * SECOND), ..in_a_row() };
    let mut bench = Bench::opened(long);
    bench.advance(10 * SECOND);
    bench.circuit.suspend(bench.now);
    bench.retune(in_a_row());
    bench.advance(10 * SECOND);
    bench.circuit.resume(bench.now);
    assert_eq!(bench.remaining(), Some(SECOND));
}

#[test]
fn stability_up_to_a_retune_is_forgiven_by_the_old_policy() {
    let stable = |seconds| CircuitDraft { stable_for: Some(seconds * SECOND), ..in_a_row() };
    let mut bench = Bench::half_open(stable(60));
    bench.check(Fail);
    bench.trial();
    bench.recover();
    assert_eq!(bench.circuit.status().streak, 2);
    bench.advance(60 * SECOND);
    bench.retune(stable(3_600));
    assert_eq!(bench.circuit.status().streak, 1);
    bench.retune(stable(0));
    bench.settle();
    assert_eq!(bench.circuit.status().streak, 0);
}

/// A streak of two, which was not forgiven anything yet, `elapsed` after the circuit has closed.
fn closed_for(elapsed: Duration, stable_for: Duration) -> Bench {
    let mut bench = Bench::half_open(CircuitDraft { stable_for: Some(stable_for), ..in_a_row() });
    bench.check(Fail);
    bench.trial();
    bench.recover();
    bench.advance(elapsed);
    bench
}

/// Settles at each of these times after the one before; the streak then.
fn streaks<const N: usize>(bench: &mut Bench, spans: [Duration; N]) -> [u32; N] {
    spans.map(|span| {
        bench.advance(span);
        bench.settle();
        bench.circuit.status().streak
    })
}

#[test]
fn of_a_stable_period_no_more_is_left_than_a_shorter_one_lasts_and_what_has_passed_is_forgiven_once() {
    let mut bench = closed_for(3_000 * SECOND, 3_600 * SECOND);
    bench.retune(CircuitDraft { stable_for: Some(60 * SECOND), ..in_a_row() });
    let spans = [Duration::ZERO, 59 * SECOND, SECOND, 59 * SECOND, SECOND];
    assert_eq!(streaks(&mut bench, spans), [2, 2, 1, 1, 0]);
}

#[test]
fn a_longer_stable_period_begins_once_the_one_under_way_is_over() {
    let mut bench = closed_for(50 * SECOND, 60 * SECOND);
    bench.retune(CircuitDraft { stable_for: Some(3_600 * SECOND), ..in_a_row() });
    assert_eq!(streaks(&mut bench, [9 * SECOND, SECOND, 3_599 * SECOND, SECOND]), [2, 1, 1, 0]);
}
