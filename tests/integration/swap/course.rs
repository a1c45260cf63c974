//! Swaps that take place.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_is_answered_with_the_new_generation_running_and_the_old_instance_gone() {
    let (server, mut client, before) = running().await;
    let head = server.info().await.head_cursor;
    let (task, cursor) = swap(&mut client, to(lasting("2h"))).await.expect("accepted");
    let done = newest(&task);
    assert_eq!((done.phase(), done.error.as_str()), (SwapPhase::Done, ""));
    assert_eq!((done.from_generation, done.to_generation), (1, 2));
    assert_eq!((task.generation, task.state(), task.draining.len()), (2, State::Running, 0));
    assert_eq!((run_of(&task).0, run_of(&task).1), (2, 1));
    assert_eq!(done.to_spec, task.spec);
    assert_ne!(task.etag, before.etag);

    let answer = wait_for_swap(&mut client, None).await;
    assert!(answer.reached, "it had ended before");
    let events = events_until(&mut client, &head, EventType::SwapCommitted).await;
    let types: Vec<_> = events.iter().map(Event::r#type).collect();
    use EventType::{InstanceReady, InstanceStarting, SwapCommitted, SwapStarted};
    assert_eq!(types, [SwapStarted, InstanceStarting, InstanceReady, SwapCommitted]);
    let phase_of = |event: &Event| match &event.detail {
        Some(Detail::Swap(swap)) => Some(swap.phase()),
        _ => None,
    };
    let phases: Vec<_> = events.iter().filter_map(phase_of).collect();
    assert_eq!(phases, [SwapPhase::Building, SwapPhase::Committed]);
    let later = events_until(&mut client, &cursor, EventType::InstanceEnded).await;
    let ended = later.last().expect("some");
    assert_eq!((ended.generation, ended.attempt), (1, 1), "the old instance");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_is_done_as_soon_as_it_is_ready_takes_over_all_the_same() {
    let (server, mut client, _) = running().await;
    let address = server.http_address().to_string();
    let once = with_spec(start("task", Monitor::Tcp(TcpMonitor { address, steps: Vec::new() })), |spec| {
        spec.schedule = Some(Schedule { max_runs: 1, ..Default::default() });
    });
    let (task, _) = swap(&mut client, to(once)).await.expect("answered");
    assert_eq!((newest(&task).phase(), newest(&task).error.as_str()), (SwapPhase::Done, ""));
    let instance = reach(&mut client, "task", State::Succeeded).await.instance.expect("the last one");
    assert!((instance.generation, instance.ready_time.is_some()) == (2, true), "{instance:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_instance_that_sticks_costs_the_next_swap_and_not_this_one() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let at_once = ShutdownPolicy {
        grace_timeout: Some(prost_types::Duration { seconds: 0, nanos: 0 }),
        abort_timeout: Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 }),
    };
    let blocking = with_spec(drill("task", "block_thread", "60s"), |spec| spec.shutdown = Some(at_once));
    client.start_task(blocking).await.expect("started");
    reach(&mut client, "task", State::Running).await;
    // A built-in kind has threads of its own, which the drill does not block.
    let address = server.http_address().to_string();
    let probing = start("task", Monitor::Tcp(TcpMonitor { address, steps: Vec::new() }));
    let (task, _) = swap(&mut client, to(probing)).await.expect("accepted");
    assert_eq!((newest(&task).phase(), task.state()), (SwapPhase::Done, State::Running));
    let stuck: Vec<_> = task.draining.iter().map(|instance| (instance.generation, instance.state())).collect();
    assert_eq!(stuck, [(1, InstanceState::Stuck)]);
    let status = swap(&mut client, to(lasting("2h"))).await.expect_err("beside a stuck one");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "PREDECESSOR_STUCK"));
    // A cancel is proven although what is stuck has not ended.
    let cancelled = client.cancel_task(cancel("task")).await.expect("cancelled").into_inner().task.expect("answered");
    assert_eq!(cancelled.state(), State::Stuck);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn circuits_are_listed_and_measured_by_state() {
    let (server, mut client, task) = running().await;
    assert_eq!(
        task.circuit.as_ref().map(|circuit| (circuit.state(), &circuit.name)),
        Some((CircuitState::Closed, &task.name))
    );
    let mut listed = async |filter: &str| {
        let request = ListTasksRequest { filter: filter.to_owned(), ..Default::default() };
        client.list_tasks(request).await.expect("valid").into_inner().tasks.len()
    };
    assert_eq!((listed("circuit.state = CLOSED").await, listed("circuit.state = OPEN").await), (1, 0));
    assert_eq!(listed("circuit.state != HALF_OPEN").await, 1);
    let metrics = server.metrics().await;
    assert!(metrics.contains("circuit_breaker_circuits{state=\"closed\"} 1"), "{metrics}");
}
