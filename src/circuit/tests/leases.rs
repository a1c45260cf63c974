//! Trial calls: who gets a lease for one, and what comes of it.

use super::*;
use CircuitReason::{Failure, Inconclusive, Recovered, Waived};
use CircuitState::{Closed, HalfOpen, Open};
use Verdict::{Fail, Neutral, Pass};

/// Four failed calls open it for a second; two calls and a check close it again, two calls at once.
fn trying() -> CircuitDraft {
    let passive = PassiveDraft {
        min: Some(4),
        trial_permits: Some(2),
        trial_concurrency: Some(2),
        lease_ttl: Some(5 * SECOND),
        ..PassiveDraft::default()
    };
    CircuitDraft {
        failure_rate: Some(5_000),
        close_successes: Some(1),
        half_open_max: Some(60 * SECOND),
        passive,
        ..in_a_row()
    }
}

/// On trial after callers had opened it.
fn tried(draft: CircuitDraft) -> Bench {
    let mut bench = Bench::new(draft);
    while bench.circuit.state() == Closed {
        bench.call(Fail, 1);
    }
    bench.trial();
    bench
}

fn denied(bench: &mut Bench) -> Option<Duration> {
    match bench.acquire() {
        Permission::Denied(Denial { retry_after }) => retry_after,
        permission => panic!("{permission:?}"),
    }
}

#[test]
fn a_closed_circuit_permits_without_a_lease() {
    let mut bench = Bench::new(trying());
    for _ in 0..3 {
        assert_eq!(bench.acquire(), Permission::Granted(Permit { epoch: Epoch::new(1), lease: None }));
    }
}

#[test]
fn an_open_one_says_how_long_it_stays_so() {
    let mut bench = Bench::opened(trying());
    assert_eq!(denied(&mut bench), Some(SECOND));
    bench.advance(300 * MS);
    assert_eq!(denied(&mut bench), Some(700 * MS));
}

#[test]
fn those_who_were_denied_together_come_back_apart() {
    let bench = Bench::opened(CircuitDraft { jitter: Some(0.2), ..trying() });
    let wait = |chance| match bench.circuit.clone().acquire(&bench.policy, chance, bench.now).0 {
        Permission::Denied(Denial { retry_after: Some(wait) }) => wait,
        permission => panic!("{permission:?}"),
    };
    assert_eq!((wait(0.0), wait(0.5)), (SECOND, 1_100 * MS));
}

#[test]
fn asking_when_the_open_span_is_over_begins_the_trial() {
    let mut bench = Bench::opened(trying());
    bench.wait_until_due();
    let (permission, moved) = bench.circuit.acquire(&bench.policy, 0.0, bench.now);
    assert_eq!(moved, step(Open, HalfOpen, Failure));
    assert!(matches!(permission, Permission::Granted(Permit { lease: Some(Lease { number: 0, .. }), .. })));
}

#[test]
fn no_more_calls_are_under_way_at_once_than_the_policy_wants() {
    let mut bench = tried(trying());
    let (first, second) = (bench.lease(), bench.lease());
    assert_eq!((first.number, second.number, first.until), (0, 1, bench.now.mono + 5 * SECOND));
    assert_eq!(bench.circuit.counts().passive.leases, 2);
    bench.advance(SECOND);
    // Until a lease is free again, or checks have a verdict.
    assert_eq!(denied(&mut bench), Some(bench.policy.trial_interval().min(4 * SECOND)));
    assert_eq!(bench.call_with(Neutral, first), (Disposition::Neutral, None));
    assert_eq!(bench.lease().number, 2, "no number comes twice");
}

#[test]
fn no_more_calls_are_asked_for_than_the_policy_wants() {
    let mut bench = tried(CircuitDraft { close_successes: Some(2), ..trying() });
    for _ in 0..2 {
        let lease = bench.lease();
        assert_eq!(bench.call_with(Pass, lease), (Disposition::Accepted, None));
    }
    // What is left is for checks to do: they may have a verdict after each interval.
    assert_eq!(denied(&mut bench), Some(bench.policy.trial_interval()));
}

#[test]
fn a_policy_without_trial_calls_gives_no_lease_and_closes_for_checks_alone() {
    let mut draft = trying();
    (draft.passive.trial_permits, draft.passive.trial_concurrency) = (Some(0), None);
    let mut bench = tried(draft);
    assert_eq!(denied(&mut bench), Some(bench.policy.trial_interval()));
    assert_eq!(bench.check(Pass), step(HalfOpen, Closed, Recovered));
}

#[test]
fn what_callers_have_opened_takes_calls_and_checks_to_close() {
    let mut bench = tried(trying());
    assert_eq!(bench.check(Pass), None, "checks alone do not");
    let (first, second) = (bench.lease(), bench.lease());
    assert_eq!(bench.call_with(Pass, first), (Disposition::Accepted, None));
    assert_eq!(bench.circuit.counts().passive, PassiveCounts { results: 1, leases: 1, ..PassiveCounts::default() });
    assert_eq!(bench.call_with(Pass, second), (Disposition::Accepted, step(HalfOpen, Closed, Recovered)));
}

#[test]
fn what_checks_have_opened_closes_for_checks_alone() {
    let mut bench = Bench::half_open(trying());
    assert_eq!(bench.check(Pass), step(HalfOpen, Closed, Recovered));
}

#[test]
fn calls_alone_close_nothing() {
    let mut bench = tried(trying());
    for _ in 0..2 {
        let lease = bench.lease();
        assert_eq!(bench.call_with(Pass, lease), (Disposition::Accepted, None));
    }
    assert_eq!(bench.check(Pass), step(HalfOpen, Closed, Recovered));
}

#[test]
fn without_its_calls_a_trial_that_has_passed_its_checks_is_waived_at_its_deadline() {
    let mut bench = tried(trying());
    bench.check(Pass);
    bench.wait_until_due();
    assert_eq!(bench.settle(), step(HalfOpen, Closed, Waived));
}

#[test]
fn calls_do_not_stand_in_for_checks_at_the_deadline() {
    let mut bench = tried(trying());
    for _ in 0..2 {
        let lease = bench.lease();
        bench.call_with(Pass, lease);
    }
    bench.wait_until_due();
    assert_eq!(bench.settle(), step(HalfOpen, Open, Inconclusive));
}

#[test]
fn a_bad_or_slow_trial_call_opens_again() {
    for (verdict, latency) in [(Fail, MS), (Pass, 51 * MS)] {
        let mut bench = tried(CircuitDraft { slow_threshold: Some(50 * MS), ..trying() });
        let lease = bench.lease();
        let sample = Sample { latency, ..bench.sample_of_a_call(verdict, 1, Some(lease)) };
        assert_eq!(bench.report(sample), (Disposition::Accepted, step(HalfOpen, Open, Failure)));
        assert_eq!((bench.circuit.status().streak, bench.circuit.counts().passive.leases), (2, 0));
        assert_eq!(bench.circuit.status().trip_source, Some(EvidenceSource::Passive));
    }
}

#[test]
fn a_call_without_a_lease_is_ignored_on_trial() {
    let mut bench = tried(trying());
    let before = bench.circuit.clone();
    for verdict in [Pass, Fail] {
        assert_eq!(bench.call(verdict, 1), (Disposition::Ignored, None));
    }
    assert_eq!(bench.circuit, before);
}

#[test]
fn a_lease_counts_once() {
    let mut bench = tried(trying());
    let lease = bench.lease();
    assert_eq!(bench.call_with(Pass, lease), (Disposition::Accepted, None));
    for verdict in [Pass, Fail] {
        assert_eq!(bench.call_with(verdict, lease), (Disposition::Duplicate, None));
    }
    assert_eq!(bench.circuit.counts().passive.results, 1);
}

#[test]
fn a_lease_expires_and_makes_room_for_another() {
    let mut bench = tried(trying());
    let (first, _) = (bench.lease(), bench.lease());
    bench.advance(5 * SECOND - MS);
    assert_eq!(denied(&mut bench), Some(MS));
    bench.advance(MS);
    assert_eq!(bench.call_with(Fail, first), (Disposition::Expired, None));
    assert_eq!((bench.circuit.state(), bench.circuit.counts().passive.leases), (HalfOpen, 0));
    assert_eq!(bench.lease().number, 2);
}

#[test]
fn a_neutral_trial_call_gives_its_lease_back_and_neither_opens_nor_closes() {
    let mut draft = trying();
    (draft.passive.trial_permits, draft.passive.trial_concurrency) = (Some(1), Some(1));
    let mut bench = tried(draft);
    for _ in 0..3 {
        let lease = bench.lease();
        assert_eq!(bench.call_with(Neutral, lease), (Disposition::Neutral, None));
    }
    let passive = bench.circuit.counts().passive;
    assert_eq!((passive.results, passive.leases), (0, 0));
}

#[test]
fn a_lease_that_nobody_has_given_is_stale() {
    let mut bench = tried(trying());
    let lease = bench.lease();
    assert_eq!(bench.call_with(Pass, Lease { number: 7, ..lease }), (Disposition::Stale, None));
}

#[test]
fn a_lease_of_an_earlier_trial_is_stale() {
    let mut bench = tried(trying());
    let (first, second) = (bench.lease(), bench.lease());
    let late = bench.sample_of_a_call(Pass, 1, Some(second));
    bench.call_with(Fail, first);
    bench.trial();
    assert_eq!(bench.report(late), (Disposition::Stale, None));
    bench.lease();
    assert_eq!(bench.report(late), (Disposition::Stale, None), "though such a number is under way again");
}

#[test]
fn without_a_ready_instance_no_lease_is_given_and_what_comes_gives_its_own_back() {
    let mut bench = tried(trying());
    let lease = bench.lease();
    bench.circuit.suspend(bench.now);
    assert_eq!(denied(&mut bench), None);
    assert_eq!(bench.call_with(Fail, lease), (Disposition::Stale, None));
    bench.circuit.resume(bench.now);
    assert_eq!((bench.circuit.state(), bench.circuit.counts().passive.leases), (HalfOpen, 0));
}
