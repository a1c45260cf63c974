//! Putting a server together.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;

use super::control::Control;
use super::stored::{self, Opened, Stored};
use super::{Address, Ended, Error, Parts, Server, Transports, capacity, event_log, limits, task_files};
use crate::config::{Config, StoreKind};
use crate::http::{self, Phase, Readiness};
use crate::journal::{self, Archive, Journal, Store};
use crate::manager::{self, Manager};
use crate::model::{AlertKind, CircuitState, Override, State, Timestamp};
use crate::monitor::drill::Drill;
use crate::monitor::{DuplicateKind, Kind, Registry};
use crate::probe::BuiltIns;
use crate::rpc::{self, Rpc};
use crate::telemetry::Metrics;

/// Clients that ask for a drain at the same moment; the first of them gets it.
const DRAIN_REQUESTS: usize = 16;

/// Puts a server together.
pub struct Builder {
    config: Config,
    store: Option<Box<dyn Store>>,
    kinds: Vec<Register>,
}

/// Registers a custom kind, once the built-in ones are there.
type Register = Box<dyn FnOnce(&mut Registry) -> Result<(), DuplicateKind> + Send>;

impl Builder {
    pub(super) fn new() -> Self {
        Self { config: Config::default(), store: None, kinds: Vec::new() }
    }

    /// Sets the configuration.
    #[must_use]
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// Keeps the journal in a store of the embedder's own, whatever the configuration says of the store.
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
        // First of all: a server with files that are wrong does not begin.
        let said = task_files::read(&config).await?;
        limits::raise_descriptors();
        let (grpc_listener, address) = listen(config.listen()).await?;
        let kept_address = Address { _listening: grpc_listener.as_fd().try_clone_to_owned().ok() };
        let (http_listener, http_address) = listen(config.http_listen()).await?;

        let Opened { store, stored, archive } = open(&config, store).await?;
        let options = journal_options(&config, &metrics);
        let (journal, writer, requests) = Journal::start(store, options).map_err(Error::StartJournal)?;
        let tasks = journal.view().len();
        let control = control(&stored, archive);
        let event_log = event_log::start(&journal).map_err(Error::StartEventLog)?;
        let (manager, handle) =
            Manager::start(manager_options(&config), registry, journal.clone(), requests, metrics.clone())
                .map_err(Error::StartManager)?;
        let task_files = task_files::follow(said, &handle).await?;

        let closing = CancellationToken::new();
        let (drain, asked) = mpsc::channel(DRAIN_REQUESTS);
        let rpc = Rpc {
            manager: handle.clone(),
            journal: journal.clone(),
            metrics: metrics.rpcs.clone(),
            checks: metrics.checks.tail().clone(),
            limits: rpc_limits(&config),
            drain,
            start_time: now(),
            version: env!("CARGO_PKG_VERSION"),
            closing: closing.clone(),
        };
        let (routes, health) = rpc.into_routes().await.map_err(Error::Reflection)?;
        let readiness = Readiness::default();
        let refresh = refresh(metrics.clone(), journal, handle, config.circuit_series());
        let router = http::router(metrics, readiness.clone(), refresh);
        let transports = Transports::serve((grpc_listener, routes), (http_listener, router));
        readiness.set(Phase::Ready);
        let closing = closing.drop_guard();
        let told = capacity::Told { health: health.clone(), readiness: readiness.clone() };
        let capacity = tokio::spawn(capacity::follow(told, manager.at_stuck_limit(), manager.condition()));
        let capacity = AbortOnDropHandle::new(capacity);
        let parts = Parts {
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
            address: kept_address,
        };
        let exit_on_stuck_limit = config.exit_on_stuck_limit();
        tracing::info!(grpc = %address, http = %http_address, tasks, version = env!("CARGO_PKG_VERSION"), "the server serves");
        Ok(Server { address, http_address, exit_on_stuck_limit, stored, tasks, parts, commands })
    }
}

impl Transports {
    fn serve((grpc_listener, routes): (TcpListener, Routes), (http_listener, router): (TcpListener, Router)) -> Self {
        let stopping = CancellationToken::new();
        let grpc = tokio::spawn(rpc::serve(grpc_listener, routes, stopping.clone().cancelled_owned()));
        let limits = http::Limits::default();
        let http = tokio::spawn(http::serve(http_listener, router, limits, stopping.clone().cancelled_owned()));
        let (grpc, http) = (AbortOnDropHandle::new(grpc), AbortOnDropHandle::new(http));
        Self { stopping: stopping.drop_guard(), grpc, http }
    }
}

/// The embedder's store, or the one that the configuration asks for.
async fn open(config: &Config, store: Option<Box<dyn Store>>) -> Result<Opened, Error> {
    if let Some(store) = store {
        return Ok(Opened { store, stored: Stored::Elsewhere, archive: None });
    }
    if config.store() == StoreKind::Memory {
        // There is nothing to wait for, so it needs no thread.
        return stored::open(config).map_err(Error::OpenStore);
    }
    let config = config.clone();
    let opened = spawn_blocking(move || stored::open(&config)).await;
    // A panic there goes on here, as if it had been called.
    opened.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())).map_err(Error::OpenStore)
}

/// The socket for the tools, where there is a directory to keep it in.
fn control(stored: &Stored, archive: Option<Archive>) -> Option<Control> {
    let (Stored::Directory(dir), Some(archive)) = (stored, archive) else { return None };
    let started = Control::start(dir, Arc::new(move |dest| archive.backup(dest)));
    // Only backups need it: a server that can do all else is not to be kept from that.
    let told = |error: &io::Error| tracing::warn!(%error, dir = %dir.display(), "no backups while this server runs: no socket");
    started.inspect_err(told).ok()
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
fn refresh(metrics: Metrics, journal: Journal, handle: manager::Handle, circuit_series: usize) -> http::Refresh {
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
        for mode in Override::ALL {
            metrics.circuits.set_overridden(mode, counts.overrides(mode));
        }
        if circuit_series > 0 {
            let live = view.tasks().filter(|task| !task.state.is_ended());
            metrics.circuit_series.show(live.map(|task| (&task.name, &task.circuit)), circuit_series);
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

fn journal_options(config: &Config, metrics: &Metrics) -> journal::Options {
    let retention = config.event_retention().and_then(|events| usize::try_from(events).ok());
    let ring_events = journal::Options::default().ring_events.min(retention.unwrap_or(usize::MAX));
    journal::Options { ring_events, metrics: Some(metrics.journal.commits.clone()) }
}

fn manager_options(config: &Config) -> manager::Options {
    manager::Options {
        built_in_shards: config.built_in_shards(),
        custom_shards: config.custom_shards(),
        limits: manager::Limits { max_tasks: config.max_tasks(), max_stuck: config.max_stuck() },
        unknown_kind_hint,
    }
}

fn rpc_limits(config: &Config) -> rpc::Limits {
    rpc::Limits {
        max_tasks: config.max_tasks(),
        max_stuck: config.max_stuck(),
        max_streams: config.max_streams(),
        max_streams_per_connection: config.max_streams_per_connection(),
    }
}
