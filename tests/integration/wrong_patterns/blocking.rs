//! Pattern 3: blocking operations. Each of the document's four keeps its thread in the first poll of its `select!`, and so is never
//! even RUNNING. The server finds it after a second, moves its neighbour to another thread, and cannot end it: it is STUCK until the
//! operation is over.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags, poll};
use switchyard::monitor::{CancellationToken, from_fn};
use switchyard::pb::v1::{AlertKind, Asked, Exit, InstanceState, State};

use super::check_endpoint_health;
use super::gates::{Fifo, Flag, Socket};
use super::scene::{Bounds, NEIGHBOUR, Scene, WRONG, phases, stands, stops_within};
use crate::harness::outcome;

/// What happens to a task that blocks and is cancelled, where its phases are short.
const STUCK: [&str; 15] = [
    "TASK_CREATED",
    "INSTANCE_STARTING",
    "ALERT_RAISED POLL_BLOCKED",
    "INSTANCE_STOPPING",
    "ALERT_RAISED SLOW_CANCELLATION",
    "INSTANCE_ABORTING",
    "ALERT_RAISED ABORT_REQUIRED",
    "INSTANCE_STUCK",
    "ALERT_RAISED ABORT_TIMEOUT",
    "INSTANCE_ENDED ABORTED",
    "ALERT_RESOLVED SLOW_CANCELLATION",
    "ALERT_RESOLVED ABORT_REQUIRED",
    "ALERT_RESOLVED ABORT_TIMEOUT",
    "ALERT_RESOLVED POLL_BLOCKED",
    "TASK_ENDED",
];

/// The same by the document's figures: it is a long-running task before it is cancelled, and its grace period is over when it is
/// slow to stop.
const STUCK_BY_THE_DOCUMENT: [&str; 17] = [
    "TASK_CREATED",
    "INSTANCE_STARTING",
    "ALERT_RAISED POLL_BLOCKED",
    "ALERT_RAISED LONG_RUNNING_TASK",
    "INSTANCE_STOPPING",
    "INSTANCE_ABORTING",
    "ALERT_RAISED ABORT_REQUIRED",
    "ALERT_RAISED SLOW_CANCELLATION",
    "INSTANCE_STUCK",
    "ALERT_RAISED ABORT_TIMEOUT",
    "INSTANCE_ENDED ABORTED",
    "ALERT_RESOLVED SLOW_CANCELLATION",
    "ALERT_RESOLVED LONG_RUNNING_TASK",
    "ALERT_RESOLVED ABORT_REQUIRED",
    "ALERT_RESOLVED ABORT_TIMEOUT",
    "ALERT_RESOLVED POLL_BLOCKED",
    "TASK_ENDED",
];

/// What happens to the task beside it.
const DISPLACED_ONCE: [&str; 9] = [
    "TASK_CREATED",
    "INSTANCE_STARTING",
    "INSTANCE_READY",
    "INSTANCE_ENDED DISPLACED",
    "INSTANCE_STARTING 2",
    "INSTANCE_READY 2",
    "INSTANCE_STOPPING 2",
    "INSTANCE_ENDED GRACEFUL",
    "TASK_ENDED",
];

/// When an operation began, by its own word.
type Began = Arc<OnceLock<SystemTime>>;

fn begins(began: &Began) {
    began.get_or_init(SystemTime::now);
}

/// The document's function, around one of its operations.
async fn bad_monitoring_task<Fut: Future>(cancel_token: CancellationToken, blocking: impl Fn() -> Fut) {
    loop {
        tokio::select! {
            () = cancel_token.cancelled() => break,
            _ = blocking() => check_endpoint_health().await,
        }
    }
}

#[tokio::test]
async fn a_blocking_sleep_is_stuck_until_it_is_over() {
    let began = Began::default();
    let begin = Arc::clone(&began);
    let kind = from_fn(WRONG, move |cancel_token| {
        let began = Arc::clone(&begin);
        bad_monitoring_task(cancel_token, move || {
            let began = Arc::clone(&began);
            async move {
                begins(&began);
                // The document's own. It lets go of itself, so the phases are shorter than it.
                #[expect(clippy::disallowed_methods, reason = "the pattern")]
                std::thread::sleep(Duration::from_secs(10));
            }
        })
    });
    let scene = Scene::open(kind).await;
    blocks(scene, Bounds::SHORT, &began, (), &STUCK).await;
}

/// With the document's own bounds and thresholds: 5 s and 2 s to stop, 5 s and 10 s until that and its run are alerts.
#[tokio::test]
async fn a_blocking_read_is_stuck_until_it_is_over() {
    let began = Began::default();
    let fifo = Fifo::new("blocking-read");
    let (begin, path) = (Arc::clone(&began), fifo.path().to_owned());
    let kind = from_fn(WRONG, move |cancel_token| {
        let (began, path) = (Arc::clone(&begin), path.clone());
        bad_monitoring_task(cancel_token, move || {
            let (began, path) = (Arc::clone(&began), path.clone());
            async move {
                begins(&began);
                #[expect(clippy::disallowed_methods, reason = "the pattern")]
                let _data = std::fs::read(path);
            }
        })
    });
    let scene = Scene::open(kind).await;
    blocks(scene, Bounds::default(), &began, fifo, &STUCK_BY_THE_DOCUMENT).await;
}

#[tokio::test]
async fn a_computation_without_a_yield_is_stuck_until_it_is_over() {
    let began = Began::default();
    let (gate, enough) = Flag::new();
    let begin = Arc::clone(&began);
    let kind = from_fn(WRONG, move |cancel_token| {
        let (began, enough) = (Arc::clone(&begin), Arc::clone(&enough));
        bad_monitoring_task(cancel_token, move || {
            let (began, enough) = (Arc::clone(&began), Arc::clone(&enough));
            async move {
                begins(&began);
                expensive_computation_without_yielding(&enough);
            }
        })
    });
    let scene = Scene::open(kind).await;
    blocks(scene, Bounds::SHORT, &began, gate, &STUCK).await;
}

fn expensive_computation_without_yielding(enough: &AtomicBool) -> u64 {
    let mut sum = 0_u64;
    while !enough.load(Ordering::Relaxed) {
        sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
    }
    sum
}

/// The package forbids `unsafe`, and with it a call of a foreign function of its own. `poll(2)` through rustix is the same to the
/// server: the thread leaves Rust, and waits in foreign code (here the kernel's) that knows of no token, nor of any timeout.
#[tokio::test]
async fn a_blocking_foreign_call_is_stuck_until_it_is_over() {
    let began = Began::default();
    let (gate, silent) = Socket::new();
    let begin = Arc::clone(&began);
    let kind = from_fn(WRONG, move |cancel_token| {
        let (began, silent) = (Arc::clone(&begin), Arc::clone(&silent));
        bad_monitoring_task(cancel_token, move || {
            let (began, silent) = (Arc::clone(&began), Arc::clone(&silent));
            async move {
                begins(&began);
                poll(&mut [PollFd::new(&*silent, PollFlags::IN)], None).expect("polls");
            }
        })
    });
    let scene = Scene::open(kind).await;
    blocks(scene, Bounds::SHORT, &began, gate, &STUCK).await;
}

/// Has the task start beside its neighbour, block, be cancelled, and be let go of; and sees to everything that is told of both.
async fn blocks<Gate>(mut scene: Scene, bounds: Bounds, began: &Began, gate: Gate, story: &[&str]) {
    let runs_long = story.contains(&"ALERT_RAISED LONG_RUNNING_TASK");
    scene.start(NEIGHBOUR, Bounds::AMPLE).await;
    scene.until(NEIGHBOUR, "INSTANCE_READY").await;
    scene.goes_on().await;
    scene.start(WRONG, bounds).await;
    is_relieved(&mut scene, began).await;
    if runs_long {
        scene.until(WRONG, "ALERT_RAISED LONG_RUNNING_TASK").await;
    }
    is_stuck(&mut scene, bounds, runs_long).await;
    let told = phases(&scene.get(WRONG).await);

    drop(gate);
    scene.until(WRONG, "TASK_ENDED").await;
    let task = scene.get(WRONG).await;
    assert_eq!((stands(&task), outcome(&task)), ((State::Cancelled, vec![]), (Exit::Aborted, Asked::Cancel)));
    assert_eq!(phases(&task), told, "what was proven stays");
    let task = scene.cancel(NEIGHBOUR).await;
    assert_eq!((task.state(), outcome(&task)), (State::Cancelled, (Exit::Graceful, Asked::Cancel)));
    scene.until(NEIGHBOUR, "TASK_ENDED").await;
    is_told(&scene, story).await;
}

/// The server finds the task blocking, and starts its neighbour again on another thread, which goes on.
async fn is_relieved(scene: &mut Scene, began: &Began) {
    scene.is_found_blocking(|| *began.get().expect("it blocks")).await;
    scene.until(NEIGHBOUR, "INSTANCE_READY 2").await;
    scene.goes_on().await;
    let task = scene.get(WRONG).await;
    assert_eq!(stands(&task), (State::Starting, vec![AlertKind::PollBlocked]));
    assert!(task.instance.expect("runs").blocked_since.is_some());
    for (series, value) in [
        ("blocked_polls", 1),
        ("shards_relieved_total", 1),
        ("shard_threads{sort=\"relieved\"}", 1),
        ("shard_threads{sort=\"custom\"}", 1),
        ("active_tasks", 2),
        ("monitoring_task_count", 3),
    ] {
        assert_eq!(scene.metric(series).await, value, "{series}");
    }
}

/// A cancel gets as far as the end of both phases; the neighbour notices nothing of that.
async fn is_stuck(scene: &mut Scene, bounds: Bounds, runs_long: bool) {
    let task = scene.cancel(WRONG).await;
    let mut open = vec![AlertKind::SlowCancellation];
    open.extend(runs_long.then_some(AlertKind::LongRunningTask));
    open.extend([AlertKind::AbortRequired, AlertKind::AbortTimeout, AlertKind::PollBlocked]);
    assert_eq!(stands(&task), (State::Stuck, open));
    assert_eq!(task.instance.as_ref().expect("lives").state(), InstanceState::Stuck);
    stops_within(&task, bounds);
    for (series, value) in [("tasks{state=\"stuck\"}", 1), ("active_tasks", 2), ("blocked_polls", 1)] {
        assert_eq!(scene.metric(series).await, value, "{series}");
    }
    scene.goes_on().await;
}

/// What is left of it all: the two stories, and the figures.
pub(super) async fn is_told(scene: &Scene, story: &[&str]) {
    assert_eq!(scene.story(WRONG), story);
    assert_eq!(scene.story(NEIGHBOUR), DISPLACED_ONCE);
    scene.counted(story, &["aborted", "displaced", "graceful"]).await;
    for (series, value) in [("monitoring_task_count", 3), ("shards_relieved_total", 1)] {
        assert_eq!(scene.metric(series).await, value, "{series}");
    }
    scene.settles("blocked_polls", 0).await;
    scene.settles("shard_threads{sort=\"relieved\"}", 0).await;
}
