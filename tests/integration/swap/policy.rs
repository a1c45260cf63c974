//! What a swap does with the circuit.

use super::*;

/// A task whose first check fails, since nobody listens on port 1, and opens its circuit; nothing else happens in the next hour.
fn refused(timeout: Duration) -> StartTaskRequest {
    let nobody = Monitor::Tcp(TcpMonitor { address: "127.0.0.1:1".to_owned(), steps: Vec::new() });
    with_spec(start("task", nobody), |spec| {
        let long = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
        let timeout = Some(timeout.try_into().expect("small"));
        spec.schedule = Some(Schedule { interval: long, timeout, max_runs: 0 });
        spec.circuit = Some(CircuitPolicy {
            consecutive_failures: Some(1),
            open_base: long,
            open_max: long,
            ..Default::default()
        });
    })
}

/// Swaps a task whose circuit is open; the circuit before, and after.
async fn swapped(policy: StatePolicy, next: StartTaskRequest) -> (Circuit, Circuit, Vec<EventType>) {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    client.start_task(refused(Duration::from_secs(1))).await.expect("started");
    events_until(&mut client, &first_cursor(&server).await, EventType::CircuitTripped).await;
    let head = server.info().await.head_cursor;
    let before = reach(&mut client, "task", State::Running).await.circuit.expect("has one");
    let request = SwapTaskRequest { state_policy: policy.into(), ..to(next) };
    let (task, _) = swap(&mut client, request).await.expect("accepted");
    assert_eq!(newest(&task).phase(), SwapPhase::Done);
    let events = events_until(&mut client, &head, EventType::InstanceEnded).await;
    (before, task.circuit.expect("has one"), types(&events))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_is_kept_for_the_same_target_unless_a_reset_is_asked_for() {
    let same = || refused(Duration::from_secs(2));
    for policy in [StatePolicy::Unspecified, StatePolicy::Keep] {
        let (before, after, events) = swapped(policy, same()).await;
        assert_eq!((before.state(), &after), (CircuitState::Open, &before), "{policy:?}");
        assert!(!events.contains(&EventType::CircuitReset));
    }
    let (before, after, events) = swapped(StatePolicy::Reset, same()).await;
    assert_eq!((after.state(), after.reason(), after.streak), (CircuitState::Closed, CircuitReason::Reset, 0));
    assert!(after.epoch > before.epoch && events.contains(&EventType::CircuitReset));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_begins_anew_for_another_target_unless_it_is_to_be_kept() {
    for policy in [StatePolicy::Unspecified, StatePolicy::Reset] {
        let (_, after, _) = swapped(policy, lasting("1h")).await;
        assert_eq!((after.state(), after.reason()), (CircuitState::Closed, CircuitReason::Reset), "{policy:?}");
    }
    let (before, after, _) = swapped(StatePolicy::Keep, lasting("1h")).await;
    // The new spec's thresholds may end its present period sooner; nothing else has changed.
    let what =
        |circuit: &Circuit| (circuit.state(), circuit.epoch, circuit.since_time, circuit.streak, circuit.reason());
    assert_eq!(what(&after), what(&before));
}
