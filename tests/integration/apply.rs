//! ApplyTasks: a whole set for an owner, streamed in; the plan, what is done about it, and what is refused.

mod bounds;
mod fleet;
mod rolled_out;
mod set;
mod trimmed;

use std::collections::BTreeMap;

use switchyard::config::Layer;
use switchyard::pb::v1::{
    self, ApplyAction, ApplyHeader, ApplyOutcome, ApplyPlanItem, ApplyResult, ApplyTasksRequest, ApplyTasksResponse,
    State, Task,
};
use tonic::Status;

use crate::harness::{Client, Harness, all_tasks, cancel, drill, idle, name, reach, start};

/// What an apply was answered with.
#[derive(Debug)]
struct Answer {
    plan: Vec<ApplyPlanItem>,
    result: Option<ApplyResult>,
}

impl Answer {
    fn actions(&self) -> Vec<(&str, ApplyAction)> {
        self.plan.iter().map(|item| (id(&item.name), item.action())).collect()
    }

    fn result(&self) -> &ApplyResult {
        self.result.as_ref().expect("it was carried out")
    }

    /// The outcome, and how many tasks were created, swapped, cancelled, left, failed.
    fn told(&self) -> (ApplyOutcome, [u32; 5]) {
        let result = self.result();
        let v1::ApplyProgress { created, swapped, cancelled, left, failed, rolled_back: _, in_flight, waiting: _ } =
            result.counts.expect("told");
        assert_eq!(in_flight, 0, "it has ended");
        (result.outcome(), [created, swapped, cancelled, left, failed])
    }
}

fn id(name: &str) -> &str {
    name.strip_prefix("namespaces/default/tasks/").expect("of the default namespace")
}

fn header() -> ApplyHeader {
    ApplyHeader { owner: "core".to_owned(), ..Default::default() }
}

/// A cooperative task; what it is told to last tells specs apart.
fn task(id: &str, lasts: &str) -> Task {
    named(id, drill(id, "cooperative", lasts))
}

fn named(id: &str, request: v1::StartTaskRequest) -> Task {
    Task { name: name(id), ..request.task.expect("has one") }
}

/// Sends the header alone, then each task in a message of its own.
async fn apply(client: &mut Client, header: ApplyHeader, tasks: Vec<Task>) -> Result<Answer, Status> {
    let first = ApplyTasksRequest { header: Some(header), tasks: Vec::new() };
    let rest = tasks.into_iter().map(|task| ApplyTasksRequest { header: None, tasks: vec![task] });
    let requests: Vec<_> = std::iter::once(first).chain(rest).collect();
    answer(client, requests).await
}

async fn answer(client: &mut Client, requests: Vec<ApplyTasksRequest>) -> Result<Answer, Status> {
    let mut frames = client.apply_tasks(tokio_stream::iter(requests)).await?.into_inner();
    let mut answer = Answer { plan: Vec::new(), result: None };
    while let Some(frame) = frames.message().await? {
        let ApplyTasksResponse { plan, progress: _, result } = frame;
        assert!(answer.result.is_none(), "nothing follows the result");
        answer.plan.extend(plan);
        answer.result = result;
    }
    Ok(answer)
}

async fn labelled(client: &mut Client, id: &str, owner: &str) {
    let mut request = idle(id);
    request.task.as_mut().expect("set").labels = [("owner".to_owned(), owner.to_owned())].into();
    client.start_task(request).await.expect("started");
}

/// What each task is to last, by its id, of those that run.
async fn running(client: &mut Client) -> BTreeMap<String, String> {
    let tasks = all_tasks(client).await;
    let running = tasks.into_iter().filter(|task| matches!(task.state(), State::Running | State::Starting));
    running.map(|task| (id(&task.name).to_owned(), lasts(&task))).collect()
}

fn lasts(task: &Task) -> String {
    let Some(v1::task_spec::Monitor::Custom(custom)) = task.spec.as_ref().and_then(|spec| spec.monitor.as_ref()) else {
        panic!("a drill")
    };
    match &custom.config.as_ref().expect("given").fields["duration"].kind {
        Some(prost_types::value::Kind::StringValue(text)) => text.clone(),
        other => panic!("{other:?}"),
    }
}

fn lasting<const N: usize>(tasks: [(&str, &str); N]) -> BTreeMap<String, String> {
    tasks.map(|(id, lasts)| (id.to_owned(), lasts.to_owned())).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_is_created_changed_pruned_and_the_same_again_appends_nothing() {
    use ApplyAction::{Cancel, Create, Leave, Swap};
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    labelled(&mut client, "other", "edge").await;
    client.start_task(idle("nobodys")).await.expect("started");
    let set = |last: &str| ["a", "b", "c"].map(|id| task(id, if id == "c" { last } else { "1h" })).to_vec();

    let first = apply(&mut client, header(), set("1h")).await.expect("applied");
    assert_eq!(first.actions(), [("a", Create), ("b", Create), ("c", Create)]);
    assert_eq!(first.told(), (ApplyOutcome::Succeeded, [3, 0, 0, 0, 0]));
    for id in ["a", "b", "c", "other", "nobodys"] {
        reach(&mut client, id, State::Running).await;
    }
    let head = server.info().await.head_cursor;
    let again = apply(&mut client, ApplyHeader { prune: true, ..header() }, set("1h")).await.expect("applied");
    assert_eq!(again.told(), (ApplyOutcome::Succeeded, [0, 0, 0, 3, 0]));
    assert_eq!(again.actions(), [("a", Leave), ("b", Leave), ("c", Leave)]);
    assert_eq!((&server.info().await.head_cursor, &again.result().cursor), (&head, &head));

    let changed = set("2h").split_off(1);
    let dry = ApplyHeader { prune: true, validate_only: true, ..header() };
    let planned = apply(&mut client, dry, changed.clone()).await.expect("planned");
    assert_eq!(planned.actions(), [("b", Leave), ("c", Swap), ("a", Cancel)]);
    assert_eq!(planned.plan[1].generation, 1);
    assert!(planned.result.is_none());
    assert_eq!(server.info().await.head_cursor, head);

    let changed = apply(&mut client, ApplyHeader { prune: true, ..header() }, changed).await.expect("applied");
    assert_eq!(changed.plan, planned.plan);
    assert_eq!(changed.told(), (ApplyOutcome::Succeeded, [0, 1, 1, 1, 0]));
    let expected = lasting([("b", "1h"), ("c", "2h"), ("other", "30s"), ("nobodys", "30s")]);
    assert_eq!(running(&mut client).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cancelled_is_created_anew_even_while_it_stops() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let stubborn = |lasts| named("stubborn", drill("stubborn", "ignore_cancel", lasts));
    let quick = |mut task: Task| {
        let spec = task.spec.as_mut().expect("set");
        let tenth = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
        spec.shutdown = Some(v1::ShutdownPolicy { grace_timeout: tenth, abort_timeout: tenth });
        task
    };
    let set = || vec![task("gone", "1h"), quick(stubborn("1h"))];
    let first = apply(&mut client, header(), set()).await.expect("applied");
    assert_eq!(first.told().0, ApplyOutcome::Succeeded);
    reach(&mut client, "stubborn", State::Running).await;
    client.cancel_task(cancel("gone")).await.expect("cancelled");
    client.cancel_task(v1::CancelTaskRequest { wait: false, ..cancel("stubborn") }).await.expect("stopping");
    let again = apply(&mut client, header(), set()).await.expect("applied");
    assert_eq!(again.actions(), [("gone", ApplyAction::Create), ("stubborn", ApplyAction::Create)]);
    assert_eq!(again.told(), (ApplyOutcome::Succeeded, [2, 0, 0, 0, 0]));
    assert_eq!(reach(&mut client, "stubborn", State::Running).await.generation, 1, "a task of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_ended_by_itself_is_left_until_its_spec_changes() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let once = |runs| {
        let address = server.http_address().to_string();
        let mut task =
            named("once", start("once", v1::task_spec::Monitor::Tcp(v1::TcpMonitor { address, steps: vec![] })));
        task.spec.as_mut().expect("set").schedule = Some(v1::Schedule { max_runs: runs, ..Default::default() });
        vec![task]
    };
    apply(&mut client, header(), once(1)).await.expect("applied");
    reach(&mut client, "once", State::Succeeded).await;
    let same = apply(&mut client, header(), once(1)).await.expect("applied");
    assert_eq!(same.actions(), [("once", ApplyAction::Leave)]);
    let another = apply(&mut client, header(), once(0)).await.expect("applied");
    assert_eq!(another.actions(), [("once", ApplyAction::Create)]);
    reach(&mut client, "once", State::Running).await;
}
