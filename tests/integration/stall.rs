//! A journal whose store does not write, has no space, or has died: what clients are told, what goes on, and what comes back by
//! itself.

mod apply;
mod cut;
mod full;
mod load;
mod reports;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use switchyard::config::Layer;
use switchyard::pb::v1::task_spec::Monitor as Spec;
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{self, EventType, State, TcpMonitor};
use switchyard::server::Ended;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::harness::{
    Client, Harness, builder, cancel, events_until, idle, name, outcome, reach, refusal, start, types, with_spec,
};
use store::{Disk, Fault};

const TASKS: &str = "switchyard.v1.TaskService";

/// A server whose store is the disk's.
async fn server(disk: &Disk) -> (Harness, Client) {
    let server = Harness::run(builder(Layer::default()).store(disk.store()).bind().await.expect("bound"));
    let client = server.client().await;
    (server, client)
}

/// A task that is checked ten times a second, by which the server's own HTTP port is watched.
fn busy(server: &Harness, id: &str) -> v1::StartTaskRequest {
    let address = server.http_address().to_string();
    let tenth = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
    with_spec(start(id, Spec::Tcp(TcpMonitor { address, steps: Vec::new() })), |spec| {
        spec.schedule = Some(v1::Schedule { interval: tenth, ..Default::default() });
    })
}

fn request_id() -> String {
    Uuid::new_v4().to_string()
}

fn stalled() -> (Code, String) {
    (Code::Unavailable, "JOURNAL_STALLED".to_owned())
}

async fn get(client: &mut Client, id: &str) -> v1::Task {
    client.get_task(v1::GetTaskRequest { name: name(id) }).await.expect("there").into_inner().task.expect("answered")
}

/// Waits until the health of TaskService is that.
async fn health_becomes(server: &Harness, wanted: ServingStatus) {
    let request = HealthCheckRequest { service: TASKS.to_owned() };
    let mut health = HealthClient::new(server.connect().await).watch(request).await.expect("known").into_inner();
    while health.message().await.expect("no error").expect("not ended").status != wanted as i32 {}
}

/// What a path of the HTTP side answers: status line and body.
async fn http(server: &Harness, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server.http_address()).await.expect("listening");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("reads");
    let (head, body) = response.split_once("\r\n\r\n").expect("a response");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

fn retried_later(status: &Status) -> bool {
    status.get_error_details().retry_info().is_some_and(|retry| retry.retry_delay.is_some())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_stall_nothing_is_taken_in_but_everything_that_runs_goes_on() {
    let disk = Disk::default();
    let (server, mut client) = server(&disk).await;
    client.start_task(busy(&server, "busy")).await.expect("started");
    client.start_task(idle("other")).await.expect("started");
    reach(&mut client, "busy", State::Running).await;
    reach(&mut client, "other", State::Running).await;
    let head = server.info().await.head_cursor;
    let cursor = Some(Start::Cursor(head.clone()));
    let watch = v1::WatchTasksRequest { start: cursor, ..Default::default() };
    let mut events = client.watch_tasks(watch).await.expect("opened").into_inner();

    disk.hold(true);
    let admitted = v1::StartTaskRequest { request_id: request_id(), ..idle("admitted") };
    let status = client.start_task(admitted.clone()).await.expect_err("it waited, and was not kept waiting");
    assert_eq!(refusal(&status), stalled());
    assert!(status.message().contains("not yet durable") && retried_later(&status), "{status:?}");
    health_becomes(&server, ServingStatus::NotServing).await;

    let refused = v1::StartTaskRequest { request_id: request_id(), ..idle("refused") };
    let status = client.start_task(refused.clone()).await.expect_err("not admitted");
    assert_eq!((refusal(&status), retried_later(&status)), (stalled(), true));
    assert!(status.message().contains("Nothing was changed"), "{status:?}");
    let pause = v1::PauseTaskRequest { name: name("other"), ..Default::default() };
    assert_eq!(refusal(&client.pause_task(pause).await.expect_err("not admitted")), stalled());
    let run = v1::RunTaskRequest { name: name("busy"), ..Default::default() };
    assert_eq!(refusal(&client.run_task(run).await.expect_err("not admitted")), stalled());
    let again = client.start_task(admitted.clone()).await.expect_err("still not durable");
    assert!(again.message().contains("not yet durable"), "{again:?}");
    let unknown = client.cancel_task(cancel("nobody")).await.expect_err("what is there, is not known");
    assert_eq!(refusal(&unknown), stalled());
    assert!(unknown.message().contains("Nothing was changed"), "{unknown:?}");

    let stop = v1::CancelTaskRequest { request_id: request_id(), ..cancel("other") };
    let status = client.cancel_task(stop.clone()).await.expect_err("acts, and is not durable");
    assert_eq!((refusal(&status), retried_later(&status)), (stalled(), true));
    assert!(status.message().starts_with("stopping, not yet durable"), "{status:?}");

    reads_and_checks_go_on(&server, &mut client).await;
    disk.hold(false);
    health_becomes(&server, ServingStatus::Serving).await;
    assert_eq!(http(&server, "/readyz").await.1, "ready\n");

    // What was admitted has happened, once; and what was refused has not.
    let task = client.start_task(admitted).await.expect("the original answer").into_inner();
    assert_eq!(task.task.expect("answered").instance.expect("runs").attempt, 1);
    let cancelled = client.cancel_task(stop).await.expect("the original answer").into_inner().task.expect("answered");
    assert_eq!(outcome(&cancelled).0, v1::Exit::Graceful);
    client.start_task(refused).await.expect("it was never started");
    let mut seen = Vec::new();
    while !types(&seen).contains(&EventType::TaskEnded) {
        seen.extend(events.message().await.expect("goes on").expect("goes on").events);
    }
    let starts = |id: &str| {
        let created = |event: &&v1::Event| event.r#type() == EventType::TaskCreated && event.name == name(id);
        seen.iter().filter(created).count()
    };
    assert_eq!((starts("admitted"), starts("refused")), (1, 0));
}

async fn reads_and_checks_go_on(server: &Harness, client: &mut Client) {
    assert_eq!(get(client, "other").await.state(), State::Running, "what is not durable shows to nobody");
    let list = v1::ListTasksRequest { parent: "namespaces/default".to_owned(), ..Default::default() };
    assert_eq!(client.list_tasks(list).await.expect("lists").into_inner().tasks.len(), 2);
    let last_check = |task: v1::Task| task.live.and_then(|live| live.last_check).and_then(|check| check.time);
    let before = last_check(get(client, "busy").await);
    while last_check(get(client, "busy").await) == before {}
    let (status, body) = http(server, "/readyz").await;
    assert!(status.contains("503") && body == "the journal is stalled\n", "{status} {body}");
    assert!(http(server, "/healthz").await.0.contains("200"));
    let metrics = server.metrics().await;
    for line in ["open\"} 0", "stalled\"} 1", "full\"} 0"] {
        assert!(metrics.contains(&format!("circuit_breaker_journal_admission{{admission=\"{line}")), "{metrics}");
    }
    let mut everybody = HealthClient::new(server.connect().await);
    for service in ["", "switchyard.v1.ServerService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let health = everybody.check(request).await.expect("known").into_inner().status;
        assert_eq!(health, ServingStatus::Serving as i32, "{service:?}: operators must get in");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_the_end_of_a_cancel_is_not_kept_waiting_either() {
    let disk = Disk::default();
    let (server, mut client) = server(&disk).await;
    let minute = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let patient = with_spec(crate::harness::drill("slow", "ignore_cancel", "1h"), |spec| {
        spec.shutdown = Some(v1::ShutdownPolicy { grace_timeout: minute, ..Default::default() });
    });
    client.start_task(patient).await.expect("started");
    reach(&mut client, "slow", State::Running).await;
    let mut other = server.client().await;
    let waits = tokio::spawn(async move { other.cancel_task(cancel("slow")).await });
    reach(&mut client, "slow", State::Stopping).await;
    disk.hold(true);
    client.start_task(idle("any")).await.expect_err("stalls");
    let status = waits.await.expect("no panic").expect_err("its end would not show");
    assert!(status.message().starts_with("stopping, not yet durable"), "{status:?}");
    disk.hold(false);
    health_becomes(&server, ServingStatus::Serving).await;
    let force = v1::CancelTaskRequest { force: true, ..cancel("slow") };
    let task = client.cancel_task(force).await.expect("proven").into_inner().task.expect("answered");
    assert_eq!(task.state(), State::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_for_a_while_is_a_stall_and_recovers() {
    let disk = Disk::default();
    let (server, mut client) = server(&disk).await;
    disk.fail(Some(Fault::Passing));
    let status = client.start_task(idle("t")).await.expect_err("waits for nothing");
    assert_eq!(refusal(&status), stalled());
    let metrics = server.metrics().await;
    let failures = metrics.lines().find_map(|line| line.strip_prefix("circuit_breaker_journal_commit_failures_total "));
    assert!(failures.and_then(|count| count.parse::<u64>().ok()).is_some_and(|count| count > 1), "{failures:?}");
    disk.fail(None);
    reach_created(&mut client, "t").await;
    health_becomes(&server, ServingStatus::Serving).await;
}

/// Waits until the task shows, and runs.
async fn reach_created(client: &mut Client, id: &str) {
    while client.get_task(v1::GetTaskRequest { name: name(id) }).await.is_err() {}
    reach(client, id, State::Running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_has_died_ends_the_process() {
    let disk = Disk::default();
    let (server, mut client) = server(&disk).await;
    client.start_task(idle("t")).await.expect("started");
    disk.fail(Some(Fault::Final));
    // It hears of that, or finds the connection broken, as the end of the server has it.
    client.start_task(idle("late")).await.expect_err("never");
    let ended = tokio::time::timeout(Duration::from_secs(600), server.ended()).await.expect("it ends");
    assert_eq!((ended, ended.exit_code()), (Ended::Failed, 1));
}

/// How often each task was created, by the log.
async fn created(client: &mut Client, from: &str, last: EventType) -> BTreeMap<String, usize> {
    let mut created = BTreeMap::new();
    for event in events_until(client, from, last).await {
        if event.r#type() == EventType::TaskCreated {
            *created.entry(event.name).or_default() += 1;
        }
    }
    created
}
