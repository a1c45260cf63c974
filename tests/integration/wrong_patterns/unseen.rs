//! Where a monitor blocks its thread and it is not its own `run` that does: it is found all the same, and under its task's name.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags, poll};
use switchyard::model::Violations;
use switchyard::monitor::{Config, Context, Kind, Monitor, MonitorError, MonitorFuture, from_fn};
use switchyard::pb::v1::{AlertKind, Asked, Exit, State};

use super::blocking::is_told;
use super::gates::Socket;
use super::scene::{Bounds, NEIGHBOUR, Scene, WRONG, stands};
use crate::harness::outcome;

/// Waits until the gate is dropped, and keeps its thread meanwhile.
fn block(silent: &UnixStream) {
    poll(&mut [PollFd::new(silent, PollFlags::IN)], None).expect("polls");
}

/// A kind whose monitor does as it should, and whose child blocks.
struct Parent {
    began: Arc<OnceLock<SystemTime>>,
    silent: Arc<UnixStream>,
}

impl Kind for Parent {
    fn name(&self) -> &str {
        WRONG
    }

    fn validate(&self, config: &Config) -> Result<(), Violations> {
        config.refuse_any()
    }

    fn build(&self, _config: &Config) -> Result<Box<dyn Monitor>, MonitorError> {
        Ok(Box::new(Self { began: Arc::clone(&self.began), silent: Arc::clone(&self.silent) }))
    }
}

impl Monitor for Parent {
    fn run(self: Box<Self>, context: Context) -> MonitorFuture {
        Box::pin(async move {
            let Self { began, silent } = *self;
            context.spawn(async move {
                began.get_or_init(SystemTime::now);
                block(&silent);
            });
            context.token().cancelled().await;
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_child_that_blocks_is_told_of_under_its_parents_name() {
    let (gate, silent) = Socket::new();
    let began = Arc::default();
    let mut scene = Scene::open(Parent { began: Arc::clone(&began), silent }).await;
    beside_a_neighbour(&mut scene, Bounds::SHORT).await;
    scene.is_found_blocking(|| *began.get().expect("it blocks")).await;
    scene.until(NEIGHBOUR, "INSTANCE_READY 2").await;
    scene.goes_on().await;
    assert_eq!(stands(&scene.get(WRONG).await), (State::Running, vec![AlertKind::PollBlocked]));
    assert_eq!(scene.cancel(WRONG).await.state(), State::Stuck);
    let story = [
        "TASK_CREATED",
        "INSTANCE_STARTING",
        "INSTANCE_READY",
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
    is_let_go(scene, gate, &story).await;
}

/// Ignores its token; and what it holds blocks whoever drops it.
#[tokio::test]
async fn a_drop_that_blocks_when_it_is_aborted_is_told_of_too() {
    struct Held(Arc<OnceLock<SystemTime>>, Arc<UnixStream>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.get_or_init(SystemTime::now);
            block(&self.1);
        }
    }
    let (gate, silent) = Socket::new();
    let began: Arc<OnceLock<SystemTime>> = Arc::default();
    let begin = Arc::clone(&began);
    let kind = from_fn(WRONG, move |_cancel_token| {
        let held = Held(Arc::clone(&begin), Arc::clone(&silent));
        async move {
            std::future::pending::<()>().await;
            drop(held);
        }
    });
    let mut scene = Scene::open(kind).await;
    // So that it is found to block well before it is found to be stuck.
    let bounds = Bounds { abort: Some(Duration::from_secs(4)), ..Bounds::SHORT };
    beside_a_neighbour(&mut scene, bounds).await;
    scene.until(WRONG, "INSTANCE_READY").await;
    assert_eq!(scene.cancel(WRONG).await.state(), State::Stuck);
    scene.is_found_blocking(|| *began.get().expect("it blocks")).await;
    scene.until(NEIGHBOUR, "INSTANCE_READY 2").await;
    scene.goes_on().await;
    let story = [
        "TASK_CREATED",
        "INSTANCE_STARTING",
        "INSTANCE_READY",
        "INSTANCE_STOPPING",
        "ALERT_RAISED SLOW_CANCELLATION",
        "INSTANCE_ABORTING",
        "ALERT_RAISED ABORT_REQUIRED",
        "ALERT_RAISED POLL_BLOCKED",
        "INSTANCE_STUCK",
        "ALERT_RAISED ABORT_TIMEOUT",
        "INSTANCE_ENDED ABORTED",
        "ALERT_RESOLVED SLOW_CANCELLATION",
        "ALERT_RESOLVED ABORT_REQUIRED",
        "ALERT_RESOLVED ABORT_TIMEOUT",
        "ALERT_RESOLVED POLL_BLOCKED",
        "TASK_ENDED",
    ];
    is_let_go(scene, gate, &story).await;
}

async fn beside_a_neighbour(scene: &mut Scene, bounds: Bounds) {
    scene.start(NEIGHBOUR, Bounds::AMPLE).await;
    scene.until(NEIGHBOUR, "INSTANCE_READY").await;
    scene.goes_on().await;
    scene.start(WRONG, bounds).await;
}

/// What blocks goes on, and so everything ends.
async fn is_let_go(mut scene: Scene, gate: Socket, story: &[&str]) {
    drop(gate);
    scene.until(WRONG, "TASK_ENDED").await;
    let task = scene.get(WRONG).await;
    assert_eq!((stands(&task), outcome(&task)), ((State::Cancelled, vec![]), (Exit::Aborted, Asked::Cancel)));
    scene.cancel(NEIGHBOUR).await;
    scene.until(NEIGHBOUR, "TASK_ENDED").await;
    is_told(&scene, story).await;
}
