//! What ends a swap without effect, and what ends the waiting for one.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_fails_is_rolled_back_and_the_old_instance_stays() {
    let (_server, mut client, before) = running().await;
    let panics = with_spec(drill("task", "panic", "0s"), |spec| {
        spec.swap = Some(SwapPolicy { strategy: SwapStrategy::BreakBeforeMake.into(), ..Default::default() });
    });
    let silent = Silent::new();
    let unready = with_spec(silent.awaited(), |spec| {
        let soon = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
        spec.swap = Some(SwapPolicy { readiness_timeout: soon, ..Default::default() });
    });
    let (task, _) = swap(&mut client, to(unready)).await.expect("no error of the call");
    let rolled_back = newest(&task);
    assert_eq!(rolled_back.phase(), SwapPhase::RolledBack);
    assert!(rolled_back.error.contains("not ready within 100ms"), "{}", rolled_back.error);
    assert_eq!((task.generation, &task.etag, &task.spec), (1, &before.etag, &before.spec));
    assert_eq!((task.state(), run_of(&task), task.circuit), (State::Running, run_of(&before), before.circuit));
    assert!(wait_for_swap(&mut client, None).await.reached);

    // The drill is ready before it panics, so its swap is done; and a burnt number is not used again.
    let (task, _) = swap(&mut client, to(panics)).await.expect("accepted");
    assert_eq!((newest(&task).to_generation, newest(&task).strategy()), (3, SwapStrategy::BreakBeforeMake));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_swap_runs_at_a_time_and_a_cancel_ends_it_for_all_who_wait() {
    let (_server, mut client, _) = running().await;
    let silent = Silent::new();
    let begun = SwapTaskRequest { wait: false, ..to(silent.awaited()) };
    let (task, _) = swap(&mut client, begun).await.expect("accepted");
    assert_eq!(newest(&task).phase(), SwapPhase::Building);
    let status = swap(&mut client, to(lasting("2h"))).await.expect_err("one at a time");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "SWAP_IN_PROGRESS"));

    let answer = wait_for_swap(&mut client, Some(Duration::from_millis(10))).await;
    assert!(!answer.reached && newest(&answer.task.expect("answered")).phase() != SwapPhase::Cancelled);
    let mut waiting = client.clone();
    let waits = tokio::spawn(async move { wait_for_swap(&mut waiting, None).await });
    client.cancel_task(cancel("task")).await.expect("cancelled");
    let answer = waits.await.expect("no panic");
    assert!(answer.reached);
    assert_eq!(newest(&answer.task.expect("answered")).phase(), SwapPhase::Cancelled);
    let status = swap(&mut client, to(lasting("2h"))).await.expect_err("ended");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "TASK_NOT_RUNNING"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_deadline_ends_its_waiting_and_not_the_swap() {
    let (_server, mut client, _) = running().await;
    let silent = Silent::new();
    let mut patience = Duration::from_millis(300);
    // The next one is refused for the sake of the first; where the machine was too busy to begin that, it is the first.
    let refused = loop {
        let mut request = Request::new(to(silent.awaited()));
        request.set_timeout(patience);
        let status = client.swap_task(request).await.expect_err("it is never ready");
        if status.code() == Code::Aborted {
            break status;
        }
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
        patience *= 2;
    };
    assert_eq!(reason(&refused), "SWAP_IN_PROGRESS");
    let answer = wait_for_swap(&mut client, Some(Duration::from_millis(10))).await;
    let phase = newest(&answer.task.expect("answered")).phase();
    assert!(matches!(phase, SwapPhase::Building | SwapPhase::Starting), "{phase:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_the_waiting_for_a_swap() {
    let (server, mut client, _) = running().await;
    let silent = Silent::new();
    let (mut waiting, request) = (client.clone(), to(silent.awaited()));
    let waits = tokio::spawn(async move { swap(&mut waiting, request).await });
    events_until(&mut client, &first_cursor(&server).await, EventType::SwapStarted).await;
    server.shut_down();
    let waited = waits.await.expect("no panic");
    // The drain cancels the swap, and closes the door on who waits: whichever comes first.
    match waited {
        Ok((task, _)) => assert_eq!(newest(&task).phase(), SwapPhase::Cancelled),
        Err(status) => assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SERVER_DRAINING")),
    }
    assert_eq!(server.ended().await, Ended::Clean);
}
