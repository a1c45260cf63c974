//! What a monitor has at hand while it runs.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::{AbortHandle, yield_now};

use super::{CancellationToken, Cancelled, Children, Clock, LiveCell, Orders};
use crate::model::{Attempt, Evidence, Generation, InstanceId, Mono, Pretty, Schedule, TaskName, Uid};
use crate::telemetry::Checks;

/// Something that an instance tells the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whose it is.
    pub instance: InstanceId,
    /// When it happened.
    pub at: Mono,
    /// What happened.
    pub fact: Fact,
}

/// What happened to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It is ready. May come for an instance that is ready already.
    Ready,
    /// A piece of work begins.
    CheckBegan,
    /// The piece of work has ended, and proves something.
    CheckEnded(Evidence),
}

/// What an instance is to run, and whom it tells.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The instance.
    pub instance: InstanceId,
    /// Its task's name.
    pub name: TaskName,
    /// Its task's uid; its phase depends on it.
    pub uid: Uid,
    /// The spec it runs.
    pub generation: Generation,
    /// Which run of that spec this is.
    pub attempt: Attempt,
    /// The kind's name, as metrics label it.
    pub kind: Arc<str>,
    /// When checks run.
    pub schedule: Schedule,
    /// The process's clock.
    pub clock: Clock,
    /// To the manager's loop.
    pub reports: mpsc::Sender<Report>,
    /// Where checks and progress are shown.
    pub live: Arc<LiveCell>,
    /// Under what checks run.
    pub orders: Arc<Orders>,
    /// Within how many milliseconds the first check is to begin; 0 is at once. Where many instances are started together, their
    /// tasks' uids spread them over this.
    pub spread_millis: u16,
    /// Where checks are counted.
    pub checks: Checks,
}

/// A monitor's hold on its instance: the token that tells it to stop, its schedule, its children, and the marks it makes.
///
/// It is owned by the monitor's future. A child that needs the token or spawns children of its own gets clones of
/// [`token`](Self::token) and [`children`](Self::children).
pub struct Context {
    assignment: Assignment,
    token: CancellationToken,
    children: Children,
    said_ready: AtomicBool,
    has_checked: AtomicBool,
}

impl Context {
    /// The context of one instance. The caller keeps clones of the token and of the children.
    pub const fn new(assignment: Assignment, token: CancellationToken, children: Children) -> Self {
        let (said_ready, has_checked) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { assignment, token, children, said_ready, has_checked }
    }

    /// What tells the monitor to stop. To be looked at on **every** iteration.
    pub const fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Says that the instance is ready: for kinds that [declare readiness](super::Kind::declares_readiness). It has been said once
    /// this returns, so the monitor may go on to whatever it likes; saying it again changes nothing.
    pub async fn ready(&self) {
        if !self.said_ready.swap(true, Ordering::Relaxed) {
            self.report(Fact::Ready).await;
        }
    }

    /// The future's output, or `None` where the instance is told to stop first: then the future is dropped at once, wherever it
    /// stands.
    ///
    /// ```
    /// # use switchyard::monitor::{Context, MonitorError};
    /// # async fn run(context: Context) -> Result<(), MonitorError> {
    /// while let Some(message) = context.run_until_cancelled(next_message()).await {
    ///     process(message);
    /// }
    /// # Ok(()) }
    /// # async fn next_message() -> u8 { 0 }
    /// # fn process(_: u8) {}
    /// ```
    pub async fn run_until_cancelled<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            // Not tokio-util's method of that name: it prefers the future, so that one which is always ready goes on for ever.
            biased;
            () = self.token.cancelled() => None,
            output = future => Some(output),
        }
    }

    /// A place to stop within long work: lets others have their turn, and is an error once the instance is told to stop.
    ///
    /// ```
    /// # use switchyard::monitor::{Context, MonitorError};
    /// # async fn run(context: Context) -> Result<(), MonitorError> {
    /// for chunk in 0..100 {
    ///     context.checkpoint().await?;
    ///     process_chunk(chunk).await;
    /// }
    /// # Ok(()) }
    /// # async fn process_chunk(_: u32) {}
    /// ```
    pub async fn checkpoint(&self) -> Result<(), Cancelled> {
        yield_now().await;
        if self.token.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Cleans up, but not for longer than `timeout`: a clean-up that hangs delays the shutdown until the monitor is aborted.
    /// Returns whether it was finished; where it was not, that is logged.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use switchyard::monitor::{Context, MonitorError};
    /// # async fn run(context: Context) -> Result<(), MonitorError> {
    /// context.token().cancelled().await;
    /// context.cleanup(Duration::from_secs(2), flush_buffers()).await;
    /// # Ok(()) }
    /// # async fn flush_buffers() {}
    /// ```
    pub async fn cleanup(&self, timeout: Duration, work: impl Future<Output = ()>) -> bool {
        let finished = tokio::time::timeout(timeout, work).await.is_ok();
        if !finished {
            tracing::warn!(task = %self.name(), timeout = %Pretty(timeout), "the monitor's clean-up was cut short");
        }
        finished
    }

    /// Spawns a child task. The instance has not ended while it lives, and an abort reaches it; the token does not by itself, so
    /// give the child a clone. See [`Children::spawn`].
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.children.spawn(future)
    }

    /// Marks that the monitor gets on, for those who look at `Task.live`. [`every`](Self::every) does it by itself.
    pub fn progress(&self) {
        let now = self.clock().now().wall;
        self.live().update(|live| live.last_progress_time = Some(now));
    }

    /// The instance's children.
    pub const fn children(&self) -> &Children {
        &self.children
    }

    /// The task's name.
    pub const fn name(&self) -> &TaskName {
        &self.assignment.name
    }

    /// The task's uid.
    pub const fn uid(&self) -> Uid {
        self.assignment.uid
    }

    /// The number of the spec that runs.
    pub const fn generation(&self) -> Generation {
        self.assignment.generation
    }

    /// Which run of that spec this is, from 1.
    pub const fn attempt(&self) -> Attempt {
        self.assignment.attempt
    }

    /// The kind's name.
    pub fn kind(&self) -> &str {
        &self.assignment.kind
    }

    /// When the task's owner wants checks to run.
    pub const fn schedule(&self) -> &Schedule {
        &self.assignment.schedule
    }

    pub(super) const fn clock(&self) -> &Clock {
        &self.assignment.clock
    }

    pub(super) fn live(&self) -> &LiveCell {
        &self.assignment.live
    }

    pub(super) fn orders(&self) -> &Orders {
        &self.assignment.orders
    }

    /// How long the first check of all may be put off; asked for once.
    pub(super) fn take_spread(&self) -> Duration {
        let spread = if self.has_checked.swap(true, Ordering::Relaxed) { 0 } else { self.assignment.spread_millis };
        Duration::from_millis(spread.into())
    }

    pub(super) const fn checks(&self) -> &Checks {
        &self.assignment.checks
    }

    /// Whether the instance's checks drive anything: not while another one is the task's active instance.
    pub(crate) fn is_counted(&self) -> bool {
        self.orders().regime().counted
    }

    /// Tells the manager. A loop that is behind is waited for, but not any more once the instance is told to stop: from then on
    /// only its end matters.
    pub(super) async fn report(&self, fact: Fact) {
        if let Err(TrySendError::Full(report)) = self.assignment.reports.try_send(self.said(fact)) {
            // On the heap, so that an instance that never has to wait is smaller by what that takes.
            let sent = Box::pin(self.run_until_cancelled(self.assignment.reports.send(report)));
            // Neither a cancel nor a closed channel leaves anybody who would want the report.
            let _ = sent.await;
        }
    }

    /// Tells the manager, unless it is behind.
    pub(super) fn try_report(&self, fact: Fact) {
        // The instance ends, and its end says it all.
        let _ = self.assignment.reports.try_send(self.said(fact));
    }

    fn said(&self, fact: Fact) -> Report {
        Report { instance: self.assignment.instance, at: self.clock().now().mono, fact }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Assignment { instance, name, generation, attempt, .. } = &self.assignment;
        f.debug_struct("Context")
            .field("instance", instance)
            .field("name", name)
            .field("generation", generation)
            .field("attempt", attempt)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
