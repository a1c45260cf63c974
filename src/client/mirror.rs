//! A live copy of circuits, by which callers decide in nanoseconds and without the network.

mod ask;
mod directory;
mod follow;
mod freshness;
mod grpc;
mod guard;
mod layer;
mod local;
mod name;
mod outbox;
mod policy;
mod report;
mod shared;
mod trouble;
mod verdict;
mod word;

#[cfg(test)]
#[cfg(feature = "server")]
pub(super) mod testing;
#[cfg(test)]
#[cfg(feature = "server")]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;
use uuid::Uuid;

use super::{Error, endpoint};
use crate::pb::v1;
use v1::circuit_service_client::CircuitServiceClient;

use self::ask::Asker;
use self::follow::Follower;
use self::outbox::Outbox;
use self::report::{Flush, Reporter};
use self::shared::Shared;
use self::trouble::Trouble;

pub use self::grpc::{GrpcCircuitLayer, GuardedBody, GuardedGrpc, grpc_verdict};
pub use self::guard::{CallError, Guard, Pass, Reason, Rejected};
pub use self::layer::{CircuitLayer, Guarded, HttpStatus, Judge};
pub use self::policy::Policy;
pub use self::shared::Stats;
pub use self::verdict::Verdict;

/// Every namespace.
const EVERYWHERE: &str = "namespaces/-";
/// Of 30 s a server that has nothing to tell is silent for 10.
const STALENESS: Duration = Duration::from_secs(30);
/// Asks for permits that wait for the one task that makes them: one for each circuit at the most, so more are hardly ever under way.
const ASKS: usize = 1_024;
/// What a reporter's name may have, and what of that a UUID takes with its hyphen.
const REPORTER_BYTES: usize = 128 - 37;
/// What a message of a report may hold.
const BATCH: usize = 1_000;

/// How a mirror is set up.
#[derive(Clone, Debug)]
pub struct Builder {
    server: String,
    parent: String,
    filter: String,
    reporter: String,
    policy: Policy,
    staleness: Duration,
    queue: usize,
    batch: usize,
    flush_interval: Duration,
    permit_timeout: Duration,
}

impl Builder {
    /// Which circuits are mirrored: `namespaces/{namespace}`, or `namespaces/-` for all. Default: all.
    #[must_use]
    pub fn parent(mut self, parent: impl Into<String>) -> Self {
        self.parent = parent.into();
        self
    }

    /// Which of these, as WatchTasks filters tasks: by names and labels, but not by types of events, since the copy needs them all.
    /// Default: all.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.filter = filter.into();
        self
    }

    /// Who tells of outcomes; a UUID is added, since each mirror numbers its own. At most 91 bytes of it count. Default: `mirror`.
    #[must_use]
    pub fn reporter(mut self, reporter: impl Into<String>) -> Self {
        self.reporter = reporter.into();
        self
    }

    /// What to do where the copy cannot be relied on.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// How long after the server was last heard the copy is relied on. A server that has nothing to tell is silent for 10 s, so
    /// anything below makes a copy stale that is not. A copy that has become stale is relied on again once it was made anew. Default: 30 s.
    #[must_use]
    pub fn staleness(mut self, bound: Duration) -> Self {
        self.staleness = bound;
        self
    }

    /// How many outcomes wait to be told at the most, in eight parts of which a thread fills one; more are dropped, and counted.
    /// Default: 65,536, of 32 bytes each.
    #[must_use]
    pub fn queue(mut self, outcomes: usize) -> Self {
        self.queue = outcomes;
        self
    }

    /// How many outcomes of a part are told at once, without waiting for the flush interval to pass; also what a message holds. At most
    /// 1,000. Default: 1,000.
    #[must_use]
    pub fn batch(mut self, outcomes: usize) -> Self {
        self.batch = outcomes.clamp(1, BATCH);
        self
    }

    /// How long an outcome waits for others before it is told. Those of trial calls do not. Default: 100 ms.
    #[must_use]
    pub fn flush_interval(mut self, interval: Duration) -> Self {
        self.flush_interval = interval;
        self
    }

    /// How long a call of a half-open circuit waits for the server's permit. Default: 1 s; more than 10 s counts as that. Meanwhile others
    /// of the circuit do not ask: those are rejected as half-open, until it is known that there is no answer.
    #[must_use]
    pub fn permit_timeout(mut self, timeout: Duration) -> Self {
        self.permit_timeout = timeout;
        self
    }

    /// Connects, and has every circuit when it returns, however long they take to come: it fails where nothing comes for 20 s. A server that
    /// is out of reach is told; see [`connect_lazy`](Self::connect_lazy).
    pub async fn connect(self) -> Result<CircuitMirror, Error> {
        let channel = endpoint(&self.server)?.connect().await;
        let channel = channel.map_err(|error| Error::unreachable(&self.server, &error))?;
        self.complete(channel).await
    }

    async fn complete(self, channel: Channel) -> Result<CircuitMirror, Error> {
        let (tell, told) = oneshot::channel();
        let mirror = self.begin(channel, Some(tell));
        told.await.map_err(|_| Error::new(tonic::Code::Internal, "the mirror's watch has ended"))??;
        Ok(mirror)
    }

    /// Connects in the background, for as long as that takes; until then the policy decides. For services that must begin whether or not
    /// the server is there. Only an address that is none is told. A server that refuses the watch (no such filter, no leave to watch) may
    /// be mended or replaced, so it is asked again and again: that is logged as a warning, once, and told by
    /// [`last_error`](CircuitMirror::last_error). Must be called within a tokio runtime.
    pub fn connect_lazy(self) -> Result<CircuitMirror, Error> {
        let channel = endpoint(&self.server)?.connect_lazy();
        Ok(self.begin(channel, None))
    }

    fn begin(self, channel: Channel, tell: Option<oneshot::Sender<Result<(), Error>>>) -> CircuitMirror {
        let Self { server: _, parent, filter, mut reporter, policy, staleness, queue, batch, .. } = self;
        reporter.truncate(reporter.floor_char_boundary(REPORTER_BYTES));
        let reporter = format!("{reporter}-{}", Uuid::new_v4());
        let (asks, asked) = mpsc::channel(ASKS);
        // Who flushes waits for the answer, so few do at once.
        let (flush, flushes) = mpsc::channel(1);
        let shared = Arc::new(Shared::new(policy, staleness, Outbox::new(queue, batch), asks));
        let client = CircuitServiceClient::new(channel);
        let asker = Asker::new(Arc::clone(&shared), client.clone(), self.permit_timeout, asked);
        let reporter =
            Reporter::new(Arc::clone(&shared), client.clone(), reporter, batch, self.flush_interval, flushes);
        let request = v1::WatchCircuitsRequest { parent, filter, start: None };
        let follower = Follower::new(Arc::clone(&shared), client, request, tell);
        let kept = Arc::clone(&shared);
        let keeper = async move { kept.freshness.keep().await };
        let troubles = [follower.trouble(), reporter.trouble()];
        let spawned = [
            tokio::spawn(asker.run()),
            tokio::spawn(reporter.run()),
            tokio::spawn(follower.run()),
            tokio::spawn(keeper),
        ];
        let tasks = Tasks { flush, _spawned: spawned.map(AbortOnDropHandle::new).into() };
        CircuitMirror { shared, troubles, tasks: Arc::new(tasks) }
    }
}

/// What keeps a mirror up, for as long as anybody has it or one of its guards: so it holds none of them itself.
#[derive(Debug)]
struct Tasks {
    flush: mpsc::Sender<Flush>,
    _spawned: Vec<AbortOnDropHandle<()>>,
}

impl Tasks {
    async fn flush(&self) {
        let (tell, told) = oneshot::channel();
        if self.flush.send(tell).await.is_ok() {
            // It ends without an answer only where the mirror ends with it.
            let _ = told.await;
        }
    }
}

/// A live copy of a server's circuits, for those who call what it watches. Cheap to clone. It lives for as long as anybody has it, one of its
/// guards, or a layer with one of these: so who needs no more than a guard may drop the mirror. With the last of them it ends, and what was
/// not told by then is lost; see [`flush`](Self::flush).
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use switchyard::client::{CallError, CircuitMirror};
///
/// let mirror = CircuitMirror::connect("127.0.0.1:6710", "").await?;
/// let api = mirror.guard("namespaces/default/tasks/api");
/// match api.call(async { std::io::Result::Ok("an answer") }).await {
///     Ok(answer) => println!("{answer}"),
///     Err(CallError::Rejected(rejected)) => println!("not called: {rejected}"),
///     Err(CallError::Failed(error)) => println!("called, and failed: {error}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CircuitMirror {
    shared: Arc<Shared>,
    /// Of the watch, and of reports.
    troubles: [Trouble; 2],
    tasks: Arc<Tasks>,
}

impl CircuitMirror {
    /// Mirrors the circuits of all namespaces that the filter lets through, with everything else at its default; at `http://host:port`,
    /// or plain `host:port`.
    pub async fn connect(server: &str, filter: &str) -> Result<Self, Error> {
        Self::builder(server).filter(filter).connect().await
    }

    /// What sets up a mirror of the server at `http://host:port`, or plain `host:port`.
    pub fn builder(server: impl Into<String>) -> Builder {
        Builder {
            server: server.into(),
            parent: EVERYWHERE.to_owned(),
            filter: String::new(),
            reporter: "mirror".to_owned(),
            policy: Policy::default(),
            staleness: STALENESS,
            queue: 65_536,
            batch: BATCH,
            flush_interval: Duration::from_millis(100),
            permit_timeout: Duration::from_secs(1),
        }
    }

    /// What guards calls of a task's target, by the task's name: `namespaces/default/tasks/api`, or `api` for short, which is in the
    /// namespace `default` whatever is mirrored. The server need not know it yet. A name that no task can have is logged as a warning, and
    /// its circuit stays unknown. Keep the guard: it costs a look into a table. It keeps the mirror alive, which need not be kept itself.
    #[must_use = "a guard that is dropped guards nothing"]
    pub fn guard(&self, name: &str) -> Guard {
        let (name, directory) = (name::full(name), &self.shared.directory);
        if !name::is_possible(&name) && directory.find(&name).is_none() {
            tracing::warn!(?name, "no task can have the name that a guard was made for: its circuit stays unknown");
        }
        Guard::new(Arc::clone(&self.shared), directory.of(&name), Arc::clone(&self.tasks))
    }

    /// What the watch of circuits was last refused or ended with, until the server has shown anything since; else what a report of outcomes
    /// was, until one has gone through whole. Such as UNAVAILABLE while it is out of reach; [`Error::outlook`] says what does not pass by itself.
    pub fn last_error(&self) -> Option<Error> {
        self.troubles.iter().find_map(Trouble::get)
    }

    /// What has been done and left undone so far.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Tells the server of all outcomes so far, and waits until it has answered: for as long as that takes, so give it a timeout. Worth it
    /// before the last guard is dropped, such as before the process ends; else they go by themselves.
    pub async fn flush(&self) {
        self.tasks.flush().await;
    }
}

impl fmt::Debug for CircuitMirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitMirror").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
