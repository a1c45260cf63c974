//! Tasks that rest and go on: PauseTask and ResumeTask, as clients and watchers see them.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use switchyard::config::Layer;
use switchyard::pb::v1::event::Detail;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::{
    Asked, CancelTaskRequest, Cause, CircuitPolicy, CircuitState, Event, EventType, Exit, Intent, PauseTaskRequest,
    ResumeTaskRequest, Schedule, State, Task, TcpMonitor,
};
use tonic::{Code, Status};

use crate::harness::{
    Client, Harness, drill, events_until, idle, name, outcome, reach, refusal, start, types, with_spec,
};

const ID: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3302";

/// A server with the task `task`, which is ready.
async fn running() -> (Harness, Client, Task) {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    client.start_task(idle("task")).await.expect("started");
    let task = reach(&mut client, "task", State::Running).await;
    (server, client, task)
}

fn pause() -> PauseTaskRequest {
    PauseTaskRequest { name: name("task"), reason: "moving house".to_owned(), ..Default::default() }
}

fn resume() -> ResumeTaskRequest {
    ResumeTaskRequest { name: name("task"), reason: "moved in".to_owned(), ..Default::default() }
}

async fn paused(client: &mut Client, request: PauseTaskRequest) -> Result<(Task, String), Status> {
    let answer = client.pause_task(request).await?.into_inner();
    Ok((answer.task.expect("answered"), answer.cursor))
}

async fn resumed(client: &mut Client, request: ResumeTaskRequest) -> Result<(Task, String), Status> {
    let answer = client.resume_task(request).await?.into_inner();
    Ok((answer.task.expect("answered"), answer.cursor))
}

fn attempt(task: &Task) -> u32 {
    task.instance.as_ref().expect("has one").attempt
}

/// Who was it, and why.
fn by(event: &Event) -> (&str, &str) {
    let Cause { actor, reason, request_id: _ } = event.cause.as_ref().expect("always");
    (actor, reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_task_rests_with_its_reason_and_each_step_says_who_it_was() {
    let (server, mut client, before) = running().await;
    let head = server.info().await.head_cursor;
    let (task, cursor) = paused(&mut client, pause()).await.expect("accepted");
    let told = task.pause.as_ref().expect("is to rest");
    assert_eq!((told.reason.as_str(), told.expire_time), ("moving house", None));
    assert_eq!((task.intent(), &task.etag), (Intent::Pause, &before.etag), "status changes no etag");

    let task = reach(&mut client, "task", State::Paused).await;
    assert_eq!((outcome(&task), &task.uid), ((Exit::Graceful, Asked::Pause), &before.uid));
    let events = events_until(&mut client, &head, EventType::TaskPaused).await;
    let expected = [EventType::InstanceStopping, EventType::InstanceEnded, EventType::TaskPaused];
    assert_eq!(types(&events), expected);
    for event in &events {
        assert_eq!(by(event), ("anonymous@127.0.0.1", "moving house"), "{event:?}");
    }
    assert!(matches!(&events[2].detail, Some(Detail::Pause(pause)) if pause.reason == "moving house"));
    // The answer's cursor is right after the pause.
    let later = events_until(&mut client, &cursor, EventType::TaskPaused).await;
    assert_eq!(types(&later), expected[1..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumed_task_runs_as_the_next_attempt_which_is_no_restart() {
    let (server, mut client, before) = running().await;
    paused(&mut client, pause()).await.expect("accepted");
    reach(&mut client, "task", State::Paused).await;
    let head = server.info().await.head_cursor;
    let (task, _) = resumed(&mut client, resume()).await.expect("accepted");
    assert_eq!((task.intent(), task.pause), (Intent::Run, None));
    let task = reach(&mut client, "task", State::Running).await;
    assert_eq!((attempt(&before), attempt(&task), task.generation), (1, 2, 1));
    assert_eq!(task.restart.map_or(0, |restart| restart.count), 0);
    let events = events_until(&mut client, &head, EventType::InstanceReady).await;
    assert_eq!(types(&events), [EventType::TaskResumed, EventType::InstanceStarting, EventType::InstanceReady]);
    assert_eq!(by(&events[0]), ("anonymous@127.0.0.1", "moved in"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_so_already_is_no_event() {
    let (server, mut client, _) = running().await;
    let head = server.info().await.head_cursor;
    let (task, cursor) = resumed(&mut client, resume()).await.expect("it runs");
    assert_eq!((task.state(), &cursor, &server.info().await.head_cursor), (State::Running, &head, &head));
    paused(&mut client, pause()).await.expect("accepted");
    reach(&mut client, "task", State::Paused).await;
    let head = server.info().await.head_cursor;
    let (task, cursor) = paused(&mut client, pause()).await.expect("it is paused");
    assert_eq!((task.state(), &cursor, &server.info().await.head_cursor), (State::Paused, &head, &head));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_pauses_and_resumes_once() {
    let (server, mut client, _) = running().await;
    let request = PauseTaskRequest { request_id: ID.to_owned(), ..pause() };
    let (_, cursor) = paused(&mut client, request.clone()).await.expect("accepted");
    reach(&mut client, "task", State::Paused).await;
    let again = ResumeTaskRequest { request_id: ID.to_owned(), ..resume() };
    let (_, went_on) = resumed(&mut client, again.clone()).await.expect("another method, so another request");
    reach(&mut client, "task", State::Running).await;
    let head = server.info().await.head_cursor;

    let (task, replayed) = paused(&mut client, request.clone()).await.expect("replayed");
    assert_eq!((task.state(), &replayed), (State::Running, &cursor), "nothing was paused by it");
    let (_, replayed) = resumed(&mut client, again).await.expect("replayed");
    assert_eq!((&replayed, &server.info().await.head_cursor), (&went_on, &head));
    let other = PauseTaskRequest { reason: "another".to_owned(), ..request };
    let status = paused(&mut client, other).await.expect_err("reused");
    assert_eq!(refusal(&status), (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etag_guards_a_pause() {
    let (_server, mut client, task) = running().await;
    let stale = PauseTaskRequest { etag: "stale".to_owned(), ..pause() };
    let status = paused(&mut client, stale).await.expect_err("stale");
    assert_eq!(refusal(&status), (Code::Aborted, "ETAG_MISMATCH".to_owned()));
    paused(&mut client, PauseTaskRequest { etag: task.etag.clone(), ..pause() }).await.expect("the task's own");
    reach(&mut client, "task", State::Paused).await;
    resumed(&mut client, ResumeTaskRequest { etag: task.etag, ..resume() }).await.expect("it is the same still");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_with_an_end_is_over_by_itself() {
    let (server, mut client, _) = running().await;
    paused(&mut client, pause()).await.expect("accepted");
    reach(&mut client, "task", State::Paused).await;
    let head = server.info().await.head_cursor;
    let mut ahead = Duration::from_millis(200);
    // The machine may be so busy that the time has passed when the server hears of it.
    let expires = loop {
        let expires = Timestamp::from(SystemTime::now() + ahead);
        match paused(&mut client, PauseTaskRequest { expire_time: Some(expires), ..pause() }).await {
            Ok((task, _)) => {
                assert_eq!(task.pause.expect("is to rest").expire_time, Some(expires));
                break expires;
            }
            Err(status) => assert_eq!(refusal(&status).1, "INVALID_FIELD"),
        }
        ahead *= 2;
    };
    let events = events_until(&mut client, &head, EventType::InstanceReady).await;
    let expected =
        [EventType::TaskPaused, EventType::TaskResumed, EventType::InstanceStarting, EventType::InstanceReady];
    assert_eq!(types(&events), expected, "its end was moved, then it came");
    assert_eq!(by(&events[1]).0, "system:pause");
    let resumed = events[1].time.expect("always");
    assert!((resumed.seconds, resumed.nanos) >= (expires.seconds, expires.nanos), "{resumed} {expires}");
    assert_eq!(attempt(&reach(&mut client, "task", State::Running).await), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_told_to_end_is_neither_paused_nor_resumed() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    client.start_task(drill("task", "slow_cleanup", "1h")).await.expect("started");
    reach(&mut client, "task", State::Running).await;
    client.cancel_task(CancelTaskRequest { name: name("task"), ..Default::default() }).await.expect("cancelled");
    let not_running = (Code::FailedPrecondition, "TASK_NOT_RUNNING".to_owned());
    assert_eq!(refusal(&paused(&mut client, pause()).await.expect_err("it stops")), not_running);
    assert_eq!(refusal(&resumed(&mut client, resume()).await.expect_err("it stops")), not_running);
    let force = CancelTaskRequest { name: name("task"), force: true, wait: true, ..Default::default() };
    client.cancel_task(force).await.expect("cancelled");
    assert_eq!(refusal(&paused(&mut client, pause()).await.expect_err("it has ended")), not_running);
    assert_eq!(refusal(&resumed(&mut client, resume()).await.expect_err("it has ended")), not_running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_task_is_cancelled_at_once() {
    let (_server, mut client, _) = running().await;
    paused(&mut client, pause()).await.expect("accepted");
    reach(&mut client, "task", State::Paused).await;
    let answer = client.cancel_task(crate::harness::cancel("task")).await.expect("cancelled").into_inner();
    let task = answer.task.expect("answered");
    assert_eq!((task.state(), task.pause), (State::Cancelled, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_stands_still_and_goes_on_where_it_was() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let head = server.info().await.head_cursor;
    // Nobody listens on port 1. It checks once, and the circuit does nothing by itself in the hours of this test.
    let refused = Monitor::Tcp(TcpMonitor { address: "127.0.0.1:1".to_owned(), steps: Vec::new() });
    let long = |hours: i64| Some(prost_types::Duration { seconds: hours * 3_600, nanos: 0 });
    let once = with_spec(start("task", refused), |spec| {
        spec.schedule = Some(Schedule { interval: long(24), ..Default::default() });
        spec.circuit =
            Some(CircuitPolicy { consecutive_failures: Some(1), open_base: long(1), ..CircuitPolicy::default() });
    });
    client.start_task(once).await.expect("started");
    events_until(&mut client, &head, EventType::CircuitTripped).await;
    let circuit = |task: &Task| task.circuit.clone().expect("always");
    let before = circuit(&reach(&mut client, "task", State::Running).await);
    assert_eq!((before.state(), before.suspended, before.streak), (CircuitState::Open, false, 1));

    paused(&mut client, pause()).await.expect("accepted");
    let resting = circuit(&reach(&mut client, "task", State::Paused).await);
    assert_eq!((resting.state(), resting.suspended, resting.open_until), (CircuitState::Open, true, None));
    resumed(&mut client, resume()).await.expect("accepted");
    let after = circuit(&reach(&mut client, "task", State::Running).await);
    assert_eq!((after.state(), after.suspended), (CircuitState::Open, false));
    assert_eq!((after.epoch, after.streak), (before.epoch, before.streak), "nothing has begun anew");
}
