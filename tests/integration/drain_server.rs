//! DrainServer: a client has the server end, as SIGTERM would.

use switchyard::config::Layer;
use switchyard::pb::v1::server_service_client::ServerServiceClient;
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{
    DrainServerRequest, EventType, PauseTaskRequest, ResumeTaskRequest, RunTaskRequest, State, WatchTasksRequest,
};
use switchyard::server::Ended;
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::{Client, Harness, builder, events_until, idle, name, reach, reason, refusal, types};
use crate::kinds::{Hold, custom};

/// A server with the task `held`, which has its drain last until the hold lets go.
async fn server() -> (Harness, Client, ServerServiceClient<Channel>, Hold) {
    let hold = Hold::default();
    let server = Harness::run(builder(Layer::default()).register(hold.kind()).bind().await.expect("bound"));
    let (mut client, control) = (server.client().await, ServerServiceClient::new(server.connect().await));
    client.start_task(custom("held", "holding")).await.expect("started");
    reach(&mut client, "held", State::Running).await;
    (server, client, control, hold)
}

fn because(reason: &str) -> DrainServerRequest {
    DrainServerRequest { reason: reason.to_owned(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_told_who_asked_and_why_and_the_answer_is_right_after_that() {
    let (server, mut client, mut control, hold) = server().await;
    let head = server.info().await.head_cursor;
    let before = WatchTasksRequest { start: Some(Start::Cursor(head.clone())), ..Default::default() };
    let mut frames = client.watch_tasks(before).await.expect("opened").into_inner();

    let request_id = "3f2504e0-4f89-41d3-9a0c-0305e82c3303";
    let request = DrainServerRequest { request_id: request_id.to_owned(), ..because("a new version") };
    let cursor = control.drain_server(request).await.expect("begun").into_inner().cursor;
    let again = control.drain_server(because("once more")).await.expect("it drains").into_inner().cursor;
    assert_eq!(again, cursor);
    let events = events_until(&mut client, &head, EventType::InstanceStopping).await;
    assert_eq!(types(&events), [EventType::ServerDraining, EventType::InstanceStopping]);
    let cause = events[0].cause.as_ref().expect("always");
    assert_eq!((cause.actor.as_str(), cause.reason.as_str()), ("anonymous@127.0.0.1", "a new version"));
    assert_eq!(cause.request_id, request_id);
    let events = events_until(&mut client, &cursor, EventType::InstanceStopping).await;
    assert_eq!(types(&events), [EventType::InstanceStopping]);

    hold.let_go();
    let mut told = Vec::new();
    let ended = loop {
        match frames.message().await {
            Ok(frame) => told.extend(types(&frame.expect("ends with a status").events)),
            Err(status) => break status,
        }
    };
    assert_eq!(refusal(&ended), (Code::Unavailable, "SERVER_DRAINING".to_owned()));
    assert_eq!(told.iter().filter(|kind| **kind == EventType::ServerDraining).count(), 1, "{told:?}");
    assert!(told.contains(&EventType::InstanceEnded), "{told:?}");
    assert_eq!(server.ended().await, Ended::Clean);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_started_any_more_and_what_runs_is_to_run_still() {
    let (server, mut client, mut control, hold) = server().await;
    client.start_task(idle("task")).await.expect("started");
    reach(&mut client, "task", State::Running).await;
    control.drain_server(because("")).await.expect("begun");
    let refused = [
        client.start_task(idle("late")).await.map(drop),
        client.pause_task(PauseTaskRequest { name: name("task"), ..Default::default() }).await.map(drop),
        client.resume_task(ResumeTaskRequest { name: name("task"), ..Default::default() }).await.map(drop),
        client.run_task(RunTaskRequest { name: name("task"), ..Default::default() }).await.map(drop),
    ];
    for refused in refused {
        assert_eq!(reason(&refused.expect_err("it drains")), "SERVER_DRAINING");
    }
    reach(&mut client, "task", State::Pending).await;
    hold.let_go();
    assert_eq!(server.ended().await, Ended::Clean);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_at_once_are_all_answered() {
    let (server, _, control, hold) = server().await;
    let asking = (0..20).map(|n| {
        let mut control = control.clone();
        tokio::spawn(async move { control.drain_server(because(&n.to_string())).await })
    });
    for asked in asking.collect::<Vec<_>>() {
        let answer = asked.await.expect("no panic").expect("the server is still there");
        assert!(!answer.into_inner().cursor.is_empty());
    }
    hold.let_go();
    assert_eq!(server.ended().await, Ended::Clean);
}
