//! The task manager's shell: runs the decisions of [`crate::lifecycle`] and feeds back what comes of them.
//!
//! One loop on a thread of its own (`shell`) owns the machine and everything that runs: it takes commands from [`Handle`]s,
//! reports from monitors and exits from reapers, appends the events to the journal and only then acts. Monitors run on
//! `shards`, over which the `watchdog` keeps: built-in kinds on their own, custom kinds on others, so that code we did not write never shares a thread with the
//! code we did. Custom code that runs before there is an instance (a kind's `validate` and `build`) is bounded by `vetting`. Checks
//! on demand go by `demand`, roll-backs by `rollback`, whole sets of tasks by `apply`, and each is made once for a request, as `runs` remembers. Commands are handed in at the `desk`, where
//! nobody waits for a journal that is stalled.

mod apply;
mod demand;
mod desk;
mod dice;
mod handle;
mod observe;
mod reaper;
mod reporters;
mod rollback;
mod runs;
mod shards;
mod shell;
mod vetting;
mod watchdog;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use apply::{Gathering, Planned};
pub use handle::{Accepted, Handle};

use crate::journal::{Condition, Journal};
pub use crate::lifecycle::Limits;
use crate::lifecycle::Past;
use crate::model::{Cause, Remembered, Sequence};
use crate::monitor::Registry;
use crate::telemetry::Metrics;
use apply::Applies;
use desk::Desk;
use handle::{Lives, Request};
use runs::Runs;
use shards::Shards;
use shell::{Shell, Sources, Wiring};
use vetting::Vetting;
use watchdog::{Watch, Watchdog};

/// Commands that wait for the loop. More callers wait for a place; their number is bounded by what the transport lets in.
const COMMANDS: usize = 1024;
/// Reports that wait for the loop. A monitor whose report finds no place waits, so a slow loop slows checks and loses nothing.
const REPORTS: usize = 4096;

/// What the manager is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads for built-in kinds, at least one.
    pub built_in_shards: usize,
    /// Threads for custom kinds, at least one.
    pub custom_shards: usize,
    /// What there may be at the most.
    pub limits: Limits,
    /// What might help somebody who asked for a kind that is not registered.
    pub unknown_kind_hint: fn(&str) -> &'static str,
}

/// Why the manager did not start.
#[derive(Debug, Error)]
pub enum Error {
    /// A shard has no thread or runtime.
    #[error("cannot start a shard")]
    StartShard(#[source] std::io::Error),
    /// The watchdog has no thread.
    #[error("cannot start the watchdog")]
    StartWatchdog(#[source] std::io::Error),
    /// The loop has no thread or runtime.
    #[error("cannot start the manager's loop")]
    StartLoop(#[source] std::io::Error),
}

/// The manager's loop has ended unasked, which is a fault of ours; its panic was reported when it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the manager's loop has died")]
pub struct Died;

/// The running manager; whoever owns it can drain it. Dropping it ends the loop and abandons what runs.
#[derive(Debug)]
pub struct Manager {
    requests: mpsc::Sender<Request>,
    counts: Arc<Counts>,
    at_stuck_limit: watch::Receiver<bool>,
    condition: watch::Receiver<Condition>,
    thread: JoinHandle<()>,
    dead: oneshot::Receiver<()>,
    stop: DropGuard,
}

/// How many instances live, as the loop last knew; for gauges.
#[derive(Debug, Default)]
struct Counts(AtomicUsize);

impl Counts {
    fn set(&self, live: usize) {
        self.0.store(live, Ordering::Relaxed);
    }

    fn live(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Manager {
    /// Starts the shards and the loop, which goes on with the tasks that the journal holds; `remembered` are the requests that it remembers.
    pub fn start(
        options: Options,
        registry: Registry,
        journal: Journal,
        remembered: Vec<Remembered>,
        metrics: Metrics,
    ) -> Result<(Self, Handle), Error> {
        let (polls, circuits) = (metrics.polls.clone(), metrics.circuits.clone());
        let slots = Watch::new(polls.clone());
        let shards = Shards::start(
            options.built_in_shards,
            options.custom_shards,
            options.limits.max_stuck,
            slots.clone(),
            polls,
        );
        let shards = shards.map_err(Error::StartShard)?;
        let (tell, news) = mpsc::channel(watchdog::NEWS);
        let watchdog = Watchdog::start(slots, tell).map_err(Error::StartWatchdog)?;
        let (stuck_limit, at_stuck_limit) = watch::channel(false);
        let (tell_condition, condition) = watch::channel(Condition::default());
        let (requests, commanded) = mpsc::channel(COMMANDS);
        let (reporter, reported) = mpsc::channel(REPORTS);
        let counts = Arc::new(Counts::default());
        let lives = Arc::new(Lives::default());
        let vetting = Vetting::new(registry, options.unknown_kind_hint);
        let stop = CancellationToken::new();
        let past = past(&journal, &vetting, remembered);
        let wiring = Wiring {
            sources: Sources::new(commanded, reported, news),
            reporter: reporter.clone(),
            stuck_limit,
            condition: tell_condition,
            stop: stop.clone(),
            shards,
            vetting: vetting.clone(),
            lives: Arc::clone(&lives),
            counts: Arc::clone(&counts),
            journal: journal.clone(),
            metrics,
        };
        let handle = Handle {
            desk: Desk { requests: requests.clone(), condition: condition.clone() },
            reports: reporter,
            vetting,
            lives,
            counts: Arc::clone(&counts),
            journal,
            runs: Arc::new(Runs::default()),
            applies: Arc::new(Applies::new(options.limits.max_tasks)),
            reporters: Arc::default(),
            circuits,
        };

        let (alive, dead) = oneshot::channel();
        let thread = run_loop(wiring, past, options.limits, (alive, watchdog)).map_err(Error::StartLoop)?;
        Ok((Self { requests, counts, at_stuck_limit, condition, thread, dead, stop: stop.drop_guard() }, handle))
    }

    /// Stops every task within `bound` and starts none any more. Answers when no instance lives but stuck ones, and how many
    /// these are. `begun` is told the place in the log right after the drain began, once that is committed.
    pub async fn drain(
        &self,
        bound: Duration,
        cause: Cause,
        begun: Option<oneshot::Sender<Sequence>>,
    ) -> Result<usize, Died> {
        let (done, drained) = oneshot::channel();
        self.requests.send(Request::Drain { bound, cause, begun, done }).await.map_err(|_| Died)?;
        drained.await.map_err(|_| Died)
    }

    /// Whether so many instances are stuck, or have a thread to themselves by blocking it, that none of a custom kind is started.
    pub fn at_stuck_limit(&self) -> watch::Receiver<bool> {
        self.at_stuck_limit.clone()
    }

    /// How the journal does, as the loop was told.
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.condition.clone()
    }

    /// Live instances, stuck ones included, as far as the loop last said.
    pub fn live(&self) -> usize {
        self.counts.live()
    }

    /// Waits until the loop has ended unasked, which is a fault of ours.
    pub async fn died(&mut self) {
        // Nothing is ever sent: the other end is dropped when the loop's thread ends.
        let _ = (&mut self.dead).await;
    }

    /// Ends the loop, and waits for that. What still runs is abandoned.
    pub async fn close(self) -> Result<(), Died> {
        let Self { requests: _, counts: _, at_stuck_limit: _, condition: _, thread, dead: _, stop } = self;
        drop(stop);
        match tokio::task::spawn_blocking(move || thread.join()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Died),
        }
    }
}

/// Runs the loop on a thread of its own, which keeps `kept` until it ends, by a panic too.
fn run_loop(
    wiring: Wiring,
    past: Past,
    limits: Limits,
    kept: (oneshot::Sender<()>, Watchdog),
) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let run = move || {
        let _kept = kept;
        // The loop is alone on its runtime and bounds its turns itself; tokio's budget would only make ready exits wait.
        let run = async { Shell::new(wiring, past, limits).run().await };
        runtime.block_on(tokio::task::unconstrained(run));
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name("manager".to_owned()).spawn(run)
}

/// What the journal has of an earlier server's.
fn past(journal: &Journal, vetting: &Vetting, requests: Vec<Remembered>) -> Past {
    let view = journal.view();
    let kinds: BTreeSet<_> = view.tasks().map(|task| task.spec.monitor().kind()).collect();
    let unknown_kinds = kinds.into_iter().filter(|kind| !vetting.knows(kind)).map(ToOwned::to_owned).collect();
    Past { head: view.head(), tasks: view.tasks().cloned().collect(), unknown_kinds, requests }
}
