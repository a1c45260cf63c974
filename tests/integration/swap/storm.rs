//! A thousand swaps, back to back, of tasks whose candidates at first find that all is bad, while others preempt, start and cancel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{join, join_all};
use switchyard::monitor::Finding;

use super::*;
use crate::harness::builder;
use crate::kinds::{Checks, custom};

/// Each swapped by a client of its own; four connections carry them.
const TASKS: usize = 40;
const CONNECTIONS: usize = 4;
const SWAPS: usize = 25;
/// In one of so many swaps another one preempts it.
const PREEMPTED: usize = 5;

/// A task whose circuit opens with the first bad check that counts.
fn wary(id: &str, version: usize) -> StartTaskRequest {
    with_spec(custom(id, "wary"), |spec| {
        let interval = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
        spec.schedule = Some(Schedule { interval, ..Default::default() });
        spec.circuit = Some(CircuitPolicy { consecutive_failures: Some(1), ..Default::default() });
        let start_timeout = i64::try_from(30 + version % 60).expect("small");
        spec.start_timeout = Some(prost_types::Duration { seconds: start_timeout, nanos: 0 });
    })
}

fn to_version(id: &str, version: usize) -> SwapTaskRequest {
    SwapTaskRequest { name: name(id), task: wary(id, version).task, wait: true, ..Default::default() }
}

/// Swaps a task again and again; says how often it was swapped in the end.
async fn swap_on(mut client: Client, id: String) -> usize {
    let mut done = 0;
    for version in (1..=SWAPS).map(|number| 2 * number) {
        let first = to_version(&id, version);
        let phase = |task: &Task| newest(task).phase();
        if !(version / 2).is_multiple_of(PREEMPTED) {
            let (task, _) = swap(&mut client, first).await.expect("nobody else swaps it");
            assert_eq!(phase(&task), SwapPhase::Done, "{task:?}");
            done += 1;
            continue;
        }
        let second = SwapTaskRequest { preempt: true, ..to_version(&id, version + 1) };
        let mut other = client.clone();
        // Whichever is earlier: one is preempted, or has been made before the other comes; and that one too, or it is refused.
        let both: [_; 2] = join(swap(&mut client, first), swap(&mut other, second)).await.into();
        let phases = both.map(|answered| match answered {
            Ok((task, _)) => phase(&task),
            Err(status) => {
                assert_eq!(reason(&status), "SWAP_IN_PROGRESS");
                SwapPhase::Unspecified
            }
        });
        assert!(phases.contains(&SwapPhase::Done), "{phases:?}");
        done += 1;
    }
    done
}

/// Starts and cancels tasks of its own until it is told to stop.
async fn come_and_go(mut client: Client, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        client.start_task(lasting("1h")).await.expect("started");
        client.cancel_task(cancel("task")).await.expect("cancelled");
        let delete = switchyard::pb::v1::DeleteTaskRequest { name: name("task"), ..Default::default() };
        client.delete_task(delete).await.expect("deleted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_thousand_swaps_no_check_of_a_candidate_counts_and_every_circuit_goes_on() {
    let storms = Arc::new(AtomicBool::new(false));
    let storming = Arc::clone(&storms);
    let kind = Checks::new("wary", move |made| {
        let bad = made == 0 && storming.load(Ordering::Relaxed);
        async move { if bad { Finding::fail("BAD", "so it seems at first") } else { Finding::pass() } }
    });
    let server = Harness::run(builder(Layer::default()).register(kind).bind().await.expect("bound"));
    let mut client = server.client().await;
    let ids: Vec<_> = (0..TASKS).map(|number| format!("wary-{number}")).collect();
    let mut circuits = Vec::new();
    for id in &ids {
        client.start_task(wary(id, 0)).await.expect("started");
        circuits.push(reach(&mut client, id, State::Running).await.circuit.expect("has one"));
    }
    storms.store(true, Ordering::Relaxed);
    let cursor = first_cursor(&server).await;
    let over = Arc::new(AtomicBool::new(false));
    let coming = tokio::spawn(come_and_go(server.client().await, Arc::clone(&over)));
    let clients = join_all((0..CONNECTIONS).map(|_| server.client())).await;
    let swapping = ids.iter().enumerate().map(|(number, id)| {
        let client = clients[number % CONNECTIONS].clone();
        tokio::spawn(swap_on(client, id.clone()))
    });
    let mut swaps = 0;
    for swapped in join_all(swapping).await {
        swaps += swapped.expect("no panic");
    }
    over.store(true, Ordering::Relaxed);
    coming.await.expect("no panic");
    assert_eq!(swaps, TASKS * SWAPS);

    for (id, before) in ids.iter().zip(circuits) {
        let task = reach(&mut client, id, State::Running).await;
        assert_eq!(task.circuit, Some(before), "{id}");
        assert!(task.draining.is_empty(), "{id}: {:?}", task.draining);
    }
    let events = watch_all(&mut client, &cursor, &server.info().await.head_cursor).await;
    let told = |wanted: EventType| events.iter().filter(|event| event.r#type() == wanted).count();
    assert_eq!(told(EventType::CircuitTripped) + told(EventType::CircuitReset), 0);
    assert!(told(EventType::SwapCommitted) >= TASKS * SWAPS);
    // Of each task one instance lives, and of those that came and went none.
    assert_eq!(told(EventType::InstanceStarting) - told(EventType::InstanceEnded), TASKS);
}

/// The events between two cursors.
async fn watch_all(client: &mut Client, from: &str, through: &str) -> Vec<Event> {
    let start = Some(Start::Cursor(from.to_owned()));
    let request = WatchTasksRequest { start, end_cursor: through.to_owned(), ..Default::default() };
    let mut frames = client.watch_tasks(request).await.expect("opened").into_inner();
    let mut events = Vec::new();
    while let Some(frame) = frames.message().await.expect("no error") {
        events.extend(frame.events);
    }
    events
}
