//! Running a monitor on its shard, and waiting until nothing of it is left.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::{JoinError, JoinHandle};

use crate::lifecycle::RootEnd;
use crate::model::InstanceId;
use crate::monitor::{
    CancellationToken, Children, Clock, Context, Fact, Monitor, MonitorError, MonitorFuture, Occupant, Polled, Report,
};

/// What an instance's monitor is run with.
pub(super) struct Body {
    pub(super) monitor: Box<dyn Monitor>,
    pub(super) context: Context,
    /// Whether the monitor says itself when it is ready; otherwise its first pending poll does.
    pub(super) declares_readiness: bool,
    pub(super) instance: InstanceId,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) clock: Clock,
}

/// Runs a monitor on a shard. Its future is made there, too: that is the monitor's own code.
pub(super) fn spawn(runtime: &Handle, occupant: Occupant, body: Body) -> JoinHandle<Result<(), String>> {
    // On the heap, and only until the first poll: there are many instances, and each is as large as what it keeps.
    runtime.spawn(Polled::new(occupant, run(Box::new(body))))
}

async fn run(body: Box<Body>) -> Result<(), String> {
    let (mut running, token, undeclared) = begin(body);
    // That it was told to stop is no failure, once it was.
    let outcome = |returned: Result<(), MonitorError>| match returned {
        Err(error) if !(error.is_cancelled() && token.is_cancelled()) => Err(error.to_string()),
        _ => Ok(()),
    };
    if let Some(Undeclared { instance, reports, clock }) = undeclared {
        let first = poll_fn(|cx| Poll::Ready(running.as_mut().poll(cx))).await;
        if let Poll::Ready(returned) = first {
            return outcome(returned);
        }
        let ready = Report { instance, at: clock.now().mono, fact: Fact::Ready };
        // The loop is gone only when the process ends.
        if let Err(TrySendError::Full(ready)) = reports.try_send(ready) {
            let mut sent = Box::pin(reports.send(ready));
            tokio::select! {
                returned = &mut running => return outcome(returned),
                _ = &mut sent => {}
            }
        }
    }
    outcome(running.await)
}

/// What says that an instance is ready, where its monitor does not.
struct Undeclared {
    instance: InstanceId,
    reports: mpsc::Sender<Report>,
    clock: Clock,
}

/// Has the monitor make its future; keeps what is needed beside that.
fn begin(body: Box<Body>) -> (MonitorFuture, CancellationToken, Option<Undeclared>) {
    let Body { monitor, context, declares_readiness, instance, reports, clock } = *body;
    let token = context.token().clone();
    let undeclared = (!declares_readiness).then_some(Undeclared { instance, reports, clock });
    (monitor.run(context), token, undeclared)
}

/// What a reaper has found.
pub(super) enum Reaped {
    /// The root has ended; the children may live.
    Root { instance: InstanceId, end: RootEnd, children: Children },
    /// The children have ended, too.
    Children { instance: InstanceId, aborted: bool },
}

/// Owns a root's join handle until it has ended.
pub(super) async fn reap_root(
    instance: InstanceId,
    root: JoinHandle<Result<(), String>>,
    children: Children,
) -> Reaped {
    let end = match root.await {
        Ok(Ok(())) => RootEnd::Returned,
        Ok(Err(error)) => RootEnd::Failed(error),
        Err(error) => join_error(error),
    };
    Reaped::Root { instance, end, children }
}

/// Waits until the last child has ended.
pub(super) async fn reap_children(instance: InstanceId, children: Children) -> Reaped {
    children.ended().await;
    Reaped::Children { instance, aborted: children.aborted() }
}

fn join_error(error: JoinError) -> RootEnd {
    match error.try_into_panic() {
        Err(_cancelled) => RootEnd::Cancelled,
        Ok(panic) => {
            let message = panic_message(&*panic);
            // Nobody waits for that.
            tokio::task::spawn_blocking(move || discard(panic));
            RootEnd::Panicked(message)
        }
    }
}

/// Drops what was thrown. It may be of a type whose `drop` is embedder's code, so not on a thread of ours; where that panics, what
/// it throws is leaked, or this need not have an end.
pub(super) fn discard(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(move || drop(panic))) {
        std::mem::forget(again);
    }
}

/// A panic's own words, where it has any.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}
