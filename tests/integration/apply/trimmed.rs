//! A roll-out that gets no turn for so long that the journal keeps nothing of what has happened meanwhile.

use std::sync::Arc;

use futures_util::poll;
use switchyard::journal::{Journal, MemoryStore, Options, Writer};
use switchyard::manager::{self, Handle, Limits, Manager};
use switchyard::model::{
    Actor, Applied, ApplyOutcome, CancelTask, Cause, DeleteTask, State, SwapPhase, Task as Shown, TaskName, Violations,
};
use switchyard::monitor::drill::Drill;
use switchyard::monitor::{Config, Context, Kind, Monitor as Run, MonitorError, MonitorFuture, Registry};
use switchyard::pb::parse::{ApplySet, apply_header};
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::{ApplyHeader, Rollout, Schedule, SwapPolicy, Task, TcpMonitor, TcpStep};
use switchyard::probe::BuiltIns;
use switchyard::telemetry::Metrics;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use super::{header, named, task};
use crate::harness::{name, start};
use crate::kinds::of_kind;

/// What the journal keeps.
const EVENTS: usize = 64;

/// A kind that is never ready, and fails when it is told to.
#[derive(Clone, Default)]
struct Fuse(Arc<Notify>);

impl Kind for Fuse {
    fn name(&self) -> &str {
        "fuse"
    }

    fn declares_readiness(&self) -> bool {
        true
    }

    fn validate(&self, config: &Config) -> Result<(), Violations> {
        config.refuse_any()
    }

    fn build(&self, _config: &Config) -> Result<Box<dyn Run>, MonitorError> {
        Ok(Box::new(self.clone()))
    }
}

impl Run for Fuse {
    fn run(self: Box<Self>, _context: Context) -> MonitorFuture {
        Box::pin(async move {
            self.0.notified().await;
            Err(MonitorError::from("burnt through"))
        })
    }
}

/// A manager without a server around it: only so its roll-outs get a turn when the test says so.
struct Managed {
    handle: Handle,
    journal: Journal,
    _manager: Manager,
    _writer: Writer,
}

impl Managed {
    fn start(fuse: Fuse) -> Self {
        let options = Options { ring_events: EVENTS, metrics: None };
        let (journal, writer, requests) = Journal::start(Box::new(MemoryStore::new(EVENTS)), options).expect("started");
        let mut registry = Registry::new(BuiltIns::new());
        registry.register(Drill).expect("the only one");
        registry.register(fuse).expect("the only one");
        let limits = Limits { max_tasks: 100, max_stuck: 8 };
        let options = manager::Options { built_in_shards: 1, custom_shards: 1, limits, unknown_kind_hint: |_| "" };
        let metrics = Metrics::new().expect("registered once");
        let (manager, handle) = Manager::start(options, registry, journal.clone(), requests, metrics).expect("started");
        Self { handle, journal, _manager: manager, _writer: writer }
    }

    /// The plan of a set.
    async fn planned(&self, header: ApplyHeader, tasks: Vec<Task>) -> manager::Planned {
        let apply = apply_header(Some(header), Actor::System("test".into())).expect("valid");
        let mut gathering = self.handle.gather(apply).expect("free");
        let mut set = ApplySet::new(gathering.owner());
        let desired = set.parse(tasks).into_iter().map(|(_, desired)| desired).collect();
        assert_eq!(gathering.add(desired).await.expect("small"), Vec::new());
        gathering.plan()
    }

    async fn applied(&self, header: ApplyHeader, tasks: Vec<Task>) -> Applied {
        let (progress, _) = watch::channel(Default::default());
        self.planned(header, tasks).await.run(progress).await.expect("applied")
    }

    fn task(&self, id: &str) -> Option<Arc<Shown>> {
        self.journal.view().get(&named_task(id)).cloned()
    }

    /// Waits until a task is as wanted.
    async fn until(&self, id: &str, wanted: impl Fn(&Shown) -> bool) {
        let uid = self.task(id).expect("there").uid;
        let mut changes = self.journal.changes(uid);
        while !self.task(id).is_some_and(|task| wanted(&task)) {
            changes.next().await.expect("the journal goes on");
        }
    }

    /// Events enough that nothing is kept of those before: a task of another owner gets one note after the other.
    async fn forgets(&self) {
        let head = self.journal.bounds().head;
        for number in 0.. {
            if self.journal.bounds().oldest > head {
                break;
            }
            let annotations = [("note".to_owned(), number.to_string())].into();
            let noted = Task { annotations, ..task("other", "1h") };
            self.applied(ApplyHeader { owner: "edge".to_owned(), ..Default::default() }, vec![noted]).await;
        }
    }
}

fn named_task(id: &str) -> TaskName {
    TaskName::parse(&name(id)).expect("a name")
}

/// A task that is ready once `target` has said a word.
fn awaited(id: &str, target: &TcpListener) -> Task {
    let address = target.local_addr().expect("bound").to_string();
    let steps = vec![TcpStep { send: Vec::new(), expect: b"a word".to_vec() }];
    patient(id, Monitor::Tcp(TcpMonitor { address, steps }))
}

/// A task whose candidate has all the time of this test.
fn patient(id: &str, monitor: Monitor) -> Task {
    let mut task = named(id, start(id, monitor));
    let spec = task.spec.as_mut().expect("set");
    let long = Some(prost_types::Duration { seconds: 300, nanos: 0 });
    spec.schedule = Some(Schedule { interval: long, timeout: long, max_runs: 0 });
    spec.swap = Some(SwapPolicy { readiness_timeout: long, ..Default::default() });
    task
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_out_that_has_missed_what_became_of_its_swaps_finds_out_and_goes_on() {
    let fuse = Fuse::default();
    let managed = Managed::start(fuse.clone());
    let ids = ["comes", "fails", "goes", "last"];
    managed.applied(header(), ids.map(|id| task(id, "1h")).to_vec()).await;
    for id in ids {
        managed.until(id, |task| task.state == State::Running).await;
    }
    let listen = || async { TcpListener::bind("127.0.0.1:0").await.expect("a port") };
    let (target, silent) = (listen().await, listen().await);
    let set = vec![
        awaited("comes", &target),
        patient("fails", of_kind("fuse")),
        awaited("goes", &silent),
        task("last", "2h"),
    ];
    let rollout = Some(Rollout { max_parallel: 3, max_failures: 9, ..Default::default() });
    let planned = managed.planned(ApplyHeader { rollout, ..header() }, set).await;
    let (progress, told) = watch::channel(Default::default());
    let mut running = Box::pin(planned.run(progress));
    // Each turn takes up what was answered since.
    for id in &ids[..3] {
        assert!(poll!(&mut running).is_pending());
        managed.until(id, |task| task.swap.as_ref().is_some_and(|swap| swap.phase == SwapPhase::Starting)).await;
    }
    assert!(poll!(&mut running).is_pending());
    assert_eq!((told.borrow().in_flight, told.borrow().waiting), (3, 1));

    // From here on it has no turn.
    let (mut stream, _) = target.accept().await.expect("the candidate connects");
    stream.write_all(b"a word").await.expect("it listens");
    let has_ended = |phase| move |task: &Shown| task.swap.as_ref().is_some_and(|swap| swap.phase == phase);
    managed.until("comes", has_ended(SwapPhase::Done)).await;
    fuse.0.notify_one();
    managed.until("fails", has_ended(SwapPhase::RolledBack)).await;
    let cause = || Cause::system("test", "");
    let (force, etag, idempotency) = (false, None, None);
    let goes = || named_task("goes");
    let cancel = CancelTask { name: goes(), force, etag: etag.clone(), cause: cause(), idempotency };
    managed.handle.cancel(cancel).await.expect("accepted");
    managed.until("goes", |task| task.state == State::Cancelled).await;
    managed.handle.delete(DeleteTask { name: goes(), etag, cause: cause(), idempotency }).await.expect("deleted");
    managed.forgets().await;

    let applied = running.await.expect("applied");
    assert_eq!(applied.outcome, ApplyOutcome::Failed);
    let counts = applied.counts;
    assert_eq!((counts.swapped, counts.failed, counts.in_flight, counts.waiting), (2, 2, 0, 0), "{counts:?}");
    let why: Vec<_> = applied.failures.iter().map(|it| (it.name.to_string(), it.why.to_string())).collect();
    for (id, text) in [("fails", "burnt through"), ("goes", "no task")] {
        assert!(why.iter().any(|(of, why)| *of == name(id) && why.contains(text)), "{id}: {why:?}");
    }
    assert_eq!(managed.task("last").map(|task| task.generation.get()), Some(2));
}
