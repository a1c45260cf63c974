//! Tasks that go back by themselves when what a swap has brought in fails.

use super::*;

fn reverting(request: StartTaskRequest) -> StartTaskRequest {
    with_spec(request, |spec| {
        let observation_time = Some(prost_types::Duration { seconds: 600, nanos: 0 });
        spec.swap = Some(SwapPolicy { auto_revert: true, observation_time, ..Default::default() });
    })
}

/// The swaps that took place after the cursor, up to the one to that generation.
async fn committed(client: &mut Client, cursor: String, last: u64) -> Vec<Swap> {
    let filter = "type = SWAP_COMMITTED".to_owned();
    let request = WatchTasksRequest { start: Some(Start::Cursor(cursor)), filter, ..Default::default() };
    let mut frames = client.watch_tasks(request).await.expect("opened").into_inner();
    let mut swaps = Vec::new();
    loop {
        for event in frames.message().await.expect("no error").expect("not ended").events {
            let Some(Detail::Swap(swap)) = event.detail else { panic!("{event:?}") };
            let is_last = swap.to_generation == last;
            swaps.push(*swap);
            if is_last {
                return swaps;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_that_panics_gives_way_to_the_spec_before() {
    let (_server, mut client, before) = running().await;
    let (task, cursor) = swap(&mut client, to(reverting(drill("task", "panic", "300ms")))).await.expect("accepted");
    assert_eq!((newest(&task).phase(), newest(&task).to_generation), (SwapPhase::Done, 2));
    let swaps = committed(&mut client, cursor, 3).await;
    assert_eq!((swaps.len(), swaps[0].revert_reason.as_str()), (2, ""), "a client has asked for the first");
    let task = reach(&mut client, "task", State::Running).await;
    let way_back = newest(&task);
    assert_eq!((way_back.from_generation, way_back.to_generation, task.generation), (2, 3, 3));
    assert!(way_back.revert_reason.starts_with("generation 2 panicked: "), "{}", way_back.revert_reason);
    assert_eq!((&task.spec, &task.observation), (&before.spec, &None), "the spec before, which is not observed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_that_trips_the_circuit_gives_way_to_the_spec_before() {
    let (server, mut client, before) = running().await;
    // Nobody listens on port 1. Its first check is the candidate's, and drives nothing; the next one trips the circuit.
    let nobody = Monitor::Tcp(TcpMonitor { address: "127.0.0.1:1".to_owned(), steps: Vec::new() });
    let refused = with_spec(reverting(start("task", nobody)), |spec| {
        let soon = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
        spec.schedule = Some(Schedule { interval: soon, ..Default::default() });
        spec.circuit = Some(CircuitPolicy { consecutive_failures: Some(1), ..Default::default() });
    });
    let head = server.info().await.head_cursor;
    swap(&mut client, to(refused)).await.expect("accepted");
    committed(&mut client, head, 3).await;
    let task = reach(&mut client, "task", State::Running).await;
    assert_eq!(newest(&task).revert_reason, "generation 2 has tripped its circuit");
    assert_eq!(task.spec, before.spec);
    let circuit = task.circuit.expect("has one");
    assert_eq!((circuit.state(), circuit.reason()), (CircuitState::Closed, CircuitReason::Reset), "another target");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_observed_is_shown_and_without_that_nothing_goes_back() {
    let (_server, mut client, _) = running().await;
    let (task, _) = swap(&mut client, to(reverting(lasting("2h")))).await.expect("accepted");
    let observation = task.observation.expect("it is observed");
    assert_eq!((observation.generation, observation.failure.as_str()), (1, ""));
    assert!(observation.expire_time.is_some());
    // The next one is not to be observed, and fails.
    let (task, _) = swap(&mut client, to(drill("task", "exit_early", "0s"))).await.expect("accepted");
    assert_eq!((newest(&task).to_generation, task.observation), (3, None));
    let ended = reach(&mut client, "task", State::Succeeded).await;
    assert_eq!(newest(&ended).to_generation, 3);
}
