//! Swaps by the roll-out's rules: how many at once, when no further one begins, and what becomes of those that are done.

use std::net::TcpListener;

use switchyard::config::Layer;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{
    ApplyAction, ApplyHeader, ApplyOutcome, ApplyTasksRequest, Event, EventType, OnFailure, RollbackTaskRequest,
    Rollout, Schedule, State, SwapPhase, SwapPolicy, SwapTaskRequest, Task, TcpMonitor, TcpStep, WaitTaskRequest,
    WatchTasksRequest, WatchdogPolicy,
};
use tonic::Code;

use super::{Answer, apply, header, id, named, running, task};
use crate::harness::{Client, Harness, cancel, name, reach, reason, start};

/// What accepts connections and never says a word.
struct Silent(TcpListener);

impl Silent {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    /// A task that is not ready within that time: its first check waits for a word.
    fn awaited(&self, id: &str, within: prost_types::Duration) -> Task {
        let address = self.0.local_addr().expect("bound").to_string();
        let steps = vec![TcpStep { send: Vec::new(), expect: b"a word".to_vec() }];
        let mut task = named(id, start(id, Monitor::Tcp(TcpMonitor { address, steps })));
        let spec = task.spec.as_mut().expect("set");
        let long = Some(prost_types::Duration { seconds: 300, nanos: 0 });
        spec.schedule = Some(Schedule { interval: long, timeout: long, max_runs: 0 });
        spec.swap = Some(SwapPolicy { readiness_timeout: Some(within), ..Default::default() });
        task
    }
}

pub(super) const SOON: prost_types::Duration = prost_types::Duration { seconds: 0, nanos: 100_000_000 };
const LATE: prost_types::Duration = prost_types::Duration { seconds: 300, nanos: 0 };

/// Nothing happens to it by itself: that it has run for ten seconds is no alert.
pub(super) fn quiet(mut task: Task) -> Task {
    let long_running_after = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
    let watchdog = WatchdogPolicy { long_running_after, ..Default::default() };
    task.spec.as_mut().expect("set").watchdog = Some(watchdog);
    task
}

const IDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A server with six tasks of the owner, which are ready.
async fn six() -> (Harness, Client) {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let first = apply(&mut client, header(), IDS.map(|id| task(id, "1h")).to_vec()).await.expect("applied");
    assert_eq!(first.told().0, ApplyOutcome::Succeeded);
    for id in IDS {
        reach(&mut client, id, State::Running).await;
    }
    (server, client)
}

fn rolled(max_parallel: u32, max_failures: u32, on_failure: OnFailure) -> ApplyHeader {
    let rollout = Rollout { max_parallel, max_failures, on_failure: on_failure.into() };
    ApplyHeader { rollout: Some(rollout), ..header() }
}

/// The six, with another spec each; that of `bad` comes to nothing.
fn changed(silent: &Silent, bad: &[&str]) -> Vec<Task> {
    IDS.map(|id| if bad.contains(&id) { silent.awaited(id, SOON) } else { task(id, "2h") }).to_vec()
}

pub(super) fn failed(answer: &Answer) -> Vec<&str> {
    answer.result().failures.iter().map(|failure| id(&failure.name)).collect()
}

async fn swapped(client: &mut Client) -> Vec<String> {
    running(client).await.into_iter().filter(|(_, lasts)| lasts == "2h").map(|(id, _)| id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_swap_begins_once_as_many_have_failed_and_applying_again_goes_on() {
    let (_server, mut client) = six().await;
    let silent = Silent::new();
    let header = rolled(1, 2, OnFailure::Leave);
    let answer = apply(&mut client, header.clone(), changed(&silent, &["b", "d"])).await.expect("applied");
    assert_eq!(answer.told(), (ApplyOutcome::Stopped, [0, 2, 0, 0, 2]));
    assert_eq!(answer.result().counts.expect("told").waiting, 2);
    assert_eq!(failed(&answer), ["b", "d"]);
    let error = answer.result().failures[0].error.clone().expect("given");
    assert_eq!(error.code, i32::from(Code::Aborted));
    assert!(error.message.contains("ROLLED_BACK: the candidate was not ready within 100ms"), "{error:?}");
    assert_eq!(swapped(&mut client).await, ["a", "c"]);

    let again = apply(&mut client, header, changed(&silent, &[])).await.expect("applied");
    assert_eq!(again.told(), (ApplyOutcome::Succeeded, [0, 4, 0, 2, 0]));
    assert_eq!(swapped(&mut client).await, IDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_swapped_is_swapped_back_where_that_is_asked_for() {
    let (_server, mut client) = six().await;
    let silent = Silent::new();
    let header = rolled(1, 1, OnFailure::RollBack);
    let answer = apply(&mut client, header, changed(&silent, &["d"])).await.expect("applied");
    assert_eq!(answer.told(), (ApplyOutcome::RolledBack, [0, 0, 0, 0, 1]));
    let counts = answer.result().counts.expect("told");
    assert_eq!((counts.rolled_back, counts.waiting), (3, 2));
    assert!(swapped(&mut client).await.is_empty());
    let back = reach(&mut client, "a", State::Running).await;
    assert_eq!((back.generation, super::lasts(&back).as_str()), (3, "1h"));
    assert_eq!(reach(&mut client, "f", State::Running).await.generation, 1, "it was never begun");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_below_the_budget_stop_nothing() {
    let (_server, mut client) = six().await;
    let silent = Silent::new();
    let answer = apply(&mut client, rolled(3, 3, OnFailure::RollBack), changed(&silent, &["b", "e"])).await;
    let answer = answer.expect("applied");
    assert_eq!(answer.told(), (ApplyOutcome::Failed, [0, 4, 0, 0, 2]));
    assert_eq!(swapped(&mut client).await, ["a", "c", "d", "f"]);
}

/// A swap's beginning, and its end.
#[derive(Debug, PartialEq)]
enum Mark {
    Began,
    Ended,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_swaps_are_under_way_at_once_and_no_more() {
    let (server, mut client) = six().await;
    let head = server.info().await.head_cursor;
    let answer = apply(&mut client, rolled(2, 1, OnFailure::Leave), changed(&Silent::new(), &[])).await;
    assert_eq!(answer.expect("applied").told().1, [0, 6, 0, 0, 0]);
    // This event comes last, so all of them are seen.
    client.cancel_task(cancel("a")).await.expect("cancelled");
    let events = crate::harness::events_until(&mut client, &head, EventType::TaskEnded).await;
    let marks = events.iter().filter_map(|event| match event.r#type() {
        EventType::SwapStarted => Some(Mark::Began),
        // The old instance, which ends last.
        EventType::InstanceEnded if event.generation == 1 => Some(Mark::Ended),
        _ => None,
    });
    let mut under_way = 0;
    let mut most = 0;
    for mark in marks {
        under_way = if mark == Mark::Began { under_way + 1 } else { under_way - 1 };
        most = most.max(under_way);
    }
    assert_eq!((most, under_way), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_under_way_is_joined_and_another_one_gives_way() {
    let (_server, mut client) = six().await;
    let silent = Silent::new();
    let begin = async |client: &mut Client, id: &str, task: Task| {
        let request = SwapTaskRequest { name: name(id), task: Some(task), ..Default::default() };
        client.swap_task(request).await.expect("accepted").into_inner().task.expect("answered")
    };
    begin(&mut client, "a", silent.awaited("a", SOON)).await;
    begin(&mut client, "b", silent.awaited("b", LATE)).await;
    let set = vec![silent.awaited("a", SOON), task("b", "2h")];
    let answer = apply(&mut client, rolled(2, 2, OnFailure::Leave), set).await.expect("applied");
    // What another's swap has come to says nothing of what this apply's own would: it is swapped, and fails the same way.
    assert_eq!(answer.actions(), [("a", ApplyAction::Swap), ("b", ApplyAction::Swap)]);
    assert_eq!(answer.told(), (ApplyOutcome::Failed, [0, 1, 0, 0, 1]));
    assert_eq!(failed(&answer), ["a"]);
    let a = reach(&mut client, "a", State::Running).await;
    assert_eq!((a.generation, a.swap.expect("swapped").to_generation), (1, 3));
    assert_eq!(swapped(&mut client).await, ["b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_begins_nothing_more() {
    let (server, mut client) = six().await;
    let silent = Silent::new();
    let head = server.info().await.head_cursor;
    let set = IDS.map(|id| silent.awaited(id, LATE)).to_vec();
    let request = ApplyTasksRequest { header: Some(rolled(1, 1, OnFailure::Leave)), tasks: set };
    let frames = client.apply_tasks(tokio_stream::iter([request])).await.expect("answered").into_inner();
    crate::harness::events_until(&mut client, &head, EventType::SwapStarted).await;
    drop(frames);
    // The owner's turn is over once the call is gone.
    loop {
        match apply(&mut client, ApplyHeader { validate_only: false, ..header() }, Vec::new()).await {
            Ok(_) => break,
            Err(status) => assert_eq!(reason(&status), "APPLY_IN_PROGRESS"),
        }
    }
    // What was under way goes on; cancelled, it would make room for the next.
    client.cancel_task(cancel("a")).await.expect("cancelled");
    for id in &IDS[1..] {
        assert!(reach(&mut client, id, State::Running).await.swap.is_none(), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_an_apply_with_its_own_word() {
    let (server, mut client) = six().await;
    let silent = Silent::new();
    let head = server.info().await.head_cursor;
    let (mut applying, set) = (client.clone(), IDS.map(|id| silent.awaited(id, LATE)).to_vec());
    let applied = tokio::spawn(async move { apply(&mut applying, rolled(2, 6, OnFailure::RollBack), set).await });
    crate::harness::events_until(&mut client, &head, EventType::SwapStarted).await;
    server.shut_down();
    let status = applied.await.expect("no panic").expect_err("drained");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SERVER_DRAINING"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_was_cancelled_meanwhile_is_a_failure() {
    let (server, mut client) = six().await;
    let silent = Silent::new();
    let head = server.info().await.head_cursor;
    let mut applying = client.clone();
    let set = vec![silent.awaited("a", LATE)];
    let applied = tokio::spawn(async move { apply(&mut applying, header(), set).await });
    crate::harness::events_until(&mut client, &head, EventType::SwapStarted).await;
    let cancelled = client.cancel_task(cancel("a")).await.expect("cancelled").into_inner().task.expect("answered");
    assert_eq!(cancelled.swap.expect("was swapped").phase(), SwapPhase::Cancelled);
    let answer = applied.await.expect("no panic").expect("applied");
    assert_eq!(answer.told(), (ApplyOutcome::Failed, [0, 0, 0, 0, 1]));
}

/// The task, observed for so long after a swap.
pub(super) fn observed(mut task: Task, time: prost_types::Duration) -> Task {
    let policy = SwapPolicy { auto_revert: true, observation_time: Some(time), ..Default::default() };
    task.spec.as_mut().expect("set").swap = Some(policy);
    task
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_counts_once_it_has_been_observed_and_one_that_is_reverted_has_failed() {
    let (_server, mut client) = six().await;
    let panics = named("b", crate::harness::drill("b", "panic", "0s"));
    let set = IDS.map(|id| match id {
        "a" => observed(task("a", "2h"), SOON),
        "b" => observed(panics.clone(), prost_types::Duration { seconds: 600, nanos: 0 }),
        id => task(id, "2h"),
    });
    let answer = apply(&mut client, rolled(1, 1, OnFailure::RollBack), set.to_vec()).await.expect("applied");
    assert_eq!(answer.told(), (ApplyOutcome::RolledBack, [0, 0, 0, 0, 1]));
    let counts = answer.result().counts.expect("told");
    assert_eq!((counts.rolled_back, counts.waiting), (1, 4));
    let error = answer.result().failures[0].error.clone().expect("given");
    assert_eq!(super::set::reason_of(Some(&error)), "SWAP_REVERTED");
    assert!(error.message.contains("panic"), "{error:?}");
    let reverted = reach(&mut client, "b", State::Running).await;
    assert_eq!((reverted.generation, super::lasts(&reverted).as_str()), (3, "1h"));
    assert!(swapped(&mut client).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_back_begins_by_itself_on_a_server_where_nothing_else_happens() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let first = ["a", "b"].map(|id| quiet(task(id, "1h"))).to_vec();
    apply(&mut client, header(), first).await.expect("applied");
    for id in ["a", "b"] {
        reach(&mut client, id, State::Running).await;
    }
    let silent = Silent::new();
    let set = vec![quiet(task("a", "2h")), quiet(silent.awaited("b", SOON))];
    let answer = apply(&mut client, rolled(2, 1, OnFailure::RollBack), set).await.expect("applied");
    assert_eq!(answer.told(), (ApplyOutcome::RolledBack, [0, 0, 0, 0, 1]));
    assert_eq!(answer.result().counts.expect("told").rolled_back, 1);
    assert!(swapped(&mut client).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_does_by_hand_to_a_swapped_task_that_is_observed_stands() {
    let (server, mut client) = six().await;
    let head = server.info().await.head_cursor;
    let hour = prost_types::Duration { seconds: 600, nanos: 0 };
    let set = ["a", "b"].map(|id| observed(task(id, "2h"), hour)).to_vec();
    let mut applying = client.clone();
    let applied = tokio::spawn(async move { apply(&mut applying, header(), set).await });
    for id in ["a", "b"] {
        let swapped = |event: &Event| event.name == name(id) && event.r#type() == EventType::SwapCommitted;
        let mut frames = client.watch_tasks(from(&head)).await.expect("opened").into_inner();
        while !frames.message().await.expect("no error").expect("not ended").events.iter().any(swapped) {}
        let request = WaitTaskRequest { name: name(id), swap_ended: true, ..Default::default() };
        assert!(client.wait_task(request).await.expect("there").into_inner().reached);
    }
    client.cancel_task(cancel("a")).await.expect("cancelled");
    let back = RollbackTaskRequest { name: name("b"), wait: true, ..Default::default() };
    client.rollback_task(back).await.expect("rolled back");

    let answer = applied.await.expect("no panic").expect("applied");
    assert_eq!(answer.told(), (ApplyOutcome::Failed, [0, 0, 0, 0, 2]));
    assert!(answer.result().failures.iter().all(|failure| {
        failure.error.as_ref().is_some_and(|error| error.message.starts_with("somebody else has changed it meanwhile"))
    }));
    let tasks = crate::harness::all_tasks(&mut client).await;
    let find = |id: &str| tasks.iter().find(|task| task.name == name(id)).expect("there");
    assert_eq!(find("a").state(), State::Cancelled);
    assert_eq!(super::lasts(find("b")), "1h");
}

fn from(cursor: &str) -> WatchTasksRequest {
    WatchTasksRequest { start: Some(Start::Cursor(cursor.to_owned())), ..Default::default() }
}
