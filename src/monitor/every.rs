//! Checks on the phase grid.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::grid::Grid;
use super::{CANCELLED, Context, Fact, Finding, PANICKED, TIMEOUT};
use crate::model::{Check, Mono, Now, Pretty, limits};

impl Context {
    /// Makes checks until the instance is told to stop, or `schedule.max_runs` checks have been made.
    ///
    /// `check` is called for each check and returns its future. The first check begins at once; the instance is ready after it,
    /// whatever its verdict. Later ones begin at the points of the phase grid, `offset + n * interval`, where the offset is a hash
    /// of the task's uid. Checks never overlap: a point that passes while one runs is skipped and counted in
    /// `Task.live.missed_checks`; only the first check, which stands off the grid, makes up for one point. An interval below 1 ms
    /// counts as 1 ms.
    ///
    /// A check that takes longer than `schedule.timeout` is dropped: FAIL, with the reason [`TIMEOUT`]. One that is running when
    /// the instance is told to stop is dropped at once: NEUTRAL, [`CANCELLED`]. A panic in `check` is the monitor's own.
    ///
    /// What checks find is shown as `Task.live.last_check` and counted in the metrics. Call it once at a time: two loops of one
    /// context would mark each other's work as theirs.
    ///
    /// ```
    /// # use switchyard::monitor::{Config, Context, Finding, Kind, Monitor, MonitorError, MonitorFuture};
    /// struct QueueDepth {
    ///     limit: usize,
    /// }
    ///
    /// impl Monitor for QueueDepth {
    ///     fn run(self: Box<Self>, context: Context) -> MonitorFuture {
    ///         Box::pin(async move {
    ///             context.every(context.schedule().interval(), || self.check()).await;
    ///             Ok(())
    ///         })
    ///     }
    /// }
    ///
    /// impl QueueDepth {
    ///     async fn check(&self) -> Finding {
    ///         match ask_for_depth().await {
    ///             depth if depth > self.limit => Finding::fail("QUEUE_FULL", format!("{depth} messages wait")),
    ///             _ => Finding::pass(),
    ///         }
    ///     }
    /// }
    /// # async fn ask_for_depth() -> usize { 0 }
    /// ```
    pub async fn every<F, Fut>(&self, interval: Duration, mut check: F)
    where
        F: FnMut() -> Fut + Send,
        Fut: Future<Output = Finding> + Send,
    {
        let limit = self.schedule().timeout();
        let bounded = |deadline| {
            let check = check();
            async move {
                let finding = timeout_at(deadline, check).await;
                finding.unwrap_or_else(|_| Finding::fail(TIMEOUT, format!("no result within {}", Pretty(limit))))
            }
        };
        self.every_until(interval, bounded).await;
    }

    /// As [`every`](Self::every), for checks that are told their deadline and keep it: they know best what took so long.
    pub(crate) async fn every_until<F, Fut>(&self, interval: Duration, mut check: F)
    where
        F: FnMut(Instant) -> Fut + Send,
        Fut: Future<Output = Finding> + Send,
    {
        let grid = Grid::new(self.clock(), self.uid(), interval);
        let mut due = None;
        for run in 1_u64.. {
            if !self.wait_for(due).await {
                break;
            }
            let Some(span) = self.check_once(grid, due, &mut check).await else { break };
            if run == 1 {
                self.ready().await;
            }
            if self.schedule().max_runs().is_some_and(|most| run >= most.into()) {
                break;
            }
            due = Some(self.plan_next(grid, due, span));
        }
        self.live().update(|live| live.next_check_time = None);
    }

    /// Waits until a check is due; the first one is at once. False where the instance is told to stop.
    async fn wait_for(&self, due: Option<Mono>) -> bool {
        match due {
            None => !self.token().is_cancelled(),
            Some(due) => self.run_until_cancelled(sleep_until(self.clock().instant(due))).await.is_some(),
        }
    }

    /// Makes one check, from its mark to its mark; `None` where the instance is told to stop meanwhile.
    async fn check_once<F, Fut>(&self, grid: Grid, due: Option<Mono>, check: &mut F) -> Option<Span>
    where
        F: FnMut(Instant) -> Fut + Send,
        Fut: Future<Output = Finding> + Send,
    {
        self.report(Fact::CheckBegan).await;
        let running = Running::begin(self, due);
        let deadline = self.clock().instant(grid.deadline(running.began.mono, self.schedule().timeout()));
        // On the heap, and only while it runs, so that an idle instance is small.
        let finding = self.run_until_cancelled(Box::pin(async { check(deadline).await })).await?;
        let span = running.end(finding);
        self.report(Fact::CheckEnded).await;
        Some(span)
    }

    /// When the next check is due; counts the points that passed meanwhile.
    fn plan_next(&self, grid: Grid, due: Option<Mono>, span: Span) -> Mono {
        let (next, mut missed) = grid.next(due.unwrap_or(span.began), span.ended);
        if due.is_none() {
            // The first check stands in for the first point of the grid.
            missed = missed.saturating_sub(1);
        }
        if missed > 0 {
            self.checks().missed(missed);
        }
        let now = self.clock().now();
        self.live().update(|live| {
            live.missed_checks = live.missed_checks.saturating_add(missed);
            live.next_check_time = Some(now.wall + next.since(now.mono));
        });
        next
    }
}

/// From where to where a check ran.
#[derive(Clone, Copy)]
struct Span {
    began: Mono,
    ended: Mono,
}

/// A check that runs. Dropped before its end it is recorded all the same: told to stop, aborted, or in a panic.
struct Running<'a> {
    context: &'a Context,
    began: Now,
    recorded: bool,
}

impl<'a> Running<'a> {
    fn begin(context: &'a Context, due: Option<Mono>) -> Self {
        let began = context.clock().now();
        if let Some(due) = due {
            context.checks().lagged(began.mono.since(due));
        }
        context.live().update(|live| live.next_check_time = None);
        Self { context, began, recorded: false }
    }

    fn end(mut self, finding: Finding) -> Span {
        let ended = self.record(finding);
        Span { began: self.began.mono, ended: ended.mono }
    }

    fn record(&mut self, finding: Finding) -> Now {
        self.recorded = true;
        let Finding { verdict, reason, mut message, phases } = finding;
        message.truncate(message.floor_char_boundary(limits::MESSAGE_BYTES));
        let (ended, attempt) = (self.context.clock().now(), self.context.attempt());
        let duration = ended.mono.since(self.began.mono);
        let check = Check { time: self.began.wall, duration, phases, verdict, reason, message, attempt };
        self.context.checks().ended(self.context.kind(), verdict, duration);
        self.context.live().update(|live| {
            live.last_check = Some(check);
            live.last_progress_time = Some(ended.wall);
        });
        ended
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.recorded {
            return;
        }
        let finding = if std::thread::panicking() {
            Finding::neutral(PANICKED, "the check panicked")
        } else {
            Finding::neutral(CANCELLED, "the instance was told to stop")
        };
        self.record(finding);
        self.context.try_report(Fact::CheckEnded);
    }
}

#[cfg(test)]
mod tests;
