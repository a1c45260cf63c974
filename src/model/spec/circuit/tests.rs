//! Every default, every range, every refusal.

use super::*;
use crate::model::{MonitorDraft, ScheduleDraft, SpecDraft, TaskSpec, TcpDraft};

fn schedule(interval: Duration, timeout: Duration) -> ScheduleDraft {
    ScheduleDraft { interval: Some(interval), timeout: Some(timeout), max_runs: 0 }
}

/// The policy of a task whose spec is otherwise in order.
fn task(schedule: ScheduleDraft, circuit: CircuitDraft) -> Result<CircuitPolicy, Violations> {
    let tcp = TcpDraft { address: "127.0.0.1:9".to_owned(), steps: Vec::new() };
    let draft = SpecDraft { monitor: Some(MonitorDraft::Tcp(tcp)), schedule, circuit, ..SpecDraft::default() };
    let mut violations = Violations::new();
    let spec = TaskSpec::try_new(draft, &mut violations);
    violations.finish(spec.map(|spec| *spec.circuit()))
}

fn policy(circuit: CircuitDraft) -> CircuitPolicy {
    task(ScheduleDraft::default(), circuit).unwrap_or_else(|violations| panic!("{violations}"))
}

/// The fields that are refused, with interval 30 s and timeout 10 s.
fn refused(circuit: CircuitDraft) -> Vec<String> {
    fields(&task(ScheduleDraft::default(), circuit))
}

fn fields(result: &Result<CircuitPolicy, Violations>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(violations) => violations.as_slice().iter().map(|violation| violation.field.clone()).collect(),
    }
}

fn draft() -> CircuitDraft {
    CircuitDraft::default()
}

#[test]
fn the_defaults_are_those_of_the_table() {
    let policy = policy(draft());
    assert_eq!(policy.consecutive_failures(), Some(3));
    assert_eq!((policy.active_window(), policy.active_min()), (10, 5));
    assert_eq!((policy.failure_rate(), policy.slow_rate()), (Some(5_000), Some(10_000)));
    assert_eq!(policy.slow_threshold(), None);
    assert_eq!((policy.open_base(), policy.open_max()), (5 * SECOND, 300 * SECOND));
    assert_eq!((policy.multiplier(), policy.jitter()), (2.0, 0.2));
    assert_eq!(policy.close_successes(), 3);
    assert_eq!((policy.trial_interval(), policy.half_open_max()), (5 * SECOND, 60 * SECOND));
    assert_eq!((policy.stable_for(), policy.streak_cap()), (300 * SECOND, 16));
}

#[test]
fn defaults_follow_the_schedule() {
    let of = |interval, timeout, circuit| task(schedule(interval, timeout), circuit).expect("valid");
    let fast = of(100 * MS, 100 * MS, draft());
    assert_eq!((fast.trial_interval(), fast.half_open_max()), (100 * MS, MINUTE));
    assert_eq!(fast.stable_for(), MINUTE);
    let slow = of(DAY, 5 * MINUTE, draft());
    assert_eq!((slow.trial_interval(), slow.half_open_max()), (5 * SECOND, 3 * (5 * MINUTE + 5 * SECOND)));
    assert_eq!(slow.stable_for(), DAY);
    let trial_interval = Some(DAY);
    let patient = of(DAY, 5 * MINUTE, CircuitDraft { close_successes: Some(100), trial_interval, ..draft() });
    assert_eq!(patient.half_open_max(), 100 * (DAY + 5 * MINUTE));
}

#[test]
fn a_default_never_contradicts_what_was_given() {
    assert_eq!(policy(CircuitDraft { active_window: Some(3), ..draft() }).active_min(), 3);
    assert_eq!(policy(CircuitDraft { open_base: Some(HOUR), ..draft() }).open_max(), HOUR);
}

#[test]
fn counts_rates_and_ratios_have_ranges() {
    type Set<T> = fn(&mut CircuitDraft, T);
    let counts: [(&str, Set<u32>, u32, u32); 7] = [
        ("consecutive_failures", |draft, n| draft.consecutive_failures = Some(n), 0, 1_000),
        ("active_window", |draft, n| draft.active_window = Some(n), 1, 1_024),
        ("active_min", |draft, n| draft.active_min = Some(n), 1, 10),
        ("failure_rate", |draft, n| draft.failure_rate = Some(n), 0, 10_000),
        ("slow_rate", |draft, n| draft.slow_rate = Some(n), 0, 10_000),
        ("close_successes", |draft, n| draft.close_successes = Some(n), 1, 100),
        ("streak_cap", |draft, n| draft.streak_cap = Some(n), 1, 64),
    ];
    for (field, set, least, most) in counts {
        let refused = |n| {
            let mut draft = draft();
            set(&mut draft, n);
            refused(draft)
        };
        assert_eq!((refused(least), refused(most)), (vec![], vec![]), "{field}");
        for bad in [least.checked_sub(1), Some(most + 1), Some(u32::MAX)].into_iter().flatten() {
            assert_eq!(refused(bad), [format!("circuit.{field}")], "{bad}");
        }
    }
    let ratios: [(&str, Set<f64>, f64, f64); 2] = [
        ("multiplier", |draft, ratio| draft.multiplier = Some(ratio), 1.0, 10.0),
        ("jitter", |draft, ratio| draft.jitter = Some(ratio), 0.0, 0.5),
    ];
    for (field, set, least, most) in ratios {
        let refused = |ratio| {
            let mut draft = draft();
            set(&mut draft, ratio);
            refused(draft)
        };
        assert_eq!((refused(least), refused(most)), (vec![], vec![]), "{field}");
        for bad in [least - 0.01, most + 0.01, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(refused(bad), [format!("circuit.{field}")], "{bad}");
        }
    }
}

#[test]
fn durations_have_ranges() {
    type Set = fn(&mut CircuitDraft, Duration);
    let trial = 3 * (5 * SECOND + 10 * SECOND);
    let durations: [(&str, Set, Duration, Duration); 6] = [
        ("slow_threshold", |draft, span| draft.slow_threshold = Some(span), MS, 10 * SECOND - Duration::from_nanos(1)),
        ("open_base", |draft, span| draft.open_base = Some(span), 100 * MS, HOUR),
        ("open_max", |draft, span| draft.open_max = Some(span), 5 * SECOND, DAY),
        ("trial_interval", |draft, span| draft.trial_interval = Some(span), 100 * MS, DAY),
        ("half_open_max", |draft, span| draft.half_open_max = Some(span), trial, DAY),
        ("stable_for", |draft, span| draft.stable_for = Some(span), Duration::ZERO, DAY),
    ];
    for (field, set, least, most) in durations {
        let refused = |span| {
            let mut draft = draft();
            set(&mut draft, span);
            refused(draft)
        };
        assert_eq!((refused(least), refused(most)), (vec![], vec![]), "{field}");
        let tick = Duration::from_nanos(1);
        for bad in [least.checked_sub(tick), Some(most + tick), Some(Duration::MAX)].into_iter().flatten() {
            assert_eq!(refused(bad), [format!("circuit.{field}")], "{bad:?}");
        }
    }
}

#[test]
fn the_trial_may_last_as_long_as_its_checks_need_even_beyond_a_day() {
    let with = |half_open_max| {
        let circuit = CircuitDraft {
            close_successes: Some(2),
            trial_interval: Some(DAY),
            half_open_max: Some(half_open_max),
            ..draft()
        };
        refused(circuit)
    };
    let needed = 2 * (DAY + 10 * SECOND);
    assert_eq!(with(needed), Vec::<String>::new());
    assert_eq!(with(needed - MS), ["circuit.half_open_max"]);
    assert_eq!(with(needed + MS), ["circuit.half_open_max"]);
}

#[test]
fn the_minimum_is_within_the_window() {
    assert_eq!(
        refused(CircuitDraft { active_window: Some(6), active_min: Some(7), ..draft() }),
        ["circuit.active_min"]
    );
    assert_eq!(refused(CircuitDraft { active_window: Some(6), active_min: Some(6), ..draft() }), Vec::<String>::new());
}

#[test]
fn one_rule_at_least_is_on() {
    let off = CircuitDraft { consecutive_failures: Some(0), failure_rate: Some(0), ..draft() };
    assert_eq!(refused(off), ["circuit.consecutive_failures"]);
    // The default share of slow results means nothing while nothing is slow.
    let slow = CircuitDraft { slow_threshold: Some(SECOND), ..off };
    assert_eq!(refused(slow), Vec::<String>::new());
    assert_eq!(refused(CircuitDraft { slow_rate: Some(0), ..slow }), ["circuit.consecutive_failures"]);
    assert_eq!(refused(CircuitDraft { consecutive_failures: Some(3), ..off }), Vec::<String>::new());
    assert_eq!(refused(CircuitDraft { failure_rate: Some(1), ..off }), Vec::<String>::new());
}

#[test]
fn a_circuit_can_open_within_an_hour_or_ten_intervals() {
    let minutely = |circuit| fields(&task(schedule(MINUTE, SECOND), circuit));
    let row = |n| CircuitDraft { consecutive_failures: Some(n), failure_rate: Some(0), ..draft() };
    assert_eq!(minutely(row(61)), Vec::<String>::new());
    assert_eq!(minutely(row(62)), ["circuit.consecutive_failures"]);
    let rate =
        |n| CircuitDraft { consecutive_failures: Some(0), active_window: Some(100), active_min: Some(n), ..draft() };
    assert_eq!(minutely(rate(61)), Vec::<String>::new());
    assert_eq!(minutely(rate(62)), ["circuit.active_min"]);
    // The faster of two rules decides.
    assert_eq!(minutely(CircuitDraft { consecutive_failures: Some(3), ..rate(62) }), Vec::<String>::new());

    let daily = |n| fields(&task(schedule(DAY, SECOND), row(n)));
    assert_eq!(daily(11), Vec::<String>::new());
    assert_eq!(daily(12), ["circuit.consecutive_failures"]);
    assert_eq!(daily(1_000), ["circuit.consecutive_failures"]);
}

#[test]
fn all_violations_are_reported_at_once() {
    let circuit = CircuitDraft {
        active_window: Some(0),
        multiplier: Some(f64::NAN),
        open_base: Some(Duration::ZERO),
        consecutive_failures: Some(0),
        failure_rate: Some(0),
        ..draft()
    };
    let mut refused = refused(circuit);
    refused.sort_unstable();
    assert_eq!(
        refused,
        ["circuit.active_window", "circuit.consecutive_failures", "circuit.multiplier", "circuit.open_base"]
    );
}

#[test]
fn a_policy_is_small() {
    assert!(size_of::<CircuitPolicy>() <= 192, "{}", size_of::<CircuitPolicy>());
}
