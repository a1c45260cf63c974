//! Swaps, and the policies that came with them.

use super::*;
use crate::model::{StatePolicy, SwapStrategy};

#[test]
fn every_parameter_of_circuit_and_swap_is_refused_under_its_own_name() {
    let nan = Some(f64::NAN);
    let circuit = v1::CircuitPolicy {
        consecutive_failures: Some(1_001),
        active_window: 1_025,
        active_min: 11,
        failure_rate: Some(10_001),
        slow_rate: Some(10_001),
        slow_threshold: seconds(10),
        open_base: seconds(0),
        open_max: seconds(86_401),
        multiplier: nan,
        jitter: Some(0.6),
        close_successes: 101,
        trial_interval: seconds(0),
        half_open_max: seconds(1),
        stable_for: seconds(86_401),
        streak_cap: 65,
        passive_window: seconds(3_601),
        passive_min: 1_000_001,
        min_reporters: 101,
        trial_permits: Some(1_001),
        trial_concurrency: 6,
        lease_ttl: seconds(601),
    };
    let swap = v1::SwapPolicy {
        strategy: 9,
        readiness_timeout: seconds(601),
        min_healthy_time: seconds(601),
        auto_revert: true,
        observation_time: seconds(601),
    };
    let mut found = refused(start(v1::TaskSpec { circuit: Some(circuit), swap: Some(swap), ..spec() }));
    found.sort();
    let circuit = [
        "active_min",
        "active_window",
        "close_successes",
        "consecutive_failures",
        "failure_rate",
        "half_open_max",
        "jitter",
        "lease_ttl",
        "min_reporters",
        "multiplier",
        "open_base",
        "open_max",
        "passive_min",
        "passive_window",
        "slow_rate",
        "slow_threshold",
        "stable_for",
        "streak_cap",
        "trial_concurrency",
        "trial_interval",
        "trial_permits",
    ];
    let mut expected: Vec<_> = circuit.iter().map(|field| format!("task.spec.circuit.{field}")).collect();
    expected.extend(
        ["min_healthy_time", "observation_time", "readiness_timeout", "strategy"]
            .map(|field| format!("task.spec.swap.{field}")),
    );
    assert_eq!(found, expected);
}

#[test]
fn a_swap_says_everything_of_the_new_task_at_once() {
    let task = v1::Task { spec: Some(spec()), ..Default::default() };
    let request = v1::SwapTaskRequest {
        name: "namespaces/default/tasks/api".to_owned(),
        task: Some(task),
        strategy: v1::SwapStrategy::BreakBeforeMake.into(),
        state_policy: v1::StatePolicy::Reset.into(),
        preempt: true,
        wait: true,
        etag: "e".to_owned(),
        ..Default::default()
    };
    let (swap, waits) = swap_task(request.clone(), ACTOR).expect("valid");
    assert_eq!((swap.strategy, waits), (Some(SwapStrategy::BreakBeforeMake), true));
    assert_eq!(swap.state_policy, Some(StatePolicy::Reset));
    assert!(swap.etag.is_some() && swap.preempt && !swap.validate_only);
    let unspecified = v1::SwapTaskRequest { strategy: 0, state_policy: 0, ..request };
    let swap = swap_task(unspecified, ACTOR).expect("valid").0;
    assert_eq!((swap.strategy, swap.state_policy), (None, None));

    let all = v1::SwapTaskRequest {
        strategy: 3,
        state_policy: 3,
        reason: "r".repeat(limits::REASON_BYTES + 1),
        request_id: "x".to_owned(),
        ..Default::default()
    };
    let violations = swap_task(all, ACTOR).expect_err("all bad");
    assert_eq!(fields(&violations), ["request_id", "name", "task", "strategy", "state_policy", "reason"]);
}

#[test]
fn a_wait_is_for_states_or_for_the_end_of_a_swap() {
    let wait = |until: Vec<i32>| {
        let name = "namespaces/default/tasks/api".to_owned();
        wait_task(v1::WaitTaskRequest { name, until, swap_ended: true, timeout: None })
    };
    assert_eq!(wait(Vec::new()).expect("valid").until, Until::SwapEnded);
    assert_eq!(fields(&wait(vec![v1::State::Running.into()]).expect_err("both")), ["swap_ended"]);
}
