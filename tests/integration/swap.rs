//! Hot swaps through the API: what is refused and with which code, what is answered when, and what a watcher sees.

use std::net::TcpListener;
use std::time::Duration;

use switchyard::config::Layer;
use switchyard::pb::v1::event::Detail;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::{
    CircuitState, Event, EventType, InstanceState, ListTasksRequest, Schedule, ShutdownPolicy, StartTaskRequest, State,
    Swap, SwapPhase, SwapPolicy, SwapStrategy, SwapTaskRequest, SwapTaskResponse, Task, TcpMonitor, TcpStep,
    WaitTaskRequest, WaitTaskResponse,
};
use switchyard::server::Ended;
use tonic::{Code, Request, Status};

use crate::harness::{Client, Harness, cancel, drill, events_until, name, reach, reason, start, with_spec};

const ID: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";

/// A server with the task `task`, which is ready.
async fn running() -> (Harness, Client, Task) {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    client.start_task(lasting("1h")).await.expect("started");
    let task = reach(&mut client, "task", State::Running).await;
    (server, client, task)
}

/// What a drill is told to last makes specs that differ, and changes nothing else about a cooperative one.
fn lasting(duration: &str) -> StartTaskRequest {
    drill("task", "cooperative", duration)
}

/// What accepts connections and never says a word.
struct Silent(TcpListener);

impl Silent {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    /// A task that is not ready for five minutes: its first check waits for a word.
    fn awaited(&self) -> StartTaskRequest {
        let address = self.0.local_addr().expect("bound").to_string();
        let steps = vec![TcpStep { send: Vec::new(), expect: b"a word".to_vec() }];
        with_spec(start("task", Monitor::Tcp(TcpMonitor { address, steps })), |spec| {
            let long = Some(prost_types::Duration { seconds: 300, nanos: 0 });
            spec.schedule = Some(Schedule { interval: long, timeout: long, max_runs: 0 });
            spec.swap = Some(SwapPolicy { readiness_timeout: long, ..Default::default() });
        })
    }
}

/// Asks for the task to become what the other request would start, and for the outcome.
fn to(other: StartTaskRequest) -> SwapTaskRequest {
    SwapTaskRequest { name: name("task"), task: other.task, wait: true, ..Default::default() }
}

async fn swap(client: &mut Client, request: SwapTaskRequest) -> Result<(Task, String), Status> {
    let SwapTaskResponse { task, cursor } = client.swap_task(request).await?.into_inner();
    Ok((task.expect("answered"), cursor))
}

async fn wait_for_swap(client: &mut Client, timeout: Option<Duration>) -> WaitTaskResponse {
    let timeout = timeout.map(|timeout| timeout.try_into().expect("small"));
    let request = WaitTaskRequest { name: name("task"), swap_ended: true, timeout, ..Default::default() };
    client.wait_task(request).await.expect("there").into_inner()
}

fn newest(task: &Task) -> &Swap {
    task.swap.as_ref().expect("has been swapped")
}

/// Which instance runs, and since when.
fn run_of(task: &Task) -> (u64, u32, Option<prost_types::Timestamp>) {
    let instance = task.instance.as_ref().expect("has one");
    (instance.generation, instance.attempt, instance.start_time)
}

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
async fn the_same_again_changes_nothing_and_other_annotations_change_nothing_else() {
    let (server, mut client, before) = running().await;
    let head = server.info().await.head_cursor;
    let (same, cursor) = swap(&mut client, to(lasting("1h"))).await.expect("accepted");
    assert_eq!((same.swap.is_none(), &same.etag, &cursor), (true, &before.etag, &head));

    let mut annotated = to(lasting("1h"));
    annotated.task.as_mut().expect("set").annotations = [("note".to_owned(), "new".to_owned())].into();
    let (task, cursor) = swap(&mut client, annotated.clone()).await.expect("accepted");
    assert_eq!((task.generation, run_of(&task)), (1, run_of(&before)));
    assert_eq!(task.annotations["note"], "new");
    assert_ne!(task.etag, before.etag);
    let events = events_until(&mut client, &head, EventType::SwapCommitted).await;
    assert_eq!(events.len(), 1);
    assert_eq!(server.info().await.head_cursor, cursor);
    swap(&mut client, annotated).await.expect("accepted");
    assert_eq!(server.info().await.head_cursor, cursor);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validation_shows_what_would_be_and_does_nothing() {
    let (server, mut client, before) = running().await;
    let head = server.info().await.head_cursor;
    let request = SwapTaskRequest { validate_only: true, ..to(lasting("2h")) };
    let (preview, cursor) = swap(&mut client, request).await.expect("valid");
    assert_eq!((preview.generation, &cursor), (2, &head));
    assert_ne!(preview.spec, before.spec);
    assert_eq!(server.info().await.head_cursor, head);
    assert!(!wait_for_swap(&mut client, None).await.reached, "there never was one to wait for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etag_is_good_for_one_swap() {
    let (_server, mut client, before) = running().await;
    let with_etag = |other| SwapTaskRequest { etag: before.etag.clone(), ..to(other) };
    swap(&mut client, with_etag(lasting("2h"))).await.expect("accepted");
    let status = swap(&mut client, with_etag(lasting("3h"))).await.expect_err("stale");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_swaps_once() {
    let (server, mut client, _) = running().await;
    let request = SwapTaskRequest { request_id: ID.to_owned(), ..to(lasting("2h")) };
    let (first, cursor) = swap(&mut client, request.clone()).await.expect("accepted");
    let head = server.info().await.head_cursor;
    let (again, replayed) = swap(&mut client, request.clone()).await.expect("replayed");
    assert_eq!((newest(&again), &replayed), (newest(&first), &cursor));
    assert_eq!(server.info().await.head_cursor, head);
    let status = swap(&mut client, SwapTaskRequest { task: lasting("3h").task, ..request }).await.expect_err("reused");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
}

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

async fn first_cursor(server: &Harness) -> String {
    server.info().await.oldest_cursor
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
