//! A target that logs each request, and the store by which it learns of every cut-over before anybody else does: so it can give a bad
//! answer to checks of instances that are fenced, but have not been told to stop yet.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use switchyard::journal::{Group, MemoryStore, Reader, Recovered, Store, StoreError};
use switchyard::model::{Event, EventType, MonitorSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// How long a check is kept waiting for what may fence its instance; well within its timeout.
const HOLD: Duration = Duration::from_millis(50);
/// How long a commit takes at least that has a cut-over, as on a disk: in that time the old instance is fenced, and runs.
const COMMIT: Duration = Duration::from_millis(2);

/// A request, in the order of arrival.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) task: String,
    /// Which of the task's specs its instance had.
    pub(super) version: usize,
    /// Whether it is that instance's first: before that it is not ready.
    pub(super) first: bool,
    /// Whether it was told that all is bad, since its instance was fenced.
    pub(super) fenced: bool,
    pub(super) at: Instant,
}

/// Answers every request, logs it, and is the store's witness.
#[derive(Clone)]
pub(super) struct Target(Arc<Shared>);

struct Shared {
    address: SocketAddr,
    log: Mutex<Vec<Request>>,
    /// The versions that each task has had, the one that it has last.
    versions: watch::Sender<BTreeMap<String, Vec<usize>>>,
}

impl Target {
    pub(super) async fn start() -> (Self, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let target = Self(Arc::new(Shared { address, log: Mutex::default(), versions: watch::Sender::default() }));
        let serving = tokio::spawn(target.clone().serve(listener));
        (target, AbortOnDropHandle::new(serving))
    }

    pub(super) fn url(&self, task: &str, version: usize) -> String {
        format!("http://{}/{task}/{version}", self.0.address)
    }

    pub(super) fn log(&self) -> Vec<Request> {
        self.lock().clone()
    }

    /// Whether every one of these tasks has been asked for so often since that place in the log.
    pub(super) fn has_seen(&self, tasks: &[String], more: usize, since: usize) -> bool {
        let log = self.lock();
        tasks.iter().all(|task| log[since..].iter().filter(|request| request.task == *task).count() >= more)
    }

    pub(super) fn store(&self) -> impl Store + use<> {
        Witnessed { store: MemoryStore::new(1_000_000), target: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Request>> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self, listener: TcpListener) {
        let mut serving = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.expect("listens");
            serving.spawn(self.clone().answer(stream));
            while serving.try_join_next().is_some() {}
        }
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut head = [0; 1024];
        let read = stream.read(&mut head).await.unwrap_or_default();
        let head = String::from_utf8_lossy(&head[..read]);
        // A check that was dropped meanwhile asks for nothing.
        let Some((task, version)) = head.split(' ').nth(1).and_then(asked) else { return };
        let (place, first) = self.noted(&task, version);
        // Those that are not kept waiting mostly count.
        let is_kept = !first && place % 2 == 0;
        let is_bad = task.starts_with("down") || (is_kept && self.becomes_fenced(&task, version).await);
        self.lock()[place].fenced = is_bad;
        let status = if is_bad { "503 Service Unavailable" } else { "204 No Content" };
        let response = format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n");
        // It may have been dropped meanwhile.
        let _ = stream.write_all(response.as_bytes()).await;
    }

    fn noted(&self, task: &str, version: usize) -> (usize, bool) {
        let mut log = self.lock();
        let first = !log.iter().rev().any(|request| request.task == task && request.version == version);
        log.push(Request { task: task.to_owned(), version, first, fenced: false, at: Instant::now() });
        (log.len() - 1, first)
    }

    /// Whether the version is replaced while its check is kept waiting.
    async fn becomes_fenced(&self, task: &str, version: usize) -> bool {
        let mut versions = self.0.versions.subscribe();
        let is_past = |versions: &BTreeMap<String, Vec<usize>>| {
            let versions = versions.get(task).map(Vec::as_slice).unwrap_or_default();
            versions.contains(&version) && versions.last() != Some(&version)
        };
        tokio::time::timeout(HOLD, versions.wait_for(is_past)).await.is_ok()
    }

    /// A task has begun, or been swapped, whether or not anybody is shown that yet.
    fn changed(&self, event: &Event) -> bool {
        let MonitorSpec::Http(http) = event.task.as_ref().expect("of a task").spec.monitor() else { return false };
        let (task, version) = asked(http.url().path()).expect("of this target");
        self.0.versions.send_modify(|versions| versions.entry(task).or_default().push(version));
        event.kind == EventType::SwapCommitted
    }
}

/// `/task/version`.
fn asked(path: &str) -> Option<(String, usize)> {
    let (task, version) = path.strip_prefix('/')?.split_once('/')?;
    Some((task.to_owned(), version.parse().ok()?))
}

struct Witnessed {
    store: MemoryStore,
    target: Target,
}

impl Store for Witnessed {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        self.store.recover()
    }

    fn commit(&mut self, group: Group<'_>) -> Result<(), StoreError> {
        let is_change = |event: &&Arc<Event>| matches!(event.kind, EventType::TaskCreated | EventType::SwapCommitted);
        let changes = group.events.iter().filter(is_change);
        let cut_overs = changes.filter(|event| self.target.changed(event)).count();
        if cut_overs > 0 {
            std::thread::park_timeout(COMMIT);
        }
        self.store.commit(group)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.store.reader()
    }
}
