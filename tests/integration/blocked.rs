//! Instances that block a thread: who is told, who is moved, and who is not.

use std::sync::Arc;

use switchyard::config::Layer;
use switchyard::monitor::Finding;
use switchyard::pb::v1::event::Detail;
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{
    AlertKind, Asked, Event, EventType, Exit, GetTaskRequest, ListTasksRequest, RunTaskRequest, Schedule, State, Task,
    WatchTasksRequest,
};
use tokio::sync::Notify;
use tonic::Code;

use crate::harness::{Client, Harness, builder, events_until, idle, name, outcome, reach, refusal, with_spec};
use crate::kinds::{Checks, Gate, blocker, custom};

/// A server with one thread for custom kinds.
async fn server(gate: &Gate) -> (Harness, Client) {
    let layer = Layer { custom_shards: Some(1), ..Layer::default() };
    let server = Harness::run(builder(layer).register(gate.kind()).bind().await.expect("bound"));
    let client = server.client().await;
    (server, client)
}

async fn get(client: &mut Client, id: &str) -> Task {
    client.get_task(GetTaskRequest { name: name(id) }).await.expect("there").into_inner().task.expect("answered")
}

fn blocked_since(task: &Task) -> Option<prost_types::Timestamp> {
    task.instance.as_ref().expect("has one").blocked_since
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_blocks_is_told_with_since_when_until_the_poll_returns() {
    let gate = Gate::default();
    let (server, mut client) = server(&gate).await;
    let head = server.info().await.head_cursor;
    client.start_task(blocker("mule")).await.expect("started");
    let events = events_until(&mut client, &head, EventType::AlertRaised).await;
    let raised = events.last().expect("some");
    assert!(matches!(&raised.detail, Some(Detail::Alert(alert)) if alert.kind() == AlertKind::PollBlocked));
    let task = get(&mut client, "mule").await;
    let (since, alert) = (blocked_since(&task).expect("it blocks"), task.alerts[0].raise_time.expect("always"));
    assert!((since.seconds, since.nanos) < (alert.seconds, alert.nanos), "{since} {alert}");
    let filter = "alert = POLL_BLOCKED".to_owned();
    let request = ListTasksRequest { filter, ..ListTasksRequest::default() };
    assert_eq!(client.list_tasks(request).await.expect("valid").into_inner().tasks.len(), 1);

    gate.open();
    let events = events_until(&mut client, &head, EventType::AlertResolved).await;
    assert!(events.iter().all(|event| event.name == name("mule")));
    let task = reach(&mut client, "mule", State::Succeeded).await;
    assert_eq!((task.alerts.len(), blocked_since(&task)), (0, None));
}

/// The events of one task, with their instances, up to one of that type.
async fn of_instance(client: &mut Client, cursor: &str, id: &str, last: EventType, attempt: u32) -> Vec<Event> {
    let start = Some(Start::Cursor(cursor.to_owned()));
    let filter = format!("name = {}", name(id));
    let request = WatchTasksRequest { start, filter, ..Default::default() };
    let mut frames = client.watch_tasks(request).await.expect("opened").into_inner();
    let mut events: Vec<Event> = Vec::new();
    while events.last().is_none_or(|event| event.r#type() != last || event.attempt != attempt) {
        events.extend(frames.message().await.expect("no error").expect("not ended").events);
    }
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_beside_it_are_moved_once_and_its_kind_is_kept_apart() {
    let gate = Gate::default();
    let (server, mut client) = server(&gate).await;
    let head = server.info().await.head_cursor;
    client.start_task(idle("beside")).await.expect("started");
    reach(&mut client, "beside", State::Running).await;
    client.start_task(blocker("mule")).await.expect("started");
    let events = of_instance(&mut client, &head, "beside", EventType::InstanceReady, 2).await;
    let ended = events.iter().find(|event| event.r#type() == EventType::InstanceEnded).expect("was displaced");
    let Some(Detail::Instance(instance)) = &ended.detail else { panic!("{ended:?}") };
    assert_eq!((instance.attempt, instance.exit()), (1, Exit::Displaced));
    let task = get(&mut client, "beside").await;
    assert_eq!((task.state(), outcome(&task)), (State::Running, (Exit::Displaced, Asked::Relief)));
    assert_eq!(task.restart.map_or(0, |restart| restart.count), 0, "it is none of its restarts");
    let metrics = server.metrics().await;
    for series in [
        "circuit_breaker_shards_relieved_total 1",
        "circuit_breaker_shard_threads{sort=\"relieved\"} 1",
        "circuit_breaker_shard_threads{sort=\"custom\"} 1",
        "circuit_breaker_blocked_polls 1",
    ] {
        assert!(metrics.contains(&format!("\n{series}\n")), "{series} is not in {metrics}");
    }

    gate.open();
    reach(&mut client, "mule", State::Succeeded).await;
    client.start_task(blocker("again")).await.expect("started");
    reach(&mut client, "again", State::Succeeded).await;
    assert_eq!(get(&mut client, "beside").await.instance.expect("runs").attempt, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_asked_for_a_check_is_told_when_the_instance_is_moved() {
    let gate = Gate::default();
    let begun = Arc::new(Notify::new());
    let begins = Arc::clone(&begun);
    // After the first check each takes until tomorrow.
    let kind = Checks::new("slow", move |made| {
        let begins = Arc::clone(&begins);
        async move {
            if made > 0 {
                begins.notify_one();
                std::future::pending::<()>().await;
            }
            Finding::pass()
        }
    });
    let layer = Layer { custom_shards: Some(1), ..Layer::default() };
    let server = builder(layer).register(gate.kind()).register(kind).bind().await.expect("bound");
    let server = Harness::run(server);
    let mut client = server.client().await;
    let slow = with_spec(custom("slow", "slow"), |spec| {
        let day = Some(prost_types::Duration { seconds: 24 * 3_600, nanos: 0 });
        let minutes = Some(prost_types::Duration { seconds: 300, nanos: 0 });
        spec.schedule = Some(Schedule { interval: day, timeout: minutes, max_runs: 0 });
    });
    client.start_task(slow).await.expect("started");
    reach(&mut client, "slow", State::Running).await;
    let mut asking = client.clone();
    let request = RunTaskRequest { name: name("slow"), ..Default::default() };
    let asked = tokio::spawn(async move { asking.run_task(request).await });
    begun.notified().await;
    client.start_task(blocker("mule")).await.expect("started");
    let status = asked.await.expect("no panic").expect_err("it was moved");
    assert_eq!(refusal(&status), (Code::FailedPrecondition, "TASK_NOT_RUNNING".to_owned()));
    assert!(blocked_since(&get(&mut client, "mule").await).is_some(), "its thread has not come back");
}
