//! The two-phase shutdown for real, once: on the seed's own clock, through the public API. Everything else about time is
//! simulated.

use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use switchyard::config::Layer;
use switchyard::pb::v1::{
    AlertKind, Asked, CancelTaskRequest, Exit, InstanceState, RestartPolicy, ShutdownPolicy, State, Task,
};

use crate::harness::{self, Client, Harness, builder, drill, outcome, reach, with_spec};
use crate::kinds::{Gate, blocker};
use crate::waits::Waits;

/// The threads that a shutdown goes through, beside that of its test.
const STOP: &[&str] = &["custom", "manager"];

async fn server() -> (Harness, Client) {
    let server = Harness::start(Layer::default()).await;
    let client = server.client().await;
    (server, client)
}

/// Starts a drill and waits until it is RUNNING.
async fn running(client: &Client, id: &str, behaviour: &str, duration: &str) {
    let mut client = client.clone();
    client.start_task(drill(id, behaviour, duration)).await.expect("starts");
    reach(&mut client, id, State::Running).await;
}

async fn cancel(client: &Client, id: &str) -> Task {
    let response = client.clone().cancel_task(harness::cancel(id)).await.expect("cancels").into_inner();
    response.task.expect("the task")
}

/// How long each phase took, as the server has measured it.
fn phases(task: &Task) -> (Duration, Option<Duration>) {
    let shutdown = task.instance.as_ref().and_then(|instance| instance.shutdown.as_ref()).expect("was asked to stop");
    let std = |duration: prost_types::Duration| Duration::try_from(duration).expect("positive");
    (std(shutdown.graceful_duration.expect("phase 1 is over")), shutdown.abort_duration.map(std))
}

/// When its shutdown began, by the server's clock.
fn asked(task: &Task) -> SystemTime {
    let shutdown = task.instance.as_ref().and_then(|instance| instance.shutdown.as_ref()).expect("was asked to stop");
    shutdown.asked_time.expect("always").try_into().expect("after 1970")
}

#[tokio::test]
async fn a_cooperative_task_ends_within_100_ms_of_its_cancel() {
    let (_server, client) = server().await;
    running(&client, "cooperative", "cooperative", "30s").await;
    let waits = Waits::from_here();
    let task = cancel(&client, "cooperative").await;
    assert_eq!((task.state(), outcome(&task)), (State::Cancelled, (Exit::Graceful, Asked::Cancel)));
    let late = waits.through(STOP);
    assert!(phases(&task).0 < Duration::from_millis(100) + late, "{:?}, {late:?}", phases(&task));
}

#[tokio::test]
async fn one_that_ignores_the_token_ends_aborted_right_after_five_seconds() {
    let (_server, client) = server().await;
    running(&client, "ignoring", "ignore_cancel", "1h").await;
    let waits = Waits::from_here();
    let task = cancel(&client, "ignoring").await;
    assert_eq!((task.state(), outcome(&task)), (State::Cancelled, (Exit::Aborted, Asked::Cancel)));
    let (graceful, abort) = phases(&task);
    let (both, late) = (graceful + abort.unwrap(), waits.through(STOP));
    assert!(graceful >= Duration::from_secs(5) && both < Duration::from_millis(5_500) + late, "{task:?}, {late:?}");
}

#[tokio::test]
async fn one_that_blocks_its_thread_is_stuck_after_seven_seconds_and_reaped_when_it_ends() {
    let gate = Gate::default();
    let server = Harness::run(builder(Layer::default()).register(gate.kind()).bind().await.expect("bound"));
    let mut client = server.client().await;
    client.start_task(blocker("blocking")).await.expect("starts");
    reach(&mut client, "blocking", State::Running).await;
    let task = cancel(&client, "blocking").await;
    assert_eq!(task.state(), State::Stuck);
    assert_eq!(task.instance.as_ref().unwrap().state(), InstanceState::Stuck);
    let (graceful, abort) = phases(&task);
    assert!(graceful + abort.unwrap() >= Duration::from_secs(7), "{task:?}");
    let alerts: Vec<_> = task.alerts.iter().map(|alert| alert.kind()).collect();
    for kind in [AlertKind::SlowCancellation, AlertKind::AbortRequired, AlertKind::AbortTimeout] {
        assert!(alerts.contains(&kind), "{alerts:?}");
    }
    let metrics = server.metrics().await;
    assert!(metrics.contains("\ncircuit_breaker_active_tasks 1\n"), "{metrics}");
    assert!(metrics.contains("\ncircuit_breaker_alerts_active{alert=\"abort_timeout\"} 1\n"), "{metrics}");

    gate.open();
    let task = reach(&mut client, "blocking", State::Cancelled).await;
    assert!(task.alerts.is_empty(), "{task:?}");
    let metrics = server.metrics().await;
    assert!(metrics.contains("\ncircuit_breaker_active_tasks 0\n"), "{metrics}");
    assert!(metrics.contains("\ncircuit_breaker_monitoring_task_count 1\n"), "{metrics}");
    assert!(metrics.contains("\ncircuit_breaker_alerts_active{alert=\"abort_timeout\"} 0\n"), "{metrics}");
}

#[tokio::test]
async fn two_hundred_that_stop_together_take_the_bound_of_one() {
    let (_server, client) = server().await;
    let behaviours = [("cooperative", 150), ("ignore_cancel", 48), ("block_thread", 2)];
    let mut ids = Vec::new();
    for (behaviour, count) in behaviours {
        let some: Vec<_> = (0..count).map(|n| format!("{}-{n}", behaviour.replace('_', "-"))).collect();
        join_all(some.iter().map(|id| running(&client, id, behaviour, "20s"))).await;
        ids.extend(some);
    }
    let (began, waits) = (Instant::now(), Waits::from_here());
    let tasks = join_all(ids.iter().map(|id| cancel(&client, id))).await;
    let (took, late) = (began.elapsed(), waits.through(STOP));
    assert_eq!(tasks.len(), 200);
    // By the server's own clock: how long a busy machine takes to carry two hundred answers is not what is bounded.
    let first = tasks.iter().map(asked).min().expect("two hundred");
    let last = tasks.iter().map(|task| asked(task) + phases(task).0 + phases(task).1.unwrap_or_default()).max();
    let all = last.expect("two hundred").duration_since(first).expect("in order");
    assert!(all < Duration::from_millis(7_500) + late, "{all:?}, {late:?}");
    assert!(took < Duration::from_secs(14) + late, "they did not stop side by side: {took:?}, {late:?}");
    let proven = |task: &&Task| matches!(task.state(), State::Cancelled | State::Stuck);
    assert_eq!(tasks.iter().filter(proven).count(), 200);
    // Only those that share a thread with one of the two that block can be kept from ending.
    let stuck = tasks.iter().filter(|task| task.state() == State::Stuck).count();
    assert!((2..=100).contains(&stuck), "{stuck} are stuck");
}

#[tokio::test]
async fn force_does_not_wait_for_the_first_phase() {
    let (_server, client) = server().await;
    running(&client, "forced", "ignore_cancel", "1h").await;
    let request = CancelTaskRequest { force: true, ..harness::cancel("forced") };
    let task = client.clone().cancel_task(request).await.expect("cancels").into_inner().task.expect("the task");
    assert_eq!((task.state(), outcome(&task)), (State::Cancelled, (Exit::Aborted, Asked::Cancel)));
    assert!(phases(&task).0 < Duration::from_secs(5), "{task:?}");
}

#[tokio::test]
async fn a_leaked_child_is_aborted_with_its_root() {
    let (_server, mut client) = server().await;
    let grace_timeout = Some(prost_types::Duration { seconds: 0, nanos: 200_000_000 });
    let leaking = with_spec(drill("leaking", "leak_children", "1h"), |spec| {
        spec.shutdown = Some(ShutdownPolicy { grace_timeout, abort_timeout: None });
    });
    client.start_task(leaking).await.expect("starts");
    reach(&mut client, "leaking", State::Running).await;
    let task = cancel(&client, "leaking").await;
    assert_eq!((task.state(), outcome(&task)), (State::Cancelled, (Exit::Aborted, Asked::Cancel)));
}

#[tokio::test]
async fn a_panic_ends_its_own_instance_and_nothing_else() {
    let (_server, mut client) = server().await;
    running(&client, "healthy", "cooperative", "1h").await;
    let panicking = with_spec(drill("panicking", "panic", "10ms"), |spec| {
        spec.restart = Some(RestartPolicy { max_restarts: Some(0), ..RestartPolicy::default() });
    });
    client.start_task(panicking).await.expect("starts");
    let task = reach(&mut client, "panicking", State::Failed).await;
    assert_eq!(outcome(&task), (Exit::Panic, Asked::None));

    running(&client, "panicking-late", "panic_in_cleanup", "1h").await;
    let task = cancel(&client, "panicking-late").await;
    assert_eq!((task.state(), outcome(&task)), (State::Cancelled, (Exit::Panic, Asked::Cancel)));
    reach(&mut client, "healthy", State::Running).await;
}
