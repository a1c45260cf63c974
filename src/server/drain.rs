//! The drain: every step with a deadline of its own, 10 s in all (design.md §4).

use std::time::Duration;

use tokio::time::timeout;

use super::{Ended, Parts};
use crate::http::Phase;

/// Tasks stop within this: the seed's 5 s and 2 s.
const TASKS: Duration = Duration::from_secs(7);
/// What the manager's loop may add to that before it is taken for dead.
const TASKS_SLACK: Duration = Duration::from_millis(500);
/// The journal commits what waits.
const FLUSH: Duration = Duration::from_millis(500);
/// Streams deliver their last events, then connections end.
const TRANSPORT: Duration = Duration::from_millis(2_000);

/// Ends everything, in an order in which clients see the end of every task before the end of their streams. A drain is no
/// cancel: the tasks are still to run.
pub(super) async fn drain(parts: Parts) -> Ended {
    let Parts { manager, writer, event_log, health, readiness, closing, stopping, grpc, http } = parts;
    readiness.set(Phase::Draining);
    health.drain().await;
    let stuck = match timeout(TASKS + TASKS_SLACK, manager.drain(TASKS)).await {
        Ok(stuck) => stuck,
        Err(_) => {
            tracing::error!("the manager did not stop its tasks in time");
            manager.live()
        }
    };
    let flushed = tokio::task::spawn_blocking(move || writer.close(FLUSH)).await;
    if !matches!(flushed, Ok(true)) {
        tracing::error!("the journal did not commit everything in time");
    }
    closing.cancel();
    health.close().await;
    stopping.cancel();
    let (grpc_abort, http_abort) = (grpc.abort_handle(), http.abort_handle());
    let transports = async {
        // A panic there was logged when it happened. The log ends with the journal, and its last lines tell how the tasks did.
        let logged = tokio::task::spawn_blocking(move || event_log.join());
        let _ = tokio::join!(grpc, http, logged);
    };
    let closed = async { tokio::join!(transports, manager.close()) };
    if timeout(TRANSPORT, closed).await.is_err() {
        tracing::warn!("some connections, or the log, did not end in time: cut");
        grpc_abort.abort();
        http_abort.abort();
    }
    if stuck > 0 {
        tracing::warn!(instances = stuck, "stuck instances are abandoned");
        return Ended::Abandoned(stuck);
    }
    Ended::Clean
}
