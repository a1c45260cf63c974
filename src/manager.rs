//! The task manager's shell: runs the decisions of [`crate::lifecycle`] and feeds back what comes of them.
//!
//! One loop on a thread of its own (`shell`) owns the machine and everything that runs: it takes commands from [`Handle`]s,
//! reports from monitors and exits from reapers, appends the events to the journal and only then acts. Monitors run on
//! `shards`: built-in kinds on their own, custom kinds on others, so that code we did not write never shares a thread with the
//! code we did. Custom code that runs before there is an instance (a kind's `validate` and `build`) is bounded by `vetting`.

mod handle;
mod observe;
mod reaper;
mod shards;
mod shell;
mod vetting;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

pub use handle::{Accepted, Handle};

use crate::journal::Journal;
use crate::monitor::{Clock, Registry};
use crate::telemetry::Metrics;
use handle::{Lives, Request};
use shards::Shards;
use shell::Shell;
use vetting::Vetting;

/// Commands that wait for the loop. More callers wait for a place; their number is bounded by what the transport lets in.
const COMMANDS: usize = 1024;

/// What the manager is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads for built-in kinds.
    pub built_in_shards: usize,
    /// Threads for custom kinds.
    pub custom_shards: usize,
    /// Tasks, ended ones included.
    pub max_tasks: usize,
    /// What might help somebody who asked for a kind that is not registered.
    pub unknown_kind_hint: fn(&str) -> &'static str,
}

/// Why the manager did not start.
#[derive(Debug, Error)]
pub enum Error {
    /// A shard has no thread or runtime.
    #[error("cannot start a shard")]
    StartShard(#[source] std::io::Error),
    /// The loop has no thread or runtime.
    #[error("cannot start the manager's loop")]
    StartLoop(#[source] std::io::Error),
}

/// The running manager; whoever owns it can drain it.
#[derive(Debug)]
pub struct Manager {
    requests: mpsc::Sender<Request>,
    counts: Arc<Counts>,
    thread: JoinHandle<()>,
    dead: oneshot::Receiver<()>,
}

/// What the loop last knew, for gauges.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    live: AtomicUsize,
    stuck: AtomicUsize,
}

impl Counts {
    fn set(&self, live: usize, stuck: usize) {
        self.live.store(live, Ordering::Relaxed);
        self.stuck.store(stuck, Ordering::Relaxed);
    }

    fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    fn stuck(&self) -> usize {
        self.stuck.load(Ordering::Relaxed)
    }
}

impl Manager {
    /// Starts the shards and the loop.
    pub fn start(
        options: Options,
        registry: Registry,
        journal: Journal,
        metrics: Metrics,
    ) -> Result<(Self, Handle), Error> {
        let shards = Shards::start(options.built_in_shards, options.custom_shards).map_err(Error::StartShard)?;
        let (requests, receiver) = mpsc::channel(COMMANDS);
        let counts = Arc::new(Counts::default());
        let lives = Arc::new(Lives::default());
        let vetting = Vetting::new(registry, options.unknown_kind_hint);
        let handle = Handle::new(requests.clone(), vetting.clone(), Arc::clone(&lives), Arc::clone(&counts));

        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(Error::StartLoop)?;
        let loop_counts = Arc::clone(&counts);
        let (alive, dead) = oneshot::channel();
        let run = move || {
            // Dropped when this thread ends, by a panic too.
            let _alive: oneshot::Sender<()> = alive;
            runtime.block_on(async {
                let clock = Clock::new();
                let shell = Shell::new(
                    receiver,
                    shards,
                    vetting,
                    lives,
                    loop_counts,
                    journal,
                    metrics,
                    clock,
                    options.max_tasks,
                );
                // The loop is alone on its runtime and bounds its turns itself; tokio's budget would only make ready exits wait.
                tokio::task::unconstrained(shell.run()).await;
            });
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("manager".to_owned()).spawn(run).map_err(Error::StartLoop)?;
        Ok((Self { requests, counts, thread, dead }, handle))
    }

    /// Stops every task within `bound` and starts none any more. Answers when no instance lives but stuck ones, and how many
    /// these are.
    pub async fn drain(&self, bound: Duration) -> usize {
        let (done, drained) = oneshot::channel();
        if self.requests.send(Request::Drain { bound, done }).await.is_err() {
            return self.counts.stuck();
        }
        drained.await.unwrap_or_else(|_| self.counts.stuck())
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

    /// Ends the loop. What still runs is abandoned: the process is about to end.
    pub async fn close(self) {
        // An error means that the loop has ended, which is what is asked for.
        let _ = self.requests.send(Request::Close).await;
        if let Ok(Err(panic)) = tokio::task::spawn_blocking(move || self.thread.join()).await {
            std::panic::resume_unwind(panic);
        }
    }
}
