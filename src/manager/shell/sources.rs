//! Where the loop hears from: channels from elsewhere, and futures that it has begun itself.

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::unconstrained;

use crate::journal::Release;
use crate::lifecycle::Launch;
use crate::manager::handle::Request;
use crate::manager::reaper::Reaped;
use crate::manager::vetting::Built;
use crate::manager::watchdog::News;
use crate::model::{InstanceId, Sequence};
use crate::monitor::Report;

/// What the loop is told.
pub(super) enum Incoming {
    Exit(Reaped),
    Build(Build),
    /// The cut-over that replaced this instance is committed.
    Commit(InstanceId),
    News(News),
    Report(Report),
    Request(Request),
}

/// What came of building a monitor.
pub(super) enum Build {
    /// For an instance; `None` where it was asked to stop before that.
    Instance(Launch, Option<Result<Built, String>>),
    /// For a swap's candidate.
    Candidate(InstanceId, Result<Built, String>),
}

/// Names a source; what comes first goes first.
#[derive(Clone, Copy)]
pub(super) enum Source {
    Exits,
    Builds,
    Commits,
    News,
    Reports,
    Requests,
}

impl Source {
    pub(super) const AFTER_EXITS: [Self; 5] = [Self::Builds, Self::Commits, Self::News, Self::Reports, Self::Requests];
}

/// Every source.
pub(in crate::manager) struct Sources {
    exits: Pending<Reaped>,
    builds: Pending<Build>,
    commits: Pending<InstanceId>,
    news: mpsc::Receiver<News>,
    reports: mpsc::Receiver<Report>,
    requests: mpsc::Receiver<Request>,
}

type Pending<T> = FuturesUnordered<BoxFuture<'static, T>>;

impl Sources {
    pub(in crate::manager) fn new(
        requests: mpsc::Receiver<Request>,
        reports: mpsc::Receiver<Report>,
        news: mpsc::Receiver<News>,
    ) -> Self {
        Self { exits: Pending::new(), builds: Pending::new(), commits: Pending::new(), news, reports, requests }
    }

    /// Tells of an exit once this has found it.
    pub(super) fn reap(&self, reaper: impl Future<Output = Reaped> + Send + 'static) {
        self.exits.push(reaper.boxed());
    }

    /// Tells of a build once it has come to an end.
    pub(super) fn build(&self, build: impl Future<Output = Build> + Send + 'static) {
        self.builds.push(build.boxed());
    }

    /// Tells of the cut-over that replaced this instance, once what is released is.
    pub(super) fn commit(&self, after: Sequence, replaced: InstanceId) -> Release {
        let (committed, commit) = oneshot::channel::<()>();
        let commit = async move {
            // A writer that is gone commits nothing any more, and then the process ends.
            let _ = commit.await;
            replaced
        };
        self.commits.push(commit.boxed());
        Release { after, run: Box::new(move || drop(committed)) }
    }

    /// Waits for whatever comes next. Cancel-safe: what was not returned comes again.
    pub(super) async fn next(&mut self) -> Incoming {
        tokio::select! {
            biased;
            Some(reaped) = self.exits.next() => Incoming::Exit(reaped),
            Some(build) = self.builds.next() => Incoming::Build(build),
            Some(replaced) = self.commits.next() => Incoming::Commit(replaced),
            Some(news) = self.news.recv() => Incoming::News(news),
            Some(report) = self.reports.recv() => Incoming::Report(report),
            Some(request) = self.requests.recv() => Incoming::Request(request),
            // Nobody is left who could tell anything.
            else => std::future::pending().await,
        }
    }

    /// The next of what is there already of one source.
    pub(super) fn ready(&mut self, source: Source) -> Option<Incoming> {
        match source {
            Source::Exits => ready(&mut self.exits).map(Incoming::Exit),
            Source::Builds => ready(&mut self.builds).map(Incoming::Build),
            Source::Commits => ready(&mut self.commits).map(Incoming::Commit),
            Source::News => self.news.try_recv().ok().map(Incoming::News),
            Source::Reports => self.reports.try_recv().ok().map(Incoming::Report),
            Source::Requests => self.requests.try_recv().ok().map(Incoming::Request),
        }
    }

    /// How many reports there are already.
    pub(super) fn reports(&self) -> usize {
        self.reports.len()
    }
}

fn ready<T>(pending: &mut Pending<T>) -> Option<T> {
    // Tokio's own budget for a turn is smaller than ours, and would have exits that are there look as if they were not.
    unconstrained(pending.next()).now_or_never().flatten()
}
