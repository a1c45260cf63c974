//! What is wrong with a set, what is refused of it, and when it does nothing.

use prost::Message;
use switchyard::config::Layer;
use switchyard::pb::v1::{ApplyAction, ApplyHeader, ApplyOutcome, ApplyTasksRequest, Rollout, State, Task};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{Answer, answer, apply, header, labelled, named, task};
use crate::harness::{Client, Harness, all_tasks, drill, name, reach, refusal};

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    details.bad_request().expect("given").field_violations.iter().map(|violation| violation.field.clone()).collect()
}

/// The reason that each task's failure gives.
fn reasons(answer: &Answer) -> Vec<(String, String)> {
    let failures = &answer.result().failures;
    failures.iter().map(|failure| (super::id(&failure.name).to_owned(), reason_of(failure.error.as_ref()))).collect()
}

pub(super) fn reason_of(status: Option<&tonic_types::Status>) -> String {
    let status = status.expect("given");
    let details = status.encode_to_vec().into();
    crate::harness::reason(&Status::with_details(Code::from(status.code), "", details))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_is_wrong_in_any_message_is_told_at_once_and_nothing_is_done() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let head = server.info().await.head_cursor;
    let with_owner = |owner: &str| Task { labels: [("owner".to_owned(), owner.to_owned())].into(), ..task("c", "1h") };
    let unknown = {
        let mut task = task("d", "1h");
        let Some(switchyard::pb::v1::task_spec::Monitor::Custom(custom)) =
            task.spec.as_mut().and_then(|spec| spec.monitor.as_mut())
        else {
            panic!("a drill")
        };
        custom.kind = "unheard-of".to_owned();
        task
    };
    let messages = vec![
        ApplyTasksRequest {
            header: Some(header()),
            tasks: vec![task("a", "1h"), Task { name: "b".into(), ..task("b", "1h") }],
        },
        ApplyTasksRequest {
            header: None,
            tasks: vec![task("a", "2h"), with_owner("edge"), Task { spec: None, ..task("e", "1h") }],
        },
        ApplyTasksRequest { header: Some(header()), tasks: vec![unknown, task("f", "soon"), with_owner("core")] },
    ];
    let status = answer(&mut client, messages).await.expect_err("invalid");
    assert_eq!(refusal(&status), (Code::InvalidArgument, "INVALID_FIELD".to_owned()));
    let mut found = fields(&status);
    found.sort();
    let expected = [
        "header",
        "tasks[1].name",
        "tasks[2].name",
        "tasks[3].labels.owner",
        "tasks[4].spec",
        "tasks[5].spec.custom.kind",
        "tasks[6].spec.custom.config.duration",
        "tasks[7].name",
    ];
    assert_eq!(found, expected, "{status:?}");
    assert_eq!(server.info().await.head_cursor, head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_is_checked_as_a_whole() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let none = answer(&mut client, vec![ApplyTasksRequest { header: None, tasks: vec![task("a", "1h")] }]).await;
    assert_eq!(fields(&none.expect_err("no header")), ["header"]);
    assert_eq!(fields(&answer(&mut client, Vec::new()).await.expect_err("nothing at all")), ["header"]);
    let rollout = Some(Rollout { max_parallel: 1_001, max_failures: 0, on_failure: 7 });
    let (reason, request_id) = ("r".repeat(1_025), "x".to_owned());
    let bad = ApplyHeader { owner: String::new(), rollout, reason, request_id, ..header() };
    let mut found = fields(&apply(&mut client, bad, Vec::new()).await.expect_err("all bad"));
    found.sort();
    let expected =
        ["owner", "reason", "request_id", "rollout.max_parallel", "rollout.on_failure"].map(|f| format!("header.{f}"));
    assert_eq!(found, expected);
    let empty = apply(&mut client, header(), Vec::new()).await.expect("nothing to do");
    assert_eq!(empty.told(), (ApplyOutcome::Succeeded, [0; 5]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_touched_is_refused_by_itself_and_the_rest_is_done() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    labelled(&mut client, "edges", "edge").await;
    client.start_task(drill("nobodys", "cooperative", "1h")).await.expect("started");
    apply(&mut client, header(), vec![task("mine", "1h")]).await.expect("applied");
    let relabelled = Task { labels: [("zone".to_owned(), "7".to_owned())].into(), ..task("mine", "1h") };
    let set = vec![task("edges", "1h"), task("nobodys", "1h"), relabelled, task("new", "1h")];
    let answer = apply(&mut client, header(), set).await.expect("applied");
    use ApplyAction::{Create, Refuse};
    assert_eq!(answer.actions(), [("edges", Refuse), ("nobodys", Refuse), ("mine", Refuse), ("new", Create)]);
    let expected = [("edges", "OWNED_BY_OTHER"), ("nobodys", "OWNED_BY_OTHER"), ("mine", "LABELS_IMMUTABLE")];
    let expected = expected.map(|(id, reason)| (id.to_owned(), reason.to_owned()));
    assert_eq!(reasons(&answer), expected);
    assert_eq!(reason_of(answer.plan[0].refusal.as_ref()), "OWNED_BY_OTHER");
    assert_eq!(answer.told(), (ApplyOutcome::Failed, [1, 0, 0, 0, 3]));
    let untouched = reach(&mut client, "edges", State::Running).await;
    assert_eq!((untouched.generation, untouched.labels["owner"].as_str()), (1, "edge"));
}

/// A call whose messages are sent by hand; it is there once the plan of another owner has been answered after it.
async fn open(
    client: &mut Client,
) -> (mpsc::Sender<ApplyTasksRequest>, tokio::task::JoinHandle<Result<usize, Status>>) {
    let (messages, receiver) = mpsc::channel(8);
    messages.send(ApplyTasksRequest { header: Some(header()), tasks: vec![task("a", "1h")] }).await.expect("open");
    let mut frames = client.apply_tasks(ReceiverStream::new(receiver)).await.expect("answered").into_inner();
    let reading = tokio::spawn(async move {
        let mut planned = 0;
        while let Some(frame) = frames.message().await? {
            planned += frame.plan.len();
        }
        Ok(planned)
    });
    (messages, reading)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_apply_of_an_owner_is_under_way_and_one_that_breaks_does_nothing() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let (messages, reading) = open(&mut client).await;
    // The first call has its turn once another one is refused; it may not have come that far.
    let status = loop {
        match apply(&mut client, header(), Vec::new()).await {
            Err(status) => break status,
            Ok(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(refusal(&status), (Code::Aborted, "APPLY_IN_PROGRESS".to_owned()));
    let other = ApplyHeader { owner: "edge".to_owned(), ..header() };
    apply(&mut client, other, Vec::new()).await.expect("another owner's");
    let dry = ApplyHeader { validate_only: true, ..header() };
    apply(&mut client, dry, Vec::new()).await.expect("it only plans");

    reading.abort();
    // The stream is reset: the half-close does not come.
    assert!(reading.await.expect_err("given up").is_cancelled());
    drop(messages);
    let freed = loop {
        match apply(&mut client, header(), vec![task("b", "1h")]).await {
            Ok(answer) => break answer,
            Err(status) => assert_eq!(crate::harness::reason(&status), "APPLY_IN_PROGRESS"),
        }
    };
    assert_eq!(freed.told(), (ApplyOutcome::Succeeded, [1, 0, 0, 0, 0]));
    let names: Vec<_> = all_tasks(&mut client).await.into_iter().map(|task| task.name).collect();
    assert_eq!(names, [name("b")], "the broken one has started nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_is_as_large_as_the_server_may_hold() {
    let server = Harness::start(Layer { max_tasks: Some(2), ..Layer::default() }).await;
    let mut client = server.client().await;
    let set = ["a", "b", "c"].map(|id| task(id, "1h")).to_vec();
    let status = apply(&mut client, header(), set).await.expect_err("too many");
    assert_eq!(refusal(&status), (Code::ResourceExhausted, "TASK_LIMIT".to_owned()));
    assert!(all_tasks(&mut client).await.is_empty());

    client.start_task(drill("nobodys", "cooperative", "1h")).await.expect("started");
    let set = ["a", "b"].map(|id| task(id, "1h")).to_vec();
    let answer = apply(&mut client, header(), set).await.expect("applied");
    assert_eq!(answer.told(), (ApplyOutcome::Failed, [1, 0, 0, 0, 1]));
    assert_eq!(reasons(&answer)[0].1, "TASK_LIMIT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_bears_the_reason_and_the_id_of_the_apply() {
    const ID: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let head = server.info().await.head_cursor;
    let header = ApplyHeader { reason: "release 7".to_owned(), request_id: ID.to_owned(), ..header() };
    apply(&mut client, header, vec![named("a", drill("a", "cooperative", "1h"))]).await.expect("applied");
    let created = switchyard::pb::v1::EventType::TaskCreated;
    let events = crate::harness::events_until(&mut client, &head, created).await;
    let cause = events.last().and_then(|event| event.cause.clone()).expect("given");
    assert_eq!((cause.reason.as_str(), cause.request_id.as_str()), ("release 7", ID));
    assert_eq!(cause.actor, "anonymous@127.0.0.1");
}
