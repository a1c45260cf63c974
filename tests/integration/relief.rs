//! A monitor that blocks its thread costs itself, and nobody else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use switchyard::config::Layer;
use switchyard::model::Violations;
use switchyard::monitor::{Config, Context, Finding, Kind, Monitor, MonitorError, MonitorFuture};
use switchyard::pb::v1::task_spec::Monitor as Spec;
use switchyard::pb::v1::{AlertKind, CustomMonitor, Exit, Schedule, StartTaskRequest, State, Task, TcpMonitor};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{Client, Harness, all_tasks, builder, drill, reach, start, with_spec};

const CUSTOM_SHARDS: usize = 8;
const BLOCKING: usize = CUSTOM_SHARDS + 4;
/// As long as the drills do.
const BLOCKED_FOR: Duration = Duration::from_secs(120);
/// On a machine that keeps a thread waiting for this long, no check's second is its own.
const STARVED: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);

/// When each instance of the kind `steady` has begun its checks, by its task's name; and how many checks there were in all.
#[derive(Clone)]
struct Record(Arc<Mutex<HashMap<String, Vec<Instant>>>>, Arc<watch::Sender<usize>>);

/// Checks once in a second that it is there.
struct Steady(Record);

impl Kind for Steady {
    fn name(&self) -> &str {
        "steady"
    }

    fn validate(&self, config: &Config) -> Result<(), Violations> {
        config.refuse_any()
    }

    fn build(&self, _config: &Config) -> Result<Box<dyn Monitor>, MonitorError> {
        Ok(Box::new(Self(self.0.clone())))
    }
}

impl Monitor for Steady {
    fn run(self: Box<Self>, context: Context) -> MonitorFuture {
        Box::pin(async move {
            let check = || {
                let Record(checks, total) = &self.0;
                checks.lock().expect("no panic").entry(context.name().to_string()).or_default().push(Instant::now());
                total.send_modify(|total| *total += 1);
                std::future::ready(Finding::pass())
            };
            context.every(context.schedule().interval(), check).await;
            Ok(())
        })
    }
}

/// A thread that does nothing but sleep: how late it wakes is the machine's doing, and nobody's whom this test is about.
struct Control {
    longest: Arc<AtomicU64>,
    _stop: SyncSender<()>,
}

impl Control {
    fn start() -> Self {
        let longest = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = sync_channel(0);
        let late = Arc::clone(&longest);
        std::thread::spawn(move || {
            let mut last = Instant::now();
            while stopped.recv_timeout(Duration::from_millis(10)) == Err(RecvTimeoutError::Timeout) {
                let took = last.elapsed().as_millis();
                late.fetch_max(u64::try_from(took).unwrap_or(u64::MAX), Ordering::Relaxed);
                last = Instant::now();
            }
        });
        Self { longest, _stop: stop }
    }

    /// Its longest sleep, of those that were to last for 10 ms.
    fn longest(&self) -> Duration {
        Duration::from_millis(self.longest.load(Ordering::Relaxed))
    }
}

fn every_second(request: StartTaskRequest) -> StartTaskRequest {
    with_spec(request, |spec| {
        let interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        spec.schedule = Some(Schedule { interval, ..Schedule::default() });
    })
}

async fn start_all(client: &Client, requests: impl IntoIterator<Item = StartTaskRequest>) {
    let starts = requests.into_iter().map(|request| {
        let mut client = client.clone();
        async move {
            let id = request.task_id.clone();
            client.start_task(request).await.expect("starts");
            reach(&mut client, &id, State::Running).await
        }
    });
    join_all(starts).await;
}

fn is_blocked(task: &Task) -> bool {
    let since = task.instance.as_ref().and_then(|instance| instance.blocked_since);
    since.is_some() && task.alerts.iter().any(|alert| alert.kind() == AlertKind::PollBlocked)
}

fn named<'a>(tasks: &'a [Task], part: &str) -> Vec<&'a Task> {
    tasks.iter().filter(|task| task.name.contains(part)).collect()
}

/// Intervals of a second that have passed without a check.
fn missed(checks: &[Instant]) -> u64 {
    let gaps = checks.windows(2).map(|pair| pair[1].duration_since(pair[0]));
    gaps.map(|gap| (gap + SECOND / 2).as_secs().saturating_sub(1)).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dozen_that_block_every_custom_thread_cost_the_others_two_checks_at_most() {
    let control = Control::start();
    let record = Record(Arc::default(), Arc::new(watch::channel(0).0));
    let mut total = record.1.subscribe();
    let layer = Layer { custom_shards: Some(CUSTOM_SHARDS), ..Layer::default() };
    let server = Harness::run(builder(layer).register(Steady(record.clone())).bind().await.expect("bound"));
    let client = server.client().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let _target = AbortOnDropHandle::new(tokio::spawn(async move { while listener.accept().await.is_ok() {} }));

    let tcp =
        |n| every_second(start(&format!("tcp-{n}"), Spec::Tcp(TcpMonitor { address: address.clone(), steps: vec![] })));
    let steady = |n| {
        let custom = CustomMonitor { kind: "steady".to_owned(), config: None };
        every_second(start(&format!("steady-{n}"), Spec::Custom(custom)))
    };
    start_all(&client, (0..500).map(tcp)).await;
    start_all(&client, (0..50).map(steady)).await;
    start_all(&client, (0..BLOCKING).map(|n| drill(&format!("drill-{n}"), "block_thread", "2m"))).await;

    // RPCs answer all the while, and say who blocks.
    let mut reader = client.clone();
    let mut all_block = async || {
        while named(&all_tasks(&mut reader).await, "drill-").into_iter().filter(|task| is_blocked(task)).count()
            < BLOCKING
        {
            // Each of the tasks that go on makes a check in every second.
            total.changed().await.expect("the record is there");
        }
        // Long enough that every one of them has been checked again since the last displacement.
        let now = *total.borrow();
        total.wait_for(|checks| *checks >= now + 5 * 50).await.expect("the record is there");
    };
    tokio::time::timeout(BLOCKED_FOR, all_block()).await.expect("all of them block, and the others go on");

    let tasks = all_tasks(&mut reader).await;
    for task in named(&tasks, "/steady-") {
        let checks = record.0.lock().expect("no panic")[&task.name].clone();
        assert!(missed(&checks) <= 2, "{} missed {}", task.name, missed(&checks));
        assert_eq!((task.state(), task.restart.map(|restart| restart.count)), (State::Running, Some(0)), "{task:?}");
        let attempt = task.instance.as_ref().expect("runs").attempt;
        assert!(attempt <= 2, "{} was displaced more than once", task.name);
        assert!(attempt == 1 || task.outcome.as_ref().is_some_and(|outcome| outcome.exit() == Exit::Displaced));
    }
    let starved = control.longest() > STARVED;
    for task in named(&tasks, "/tcp-") {
        let live = task.live.as_ref().expect("is sampled");
        assert_eq!((task.state(), task.instance.as_ref().unwrap().attempt), (State::Running, 1));
        assert!(starved || live.missed_checks == 0, "{} missed {}", task.name, live.missed_checks);
    }
    let metrics = server.metrics().await;
    for line in [
        format!("circuit_breaker_blocked_polls {BLOCKING}"),
        format!("circuit_breaker_shard_threads{{sort=\"relieved\"}} {BLOCKING}"),
        format!("circuit_breaker_shard_threads{{sort=\"custom\"}} {CUSTOM_SHARDS}"),
    ] {
        assert!(metrics.contains(&format!("\n{line}\n")), "no {line} in {metrics}");
    }
}
