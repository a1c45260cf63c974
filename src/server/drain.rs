//! The drain: every step with a deadline of its own, 10 s in all with the commands' end after it (design.md §4).

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::task_files::Following;
use super::{Ended, Parts, Transports};
use crate::http::Phase;
use crate::journal::Finished;
use crate::manager::Manager;
use crate::model::{Cause, Sequence};
use crate::rpc::DrainRequest;

/// Tasks stop within this: the seed's 5 s and 2 s.
const TASKS: Duration = Duration::from_secs(7);
/// What the manager's loop may add to that before it is taken for dead.
const TASKS_SLACK: Duration = Duration::from_millis(500);
/// The journal commits what waits; it also has what the tasks have left of their time.
const FLUSH: Duration = Duration::from_millis(500);
/// Streams deliver their last events, then connections end.
const TRANSPORT: Duration = Duration::from_millis(1_600);
/// The store closes its file; it also has what the commits have left of their time.
const CLOSE: Duration = Duration::from_millis(100);
/// For each of the lines that say what went wrong, of which there are three at the most.
const SAYING: Duration = Duration::from_millis(100);

/// Why a server drains.
pub(super) struct Why {
    pub(super) cause: Cause,
    /// Who waits to hear that it has begun.
    pub(super) begun: Option<oneshot::Sender<Sequence>>,
}

/// Ends everything, in an order in which clients see the end of every task before the end of their streams. A drain is no
/// cancel: the tasks are still to run.
pub(super) async fn drain(parts: Parts, why: Why) -> Ended {
    let Parts {
        control,
        manager,
        writer,
        event_log,
        health,
        capacity,
        task_files,
        asked,
        readiness,
        closing,
        transports,
        address,
    } = parts;
    let Why { cause, begun } = why;
    let (began, since) = oneshot::channel();
    // Until the end of the drain: so long there are calls.
    let _telling = AbortOnDropHandle::new(tokio::spawn(tell(since, begun, asked)));
    let task_files = task_files.map(Following::drain);
    readiness.set(Phase::Draining);
    // First: it would turn the health back.
    capacity.abort();
    let _ = capacity.await;
    health.drain().await;
    let stopping = Instant::now();
    let ended = stop_tasks(&manager, cause, began).await;
    let flush = FLUSH + TASKS.saturating_sub(stopping.elapsed());
    // While the directory is still held: the next server's socket is not ours to remove.
    drop(control);
    let flushing = Instant::now();
    let finished = spawn_blocking(move || writer.finish(flush)).await.ok();
    let closing_time = flush.saturating_sub(flushing.elapsed()).max(CLOSE);
    let ended = match (finished.as_ref().is_some_and(Finished::has_committed_all), ended) {
        (true, ended) => ended,
        (_, ended) => {
            say(|| tracing::error!("the journal did not commit everything in time")).await;
            // What the tasks did last is not on the disk: nobody should take that for a clean end.
            if ended == Ended::Clean { Ended::Failed } else { ended }
        }
    };
    drop(closing);
    health.close().await;
    // The log ends with the journal, and its last lines tell how the tasks did.
    let said = async {
        if let Some(task_files) = task_files {
            // A panic there was logged when it happened.
            let _ = task_files.await;
        }
    };
    let rest = async { tokio::join!(said, transports.end(), event_log, manager.close()) };
    if timeout(TRANSPORT, rest).await.is_err() {
        say(|| tracing::warn!("some connections, or the log, did not end in time: cut")).await;
    }
    // Only now: until then streams and the log read from the store what is no longer in memory. A store that does not close in time
    // has everything all the same; the next server looks it through first.
    let _ = timeout(closing_time, spawn_blocking(move || drop(finished))).await;
    // Last: whoever waits for the server to be gone may begin another in its place.
    drop(address);
    ended
}

impl Transports {
    /// Has them end, and waits for that. A panic there was logged when it happened.
    async fn end(self) {
        let Self { stopping, grpc, http } = self;
        drop(stopping);
        let _ = tokio::join!(grpc, http);
    }
}

/// Tells everybody who asks for the drain where it began.
async fn tell(
    since: oneshot::Receiver<Sequence>,
    first: Option<oneshot::Sender<Sequence>>,
    mut asked: mpsc::Receiver<DrainRequest>,
) {
    let Ok(since) = since.await else { return };
    // Whoever asked may have stopped waiting.
    let _ = first.map(|first| first.send(since));
    while let Some(DrainRequest { begun, cause: _ }) = asked.recv().await {
        let _ = begun.send(since);
    }
}

async fn stop_tasks(manager: &Manager, cause: Cause, began: oneshot::Sender<Sequence>) -> Ended {
    let left = match timeout(TASKS + TASKS_SLACK, manager.drain(TASKS, cause, Some(began))).await {
        Ok(Ok(0)) => return Ended::Clean,
        Ok(Ok(stuck)) => stuck,
        Ok(Err(_)) => 0,
        Err(_) => manager.live(),
    };
    if left == 0 {
        say(|| tracing::error!("the manager's loop has died, and how the tasks ended is not known")).await;
        return Ended::Failed;
    }
    say(move || tracing::warn!(instances = left, "stuck instances are abandoned")).await;
    Ended::Abandoned(left)
}

/// Logs a line, unless standard error is stuck: whoever should read it must not be able to hold up the end.
pub(super) async fn say(line: impl FnOnce() + Send + 'static) {
    // A line that is late is lost with the process.
    let _ = timeout(SAYING, spawn_blocking(line)).await;
}
