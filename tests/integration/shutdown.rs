//! The two-phase shutdown for real, once: on the seed's own clock, through the public API. Everything else about time is
//! simulated.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use switchyard::pb::v1::{AlertKind, Asked, CancelTaskRequest, Exit, InstanceState, State, Task, WaitTaskRequest};

use crate::harness::{Harness, drill};

/// Starts a drill and waits until it is RUNNING.
async fn running(harness: &Harness, id: &str, behaviour: &str, duration: &str) -> String {
    let name = harness.start(id, drill(behaviour, duration)).await;
    harness.wait_for(&name, State::Running).await;
    name
}

async fn cancel(harness: &Harness, name: &str) -> Task {
    let request = CancelTaskRequest { name: name.to_owned(), wait: true, ..CancelTaskRequest::default() };
    let response = harness.tasks().cancel_task(request).await.expect("cancels").into_inner();
    response.task.expect("the task")
}

/// How long each phase took, as the server has measured it.
fn phases(task: &Task) -> (Duration, Option<Duration>) {
    let shutdown = task.instance.as_ref().and_then(|instance| instance.shutdown.as_ref()).expect("was asked to stop");
    let std = |duration: prost_types::Duration| Duration::try_from(duration).expect("positive");
    (std(shutdown.graceful_duration.expect("phase 1 is over")), shutdown.abort_duration.map(std))
}

fn outcome(task: &Task) -> (Exit, Asked) {
    let outcome = task.outcome.as_ref().expect("has ended");
    (outcome.exit(), outcome.asked())
}

#[tokio::test]
async fn a_cooperative_task_ends_within_100_ms_of_its_cancel() {
    let harness = Harness::with_drills().await;
    let name = running(&harness, "cooperative", "cooperative", "30s").await;
    let task = cancel(&harness, &name).await;
    assert_eq!((task.state(), outcome(&task)), (State::Cancelled, (Exit::Graceful, Asked::Cancel)));
    assert!(phases(&task).0 < Duration::from_millis(100), "{:?}", phases(&task));
}

#[tokio::test]
async fn one_that_ignores_the_token_ends_aborted_right_after_five_seconds() {
    let harness = Harness::with_drills().await;
    let name = running(&harness, "ignoring", "ignore_cancel", "1h").await;
    let task = cancel(&harness, &name).await;
    assert_eq!((task.state(), outcome(&task)), (State::Cancelled, (Exit::Aborted, Asked::Cancel)));
    let (graceful, abort) = phases(&task);
    assert!(graceful >= Duration::from_secs(5) && graceful + abort.unwrap() < Duration::from_secs(7), "{task:?}");
}

#[tokio::test]
async fn one_that_blocks_its_thread_is_stuck_after_seven_seconds_and_reaped_when_it_ends() {
    let harness = Harness::with_drills().await;
    let name = running(&harness, "blocking", "block_thread", "10s").await;
    let task = cancel(&harness, &name).await;
    assert_eq!(task.state(), State::Stuck);
    assert_eq!(task.instance.as_ref().unwrap().state(), InstanceState::Stuck);
    let (graceful, abort) = phases(&task);
    assert!(graceful + abort.unwrap() >= Duration::from_secs(7), "{task:?}");
    let alerts: Vec<_> = task.alerts.iter().map(|alert| alert.kind()).collect();
    for kind in [AlertKind::SlowCancellation, AlertKind::AbortRequired, AlertKind::AbortTimeout] {
        assert!(alerts.contains(&kind), "{alerts:?}");
    }
    let metrics = harness.metrics().await;
    assert!(metrics.contains("\ncircuit_breaker_active_tasks 1\n"), "{metrics}");
    assert!(metrics.contains("\ncircuit_breaker_alerts_active{alert=\"abort_timeout\"} 1\n"), "{metrics}");

    let task = harness.wait_for(&name, State::Cancelled).await;
    assert!(task.alerts.is_empty(), "{task:?}");
    let metrics = harness.metrics().await;
    assert!(metrics.contains("\ncircuit_breaker_active_tasks 0\n"), "{metrics}");
    assert!(metrics.contains("\ncircuit_breaker_monitoring_task_count 1\n"), "{metrics}");
    assert!(metrics.contains("\ncircuit_breaker_alerts_active{alert=\"abort_timeout\"} 0\n"), "{metrics}");
}

#[tokio::test]
async fn two_hundred_that_stop_together_take_the_bound_of_one() {
    let harness = Harness::with_drills().await;
    let behaviours = [("cooperative", 150), ("ignore_cancel", 48), ("block_thread", 2)];
    let mut names = Vec::new();
    for (behaviour, count) in behaviours {
        let ids = (0..count).map(|n| (n, format!("{}-{n}", behaviour.replace('_', "-"))));
        let started = ids.map(|(_, id)| {
            let harness = &harness;
            async move { running(harness, &id, behaviour, "20s").await }
        });
        names.extend(join_all(started).await);
    }
    let began = Instant::now();
    let tasks = join_all(names.iter().map(|name| cancel(&harness, name))).await;
    let took = began.elapsed();
    assert_eq!(tasks.len(), 200);
    assert!(took < Duration::from_millis(7_500), "{took:?}");
    let proven = |task: &&Task| matches!(task.state(), State::Cancelled | State::Stuck);
    assert_eq!(tasks.iter().filter(proven).count(), 200);
    // Only those that share a thread with one of the two that block can be kept from ending.
    let stuck = tasks.iter().filter(|task| task.state() == State::Stuck).count();
    assert!((2..=100).contains(&stuck), "{stuck} are stuck");
}

#[tokio::test]
async fn force_does_not_wait_for_the_first_phase() {
    let harness = Harness::with_drills().await;
    let name = running(&harness, "forced", "ignore_cancel", "1h").await;
    let request = CancelTaskRequest { name, force: true, wait: true, ..CancelTaskRequest::default() };
    let task = harness.tasks().cancel_task(request).await.expect("cancels").into_inner().task.expect("the task");
    assert_eq!((task.state(), outcome(&task)), (State::Cancelled, (Exit::Aborted, Asked::Cancel)));
    assert!(phases(&task).0 < Duration::from_secs(5), "{task:?}");
}

#[tokio::test]
async fn a_leaked_child_is_aborted_with_its_root() {
    let harness = Harness::with_drills().await;
    let mut spec = drill("leak_children", "1h");
    spec.shutdown = Some(switchyard::pb::v1::ShutdownPolicy {
        grace_timeout: Some(prost_types::Duration { seconds: 0, nanos: 200_000_000 }),
        abort_timeout: None,
    });
    let name = harness.start("leaking", spec).await;
    harness.wait_for(&name, State::Running).await;
    let task = cancel(&harness, &name).await;
    assert_eq!((task.state(), outcome(&task)), (State::Cancelled, (Exit::Aborted, Asked::Cancel)));
}

#[tokio::test]
async fn a_panic_ends_its_own_instance_and_nothing_else() {
    let harness = Harness::with_drills().await;
    let healthy = running(&harness, "healthy", "cooperative", "1h").await;
    let mut spec = drill("panic", "10ms");
    spec.restart = Some(switchyard::pb::v1::RestartPolicy { max_restarts: Some(0), ..Default::default() });
    let name = harness.start("panicking", spec).await;
    let task = harness.wait_for(&name, State::Failed).await;
    assert_eq!(outcome(&task), (Exit::Panic, Asked::None));

    let name = running(&harness, "panicking-late", "panic_in_cleanup", "1h").await;
    let task = cancel(&harness, &name).await;
    assert_eq!((task.state(), outcome(&task)), (State::Cancelled, (Exit::Panic, Asked::Cancel)));

    let request = WaitTaskRequest { name: healthy, until: vec![State::Running.into()], timeout: None };
    assert!(harness.tasks().wait_task(request).await.expect("waits").into_inner().reached);
}
