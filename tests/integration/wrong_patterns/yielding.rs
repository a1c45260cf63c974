//! Patterns 1 and 2: tasks that leave their thread to others, and do not look at their token, or seldom. They harm nobody, and end
//! as soon as they are aborted: what that costs is the clean-up, and the time until then.

use std::sync::Arc;
use std::time::Duration;

use switchyard::monitor::{CancellationToken, from_fn};
use switchyard::pb::v1::{AlertKind, Asked, Exit, State};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::check_endpoint_health;
use super::scene::{Bounds, Scene, WRONG, phases, stands};
use crate::harness::outcome;

#[tokio::test]
async fn no_check_is_aborted_when_its_grace_period_is_over() {
    async fn bad_monitoring_task(_cancel_token: CancellationToken) {
        loop {
            sleep(Duration::from_secs(10)).await;
            check_endpoint_health().await;
        }
    }
    // Shorter than the document's: what it does is the same after 300 ms as after 5 s. Its run is long after five seconds: it counts
    // from the launch, and a busy machine takes its time until the first poll.
    let bounds = Bounds { abort: None, long_running: Some(Duration::from_secs(5)), ..Bounds::SHORT };
    let mut scene = Scene::open(from_fn(WRONG, bad_monitoring_task)).await;
    scene.start(WRONG, bounds).await;
    scene.until(WRONG, "ALERT_RAISED LONG_RUNNING_TASK").await;
    assert_eq!(stands(&scene.get(WRONG).await), (State::Running, vec![AlertKind::LongRunningTask]));
    is_aborted(&mut scene, bounds).await;
    let story = [
        "TASK_CREATED",
        "INSTANCE_STARTING",
        "INSTANCE_READY",
        "ALERT_RAISED LONG_RUNNING_TASK",
        "INSTANCE_STOPPING",
        "ALERT_RAISED SLOW_CANCELLATION",
        "INSTANCE_ABORTING",
        "ALERT_RAISED ABORT_REQUIRED",
        "INSTANCE_ENDED ABORTED",
        "ALERT_RESOLVED SLOW_CANCELLATION",
        "ALERT_RESOLVED LONG_RUNNING_TASK",
        "ALERT_RESOLVED ABORT_REQUIRED",
        "TASK_ENDED",
    ];
    is_told(&scene, &story, "aborted").await;
}

/// The document's own figures: a hundred rounds of a second, and 5 s to stop. Only that its run is long is no alert here, so that
/// it is none either on a machine that takes 5 s to answer.
#[tokio::test]
async fn an_infrequent_check_is_aborted_amid_its_rounds() {
    async fn bad_monitoring_task(cancel_token: CancellationToken) {
        loop {
            for _ in 0..100 {
                sleep(Duration::from_secs(1)).await;
                check_endpoint_health().await;
            }
            if cancel_token.is_cancelled() {
                break;
            }
        }
    }
    let bounds = Bounds::AMPLE;
    let mut scene = Scene::open(from_fn(WRONG, bad_monitoring_task)).await;
    scene.start(WRONG, bounds).await;
    scene.until(WRONG, "INSTANCE_READY").await;
    assert_eq!(stands(&scene.get(WRONG).await), (State::Running, vec![]));
    is_aborted(&mut scene, bounds).await;
    let story = [
        "TASK_CREATED",
        "INSTANCE_STARTING",
        "INSTANCE_READY",
        "INSTANCE_STOPPING",
        "INSTANCE_ABORTING",
        "ALERT_RAISED ABORT_REQUIRED",
        // Over at the same moment as the grace period.
        "ALERT_RAISED SLOW_CANCELLATION",
        "INSTANCE_ENDED ABORTED",
        "ALERT_RESOLVED SLOW_CANCELLATION",
        "ALERT_RESOLVED ABORT_REQUIRED",
        "TASK_ENDED",
    ];
    is_told(&scene, &story, "aborted").await;
}

/// With rounds that are over when the test wants it. A long grace period gives it the time to find out.
#[tokio::test]
async fn an_infrequent_check_that_comes_in_time_is_slow_and_graceful() {
    let rounds = Arc::new(Semaphore::new(0));
    let kind = {
        let rounds = Arc::clone(&rounds);
        from_fn(WRONG, move |cancel_token: CancellationToken| {
            let rounds = Arc::clone(&rounds);
            async move {
                loop {
                    for _ in 0..100 {
                        rounds.acquire().await.expect("open").forget();
                        check_endpoint_health().await;
                    }
                    if cancel_token.is_cancelled() {
                        break;
                    }
                }
            }
        })
    };
    let bounds = Bounds { grace: Some(Duration::from_secs(60)), ..Bounds::SHORT };
    let mut scene = Scene::open(kind).await;
    scene.start(WRONG, bounds).await;
    scene.until(WRONG, "INSTANCE_READY").await;
    rounds.add_permits(50);
    scene.ask_to_stop(WRONG).await;
    scene.until(WRONG, "ALERT_RAISED SLOW_CANCELLATION").await;
    assert_eq!(stands(&scene.get(WRONG).await), (State::Stopping, vec![AlertKind::SlowCancellation]));
    rounds.add_permits(50);
    scene.until(WRONG, "TASK_ENDED").await;
    let task = scene.get(WRONG).await;
    assert_eq!((stands(&task), outcome(&task)), ((State::Cancelled, vec![]), (Exit::Graceful, Asked::Cancel)));
    let (graceful, abort) = phases(&task);
    assert!(graceful >= Duration::from_millis(100) && abort.is_none(), "{graceful:?}, {abort:?}");
    let story = [
        "TASK_CREATED",
        "INSTANCE_STARTING",
        "INSTANCE_READY",
        "INSTANCE_STOPPING",
        "ALERT_RAISED SLOW_CANCELLATION",
        "INSTANCE_ENDED GRACEFUL",
        "ALERT_RESOLVED SLOW_CANCELLATION",
        "TASK_ENDED",
    ];
    is_told(&scene, &story, "graceful").await;
}

/// A cancel waits for the grace period, and has it aborted, which ends it at once.
async fn is_aborted(scene: &mut Scene, bounds: Bounds) {
    let task = scene.cancel(WRONG).await;
    assert_eq!((stands(&task), outcome(&task)), ((State::Cancelled, vec![]), (Exit::Aborted, Asked::Cancel)));
    let (graceful, abort) = phases(&task);
    let abort = abort.expect("there was a phase 2");
    assert!(bounds.grace() <= graceful && graceful < bounds.grace() + Duration::from_secs(10), "{graceful:?}");
    assert!(abort < bounds.abort(), "{abort:?}");
    scene.until(WRONG, "TASK_ENDED").await;
}

/// The whole story, and the figures: no thread was ever blocked.
async fn is_told(scene: &Scene, story: &[&str], exit: &str) {
    assert_eq!(scene.story(WRONG), story);
    scene.counted(story, &[exit]).await;
    for (series, value) in [("monitoring_task_count", 1), ("shards_relieved_total", 0), ("blocked_polls", 0)] {
        assert_eq!(scene.metric(series).await, value, "{series}");
    }
}
