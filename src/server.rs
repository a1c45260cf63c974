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

mod capacity;
mod drain;
mod event_log;
mod limits;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::http::{self, Phase, Readiness};
use crate::journal::{self, Journal, MemoryStore, Store, Writer};
use crate::manager::{self, Manager};
use crate::model::{AlertKind, Cause, CircuitState, State, Timestamp};
use crate::monitor::drill::Drill;
use crate::monitor::{DuplicateKind, Kind, Registry};
use crate::probe::{BuiltIns, Commands};
use crate::rpc::{self, DrainRequest, Rpc};
use crate::telemetry::Metrics;
use drain::Why;

/// Clients that ask for a drain at the same moment; the first of them gets it.
const DRAIN_REQUESTS: usize = 16;

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every task has ended.
    Clean,
    /// This many instances were stuck and have been abandoned.
    Abandoned(usize),
    /// It was told not to wait for the drain.
    Forced,
    /// The manager's loop or the journal has died, by a fault of ours; the log says how.
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

/// Puts a server together.
pub struct Builder {
    config: Config,
    store: Option<Box<dyn Store>>,
    kinds: Vec<Register>,
}

/// Registers a custom kind, once the built-in ones are there.
type Register = Box<dyn FnOnce(&mut Registry) -> Result<(), DuplicateKind> + Send>;

/// A server that listens, and is about to run. Dropping it ends it at once.
pub struct Server {
    address: SocketAddr,
    http_address: SocketAddr,
    exit_on_stuck_limit: bool,
    parts: Parts,
    /// Ends the commands, when dropped: the process may end before the instances have.
    commands: Commands,
}

/// Everything that runs; dropping it ends all of it, wherever it stands.
struct Parts {
    manager: Manager,
    writer: Writer,
    /// Resolves when the event log has ended, and that ends with the journal.
    event_log: oneshot::Receiver<()>,
    health: rpc::Health,
    /// Turns the health at the stuck limit, and while the journal takes nothing in.
    capacity: AbortOnDropHandle<()>,
    /// Clients that want it to drain.
    asked: mpsc::Receiver<DrainRequest>,
    readiness: Readiness,
    /// Ends the streams, when dropped: nothing more will be appended.
    closing: DropGuard,
    /// Ends the transports, when dropped.
    stopping: DropGuard,
    grpc: AbortOnDropHandle<()>,
    http: AbortOnDropHandle<()>,
}

impl Server {
    /// A server with the default configuration and the built-in kinds.
    pub fn builder() -> Builder {
        Builder { config: Config::default(), store: None, kinds: Vec::new() }
    }

    /// Where gRPC is served.
    pub const fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub const fn http_addr(&self) -> SocketAddr {
        self.http_address
    }

    /// Serves until `shutdown`, then drains; `force` ends the drain at once. Takes at most 10 s from `shutdown`. However it ends,
    /// nothing of it goes on but what is stuck; dropping this future does the same.
    pub async fn run(self, shutdown: impl Future<Output = ()>, force: impl Future<Output = ()>) -> Ended {
        let Self { parts, exit_on_stuck_limit, commands, .. } = self;
        let ended = parts.run(exit_on_stuck_limit, shutdown, force).await;
        commands.end().await;
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

impl Builder {
    /// Sets the configuration.
    #[must_use]
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// Keeps the journal in a store of the embedder's own; else it is kept in memory.
    #[must_use]
    pub fn store(self, store: impl Store) -> Self {
        Self { store: Some(Box::new(store)), ..self }
    }

    /// Adds a custom kind. A name that is taken is told of when the server is bound.
    #[must_use]
    pub fn register(mut self, kind: impl Kind) -> Self {
        self.kinds.push(Box::new(|registry| registry.register(kind)));
        self
    }

    /// Binds, and runs until `shutdown` and the drain after it.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<Ended, Error> {
        Ok(self.bind().await?.run(shutdown, std::future::pending()).await)
    }

    /// Starts everything and listens. Call it in the runtime that is to serve the RPCs.
    pub async fn bind(self) -> Result<Server, Error> {
        let Self { config, store, kinds } = self;
        let metrics = Metrics::new().map_err(Error::RegisterMetrics)?;
        let built_ins = BuiltIns::new().with_commands(config.exec_commands(), metrics.perfdata.clone());
        let commands = built_ins.commands();
        let mut registry = Registry::new(built_ins);
        kinds.into_iter().try_for_each(|register| register(&mut registry))?;
        if config.enable_drills() {
            registry.register(Drill)?;
        }
        limits::raise_descriptors();
        let (grpc_listener, address) = listen(config.listen()).await?;
        let (http_listener, http_address) = listen(config.http_listen()).await?;

        let retention = config.event_retention();
        let store = store.unwrap_or_else(|| Box::new(MemoryStore::new(retention)));
        let ring_events = journal::Options::default().ring_events.min(retention);
        let options = journal::Options { ring_events, metrics: Some(metrics.journal.commits.clone()) };
        let (journal, writer, _requests) = Journal::start(store, options).map_err(Error::StartJournal)?;
        let event_log = event_log::start(&journal).map_err(Error::StartEventLog)?;
        let options = manager::Options {
            built_in_shards: config.built_in_shards(),
            custom_shards: config.custom_shards(),
            limits: manager::Limits { max_tasks: config.max_tasks(), max_stuck: config.max_stuck() },
            unknown_kind_hint,
        };
        let (manager, handle) =
            Manager::start(options, registry, journal.clone(), metrics.clone()).map_err(Error::StartManager)?;

        let (closing, stopping) = (CancellationToken::new(), CancellationToken::new());
        let (drain, asked) = mpsc::channel(DRAIN_REQUESTS);
        let rpc = Rpc {
            manager: handle.clone(),
            journal: journal.clone(),
            metrics: metrics.rpcs.clone(),
            limits: rpc_limits(&config),
            drain,
            start_time: now(),
            version: env!("CARGO_PKG_VERSION"),
            closing: closing.clone(),
        };
        let (routes, health) = rpc.into_routes().await.map_err(Error::Reflection)?;
        let grpc = tokio::spawn(rpc::serve(grpc_listener, routes, stopping.clone().cancelled_owned()));
        let grpc = AbortOnDropHandle::new(grpc);
        let readiness = Readiness::default();
        let refresh = refresh(metrics.clone(), journal.clone(), handle);
        let router = http::router(metrics, readiness.clone(), refresh);
        let limits = http::Limits::default();
        let http = tokio::spawn(http::serve(http_listener, router, limits, stopping.clone().cancelled_owned()));
        let http = AbortOnDropHandle::new(http);
        readiness.set(Phase::Ready);
        let (closing, stopping) = (closing.drop_guard(), stopping.drop_guard());
        let told = capacity::Told { health: health.clone(), readiness: readiness.clone() };
        let capacity = tokio::spawn(capacity::follow(told, manager.at_stuck_limit(), manager.condition()));
        let capacity = AbortOnDropHandle::new(capacity);
        let parts =
            Parts { manager, writer, event_log, health, capacity, asked, readiness, closing, stopping, grpc, http };
        Ok(Server { address, http_address, exit_on_stuck_limit: config.exit_on_stuck_limit(), parts, commands })
    }
}

fn unknown_kind_hint(kind: &str) -> &'static str {
    match kind {
        "drill" => "; to have it, run the server with --enable-drills",
        _ => "",
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Sets the gauges that are computed when scraped.
fn refresh(metrics: Metrics, journal: Journal, handle: manager::Handle) -> http::Refresh {
    Arc::new(move || {
        let view = journal.view();
        let counts = view.counts();
        for state in State::ALL {
            metrics.instances.set_tasks(state, counts.tasks(state));
        }
        for kind in AlertKind::ALL {
            metrics.instances.set_alerts(kind, counts.alerts(kind));
        }
        for state in CircuitState::ALL {
            metrics.circuits.set(state, counts.circuits(state));
        }
        metrics.journal.set(handle.condition().admission(), journal.waits());
        metrics.instances.set_live(handle.live_instances());
        metrics.manager.queue_length.set(i64::try_from(handle.queued()).unwrap_or(i64::MAX));
    })
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::default() + since_epoch
}

fn rpc_limits(config: &Config) -> rpc::Limits {
    rpc::Limits {
        max_tasks: config.max_tasks(),
        max_stuck: config.max_stuck(),
        max_streams: config.max_streams(),
        max_streams_per_connection: config.max_streams_per_connection(),
    }
}
