//! What a task was given and what became of it, and the way back: ListGenerations and RollbackTask.

use std::net::TcpListener;

use switchyard::config::Layer;
use switchyard::pb::v1::event::Detail;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{
    CircuitReason, Event, EventType, Generation, GenerationState, ListGenerationsRequest, RollbackTaskRequest, State,
    StatePolicy, Swap, SwapPhase, SwapPolicy, SwapTaskRequest, Task, TcpMonitor, TcpStep, WatchTasksRequest,
};
use switchyard::server::{Ended, Server};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Client, Harness, builder, cancel, drill, events_until, name, reach, refusal, start, with_spec};
use crate::kinds::{Hold, custom};
use crate::scratch::Scratch;

const ID: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3303";

async fn running(server: &Harness) -> Client {
    let mut client = server.client().await;
    client.start_task(drill("task", "cooperative", "1h")).await.expect("started");
    reach(&mut client, "task", State::Running).await;
    client
}

/// Swaps to a drill that lasts so long, with a note.
async fn swap(client: &mut Client, duration: &str, note: &str) -> Task {
    let mut task = drill("task", "cooperative", duration).task.expect("set");
    task.annotations = [("note".to_owned(), note.to_owned())].into();
    let reason = format!("for {duration}");
    let request = SwapTaskRequest { name: name("task"), task: Some(task), wait: true, reason, ..Default::default() };
    client.swap_task(request).await.expect("accepted").into_inner().task.expect("answered")
}

/// Swaps to what is not ready in time.
async fn fail(client: &mut Client) {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    let steps = vec![TcpStep { send: Vec::new(), expect: b"a word".to_vec() }];
    let unready = with_spec(start("task", Monitor::Tcp(TcpMonitor { address, steps })), |spec| {
        let soon = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
        spec.swap = Some(SwapPolicy { readiness_timeout: soon, ..Default::default() });
    });
    let request = SwapTaskRequest { name: name("task"), task: unready.task, wait: true, ..Default::default() };
    let task = client.swap_task(request).await.expect("accepted").into_inner().task.expect("answered");
    assert_eq!(newest(&task).phase(), SwapPhase::RolledBack);
}

fn newest(task: &Task) -> &Swap {
    task.swap.as_ref().expect("has been swapped")
}

async fn history(client: &mut Client) -> Vec<Generation> {
    let request = ListGenerationsRequest { name: name("task") };
    client.list_generations(request).await.expect("there").into_inner().generations
}

fn states(kept: &[Generation]) -> Vec<(u64, GenerationState)> {
    kept.iter().map(|kept| (kept.generation, kept.state())).collect()
}

fn back() -> RollbackTaskRequest {
    RollbackTaskRequest { name: name("task"), wait: true, ..Default::default() }
}

async fn rollback(client: &mut Client, request: RollbackTaskRequest) -> Result<(Task, String), Status> {
    let answer = client.rollback_task(request).await?.into_inner();
    Ok((answer.task.expect("answered"), answer.cursor))
}

fn note(annotations: &std::collections::BTreeMap<String, String>) -> Option<&str> {
    annotations.get("note").map(String::as_str)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_says_who_gave_which_spec_when_and_why_and_what_became_of_it() {
    let server = Harness::start(Layer::default()).await;
    let mut client = running(&server).await;
    swap(&mut client, "2h", "second").await;
    fail(&mut client).await;
    let task = swap(&mut client, "2h", "noted").await;
    assert_eq!(task.generation, 2, "annotations alone");

    let kept = history(&mut client).await;
    use GenerationState::{Active, RolledBack, Superseded};
    assert_eq!(states(&kept), [(3, RolledBack), (2, Active), (1, Superseded)]);
    let [failed, active, first] = kept.as_slice() else { panic!("three: {kept:?}") };
    assert_eq!((active.spec.as_ref(), note(&active.annotations)), (task.spec.as_ref(), Some("noted")));
    let cause = active.cause.as_ref().expect("known");
    assert_eq!((cause.actor.as_str(), cause.reason.as_str()), ("anonymous@127.0.0.1", "for 2h"));
    let seconds = |time: Option<prost_types::Timestamp>| time.map(|time| (time.seconds, time.nanos));
    assert!(active.create_time.is_some() && active.end_time.is_none(), "{active:?}");
    assert!(seconds(active.create_time) <= seconds(active.activate_time), "{active:?}");
    assert_eq!(first.end_time, active.activate_time, "one step");
    assert_eq!((first.create_time, first.activate_time), (task.create_time, task.create_time));
    assert!(failed.error.contains("not ready within 100ms") && failed.annotations.is_empty(), "{failed:?}");
    assert!(failed.end_time.is_some() && failed.activate_time.is_none());
    assert!(kept.iter().all(|kept| kept.rollback_to == 0));

    client.cancel_task(cancel("task")).await.expect("cancelled");
    assert_eq!(states(&history(&mut client).await), states(&kept), "the end changes nothing");
    let missing = ListGenerationsRequest { name: name("nobody") };
    let status = client.list_generations(missing).await.expect_err("no such task");
    assert_eq!(refusal(&status), (Code::NotFound, "TASK_NOT_FOUND".to_owned()));
    let status = client.list_generations(ListGenerationsRequest::default()).await.expect_err("no name");
    assert_eq!(refusal(&status), (Code::InvalidArgument, "INVALID_FIELD".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_goes_to_the_newest_that_was_active_and_the_next_one_back_again() {
    let server = Harness::start(Layer::default()).await;
    let mut client = running(&server).await;
    let first = reach(&mut client, "task", State::Running).await;
    let second = swap(&mut client, "2h", "second").await;
    fail(&mut client).await;
    let head = server.info().await.head_cursor;
    let (task, _) = rollback(&mut client, back()).await.expect("accepted");
    let done = newest(&task);
    assert_eq!((done.phase(), done.from_generation, done.to_generation, done.rollback_to), (SwapPhase::Done, 2, 4, 1));
    assert_eq!((task.generation, &task.spec, &task.annotations), (4, &first.spec, &first.annotations));
    assert_eq!((task.state(), task.instance.as_ref().map(|it| it.generation)), (State::Running, Some(4)));
    let events = events_until(&mut client, &head, EventType::SwapCommitted).await;
    let types: Vec<_> = events.iter().map(|event| event.r#type()).collect();
    use EventType::{InstanceReady, InstanceStarting, SwapCommitted, SwapStarted};
    assert_eq!(types, [SwapStarted, InstanceStarting, InstanceReady, SwapCommitted], "a swap like any other");

    // The one before is now the second; by its number the fourth's twin would do as well.
    let (task, _) = rollback(&mut client, back()).await.expect("accepted");
    assert_eq!((task.generation, newest(&task).rollback_to), (5, 2));
    assert_eq!((&task.spec, note(&task.annotations)), (&second.spec, Some("second")));
    let kept = history(&mut client).await;
    assert_eq!(kept.iter().map(|kept| kept.rollback_to).collect::<Vec<_>>(), [2, 1, 0, 0, 0]);
    use GenerationState::{Active, RolledBack, Superseded};
    let expected = [(5, Active), (4, Superseded), (3, RolledBack), (2, Superseded), (1, Superseded)];
    assert_eq!(states(&kept), expected);
}

/// Swaps to what panics soon after, and waits until the server has gone back.
async fn be_reverted(server: &Harness, client: &mut Client) -> Task {
    let head = server.info().await.head_cursor;
    let panics = with_spec(drill("task", "panic", "300ms"), |spec| {
        let observation_time = Some(prost_types::Duration { seconds: 600, nanos: 0 });
        spec.swap = Some(SwapPolicy { auto_revert: true, observation_time, ..Default::default() });
    });
    let request = SwapTaskRequest { name: name("task"), task: panics.task, wait: true, ..Default::default() };
    client.swap_task(request).await.expect("accepted");
    let (start, filter) = (Some(Start::Cursor(head)), "type = SWAP_COMMITTED".to_owned());
    let watched = client.watch_tasks(WatchTasksRequest { start, filter, ..Default::default() }).await;
    let mut frames = watched.expect("opened").into_inner();
    let is_way_back =
        |event: Event| matches!(event.detail, Some(Detail::Swap(swap)) if swap.revert_reason.contains("panicked"));
    while !frames.message().await.expect("no error").expect("not ended").events.into_iter().any(is_way_back) {}
    reach(client, "task", State::Running).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_has_reverted_is_told_so_and_is_no_way_back_unless_it_is_asked_for() {
    let server = Harness::start(Layer::default()).await;
    let mut client = running(&server).await;
    be_reverted(&server, &mut client).await;
    let none = rollback(&mut client, back()).await.expect_err("the first one's spec is what it has");
    assert_eq!(refusal(&none), (Code::NotFound, "GENERATION_NOT_FOUND".to_owned()));
    swap(&mut client, "2h", "well").await;
    let task = be_reverted(&server, &mut client).await;
    use GenerationState::{Active, Reverted, Superseded};
    let kept = history(&mut client).await;
    let expected = [(6, Active), (5, Reverted), (4, Superseded), (3, Superseded), (2, Reverted), (1, Superseded)];
    assert_eq!(states(&kept), expected);
    let failed = &kept[1];
    assert!(failed.error.starts_with("generation 5 panicked: "), "{failed:?}");
    assert!(failed.activate_time.is_some() && failed.end_time == kept[0].activate_time, "{failed:?}");
    assert_eq!((kept[0].spec.as_ref(), kept[2].spec.as_ref()), (task.spec.as_ref(), task.spec.as_ref()));

    // Neither 5, which has failed, nor 4, which it went back to.
    let (task, _) = rollback(&mut client, back()).await.expect("accepted");
    assert_eq!((task.generation, newest(&task).rollback_to), (7, 3));
    let request = RollbackTaskRequest { to_generation: 5, ..back() };
    let (task, _) = rollback(&mut client, request).await.expect("accepted");
    assert_eq!(newest(&task).rollback_to, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_by_number_goes_anywhere_that_was_active_and_nowhere_else() {
    let server = Harness::start(Layer::default()).await;
    let mut client = running(&server).await;
    let none = rollback(&mut client, back()).await.expect_err("there is no former one");
    assert_eq!(refusal(&none), (Code::NotFound, "GENERATION_NOT_FOUND".to_owned()));
    swap(&mut client, "2h", "second").await;
    swap(&mut client, "3h", "third").await;
    fail(&mut client).await;

    let to = |to_generation| RollbackTaskRequest { to_generation, ..back() };
    let head = server.info().await.head_cursor;
    let unknown = rollback(&mut client, to(9)).await.expect_err("there is no ninth");
    assert_eq!(refusal(&unknown), (Code::NotFound, "GENERATION_NOT_FOUND".to_owned()));
    let failed = rollback(&mut client, to(4)).await.expect_err("it was rolled back itself");
    assert_eq!(refusal(&failed), (Code::FailedPrecondition, "GENERATION_NEVER_ACTIVE".to_owned()));
    let (same, cursor) = rollback(&mut client, to(3)).await.expect("it is there");
    assert_eq!((same.generation, &cursor), (3, &head), "nothing to do");
    let (preview, cursor) =
        rollback(&mut client, RollbackTaskRequest { validate_only: true, ..to(1) }).await.expect("valid");
    assert_eq!((preview.generation, &cursor, note(&preview.annotations)), (5, &head, None));
    assert_eq!(server.info().await.head_cursor, head, "nothing has happened");
    let (task, _) = rollback(&mut client, to(1)).await.expect("accepted");
    assert_eq!((task.generation, newest(&task).rollback_to, note(&task.annotations)), (5, 1, None));

    let nobody = RollbackTaskRequest { name: name("nobody"), ..back() };
    let status = rollback(&mut client, nobody).await.expect_err("no such task");
    assert_eq!(refusal(&status), (Code::NotFound, "TASK_NOT_FOUND".to_owned()));
    let bad = RollbackTaskRequest { name: "x".to_owned(), strategy: 9, request_id: "x".to_owned(), ..back() };
    let violated = rollback(&mut client, bad).await.expect_err("invalid").get_error_details();
    let fields: Vec<_> = violated.bad_request().expect("told").field_violations.iter().map(|v| &v.field).collect();
    assert_eq!(fields, ["request_id", "name", "strategy"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_is_refused_as_a_swap_is() {
    let server = Harness::start(Layer::default()).await;
    let mut client = running(&server).await;
    let old = swap(&mut client, "2h", "second").await;
    let stale = RollbackTaskRequest { etag: "stale".to_owned(), to_generation: 9, ..back() };
    let status = rollback(&mut client, stale).await.expect_err("stale");
    assert_eq!(refusal(&status), (Code::Aborted, "ETAG_MISMATCH".to_owned()), "before what it asks for");
    let (task, _) = rollback(&mut client, RollbackTaskRequest { etag: old.etag, ..back() }).await.expect("accepted");
    assert_eq!(task.generation, 3);

    // One that is never ready is under way.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    let steps = vec![TcpStep { send: Vec::new(), expect: b"a word".to_vec() }];
    let unready = start("task", Monitor::Tcp(TcpMonitor { address, steps })).task;
    let request = SwapTaskRequest { name: name("task"), task: unready, ..Default::default() };
    client.swap_task(request).await.expect("accepted");
    assert_eq!(history(&mut client).await[0].state(), GenerationState::Candidate);
    let status = rollback(&mut client, back()).await.expect_err("one at a time");
    assert_eq!(refusal(&status), (Code::Aborted, "SWAP_IN_PROGRESS".to_owned()));
    client.cancel_task(cancel("task")).await.expect("cancelled");
    assert_eq!(history(&mut client).await[0].state(), GenerationState::Cancelled);
    let status = rollback(&mut client, back()).await.expect_err("ended");
    assert_eq!(refusal(&status), (Code::FailedPrecondition, "TASK_NOT_RUNNING".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_preempts_and_has_its_say_about_the_circuit_where_it_is_asked_to() {
    let server = Harness::start(Layer::default()).await;
    let mut client = running(&server).await;
    let first = reach(&mut client, "task", State::Running).await;
    swap(&mut client, "2h", "second").await;
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    let steps = vec![TcpStep { send: Vec::new(), expect: b"a word".to_vec() }];
    let unready = start("task", Monitor::Tcp(TcpMonitor { address, steps })).task;
    let request = SwapTaskRequest { name: name("task"), task: unready, ..Default::default() };
    client.swap_task(request).await.expect("accepted");

    let head = server.info().await.head_cursor;
    let dry = RollbackTaskRequest { validate_only: true, preempt: true, ..back() };
    let (preview, cursor) = rollback(&mut client, dry).await.expect("valid");
    assert_eq!((preview.generation, &preview.spec, &cursor), (4, &first.spec, &head));
    let dry = RollbackTaskRequest { validate_only: true, ..back() };
    let status = rollback(&mut client, dry).await.expect_err("as the roll-back would be");
    assert_eq!(refusal(&status), (Code::Aborted, "SWAP_IN_PROGRESS".to_owned()));

    // The target is the same, so that the circuit would stay.
    let request = RollbackTaskRequest { preempt: true, state_policy: StatePolicy::Reset.into(), ..back() };
    let (task, _) = rollback(&mut client, request).await.expect("accepted");
    let done = newest(&task);
    assert_eq!((done.phase(), done.to_generation, done.rollback_to, &task.spec), (SwapPhase::Done, 4, 1, &first.spec));
    assert_eq!(history(&mut client).await[1].state(), GenerationState::Cancelled);
    let (before, after) = (first.circuit.expect("has one"), task.circuit.expect("has one"));
    assert_eq!((after.reason(), after.epoch > before.epoch), (CircuitReason::Reset, true), "{after:?}");
    let bad = RollbackTaskRequest { state_policy: 9, ..back() };
    let violated = rollback(&mut client, bad).await.expect_err("invalid").get_error_details();
    assert_eq!(violated.bad_request().expect("told").field_violations[0].field, "state_policy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_rolls_back_once_even_when_its_generation_is_gone() {
    let server = Harness::start(Layer::default()).await;
    let mut client = running(&server).await;
    swap(&mut client, "2h", "second").await;
    let request = RollbackTaskRequest { to_generation: 1, request_id: ID.to_owned(), ..back() };
    let (first, cursor) = rollback(&mut client, request.clone()).await.expect("accepted");
    for round in 0..10 {
        swap(&mut client, &format!("{}h", 10 + round), "more").await;
    }
    let kept = history(&mut client).await;
    assert_eq!((kept.len(), kept.last().map(|kept| kept.generation)), (10, Some(4)), "the newest ten");
    let status = rollback(&mut client, RollbackTaskRequest { to_generation: 1, ..back() }).await.expect_err("gone");
    assert_eq!(refusal(&status), (Code::NotFound, "GENERATION_NOT_FOUND".to_owned()));
    let head = server.info().await.head_cursor;
    let (again, replayed) = rollback(&mut client, request.clone()).await.expect("replayed");
    assert_eq!((&replayed, &again.uid), (&cursor, &first.uid));
    let reused = RollbackTaskRequest { to_generation: 4, ..request };
    let status = rollback(&mut client, reused).await.expect_err("another request");
    assert_eq!(refusal(&status), (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));
    // It is a swap's, too: each method has ids of its own.
    assert_eq!(server.info().await.head_cursor, head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spec_that_is_not_taken_any_more_is_no_way_back() {
    let data = Scratch::new("history");
    let layer = || Layer {
        store: Some(switchyard::config::StoreKind::Embedded),
        data_dir: Some(data.path().to_owned()),
        ..Default::default()
    };
    let hold = Hold::default();
    hold.let_go();
    let server: Server = builder(layer()).register(hold.kind()).bind().await.expect("bound");
    let server = Harness::run(server);
    let mut client = server.client().await;
    client.start_task(custom("task", "holding")).await.expect("started");
    swap(&mut client, "2h", "second").await;
    server.shut_down();
    assert_eq!(server.ended().await, Ended::Clean);

    let server = Harness::start(layer()).await;
    let mut client = server.client().await;
    reach(&mut client, "task", State::Running).await;
    let status = rollback(&mut client, back()).await.expect_err("the kind is gone");
    assert_eq!(refusal(&status), (Code::InvalidArgument, "UNKNOWN_KIND".to_owned()));
    let details = status.get_error_details();
    assert_eq!(details.bad_request().expect("told").field_violations[0].field, "to_generation");
    let kept = history(&mut client).await;
    use GenerationState::{Active, Superseded};
    assert_eq!(states(&kept), [(2, Active), (1, Superseded)], "what became of it outlives the server");
    assert_eq!(kept[0].cause.as_ref().map(|cause| cause.reason.as_str()), Some("for 2h"));
}
