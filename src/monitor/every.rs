//! Checks on the phase grid.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::grid::Grid;
use super::orders::Call;
use super::{CANCELLED, Context, Fact, Finding, PANICKED, SUPERSEDED, TIMEOUT, Wanted};
use crate::model::{Check, CheckRecord, Evidence, Mono, Now, Pretty, Regime, limits};

impl Context {
    /// Makes checks until the instance is told to stop, or `schedule.max_runs` checks have been made.
    ///
    /// `check` is called for each check and returns its future. The first check begins at once; the instance is ready after it,
    /// whatever its verdict. Later ones begin at the points of the phase grid, `offset + n * interval`, where the offset is a hash
    /// of the task's uid. Checks never overlap: a point that passes while one runs is skipped and counted in
    /// `Task.live.missed_checks`; only a check that stands off the grid makes up for it, the first one and those of a trial. An interval below 1 ms
    /// counts as 1 ms.
    ///
    /// A check that takes longer than `schedule.timeout` is dropped: FAIL, with the reason [`TIMEOUT`]. One that is running when
    /// the instance is told to stop is dropped at once: NEUTRAL, [`CANCELLED`]. A panic in `check` is the monitor's own.
    ///
    /// While the task's circuit is half-open, checks run at its `trial_interval` instead: the first one at once, in place of one that
    /// may be running then, which is dropped: NEUTRAL, [`SUPERSEDED`].
    ///
    /// A check that somebody asks for, by `RunTask`, begins at once, or when the one that runs has ended.
    ///
    /// What checks find is shown as `Task.live.last_check` and counted in the metrics, and drives the task's circuit. Call it once
    /// at a time: two loops of one context would mark each other's work as theirs.
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
        let mut due = self.first_due(grid);
        let mut runs = 0_u64;
        while self.wait_for(grid, &mut due).await {
            match self.check_once(grid, due.map(|due: Due| due.at), &mut check).await {
                None => break,
                Some(Made::Superseded) => due = Some(self.due_now()),
                Some(Made::Checked(span)) => {
                    runs += 1;
                    if self.schedule().max_runs().is_some_and(|most| runs >= most.into()) {
                        break;
                    }
                    due = Some(self.plan_next(grid, due.map(|due| due.at), span));
                }
            }
        }
        self.live().update(|live| live.next_check_time = None);
        // Whoever still waits for a check learns that there is none.
        drop(self.orders().take_wanted());
    }

    /// `None` where the first check is to begin at once.
    fn first_due(&self, grid: Grid) -> Option<Due> {
        let spread = self.take_spread();
        let now = self.clock().now().mono;
        (!spread.is_zero()).then(|| Due { at: grid.spread(self.uid(), now, spread), under: self.orders().regime() })
    }

    /// Waits until a check is due; the first one is at once, and so is the first of a trial, and one that is asked for. False where
    /// the instance is told to stop.
    async fn wait_for(&self, grid: Grid, due: &mut Option<Due>) -> bool {
        while let Some(Due { at, under }) = *due {
            // All three in one place, and not one within another: this is what an idle instance's memory is made of.
            let call = tokio::select! {
                biased;
                () = self.token().cancelled() => return false,
                call = self.orders().called(under) => call,
                () = sleep_until(self.clock().instant(at)) => return true,
            };
            let now = self.clock().now().mono;
            let regime = match call {
                Call::Changed(regime) => regime,
                Call::Wanted => {
                    *due = Some(Due { at: now, under });
                    return true;
                }
            };
            let at = match regime.trial_interval {
                Some(_) if regime.begins_trial_after(under) => now,
                None if under.trial_interval.is_some() => grid.after(now),
                _ => at,
            };
            *due = Some(Due { at, under: regime });
        }
        !self.token().is_cancelled()
    }

    fn due_now(&self) -> Due {
        Due { at: self.clock().now().mono, under: self.orders().regime() }
    }

    /// Makes one check, from its mark to its mark; `None` where the instance is told to stop meanwhile.
    async fn check_once<F, Fut>(&self, grid: Grid, due: Option<Mono>, check: &mut F) -> Option<Made>
    where
        F: FnMut(Instant) -> Fut + Send,
        Fut: Future<Output = Finding> + Send,
    {
        self.report(Fact::CheckBegan).await;
        let mut running = Running::begin(self, due);
        let deadline = self.clock().instant(grid.deadline(running.began.mono, self.schedule().timeout()));
        let regime = running.regime;
        // On the heap, and only while it runs, so that an idle instance is small.
        let check = Box::pin(async {
            tokio::select! {
                biased;
                // On trial only what begins in it counts: no time is lost on a check that was begun before.
                () = self.orders().trial_began(regime) => None,
                finding = check(deadline) => Some(finding),
            }
        });
        let finding = self.run_until_cancelled(check).await?;
        let superseded = finding.is_none();
        if superseded {
            self.orders().want_again(std::mem::take(&mut running.wanted));
        }
        let neutral = || Finding::neutral(SUPERSEDED, "a trial of the target has begun, with a check of its own");
        let (span, evidence) = running.end(finding.unwrap_or_else(neutral));
        if !superseded {
            // First: evidence counts for ready instances only, and the first check is evidence, too.
            self.ready().await;
        }
        self.report(Fact::CheckEnded(evidence)).await;
        Some(if superseded { Made::Superseded } else { Made::Checked(span) })
    }

    /// When the next check is due; counts the points that passed meanwhile.
    fn plan_next(&self, grid: Grid, due: Option<Mono>, span: Span) -> Due {
        let regime = self.orders().regime();
        let (next, mut missed) = match regime.trial_interval {
            // It began as the check ended, which proves nothing of it.
            Some(_) if regime.begins_trial_after(span.under) => (span.ended, 0),
            // A trial keeps its own time.
            Some(trial) => ((span.began + trial).max(span.ended), 0),
            None => grid.next(due.unwrap_or(span.began), span.ended),
        };
        if span.under.trial_interval.is_some() {
            // It covers what passed of the grid, also where it was the last of its trial.
            missed = 0;
        } else if due.is_none() {
            // The first check stands in for the first point of the grid.
            missed = missed.saturating_sub(1);
        }
        if missed > 0 && regime.counted {
            self.checks().missed(missed);
        }
        let now = self.clock().now();
        self.live().update(|live| {
            live.missed_checks = live.missed_checks.saturating_add(missed);
            live.next_check_time = Some(now.wall + next.since(now.mono));
        });
        Due { at: next, under: regime }
    }
}

/// When the next check is due, as planned under a regime.
#[derive(Clone, Copy)]
struct Due {
    at: Mono,
    under: Regime,
}

/// What came of a check that was begun.
enum Made {
    Checked(Span),
    /// A trial began meanwhile: it is made anew.
    Superseded,
}

/// From where to where a check ran, and under which regime it began.
#[derive(Clone, Copy)]
struct Span {
    began: Mono,
    ended: Mono,
    under: Regime,
}

/// A check that runs. Dropped before its end it is recorded all the same: told to stop, aborted, or in a panic.
struct Running<'a> {
    context: &'a Context,
    began: Now,
    regime: Regime,
    /// Who has asked for it.
    wanted: Vec<Wanted>,
    recorded: bool,
}

impl<'a> Running<'a> {
    fn begin(context: &'a Context, due: Option<Mono>) -> Self {
        let (began, regime) = (context.clock().now(), context.orders().regime());
        if let Some(due) = due.filter(|_| regime.counted) {
            context.checks().lagged(began.mono.since(due));
        }
        context.live().update(|live| live.next_check_time = None);
        Self { context, began, regime, wanted: context.orders().take_wanted(), recorded: false }
    }

    fn end(mut self, finding: Finding) -> (Span, Evidence) {
        let (ended, evidence) = self.record(finding);
        (Span { began: self.began.mono, ended: ended.mono, under: self.regime }, evidence)
    }

    fn record(&mut self, finding: Finding) -> (Now, Evidence) {
        self.recorded = true;
        let Finding { verdict, reason, mut message, phases } = finding;
        message.truncate(message.floor_char_boundary(limits::MESSAGE_BYTES));
        let (ended, attempt) = (self.context.clock().now(), self.context.attempt());
        let duration = ended.mono.since(self.began.mono);
        let check = Check { time: self.began.wall, duration, phases, verdict, reason, message, attempt };
        if self.regime.counted {
            self.context.checks().ended(self.context.kind(), verdict, duration);
        } else {
            self.context.checks().shadowed(self.context.kind(), verdict);
        }
        self.context.checks().tail().show(|| CheckRecord {
            name: self.context.name().clone(),
            uid: self.context.uid(),
            generation: self.context.generation(),
            shadow: !self.regime.counted,
            check: check.clone(),
        });
        let answers: Vec<_> = self.wanted.drain(..).map(|wanted| (wanted, check.clone())).collect();
        self.context.live().update(|live| {
            live.last_check = Some(check);
            live.last_progress_time = Some(ended.wall);
        });
        // Last: whoever asked may read the task at once, and shall find nothing older.
        for (wanted, check) in answers {
            // They may have gone.
            let _ = wanted.send(check);
        }
        (ended, Evidence { regime: self.regime, verdict, latency: duration })
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.recorded {
            return;
        }
        // It was cut short, so it is not what was asked for.
        self.wanted.clear();
        let finding = if std::thread::panicking() {
            Finding::neutral(PANICKED, "the check panicked")
        } else {
            Finding::neutral(CANCELLED, "the instance was told to stop")
        };
        let (_, evidence) = self.record(finding);
        self.context.try_report(Fact::CheckEnded(evidence));
    }
}

#[cfg(test)]
mod tests;
