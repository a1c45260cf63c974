//! Batches through the API: each request fares as it would alone, in its place, whatever becomes of the others.

use std::collections::BTreeSet;
use std::net::TcpListener;

use prost::Message;
use switchyard::config::Layer;
use switchyard::model::Violations;
use switchyard::monitor::{Config, Kind, Monitor, MonitorError};
use switchyard::pb::v1::batch_result::Result as Outcome;
use switchyard::pb::v1::task_spec::Monitor as Spec;
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{
    BatchCancelTasksRequest, BatchCancelTasksResponse, BatchResult, BatchStartTasksRequest, BatchStartTasksResponse,
    BatchSwapTasksRequest, BatchSwapTasksResponse, CancelTaskRequest, StartTaskRequest, State, SwapPhase, SwapPolicy,
    SwapTaskRequest, Task, TcpMonitor, TcpStep, WatchTasksRequest,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{
    Client, Harness, all_tasks, builder, cancel, drill, idle, name, reach, refusal, start, with_spec,
};
use crate::kinds::{Gate, custom};

const ID: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3302";

async fn batch_start(client: &mut Client, requests: Vec<StartTaskRequest>) -> BatchStartTasksResponse {
    let request = BatchStartTasksRequest { parent: String::new(), requests };
    client.batch_start_tasks(request).await.expect("a batch").into_inner()
}

async fn batch_cancel(client: &mut Client, requests: Vec<CancelTaskRequest>) -> BatchCancelTasksResponse {
    let request = BatchCancelTasksRequest { parent: String::new(), requests };
    client.batch_cancel_tasks(request).await.expect("a batch").into_inner()
}

async fn batch_swap(client: &mut Client, requests: Vec<SwapTaskRequest>) -> BatchSwapTasksResponse {
    let request = BatchSwapTasksRequest { parent: String::new(), requests };
    client.batch_swap_tasks(request).await.expect("a batch").into_inner()
}

/// What came of a request, as its call alone would have told.
fn outcome(result: &BatchResult) -> Result<&Task, Status> {
    match result.result.as_ref().expect("one or the other") {
        Outcome::Task(task) => Ok(task),
        Outcome::Status(status) => {
            let details = status.encode_to_vec().into();
            Err(Status::with_details(status.code.into(), status.message.clone(), details))
        }
    }
}

/// Everything that a status says.
fn all_of(status: &Status) -> (Code, String, String) {
    (status.code(), status.message().to_owned(), format!("{:?}", status.get_error_details()))
}

fn refused(result: &BatchResult) -> (Code, String) {
    refusal(&outcome(result).expect_err("refused"))
}

fn to(id: &str, duration: &str) -> SwapTaskRequest {
    let task = drill(id, "cooperative", duration).task;
    SwapTaskRequest { name: name(id), task, wait: true, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_fares_as_it_would_alone_in_its_place() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    client.start_task(idle("taken")).await.expect("started");
    let invalid = StartTaskRequest { task: Some(Task::default()), reason: "r".repeat(2_000), ..idle("Bad") };
    let elsewhere = StartTaskRequest { parent: "namespaces/other".to_owned(), ..idle("first") };
    let dry = StartTaskRequest { validate_only: true, ..idle("dry") };
    let requests = vec![idle("first"), idle("taken"), invalid, elsewhere, dry, idle("last")];

    let answer = batch_start(&mut client, requests.clone()).await;
    assert_eq!(answer.results.len(), requests.len());
    for (place, request) in requests.into_iter().enumerate() {
        match outcome(&answer.results[place]) {
            Ok(task) => assert!(task.name.ends_with(&format!("/tasks/{}", request.task_id)), "{}", task.name),
            Err(status) => {
                let alone = client.start_task(request).await.expect_err("refused alone, too");
                assert_eq!(all_of(&status), all_of(&alone));
                assert!([1, 2].contains(&place), "{status:?}");
            }
        }
    }
    let violated = outcome(&answer.results[2]).expect_err("invalid").get_error_details();
    let fields: Vec<_> = violated.bad_request().expect("told").field_violations.iter().map(|v| &v.field).collect();
    assert_eq!(fields, ["task_id", "task.spec", "reason"]);
    let mut there: Vec<_> = all_tasks(&mut client).await.into_iter().map(|task| task.name).collect();
    there.sort();
    assert_eq!(there, [&name("first"), &name("last"), &name("taken"), "namespaces/other/tasks/first"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_has_a_request_and_no_more_than_a_thousand() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let most = server.info().await.limits.expect("set").max_batch_requests;
    assert_eq!(most, 1_000);
    let many: Vec<_> = (0..=most).map(|n| idle(&format!("t{n}"))).collect();
    let batch = |requests| BatchStartTasksRequest { parent: String::new(), requests };
    let status = client.batch_start_tasks(batch(many)).await.expect_err("too many");
    assert_eq!(refusal(&status), (Code::ResourceExhausted, "BATCH_LIMIT".to_owned()));
    assert!(all_tasks(&mut client).await.is_empty(), "none of them was started");

    for (parent, requests, field) in [("", vec![], "requests"), ("x", vec![idle("t")], "parent")] {
        let request = BatchStartTasksRequest { parent: parent.to_owned(), requests };
        let status = client.batch_start_tasks(request).await.expect_err("no batch");
        assert_eq!(refusal(&status), (Code::InvalidArgument, "INVALID_FIELD".to_owned()));
        assert_eq!(status.get_error_details().bad_request().expect("told").field_violations[0].field, field);
    }
    let none = client.batch_cancel_tasks(BatchCancelTasksRequest::default()).await.expect_err("no batch");
    assert_eq!(refusal(&none), (Code::InvalidArgument, "INVALID_FIELD".to_owned()));
    let none = client.batch_swap_tasks(BatchSwapTasksRequest::default()).await.expect_err("no batch");
    assert_eq!(refusal(&none), (Code::InvalidArgument, "INVALID_FIELD".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_outside_the_batchs_parent_is_refused_and_the_rest_done() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let parent = "namespaces/a".to_owned();
    let within = |parent: &str, id: &str| StartTaskRequest { parent: parent.to_owned(), ..idle(id) };
    let requests = vec![idle("inherits"), within("namespaces/a", "says"), within("namespaces/b", "strays")];
    let request = BatchStartTasksRequest { parent: parent.clone(), requests };
    let started = client.batch_start_tasks(request).await.expect("a batch").into_inner().results;
    for (result, id) in started.iter().zip(["inherits", "says"]) {
        assert_eq!(outcome(result).expect("started").name, format!("namespaces/a/tasks/{id}"));
    }
    let misplaced = |result: &BatchResult| {
        let status = outcome(result).expect_err("refused");
        assert_eq!(refusal(&status), (Code::InvalidArgument, "INVALID_FIELD".to_owned()));
        status.get_error_details().bad_request().expect("told").field_violations[0].field.clone()
    };
    assert_eq!(misplaced(&started[2]), "parent");

    let swaps = ["namespaces/a/tasks/says", "namespaces/b/tasks/says"]
        .map(|name| SwapTaskRequest { name: name.to_owned(), ..to("any", "2h") });
    let request = BatchSwapTasksRequest { parent: parent.clone(), requests: swaps.into() };
    let swapped = client.batch_swap_tasks(request).await.expect("a batch").into_inner().results;
    assert_eq!((outcome(&swapped[0]).expect("swapped").generation, misplaced(&swapped[1])), (2, "name".to_owned()));

    let cancels = ["namespaces/b/tasks/says", "namespaces/a/tasks/says"].map(|name| CancelTaskRequest {
        name: name.to_owned(),
        wait: true,
        ..Default::default()
    });
    let request = BatchCancelTasksRequest { parent: parent.clone(), requests: cancels.to_vec() };
    let cancelled = client.batch_cancel_tasks(request).await.expect("a batch").into_inner().results;
    assert_eq!(misplaced(&cancelled[0]), "name");
    assert_eq!(outcome(&cancelled[1]).expect("cancelled").state(), State::Cancelled);
    let request = BatchCancelTasksRequest { parent: "namespaces/-".to_owned(), requests: cancels.into() };
    let anywhere = client.batch_cancel_tasks(request).await.expect("a batch").into_inner().results;
    assert_eq!(refused(&anywhere[0]), (Code::NotFound, "TASK_NOT_FOUND".to_owned()));
    assert!(outcome(&anywhere[1]).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_are_started_and_proven_stopped_and_the_cursor_comes_after_all_of_them() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let head = server.info().await.head_cursor;
    let ids: Vec<_> = (0..1_000).map(|n| format!("t{n:03}")).collect();
    let started = batch_start(&mut client, ids.iter().map(|id| idle(id)).collect()).await;
    for (result, id) in started.results.iter().zip(&ids) {
        assert_eq!(outcome(result).expect("started").name, name(id));
    }
    // Up to the batch's cursor, every one of them was created.
    let request = WatchTasksRequest {
        start: Some(Start::Cursor(head)),
        end_cursor: started.cursor.clone(),
        filter: "type = TASK_CREATED".to_owned(),
        ..Default::default()
    };
    let mut frames = client.watch_tasks(request).await.expect("opened").into_inner();
    let mut created = BTreeSet::new();
    while let Some(frame) = frames.message().await.expect("no error") {
        created.extend(frame.events.into_iter().map(|event| event.name));
    }
    assert_eq!(created, ids.iter().map(|id| name(id)).collect());

    let cancelled = batch_cancel(&mut client, ids.iter().map(|id| cancel(id)).collect()).await;
    assert_eq!(cancelled.results.len(), ids.len());
    for (result, id) in cancelled.results.iter().zip(&ids) {
        let task = outcome(result).expect("cancelled");
        assert_eq!((task.state(), &task.name), (State::Cancelled, &name(id)));
    }
    assert_ne!(cancelled.cursor, started.cursor);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_of_a_batch_are_told_as_they_ended_each_by_its_own_etag_and_wish() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    for id in ["a", "b", "c", "d"] {
        client.start_task(drill(id, "cooperative", "1h")).await.expect("started");
        reach(&mut client, id, State::Running).await;
    }
    // It accepts connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    let steps = vec![TcpStep { send: Vec::new(), expect: b"a word".to_vec() }];
    let unready = with_spec(start("b", Spec::Tcp(TcpMonitor { address, steps })), |spec| {
        let soon = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
        spec.swap = Some(SwapPolicy { readiness_timeout: soon, ..Default::default() });
    });
    let fails = SwapTaskRequest { task: unready.task, ..to("b", "1h") };
    let stale = SwapTaskRequest { etag: "stale".to_owned(), ..to("c", "2h") };
    let dry = SwapTaskRequest { validate_only: true, ..to("d", "2h") };
    let answer = batch_swap(&mut client, vec![to("a", "2h"), fails, stale, dry]).await;
    let phase = |n: usize| outcome(&answer.results[n]).expect("answered").swap.as_ref().expect("swapped").phase();
    assert_eq!((phase(0), phase(1)), (SwapPhase::Done, SwapPhase::RolledBack));
    assert_eq!(refused(&answer.results[2]), (Code::Aborted, "ETAG_MISMATCH".to_owned()));
    let preview = outcome(&answer.results[3]).expect("valid");
    assert_eq!((preview.generation, preview.swap.is_none()), (2, true));
    let generations: Vec<_> = all_tasks(&mut client).await.iter().map(|task| task.generation).collect();
    assert_eq!(generations, [2, 1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_done_once_in_whatever_batch_or_alone() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let once = StartTaskRequest { request_id: ID.to_owned(), ..idle("once") };
    let first = batch_start(&mut client, vec![once.clone(), idle("other")]).await;
    reach(&mut client, "once", State::Running).await;
    reach(&mut client, "other", State::Running).await;
    let head = server.info().await.head_cursor;
    let uid = &outcome(&first.results[0]).expect("started").uid;
    let alone = client.start_task(once.clone()).await.expect("replayed").into_inner();
    assert_eq!(&alone.task.expect("answered").uid, uid);
    // The same one twice in a batch is one start, and a replay of it.
    let again = batch_start(&mut client, vec![once.clone(), once]).await;
    for result in &again.results {
        assert_eq!(&outcome(result).expect("replayed").uid, uid);
    }
    assert_eq!(again.cursor, alone.cursor, "that of the one start");
    assert_eq!(server.info().await.head_cursor, head, "nothing was appended");
    let reused = StartTaskRequest { request_id: ID.to_owned(), ..idle("another") };
    let refusals = batch_start(&mut client, vec![reused]).await;
    assert_eq!(refused(&refusals.results[0]), (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));
    assert_eq!(refusals.cursor, head, "the head, since nothing succeeded");
}

/// A kind that does not come back from its validation before the gate opens.
struct Hanging(Box<dyn Fn() + Send + Sync>);

impl Kind for Hanging {
    fn name(&self) -> &str {
        "hanging"
    }

    fn validate(&self, _config: &Config) -> Result<(), Violations> {
        (self.0)();
        Ok(())
    }

    fn build(&self, _config: &Config) -> Result<Box<dyn Monitor>, MonitorError> {
        Err("it never comes to this".into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_hangs_costs_its_own_requests_alone() {
    let gate = Gate::default();
    let kind = Hanging(Box::new(gate.barrier()));
    let server = Harness::run(builder(Layer::default()).register(kind).bind().await.expect("bound"));
    let mut client = server.client().await;
    let requests = vec![custom("hangs", "hanging"), idle("quick"), custom("hangs-too", "hanging")];
    let results = batch_start(&mut client, requests).await.results;
    for place in [0, 2] {
        assert_eq!(refused(&results[place]), (Code::FailedPrecondition, "KIND_UNRESPONSIVE".to_owned()));
    }
    assert_eq!(outcome(&results[1]).expect("started").name, name("quick"));
}
