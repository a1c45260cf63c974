//! Swaps of what is not well, of what has ended, and back; and those whose client does not see their end.

use switchyard::pb::v1::{Exit, RestartPolicy};
use tokio::io::AsyncWriteExt;

use super::*;
use crate::harness::builder;
use crate::kinds::{Gate, blocker};

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// A task that panics as soon as it is ready, and is restarted so often, after so long.
fn panics(max_restarts: u32, backoff: Option<prost_types::Duration>) -> StartTaskRequest {
    with_spec(drill("task", "panic", "0s"), |spec| {
        let (initial_backoff, max_backoff) = (backoff, backoff);
        let max_restarts = Some(max_restarts);
        spec.restart = Some(RestartPolicy { max_restarts, initial_backoff, max_backoff, ..Default::default() });
    })
}

/// Which instances were started, in order.
fn starts(events: &[Event]) -> Vec<(u64, u32)> {
    let is_start = |event: &&Event| event.r#type() == EventType::InstanceStarting;
    events.iter().filter(is_start).map(|event| (event.generation, event.attempt)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_waits_for_its_restart_is_replaced_at_once_and_not_restarted() {
    for strategy in [SwapStrategy::MakeBeforeBreak, SwapStrategy::BreakBeforeMake] {
        let server = Harness::start(Layer::default()).await;
        let mut client = server.client().await;
        client.start_task(panics(1, seconds(3_600))).await.expect("started");
        let waiting = reach(&mut client, "task", State::Pending).await;
        assert!(waiting.restart.is_some_and(|restart| restart.next_time.is_some()));
        let head = server.info().await.head_cursor;
        let request = SwapTaskRequest { strategy: strategy.into(), ..to(lasting("2h")) };
        let (task, _) = swap(&mut client, request).await.expect("accepted");
        assert_eq!((newest(&task).phase(), newest(&task).error.as_str()), (SwapPhase::Done, ""));
        let task = reach(&mut client, "task", State::Running).await;
        assert!(task.restart.is_none_or(|restart| restart.next_time.is_none()), "it is not due any more");
        let events = events_until(&mut client, &head, EventType::InstanceReady).await;
        assert_eq!(starts(&events), [(task.generation, 1)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_crashes_again_and_again_is_replaced_and_comes_back_no_more() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let head = server.info().await.head_cursor;
    // All of its restarts take ten seconds: so long a busy machine has for the swap.
    let soon = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
    client.start_task(panics(100, soon)).await.expect("started");
    events_until(&mut client, &head, EventType::RestartScheduled).await;
    let (task, cursor) = swap(&mut client, to(lasting("2h"))).await.expect("a broken roll-out can be replaced");
    assert_eq!((newest(&task).phase(), task.generation), (SwapPhase::Done, 2));
    let task = reach(&mut client, "task", State::Running).await;
    assert_eq!((run_of(&task).0, run_of(&task).1), (2, 1));
    client.cancel_task(cancel("task")).await.expect("cancelled");
    let mut later = events_until(&mut client, &cursor, EventType::TaskEnded).await;
    // Until then it goes on crashing.
    let committed = later.iter().position(|event| event.r#type() == EventType::SwapCommitted).expect("it was swapped");
    let later = later.split_off(committed);
    assert!(starts(&later).iter().all(|(generation, _)| *generation == 2), "{later:?}");
    assert!(!types(&later).contains(&EventType::RestartScheduled), "{later:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_has_failed_for_good_is_not_swapped() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    client.start_task(panics(0, None)).await.expect("started");
    let failed = reach(&mut client, "task", State::Failed).await;
    let head = server.info().await.head_cursor;
    for preempt in [false, true] {
        let request = SwapTaskRequest { preempt, ..to(lasting("2h")) };
        let status = swap(&mut client, request).await.expect_err("it has ended");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "TASK_NOT_RUNNING"));
    }
    assert_eq!((failed.swap, server.info().await.head_cursor), (None, head));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_first_what_sticks_stays_the_tasks_and_comes_back_once_it_has_ended() {
    let gate = Gate::default();
    let server = Harness::run(builder(Layer::default()).register(gate.kind()).bind().await.expect("bound"));
    let mut client = server.client().await;
    let sticks = with_spec(blocker("task"), |spec| {
        let at_once = Some(prost_types::Duration::default());
        let tenth = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
        spec.shutdown = Some(ShutdownPolicy { grace_timeout: at_once, abort_timeout: tenth });
    });
    client.start_task(sticks).await.expect("started");
    let before = reach(&mut client, "task", State::Running).await;
    let address = server.http_address().to_string();
    let probing = || start("task", Monitor::Tcp(TcpMonitor { address: address.clone(), steps: Vec::new() }));
    let broken = SwapTaskRequest { strategy: SwapStrategy::BreakBeforeMake.into(), ..to(probing()) };
    let (task, _) = swap(&mut client, broken).await.expect("no error of the call");
    assert_eq!(
        (newest(&task).phase(), newest(&task).error.as_str()),
        (SwapPhase::RolledBack, "the old instance is stuck")
    );
    assert_eq!((task.state(), task.generation), (State::Stuck, 1));
    let status = swap(&mut client, to(probing())).await.expect_err("beside a stuck one");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "PREDECESSOR_STUCK"));

    let head = server.info().await.head_cursor;
    gate.open();
    let events = events_until(&mut client, &head, EventType::InstanceStarting).await;
    let ended = events.iter().find(|event| event.r#type() == EventType::InstanceEnded).expect("before that");
    let Some(Detail::Instance(instance)) = &ended.detail else { panic!("{ended:?}") };
    assert!(matches!(instance.exit(), Exit::Graceful | Exit::Aborted), "{instance:?}");
    assert_eq!(starts(&events), [(1, 2)], "the old spec once more");
    let task = reach(&mut client, "task", State::Succeeded).await;
    assert_eq!(task.spec, before.spec);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_back_to_a_former_spec_is_a_swap_like_any_other() {
    let (server, mut client, before) = running().await;
    swap(&mut client, to(lasting("2h"))).await.expect("accepted");
    let head = server.info().await.head_cursor;
    let (task, _) = swap(&mut client, to(lasting("1h"))).await.expect("accepted");
    assert_eq!((newest(&task).phase(), newest(&task).from_generation, task.generation), (SwapPhase::Done, 2, 3));
    assert_eq!((&task.spec, newest(&task).rollback_to), (&before.spec, 0));
    assert_ne!(task.etag, before.etag, "another generation");
    assert_eq!((run_of(&task).0, run_of(&task).1), (3, 1), "an instance of its own");
    let events = events_until(&mut client, &head, EventType::SwapCommitted).await;
    assert_eq!(starts(&events), [(3, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_amid_its_swap_leaves_it_to_its_course() {
    let (server, mut client, _) = running().await;
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = target.local_addr().expect("bound").to_string();
    let steps = vec![TcpStep { send: Vec::new(), expect: b"a word".to_vec() }];
    let awaited = with_spec(start("task", Monitor::Tcp(TcpMonitor { address, steps })), |spec| {
        spec.schedule = Some(Schedule { interval: seconds(300), timeout: seconds(300), max_runs: 0 });
        spec.swap = Some(SwapPolicy { readiness_timeout: seconds(300), ..Default::default() });
    });
    let mut vanishing = server.client().await;
    let waits = tokio::spawn(async move { swap(&mut vanishing, to(awaited)).await });
    let (mut stream, _) = target.accept().await.expect("the candidate connects");
    waits.abort();
    // Its connection is gone with it.
    assert!(waits.await.expect_err("given up").is_cancelled());
    let status = swap(&mut client, to(lasting("2h"))).await.expect_err("one at a time");
    assert_eq!(reason(&status), "SWAP_IN_PROGRESS");
    stream.write_all(b"a word").await.expect("it listens");
    let ended = wait_for_swap(&mut client, None).await.task.expect("answered");
    assert_eq!((newest(&ended).phase(), ended.generation, ended.state()), (SwapPhase::Done, 2, State::Running));
}
