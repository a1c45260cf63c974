//! Switchyard, served: whole, as an embedder has it, or put together by hand where a benchmark needs the journal.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use switchyard::circuit::Circuit;
use switchyard::config::{Config, Layer, StoreKind};
use switchyard::journal::{self, Append, EmbeddedStore, Journal, MemoryStore, Retention, Store, Writer};
use switchyard::manager::{self, Handle, Manager};
use switchyard::model::{
    Annotations, Attempt, Cause, ConfigValue, CustomSpec, Detail, Event, EventType, Generation, Instance,
    InstanceState, Intent, Labels, MonitorDraft, Mono, Namespace, Now, Restart, ScheduleDraft, Sequence, SpecDraft,
    State, Target, Task, TaskName, TaskSpec, TcpDraft, Timestamp, Uid, Violations,
};
use switchyard::monitor::{CancellationToken, Kind, Registry, from_fn};
use switchyard::probe::BuiltIns;
use switchyard::rpc::{self, Rpc};
use switchyard::server::{Ended, Server};
use switchyard::telemetry::Metrics;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::lab::Lab;

/// The name of the cooperative kind.
pub(crate) const IDLE: &str = "idle";
/// No benchmark lasts that long: a task that checks once and then waits.
pub(crate) const ONCE: Duration = Duration::from_secs(24 * 3_600);
/// The tasks that a server takes, ended ones included: more than any row starts.
const LIMITS: manager::Limits = manager::Limits { max_tasks: 1_000_000, max_stuck: 64 };

/// What a journal has to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The threads of custom kinds.
pub(crate) const CUSTOM_SHARDS: usize = 8;

/// A kind whose tasks do nothing until they are told to stop, and then do so at once.
pub(crate) fn idle() -> impl Kind {
    from_fn(IDLE, |token: CancellationToken| async move { token.cancelled().await })
}

/// A whole server.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    shutdown: CancellationToken,
    running: AbortOnDropHandle<Ended>,
}

impl Served {
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        Self::keeping(lab, MemoryStore::default())
    }

    /// One with this store.
    pub(crate) fn keeping(lab: &Lab, store: impl Store) -> Result<Self> {
        let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let layer = Layer {
            listen: any,
            http_listen: any,
            max_tasks: Some(LIMITS.max_tasks),
            custom_shards: Some(CUSTOM_SHARDS),
            // For those rows that are about monitors that block.
            enable_drills: Some(true),
            store: Some(StoreKind::Memory),
            ..Layer::default()
        };
        let builder = Server::builder().config(Config::try_new(layer)?).store(store).register(idle());
        lab.serving.block_on(async {
            let server = builder.bind().await?;
            let (address, shutdown) = (server.addr(), CancellationToken::new());
            let running = tokio::spawn(server.run(shutdown.clone().cancelled_owned(), std::future::pending()));
            Ok(Self { address, shutdown, running: AbortOnDropHandle::new(running) })
        })
    }

    /// Drains it, so that nothing of it runs beside what is measured next.
    pub(crate) fn stop(self, lab: &Lab) -> Result<()> {
        self.shutdown.cancel();
        let ended = lab.serving.block_on(self.running)?;
        ensure!(ended == Ended::Clean, "the server ended {ended:?}");
        Ok(())
    }
}

/// A manager without a server.
pub(crate) struct Managed {
    pub(crate) manager: Manager,
    pub(crate) handle: Handle,
    pub(crate) journal: Journal,
    pub(crate) metrics: Metrics,
    writer: Writer,
}

impl Managed {
    /// One whose journal keeps so many events.
    pub(crate) fn start(retention: usize) -> Result<Self> {
        Self::with(retention, idle())
    }

    /// One that has this kind besides the built-in ones.
    pub(crate) fn with(retention: usize, kind: impl Kind) -> Result<Self> {
        let defaults = journal::Options::default();
        let ring = journal::Options { ring_events: defaults.ring_events.min(retention), ..defaults };
        Self::keeping(MemoryStore::new(retention), ring, kind)
    }

    /// One whose journal is kept in a directory.
    pub(crate) fn durable(directory: &Path) -> Result<Self> {
        let store = EmbeddedStore::open(directory, Retention::default())?;
        Self::keeping(store, journal::Options::default(), idle())
    }

    fn keeping(store: impl Store, ring: journal::Options, kind: impl Kind) -> Result<Self> {
        let mut registry = Registry::new(BuiltIns::new());
        registry.register(kind)?;
        let options = manager::Options {
            built_in_shards: std::thread::available_parallelism().map_or(1, usize::from),
            custom_shards: CUSTOM_SHARDS,
            limits: LIMITS,
            unknown_kind_hint: |_| "",
        };
        let metrics = Metrics::new()?;
        let (journal, writer, requests) = Journal::start(Box::new(store), ring)?;
        let (manager, handle) = Manager::start(options, registry, journal.clone(), requests, metrics.clone())?;
        Ok(Self { manager, handle, journal, metrics, writer })
    }

    /// Ends it, once all is committed.
    pub(crate) async fn close(self) -> Result<()> {
        self.manager.close().await?;
        let Self { writer, .. } = self;
        ensure!(tokio::task::spawn_blocking(move || writer.close(PATIENCE)).await?, "the journal did not end");
        Ok(())
    }
}

/// A journal behind the services, which the benchmark writes itself; nothing is started through it.
pub(crate) struct Log {
    pub(crate) address: SocketAddr,
    pub(crate) journal: Journal,
    tasks: Vec<Arc<Task>>,
    next: Sequence,
    _serving: AbortOnDropHandle<()>,
    managed: Managed,
}

impl Log {
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        lab.serving.block_on(async { Self::serve(Managed::start(MemoryStore::RETENTION)?, 1_000).await })
    }

    /// One that is kept in a directory.
    pub(crate) fn durable(lab: &Lab, directory: &Path) -> Result<Self> {
        lab.serving.block_on(async { Self::serve(Managed::durable(directory)?, 1_000).await })
    }

    /// One about so many tasks.
    pub(crate) fn about(lab: &Lab, tasks: usize) -> Result<Self> {
        let mut log =
            lab.serving.block_on(async { Self::serve(Managed::start(MemoryStore::RETENTION)?, tasks).await })?;
        // One in a hundred is in each zone.
        for (number, task) in log.tasks.iter_mut().enumerate() {
            let zone = [("zone".to_owned(), (number % 100).to_string())];
            Arc::make_mut(task).labels = Labels::try_new(zone)?;
        }
        Ok(log)
    }

    async fn serve(managed: Managed, tasks: usize) -> Result<Self> {
        {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let (address, journal) = (listener.local_addr()?, managed.journal.clone());
            let rpc = Rpc {
                manager: managed.handle.clone(),
                journal: journal.clone(),
                metrics: managed.metrics.rpcs.clone(),
                checks: managed.metrics.checks.tail().clone(),
                limits: rpc::Limits {
                    max_tasks: LIMITS.max_tasks,
                    max_stuck: LIMITS.max_stuck,
                    max_streams: 1_000,
                    max_streams_per_connection: 16,
                },
                // Nobody drains it.
                drain: tokio::sync::mpsc::channel(1).0,
                start_time: now(),
                version: env!("CARGO_PKG_VERSION"),
                closing: CancellationToken::new(),
            };
            let (routes, _health) = rpc.into_routes().await?;
            let serving = tokio::spawn(rpc::serve(listener, routes, std::future::pending()));
            let tasks = (0..tasks).map(task).collect::<Result<_>>()?;
            let next = Sequence::default().next();
            Ok(Self { address, journal, tasks, next, _serving: AbortOnDropHandle::new(serving), managed })
        }
    }

    /// How many events were sent to watchers.
    pub(crate) fn events_sent(&self) -> u64 {
        self.managed.metrics.rpcs.events_sent.get()
    }

    /// Appends so many events, each about the next of its tasks; says how many there are now.
    pub(crate) fn append(&mut self, events: usize) -> u64 {
        let time = now();
        let events = (0..events).map(|_| {
            let sequence = self.next;
            self.next = sequence.next();
            let task = &self.tasks[usize::try_from(sequence.get()).unwrap_or_default() % self.tasks.len()];
            Event {
                sequence,
                time,
                kind: EventType::InstanceReady,
                generation: task.generation,
                attempt: Attempt::new(1),
                cause: Cause::system("monitor", "ready"),
                detail: task.instance.clone().map(Detail::Instance),
                task: Some(Arc::clone(task)),
            }
        });
        self.journal.append(Append { events: events.collect(), ..Append::default() });
        self.next.get() - 1
    }
}

fn task(number: usize) -> Result<Arc<Task>> {
    let time = now();
    let instance = Instance {
        generation: Generation::new(1),
        attempt: Attempt::new(1),
        state: InstanceState::Ready,
        start_time: time,
        ready_time: Some(time),
        stop_time: None,
        exit: None,
        shutdown: None,
        blocked_since: None,
    };
    Ok(Arc::new(Task {
        name: name(number)?,
        uid: Uid::new(Uuid::new_v4()),
        labels: Labels::default(),
        annotations: Annotations::default(),
        spec: Arc::new(tcp("127.0.0.1:1", 0)?),
        generation: Generation::new(1),
        last_generation: Generation::new(1),
        target: Target::of("tcp", "127.0.0.1:1"),
        state: State::Running,
        intent: Intent::Run,
        instance: Some(instance),
        draining: Vec::new(),
        candidate: None,
        restart: Restart::default(),
        swap: None,
        observation: None,
        outcome: None,
        circuit: Circuit::new(Now { mono: Mono::ZERO, wall: time }).status(),
        alerts: Vec::new(),
        pause: None,
        create_time: time,
        update_time: time,
        end: None,
        fate: None,
    }))
}

/// The name of a task by its number.
pub(crate) fn name(number: usize) -> Result<TaskName> {
    Ok(TaskName::try_new(&Namespace::default(), &format!("task-{number}"))?)
}

/// The spec of a cooperative task.
pub(crate) fn custom() -> Result<TaskSpec> {
    let custom = CustomSpec { kind: IDLE.to_owned(), config: ConfigValue::default() };
    spec(MonitorDraft::Custom(custom), 0)
}

/// The spec of a task that connects to `address`, once a day, so many times; 0: for ever.
pub(crate) fn tcp(address: &str, max_runs: u32) -> Result<TaskSpec> {
    spec(MonitorDraft::Tcp(TcpDraft { address: address.to_owned(), steps: Vec::new() }), max_runs)
}

/// The spec of a task that checks once a day, so many times; 0: for ever.
pub(crate) fn spec(monitor: MonitorDraft, max_runs: u32) -> Result<TaskSpec> {
    let schedule = ScheduleDraft { interval: Some(ONCE), max_runs, ..ScheduleDraft::default() };
    let draft = SpecDraft { monitor: Some(monitor), schedule, ..SpecDraft::default() };
    let mut violations = Violations::new();
    TaskSpec::try_new(draft, &mut violations).with_context(|| violations.to_string())
}

fn now() -> Timestamp {
    Timestamp::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
