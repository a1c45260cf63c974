//! kill -9 at random moments of two hundred swaps: each is committed or rolled back, once, and of each task one instance lives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use futures_util::future::join_all;
use switchyard::pb::v1::event::Detail;
use switchyard::pb::v1::server_service_client::ServerServiceClient;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{
    self, Event, EventType, GetServerInfoRequest, InstanceState, State, SwapPhase, SwapStrategy, SwapTaskRequest, Task,
    TcpMonitor, TcpStep,
};
use tonic::Status;

use super::{Rng, client, number, owner, serve};
use crate::harness::{Client, metrics, name, reach, start, with_spec};
use crate::scratch::Scratch;

const TASKS: usize = 8;
const SWAPS: usize = 200;
/// A server is killed after so many events of a round, or fewer: a swap that is done has seven.
const EVENTS: u64 = 7 * TASKS as u64;

/// So many kinds of candidates: two that come through, one that does so by breaking first, one that is never ready.
const KINDS: u64 = 4;

/// What a task becomes; `minutes` tells specs apart.
fn candidate(id: &str, silent: &TcpListener, minutes: i64, kind: u64) -> v1::StartTaskRequest {
    let tcp = match kind {
        // Nobody listens on port 1: the first check makes the instance ready all the same.
        0..3 => TcpMonitor { address: "127.0.0.1:1".to_owned(), steps: Vec::new() },
        // It waits for a word that never comes.
        _ => {
            let address = silent.local_addr().expect("bound").to_string();
            TcpMonitor { address, steps: vec![TcpStep { send: Vec::new(), expect: b"a word".to_vec() }] }
        }
    };
    with_spec(start(id, Monitor::Tcp(tcp)), |spec| {
        let (hour, minutes) = (prost_types::Duration { seconds: 3_600, nanos: 0 }, 60 * minutes);
        let timeout = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        spec.schedule = Some(v1::Schedule { interval: Some(hour), timeout, max_runs: 0 });
        spec.terminal_ttl = Some(prost_types::Duration { seconds: minutes, nanos: 0 });
        let strategy = if kind == 2 { SwapStrategy::BreakBeforeMake } else { SwapStrategy::MakeBeforeBreak };
        let soon = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
        let readiness_timeout = soon.filter(|_| kind == 3);
        spec.swap = Some(v1::SwapPolicy { strategy: strategy.into(), readiness_timeout, ..Default::default() });
    })
}

fn minutes(task: &Task) -> i64 {
    task.spec.as_ref().and_then(|spec| spec.terminal_ttl).expect("filled in").seconds / 60
}

/// What a task may have become.
#[derive(Clone, Copy, Debug)]
struct Swapped {
    from: i64,
    to: i64,
    /// How it has ended, where that was answered.
    told: Option<SwapPhase>,
}

/// Swaps a task, if the server lives to be asked.
async fn swapped(mut client: Client, id: String, request: v1::StartTaskRequest, swap: Swapped) -> Swapped {
    let request = SwapTaskRequest { name: name(&id), task: request.task, wait: true, ..Default::default() };
    let answered: Result<_, Status> = client.swap_task(request).await;
    match answered {
        Ok(answer) => {
            let task = answer.into_inner().task.expect("answered");
            Swapped { told: task.swap.map(|swap| swap.phase()), ..swap }
        }
        Err(status) => {
            assert!(owner::is_gone(&status) || owner::is_stalled(&status), "{id}: {status:?}");
            swap
        }
    }
}

/// Waits for so many events.
async fn seen(mut frames: tonic::Streaming<v1::WatchTasksResponse>, events: usize) {
    let mut seen = 0;
    while seen < events {
        seen += frames.message().await.expect("no error").expect("not ended").events.len();
    }
}

/// The swap was decided, one way or the other, and of the task one instance lives.
async fn is_whole(client: &mut Client, id: &str, swap: Swapped) -> i64 {
    let task = owner::at_rest(client, id).await.expect("there");
    let Swapped { from, to, told } = swap;
    let is = minutes(&task);
    match told {
        Some(SwapPhase::Done) => assert_eq!(is, to, "{id} was told to be swapped: {task:?}"),
        Some(_) => assert_eq!(is, from, "{id} was told not to be: {task:?}"),
        None => assert!([from, to].contains(&is), "{id}: {swap:?} {task:?}"),
    }
    let instance = task.instance.as_ref().expect("runs");
    assert_eq!((task.state(), instance.state()), (State::Running, InstanceState::Ready), "{task:?}");
    assert_eq!((task.draining.len(), instance.generation), (0, task.generation), "{task:?}");
    owner::remembered(client, &task).await;
    is
}

async fn everything(client: &mut Client, address: &str) -> Vec<Event> {
    let mut said = ServerServiceClient::connect(format!("http://{address}")).await.expect("listening");
    let info = said.get_server_info(GetServerInfoRequest {}).await.expect("answers").into_inner();
    let start = Some(Start::Cursor(info.oldest_cursor));
    let request = v1::WatchTasksRequest { start, end_cursor: info.head_cursor, ..Default::default() };
    let mut frames = client.watch_tasks(request).await.expect("opened").into_inner();
    let mut events = Vec::new();
    while let Some(frame) = frames.message().await.expect("no error") {
        events.extend(frame.events);
    }
    events
}

/// The swaps that an event of that type tells of.
fn swaps(events: &[Event], of: EventType) -> Vec<String> {
    let swap = |event: &Event| match &event.detail {
        Some(Detail::Swap(swap)) if event.r#type() == of => Some(swap.id.clone()),
        _ => None,
    };
    events.iter().filter_map(swap).collect()
}

/// By the log each swap has ended once, and of each task one instance lives.
fn told_once(events: &[Event]) -> (usize, usize) {
    let begun = swaps(events, EventType::SwapStarted);
    let (committed, rolled_back) = (swaps(events, EventType::SwapCommitted), swaps(events, EventType::SwapRolledBack));
    let ended: BTreeSet<_> = committed.iter().chain(&rolled_back).collect();
    assert_eq!(ended.len(), committed.len() + rolled_back.len(), "none twice, and none both ways");
    assert_eq!(ended, begun.iter().collect(), "all of them");
    let mut live = BTreeMap::new();
    for event in events {
        match event.r#type() {
            EventType::InstanceStarting => *live.entry(&event.name).or_insert(0) += 1,
            EventType::InstanceEnded => *live.entry(&event.name).or_insert(0) -= 1,
            _ => {}
        }
    }
    assert!(live.len() == TASKS && live.values().all(|live| *live == 1), "{live:?}");
    (committed.len(), rolled_back.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_swaps_under_kills_are_each_committed_or_rolled_back_and_one_instance_lives() {
    let mut rng = Rng(number("SWITCHYARD_SEED", 1) as u64);
    let (scratch, silent) = (Scratch::new("crash-swaps"), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let data = scratch.join("data");
    let ids: Vec<_> = (0..TASKS).map(|number| format!("task-{number}")).collect();
    let mut server = serve(&data).await;
    let mut client = client(&server.address).await;
    let mut now = vec![1; TASKS];
    for id in &ids {
        client.start_task(candidate(id, &silent, 1, 0)).await.expect("started");
        reach(&mut client, id, State::Running).await;
    }
    let mut rounds = 0;
    let events = loop {
        let mut frames = client.watch_tasks(v1::WatchTasksRequest::default()).await.expect("opened").into_inner();
        // The first frame says that it watches.
        frames.message().await.expect("no error").expect("not ended");
        let swapping = ids.iter().zip(&now).map(|(id, from)| {
            let request = candidate(id, &silent, from + 1, rng.below(KINDS));
            let swap = Swapped { from: *from, to: from + 1, told: None };
            tokio::spawn(swapped(client.clone(), id.clone(), request, swap))
        });
        let mut swapping = join_all(swapping.collect::<Vec<_>>());
        let until = rng.below(EVENTS) as usize;
        // Some have fewer events; then all is over before.
        let over = tokio::select! {
            over = &mut swapping => Some(over),
            () = seen(frames, until) => None,
        };
        tokio::task::spawn_blocking(move || server.kill()).await.expect("ends");
        let over = match over {
            Some(over) => over,
            None => swapping.await,
        };
        server = serve(&data).await;
        client = super::client(&server.address).await;
        for (nth, swap) in over.into_iter().enumerate() {
            now[nth] = is_whole(&mut client, &ids[nth], swap.expect("no panic")).await;
        }
        let live = format!("\ncircuit_breaker_active_tasks {TASKS}\n");
        assert!(metrics(server.http).await.contains(&live), "of each task one");
        rounds += 1;
        let events = everything(&mut client, &server.address).await;
        if swaps(&events, EventType::SwapStarted).len() >= SWAPS {
            break events;
        }
    };
    let (committed, rolled_back) = told_once(&events);
    println!("{rounds} rounds, {committed} committed, {rolled_back} rolled back");
    assert!(committed > 0 && rolled_back > 0, "{committed} {rolled_back}");
}
