//! The composition root: builds every room, serves until it is told to stop, and drains (design.md §4).
//!
//! ```no_run
//! use switchyard::monitor::{self, CancellationToken};
//! use switchyard::server::Server;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let heartbeat = monitor::from_fn("heartbeat", |token: CancellationToken| async move {
//!     token.cancelled().await;
//! });
//! let shutdown = async {
//!     // An error means that there is no signal to wait for.
//!     let _ = tokio::signal::ctrl_c().await;
//! };
//! Server::builder().register(heartbeat).serve(shutdown).await?;
//! # Ok(())
//! # }
//! ```

mod builder;
mod capacity;
mod control;
mod drain;
mod event_log;
mod limits;
pub mod store_tools;
mod stored;
mod task_files;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::DropGuard;
use tokio_util::task::AbortOnDropHandle;

use crate::http::Readiness;
use crate::journal::{self, Writer};
use crate::manager::{self, Manager};
use crate::model::{Cause, Refusal};
use crate::monitor::DuplicateKind;
use crate::probe::Commands;
use crate::rpc::{self, DrainRequest};
pub use builder::Builder;
use control::Control;
use drain::Why;
pub use stored::Stored;
use task_files::Following;
pub use task_files::Reload;

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every task has ended.
    Clean,
    /// This many instances were stuck and have been abandoned.
    Abandoned(usize),
    /// It was told not to wait for the drain.
    Forced,
    /// The manager's loop or the journal has died, or the journal could not commit what the drain brought about; the log says how.
    Failed,
}

impl Ended {
    /// The exit code that says so (design.md §4).
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Failed => 1,
            Self::Abandoned(_) => 10,
            Self::Forced => 11,
        }
    }
}

/// Why a server did not start.
#[derive(Debug, Error)]
pub enum Error {
    /// Two kinds have the same name.
    #[error(transparent)]
    Register(#[from] DuplicateKind),
    /// The address cannot be listened at.
    #[error("cannot listen at {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The store could not be opened.
    #[error("cannot open the store")]
    OpenStore(#[source] journal::OpenError),
    /// Something is wrong with the task files; each problem has its file, and its place in that.
    #[error("the task files are invalid:\n  {}", .0.join("\n  "))]
    TaskFiles(Vec<String>),
    /// The task files cannot be applied.
    #[error("cannot apply the task files")]
    ApplyTaskFiles(#[source] Refusal),
    /// The journal did not start.
    #[error("cannot start the journal")]
    StartJournal(#[source] journal::StartError),
    /// The manager did not start.
    #[error("cannot start the manager")]
    StartManager(#[source] manager::Error),
    /// The event log has no thread.
    #[error("cannot start the event log")]
    StartEventLog(#[source] io::Error),
    /// Two metric families share a name, by a fault of ours.
    #[error("cannot register the metrics")]
    RegisterMetrics(#[source] prometheus::Error),
    /// The descriptors for reflection are broken, by a fault of ours.
    #[error("cannot serve reflection")]
    Reflection(#[source] rpc::ReflectionError),
}

/// A server that listens, and is about to run. Dropping it ends it at once.
pub struct Server {
    address: SocketAddr,
    http_address: SocketAddr,
    exit_on_stuck_limit: bool,
    stored: Stored,
    tasks: usize,
    parts: Parts,
    /// Ends the commands, when dropped: the process may end before the instances have.
    commands: Commands,
}

/// Everything that runs; dropping it ends all of it, wherever it stands.
struct Parts {
    /// First, so that the socket goes while the directory is still held.
    control: Option<Control>,
    manager: Manager,
    writer: Writer,
    /// Resolves when the event log has ended, and that ends with the journal.
    event_log: oneshot::Receiver<()>,
    health: rpc::Health,
    /// Turns the health at the stuck limit, and while the journal takes nothing in.
    capacity: AbortOnDropHandle<()>,
    /// Has tasks be as files say, where there are any.
    task_files: Option<Following>,
    /// Clients that want it to drain.
    asked: mpsc::Receiver<DrainRequest>,
    readiness: Readiness,
    /// Ends the streams, when dropped: nothing more will be appended.
    closing: DropGuard,
    transports: Transports,
    address: Address,
}

/// What serves connections; dropped, they are cut.
struct Transports {
    /// Has both end, when dropped.
    stopping: DropGuard,
    grpc: AbortOnDropHandle<()>,
    http: AbortOnDropHandle<()>,
}

/// Keeps gRPC's address until the end of all else, so that clients can see it: while connections are not refused, the server has not
/// gone, and its store may be open. `None` where there was no descriptor for it; then the address goes with the connections.
struct Address {
    _listening: Option<OwnedFd>,
}

impl Server {
    /// A server with the default configuration and the built-in kinds.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Where gRPC is served.
    pub const fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub const fn http_addr(&self) -> SocketAddr {
        self.http_address
    }

    /// Where the journal is kept.
    pub const fn stored(&self) -> &Stored {
        &self.stored
    }

    /// How many tasks the store held, ended ones included.
    pub const fn recovered_tasks(&self) -> usize {
        self.tasks
    }

    /// Has the task files read again, where the configuration names any.
    pub fn reload(&self) -> Option<Reload> {
        self.parts.task_files.as_ref().map(Following::reload)
    }

    /// Serves until `shutdown`, then drains; `force` ends the drain at once. Takes at most 10 s from `shutdown`. However it ends,
    /// nothing of it goes on but what is stuck; dropping this future does the same.
    pub async fn run(self, shutdown: impl Future<Output = ()>, force: impl Future<Output = ()>) -> Ended {
        let Self { parts, exit_on_stuck_limit, commands, .. } = self;
        let ended = parts.run(exit_on_stuck_limit, shutdown, force).await;
        commands.end().await;
        drain::say(move || tracing::info!(?ended, "the server has ended")).await;
        ended
    }
}

impl Parts {
    async fn run(
        mut self,
        exit_on_stuck_limit: bool,
        shutdown: impl Future<Output = ()>,
        force: impl Future<Output = ()>,
    ) -> Ended {
        let asked = |component, reason: &str| Why { cause: Cause::system(component, reason), begun: None };
        let mut full = self.manager.at_stuck_limit();
        let reached = async move { full.wait_for(|full| *full).await.is_ok() };
        let why = tokio::select! {
            () = shutdown => asked("drain", "the server was asked to stop"),
            Some(DrainRequest { cause, begun }) = self.asked.recv() => Why { cause, begun: Some(begun) },
            true = reached, if exit_on_stuck_limit => {
                asked("stuck-limit", "as many instances are stuck as may be, and the server is to end then")
            }
            () = self.manager.died() => {
                drain::say(|| tracing::error!("the manager's loop has died: ending the server")).await;
                return Ended::Failed;
            }
            _ = &mut self.event_log => {
                drain::say(|| tracing::error!("the journal, or its log, has died: ending the server")).await;
                return Ended::Failed;
            }
        };
        tokio::select! {
            biased;
            // First, so that it listens before anybody can see that the drain has begun.
            () = force => {
                drain::say(|| tracing::warn!("told not to wait: what still runs is abandoned")).await;
                Ended::Forced
            }
            ended = drain::drain(self, why) => ended,
        }
    }
}

/// The error and its sources, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
