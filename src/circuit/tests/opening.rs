//! What opens a circuit, and for how long.

use super::*;
use CircuitReason::Failure;
use CircuitState::{Closed, Open};
use Verdict::{Fail, Neutral, Pass};

/// The rules on rates alone, half of six results.
fn by_rate() -> CircuitDraft {
    CircuitDraft {
        consecutive_failures: Some(0),
        active_window: Some(6),
        active_min: Some(4),
        failure_rate: Some(5_000),
        ..in_a_row()
    }
}

#[test]
fn the_third_failure_in_a_row_opens() {
    let mut bench = Bench::new(in_a_row());
    for verdict in [Fail, Fail, Pass, Fail, Fail] {
        assert_eq!(bench.check(verdict), None);
    }
    assert_eq!(
        bench.circuit.counts(),
        WindowCounts { results: 5, failed: 4, slow: 0, consecutive: 2, ..WindowCounts::default() }
    );
    assert_eq!(bench.check(Fail), step(Closed, Open, Failure));
    let expected = CircuitStatus {
        state: Open,
        suspended: false,
        epoch: Epoch::new(2),
        since_time: bench.now.wall,
        reason: Some(Failure),
        until: Some(bench.now.wall + SECOND),
        left: None,
        streak: 1,
        trip_source: Some(EvidenceSource::Active),
        overriding: None,
        flapping: false,
    };
    assert_eq!(bench.circuit.status(), expected);
    assert_eq!(bench.circuit.counts(), WindowCounts::default());
}

#[test]
fn a_row_may_be_longer_than_the_window() {
    let mut bench = Bench::new(CircuitDraft { active_window: Some(2), consecutive_failures: Some(4), ..in_a_row() });
    for _ in 0..3 {
        assert_eq!(bench.check(Fail), None);
    }
    assert_eq!(
        bench.circuit.counts(),
        WindowCounts { results: 2, failed: 2, slow: 0, consecutive: 3, ..WindowCounts::default() }
    );
    assert_eq!(bench.check(Fail), step(Closed, Open, Failure));
}

#[test]
fn a_rate_needs_its_minimum_of_results() {
    let mut bench = Bench::new(by_rate());
    for _ in 0..3 {
        assert_eq!(bench.check(Fail), None);
    }
    assert_eq!(bench.check(Fail), step(Closed, Open, Failure));
}

#[test]
fn a_rate_opens_when_it_is_reached_and_not_before() {
    let mut bench = Bench::new(by_rate());
    for verdict in [Pass, Pass, Pass, Fail, Fail] {
        assert_eq!(bench.check(verdict), None);
    }
    assert_eq!(bench.check(Fail), step(Closed, Open, Failure));
}

#[test]
fn old_results_leave_the_window() {
    let mut bench = Bench::new(by_rate());
    for verdict in [Fail, Fail, Pass, Pass, Pass, Pass, Pass] {
        assert_eq!(bench.check(verdict), None);
    }
    assert_eq!(
        bench.circuit.counts(),
        WindowCounts { results: 6, failed: 1, slow: 0, consecutive: 0, ..WindowCounts::default() }
    );
    assert_eq!(bench.check(Fail), None);
    assert_eq!(
        bench.circuit.counts(),
        WindowCounts { results: 6, failed: 1, slow: 0, consecutive: 1, ..WindowCounts::default() }
    );
}

#[test]
fn a_good_result_never_opens_even_when_it_completes_the_minimum() {
    let mut bench = Bench::new(by_rate());
    for verdict in [Fail, Fail, Fail, Pass] {
        assert_eq!(bench.check(verdict), None);
    }
    assert_eq!(bench.check(Fail), step(Closed, Open, Failure));
}

#[test]
fn slow_results_open_by_their_rate() {
    let slow = CircuitDraft { slow_threshold: Some(50 * MS), slow_rate: Some(7_500), ..by_rate() };
    let mut bench = Bench::new(slow);
    assert_eq!([bench.slow(), bench.slow(), bench.check(Pass)], [None; 3]);
    assert_eq!(
        bench.circuit.counts(),
        WindowCounts { results: 3, failed: 0, slow: 2, consecutive: 0, ..WindowCounts::default() }
    );
    assert_eq!(bench.slow(), step(Closed, Open, Failure));
}

#[test]
fn slow_results_count_in_a_row_with_failures() {
    let mut bench = Bench::new(CircuitDraft { slow_threshold: Some(50 * MS), ..in_a_row() });
    assert_eq!([bench.slow(), bench.check(Fail)], [None; 2]);
    assert_eq!(bench.slow(), step(Closed, Open, Failure));
}

#[test]
fn exactly_the_threshold_is_not_slow() {
    let mut bench = Bench::new(CircuitDraft { slow_threshold: Some(50 * MS), ..in_a_row() });
    let sample = Sample { latency: 50 * MS, ..bench.sample(Pass) };
    assert_eq!(bench.report(sample), (Disposition::Accepted, None));
    assert_eq!(bench.circuit.counts().slow, 0);
}

#[test]
fn nothing_is_slow_without_a_threshold() {
    let mut bench = Bench::new(in_a_row());
    for _ in 0..20 {
        assert_eq!(bench.slow(), None);
    }
    assert_eq!(
        bench.circuit.counts(),
        WindowCounts { results: 10, failed: 0, slow: 0, consecutive: 0, ..WindowCounts::default() }
    );
}

#[test]
fn neutral_results_are_inert() {
    let mut bench = Bench::new(in_a_row());
    bench.check(Fail);
    bench.check(Fail);
    let before = bench.circuit.clone();
    assert_eq!(bench.report(bench.sample(Neutral)), (Disposition::Neutral, None));
    assert_eq!(bench.circuit, before);
    assert_eq!(bench.check(Fail), step(Closed, Open, Failure));
}

#[test]
fn results_of_an_older_epoch_are_inert() {
    let mut bench = Bench::new(in_a_row());
    let late = bench.sample(Fail);
    bench.fail_until_open();
    bench.trial();
    let before = bench.circuit.clone();
    assert_eq!(bench.report(late), (Disposition::Stale, None));
    assert_eq!(bench.circuit, before);
    bench.recover();
    let before = bench.circuit.clone();
    for _ in 0..10 {
        assert_eq!(bench.report(late), (Disposition::Stale, None));
    }
    assert_eq!(bench.circuit, before);
}

#[test]
fn an_open_circuit_waits_for_time_alone() {
    let mut bench = Bench::opened(in_a_row());
    let before = bench.circuit.clone();
    for verdict in [Pass, Fail, Pass, Pass, Pass, Fail] {
        bench.now.mono = bench.now.mono + MS;
        assert_eq!(bench.report(bench.sample(verdict)), (Disposition::Accepted, None));
        assert_eq!((bench.circuit.status(), bench.circuit.next_due()), (before.status(), before.next_due()));
    }
}

#[test]
fn the_back_off_doubles_with_the_streak_up_to_its_maximum() {
    let mut bench = Bench::opened(in_a_row());
    for (streak, seconds) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 8)] {
        assert_eq!((bench.circuit.status().streak, bench.remaining()), (streak, Some(seconds * SECOND)));
        bench.trial();
        assert_eq!(bench.check(Fail), step(CircuitState::HalfOpen, Open, Failure));
    }
}

#[test]
fn the_streak_stops_at_its_cap_and_the_back_off_at_its_maximum() {
    let wild = CircuitDraft { multiplier: Some(10.0), streak_cap: Some(64), ..in_a_row() };
    let mut bench = Bench::opened(wild);
    for _ in 0..100 {
        bench.trial();
        bench.check(Fail);
    }
    assert_eq!((bench.circuit.status().streak, bench.remaining()), (64, Some(8 * SECOND)));
}

#[test]
fn jitter_only_shortens() {
    let mut bench = Bench::new(CircuitDraft { jitter: Some(0.2), ..in_a_row() });
    bench.check(Fail);
    bench.check(Fail);
    for (chance, least, most) in [(0.0, 1_000, 1_000), (0.5, 899, 901), (0.999_999, 799, 801)] {
        let mut circuit = bench.circuit.clone();
        circuit.report(bench.sample(Fail), &bench.policy, chance, bench.now);
        let lasts = circuit.next_due().expect("open").since(bench.now.mono);
        assert!(lasts >= least * MS && lasts <= most * MS, "{chance}: {lasts:?}");
    }
}

#[test]
fn opening_without_chance_is_exact() {
    for base in [100 * MS, 333 * MS, Duration::from_nanos(5_000_000_001), 3_600 * SECOND] {
        let open_max = Some(86_400 * SECOND);
        let bench = Bench::opened(CircuitDraft { open_base: Some(base), open_max, ..in_a_row() });
        assert_eq!(bench.remaining(), Some(base));
    }
}
