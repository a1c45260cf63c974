//! Blocking now and then: a task that has blocked its thread once keeps that thread, however well it behaves afterwards.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use switchyard::config::Layer;
use switchyard::monitor::{CancellationToken, Kind, from_fn};
use switchyard::pb::v1::{AlertKind, Asked, Exit, State};

use super::gates::Socket;
use super::scene::{Bounds, Scene, WRONG, stands};
use crate::harness::outcome;

/// Each instance blocks until its own gate opens, and then does as it should.
fn blocks_once(gates: impl IntoIterator<Item = Arc<UnixStream>>) -> impl Kind {
    let gates = Arc::new(Mutex::new(gates.into_iter().collect::<VecDeque<_>>()));
    from_fn(WRONG, move |cancel_token: CancellationToken| {
        let silent = gates.lock().expect("no panic").pop_front().expect("one for each instance");
        async move {
            poll(&mut [PollFd::new(&*silent, PollFlags::IN)], None).expect("polls");
            cancel_token.cancelled().await;
        }
    })
}

/// Else a kind whose every check takes a second too long would come to have a thread for each of its tasks.
#[tokio::test]
async fn no_more_threads_are_given_up_than_may_be_stuck() {
    let ((first, a), (second, b)) = (Socket::new(), Socket::new());
    let layer = Layer { max_stuck: Some(1), ..Layer::default() };
    let mut scene = Scene::with(layer, blocks_once([a, b])).await;
    scene.start_of(WRONG, "first", Bounds::SHORT).await;
    scene.until("first", "ALERT_RAISED POLL_BLOCKED").await;
    scene.settles("shards_relieved_total", 1).await;
    drop(first);
    scene.until("first", "ALERT_RESOLVED POLL_BLOCKED").await;
    scene.until("first", "INSTANCE_READY").await;
    assert_eq!(scene.metric("shard_threads{sort=\"relieved\"}").await, 1, "it keeps it");

    // Past the moment at which its thread would be given up.
    let bounds = Bounds { long_running: Some(Duration::from_millis(2_500)), ..Bounds::SHORT };
    scene.start_of(WRONG, "second", bounds).await;
    scene.until("second", "ALERT_RAISED LONG_RUNNING_TASK").await;
    let open = vec![AlertKind::LongRunningTask, AlertKind::PollBlocked];
    assert_eq!(stands(&scene.get("second").await), (State::Starting, open));
    assert_eq!(scene.metric("shards_relieved_total").await, 1);
    let task = scene.cancel("first").await;
    assert_eq!((task.state(), outcome(&task)), (State::Cancelled, (Exit::Graceful, Asked::Cancel)));
    scene.settles("shards_relieved_total", 2).await;
    drop(second);
    scene.until("second", "INSTANCE_READY").await;
    assert_eq!(scene.cancel("second").await.state(), State::Cancelled);
}
