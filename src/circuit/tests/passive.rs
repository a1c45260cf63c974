//! What callers report of a closed circuit, and when that opens it.

use super::*;
use CircuitReason::Failure;
use CircuitState::{Closed, Open};
use Verdict::{Fail, Neutral, Pass};

/// Half of four outcomes within ten seconds; checks alone open nothing.
fn by_calls() -> CircuitDraft {
    let passive = PassiveDraft { window: Some(10 * SECOND), min: Some(4), ..PassiveDraft::default() };
    CircuitDraft {
        failure_rate: Some(5_000),
        active_min: Some(10),
        consecutive_failures: Some(1_000),
        passive,
        ..in_a_row()
    }
}

fn passive(results: u32, failed: u32, slow: u32) -> PassiveCounts {
    PassiveCounts { results, failed, slow, leases: 0 }
}

#[test]
fn half_of_the_outcomes_open_and_say_who_did() {
    let mut bench = Bench::new(by_calls());
    for verdict in [Pass, Pass, Fail] {
        assert_eq!(bench.call(verdict, 1), (Disposition::Accepted, None));
    }
    assert_eq!(bench.circuit.counts().passive, passive(3, 1, 0));
    assert_eq!(bench.call(Fail, 1), (Disposition::Accepted, step(Closed, Open, Failure)));
    let status = bench.circuit.status();
    assert_eq!((status.trip_source, status.streak), (Some(EvidenceSource::Passive), 1));
    assert_eq!((status.epoch, bench.circuit.counts()), (Epoch::new(2), WindowCounts::default()));
}

#[test]
fn fewer_outcomes_than_the_minimum_open_nothing() {
    let mut bench = Bench::new(by_calls());
    for _ in 0..3 {
        assert_eq!(bench.call(Fail, 1), (Disposition::Accepted, None));
    }
    assert_eq!(bench.call(Fail, 1).1, step(Closed, Open, Failure));
}

#[test]
fn a_good_outcome_never_opens_even_when_it_completes_the_minimum() {
    let mut bench = Bench::new(by_calls());
    for verdict in [Fail, Fail, Fail, Pass] {
        assert_eq!(bench.call(verdict, 1), (Disposition::Accepted, None));
    }
    assert_eq!(bench.call(Fail, 1).1, step(Closed, Open, Failure));
}

#[test]
fn outcomes_leave_the_window_a_tenth_at_a_time() {
    let mut bench = Bench::new(by_calls());
    // In the middle of a tenth, so that its end is half a second away.
    bench.now.mono = Mono::from_nanos(20_500_000_000);
    bench.call(Fail, 1);
    bench.advance(SECOND);
    bench.call(Pass, 1);
    // Nine tenths after its own, the first one counts yet.
    bench.advance(8 * SECOND);
    bench.call(Pass, 1);
    assert_eq!(bench.circuit.counts().passive, passive(3, 1, 0));
    bench.advance(499 * MS);
    bench.call(Pass, 1);
    assert_eq!(bench.circuit.counts().passive, passive(4, 1, 0));
    // With the tenth after that it is gone, and nothing else is.
    bench.advance(MS);
    bench.call(Pass, 1);
    assert_eq!(bench.circuit.counts().passive, passive(4, 0, 0));
}

#[test]
fn a_window_in_which_nothing_came_is_empty_afterwards() {
    let mut bench = Bench::new(by_calls());
    for _ in 0..3 {
        bench.call(Fail, 1);
    }
    bench.advance(3_600 * SECOND);
    assert_eq!(bench.call(Fail, 1), (Disposition::Accepted, None));
    assert_eq!(bench.circuit.counts().passive, passive(1, 1, 0));
}

#[test]
fn a_rolling_window_keeps_the_epoch() {
    let mut bench = Bench::new(by_calls());
    let sample = bench.sample_of_a_call(Fail, 1, None);
    for _ in 0..100 {
        bench.advance(5 * SECOND);
        assert_eq!(bench.report(sample), (Disposition::Accepted, None));
    }
    assert_eq!(bench.circuit.epoch(), Epoch::new(1));
}

#[test]
fn one_reporter_alone_opens_nothing_where_two_are_asked_for() {
    let mut draft = by_calls();
    draft.passive.min_reporters = Some(2);
    let mut bench = Bench::new(draft);
    for _ in 0..20 {
        assert_eq!(bench.call(Fail, 1), (Disposition::Accepted, None));
    }
    // One who has only good things to say accuses nobody.
    assert_eq!(bench.call(Pass, 2).1, None);
    assert_eq!(bench.call(Fail, 1).1, None);
    assert_eq!(bench.call(Fail, 2).1, step(Closed, Open, Failure));
}

#[test]
fn a_reporter_whose_bad_outcomes_have_left_the_window_accuses_no_more() {
    let mut draft = by_calls();
    draft.passive.min_reporters = Some(2);
    let mut bench = Bench::new(draft);
    bench.call(Fail, 1);
    bench.advance(11 * SECOND);
    for _ in 0..10 {
        assert_eq!(bench.call(Fail, 2).1, None);
    }
    assert_eq!(bench.call(Fail, 1).1, step(Closed, Open, Failure));
}

#[test]
fn slow_calls_open_by_their_rate() {
    let mut draft = by_calls();
    (draft.slow_threshold, draft.slow_rate) = (Some(50 * MS), Some(7_500));
    let mut bench = Bench::new(draft);
    let slow = |bench: &mut Bench| {
        let sample = Sample { latency: 51 * MS, ..bench.sample_of_a_call(Pass, 1, None) };
        bench.report(sample).1
    };
    assert_eq!([slow(&mut bench), slow(&mut bench), bench.call(Pass, 1).1], [None; 3]);
    assert_eq!(bench.circuit.counts().passive, passive(3, 0, 2));
    assert_eq!(slow(&mut bench), step(Closed, Open, Failure));
}

#[test]
fn neutral_outcomes_count_nothing() {
    let mut bench = Bench::new(by_calls());
    for _ in 0..10 {
        assert_eq!(bench.call(Neutral, 1), (Disposition::Neutral, None));
    }
    assert_eq!(bench.circuit.counts(), WindowCounts::default());
}

#[test]
fn checks_and_calls_have_windows_of_their_own() {
    let mut draft = by_calls();
    (draft.active_min, draft.consecutive_failures) = (Some(4), Some(0));
    let mut bench = Bench::new(draft);
    for _ in 0..3 {
        assert_eq!((bench.call(Fail, 1).1, bench.check(Fail)), (None, None));
    }
    // Passing checks do not drown failing traffic.
    for _ in 0..10 {
        assert_eq!(bench.check(Pass), None);
    }
    assert_eq!(bench.call(Fail, 1).1, step(Closed, Open, Failure));
}

#[test]
fn outcomes_of_an_open_circuit_move_nothing() {
    let mut bench = Bench::opened(by_calls());
    let due = bench.circuit.next_due();
    for verdict in [Pass, Fail, Fail, Pass] {
        assert_eq!(bench.call(verdict, 1), (Disposition::Accepted, None));
    }
    assert_eq!((bench.circuit.next_due(), bench.circuit.state()), (due, Open));
}

#[test]
fn a_shorter_window_lets_go_of_what_it_does_not_reach() {
    let mut bench = Bench::new(by_calls());
    bench.now.mono = Mono::from_nanos(100_000_000_000);
    bench.call(Fail, 1);
    bench.advance(2 * SECOND);
    bench.call(Fail, 1);
    let mut shorter = by_calls();
    shorter.passive.window = Some(SECOND);
    bench.retune(shorter);
    assert_eq!(bench.circuit.counts().passive, passive(2, 2, 0), "with the next outcome");
    bench.call(Fail, 1);
    assert_eq!(bench.circuit.counts().passive, passive(2, 2, 0));
}

#[test]
fn calls_alone_do_not_flap() {
    let mut draft = by_calls();
    draft.failure_rate = Some(10_000);
    let mut bench = Bench::new(draft);
    for number in 0..40 {
        bench.call(if number % 2 == 0 { Pass } else { Fail }, 1);
    }
    assert!(!bench.circuit.status().flapping);
    // Checks do, and it shows.
    for number in 0..7 {
        bench.check(if number % 2 == 0 { Pass } else { Fail });
    }
    assert!(bench.circuit.status().flapping);
}
