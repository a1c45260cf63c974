//! Swaps that end another one instead of being refused.

use super::*;

/// A swap whose candidate is never ready has begun: that has been launched, and somebody waits for the outcome.
async fn never_ready(
    server: &Harness,
    client: &mut Client,
    silent: &Silent,
) -> tokio::task::JoinHandle<Result<(Task, String), Status>> {
    let head = server.info().await.head_cursor;
    let (mut waiting, request) = (client.clone(), to(silent.awaited()));
    let waits = tokio::spawn(async move { swap(&mut waiting, request).await });
    events_until(client, &head, EventType::InstanceStarting).await;
    waits
}

fn preempting(other: StartTaskRequest) -> SwapTaskRequest {
    SwapTaskRequest { preempt: true, ..to(other) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_that_preempts_takes_the_place_of_one_that_is_never_ready() {
    use EventType::{
        InstanceEnded, InstanceReady, InstanceStarting, InstanceStopping, SwapCommitted, SwapRolledBack, SwapStarted,
    };
    let (server, mut client, before) = running().await;
    let silent = Silent::new();
    let waits = never_ready(&server, &mut client, &silent).await;
    let status = swap(&mut client, to(lasting("2h"))).await.expect_err("one at a time");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "SWAP_IN_PROGRESS"));

    let head = server.info().await.head_cursor;
    let (task, _) = swap(&mut client, preempting(lasting("2h"))).await.expect("accepted");
    let done = newest(&task);
    assert_eq!((done.phase(), done.from_generation, done.to_generation), (SwapPhase::Done, 1, 3));
    assert_eq!((task.generation, task.state(), task.draining.len()), (3, State::Running, 0));
    assert_ne!(task.etag, before.etag);
    let (lost, _) = waits.await.expect("no panic").expect("no error of the call");
    let lost = newest(&lost);
    assert_eq!((lost.phase(), lost.to_generation), (SwapPhase::Cancelled, 2), "who waited sees how that one ended");
    assert_eq!(lost.error, "another swap has preempted it");

    let events = events_until(&mut client, &head, SwapCommitted).await;
    let told: Vec<_> = events.iter().map(|event| (event.r#type(), event.generation)).collect();
    let expected = [
        (InstanceStopping, 2),
        (SwapRolledBack, 1),
        (SwapStarted, 1),
        (InstanceEnded, 2),
        (InstanceStarting, 3),
        (InstanceReady, 3),
        (SwapCommitted, 3),
    ];
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_back_to_what_runs_ends_the_other_one_and_does_nothing_else() {
    let (server, mut client, before) = running().await;
    let silent = Silent::new();
    let waits = never_ready(&server, &mut client, &silent).await;
    let mut listening = client.clone();
    let hears = tokio::spawn(async move { wait_for_swap(&mut listening, None).await });
    let (task, _) = swap(&mut client, preempting(lasting("1h"))).await.expect("accepted");
    assert_eq!((newest(&task).phase(), newest(&task).to_generation), (SwapPhase::Cancelled, 2));
    assert_eq!((run_of(&task), &task.etag, task.generation), (run_of(&before), &before.etag, 1));
    let (lost, _) = waits.await.expect("no panic").expect("no error of the call");
    assert_eq!(newest(&lost).phase(), SwapPhase::Cancelled);
    assert!(hears.await.expect("no panic").reached);
    // The next one may say that it does not wait for what is left of the candidate.
    let (task, _) = swap(&mut client, preempting(lasting("2h"))).await.expect("accepted");
    assert_eq!((newest(&task).phase(), task.generation), (SwapPhase::Done, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_says_what_the_swap_would_be_answered_and_touches_none_that_runs() {
    let (server, mut client, before) = running().await;
    let silent = Silent::new();
    let waits = never_ready(&server, &mut client, &silent).await;
    let head = server.info().await.head_cursor;
    let dry = |request| SwapTaskRequest { validate_only: true, ..request };
    let status = swap(&mut client, dry(to(lasting("2h")))).await.expect_err("one at a time");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "SWAP_IN_PROGRESS"));
    let (preview, cursor) = swap(&mut client, dry(preempting(lasting("2h")))).await.expect("valid");
    assert_eq!((preview.generation, &cursor), (3, &head));
    assert_ne!(preview.spec, before.spec);
    let status = swap(&mut client, dry(preempting(drill("task", "cooperative", "soon")))).await.expect_err("checked");
    assert_eq!(reason(&status), "INVALID_FIELD");
    assert_eq!(server.info().await.head_cursor, head, "nothing has happened");
    client.cancel_task(cancel("task")).await.expect("cancelled");
    let (ended, _) = waits.await.expect("no panic").expect("no error of the call");
    assert_eq!((newest(&ended).phase(), newest(&ended).to_generation), (SwapPhase::Cancelled, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_preempts_once() {
    let (server, mut client, _) = running().await;
    let silent = Silent::new();
    let waits = never_ready(&server, &mut client, &silent).await;
    let request = SwapTaskRequest { request_id: ID.to_owned(), ..preempting(lasting("2h")) };
    let (first, cursor) = swap(&mut client, request.clone()).await.expect("accepted");
    let waited = waits.await.expect("no panic").expect("no error of the call");
    assert_eq!(newest(&waited.0).phase(), SwapPhase::Cancelled);
    let (again, replayed) = swap(&mut client, request).await.expect("replayed");
    assert_eq!((newest(&again), &replayed), (newest(&first), &cursor));
}
