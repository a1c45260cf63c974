//! A monitor that blocks its thread costs itself, and nobody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use switchyard::config::Layer;
use switchyard::model::Violations;
use switchyard::monitor::{Config, Context, Finding, Kind, Monitor, MonitorError, MonitorFuture};
use switchyard::pb::v1::task_spec::Monitor as Spec;
use switchyard::pb::v1::{AlertKind, Exit, Schedule, StartTaskRequest, State, Task, TcpMonitor};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{Client, Harness, all_tasks, builder, drill, reach, start, with_spec};
use crate::kinds::custom;
use crate::waits::Waits;

const CUSTOM_SHARDS: usize = 8;
const BLOCKING: usize = CUSTOM_SHARDS + 4;
const TCP: usize = 500;
const STEADY: usize = 50;
/// The twin's tasks of each sort.
const TWINS: usize = 50;
/// As long as the drills do.
const BLOCKED_FOR: Duration = Duration::from_secs(120);
const SECOND: Duration = Duration::from_secs(1);
/// The kernel drops what a target's full queue has no room for, and the client tries again after a second: that would be a check
/// missed for the target's sake. This has room for some seconds of all checks.
const BACKLOG: u32 = 4_096;

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

/// What all the tasks of the built-in kind check: it accepts, and closes.
struct Target {
    address: String,
    _accepting: AbortOnDropHandle<()>,
}

impl Target {
    fn start() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let listener = socket.listen(BACKLOG).expect("listens");
        let address = listener.local_addr().expect("bound").to_string();
        let accepting = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        Self { address, _accepting: AbortOnDropHandle::new(accepting) }
    }
}

/// A server with healthy tasks, of a built-in kind and of a custom one, each checked once in a second.
struct Site {
    server: Harness,
    client: Client,
    record: Record,
}

impl Site {
    async fn start(target: &Target, tcp: usize, steady: usize) -> Self {
        let record = Record(Arc::default(), Arc::new(watch::channel(0).0));
        let layer = Layer { custom_shards: Some(CUSTOM_SHARDS), ..Layer::default() };
        let server = Harness::run(builder(layer).register(Steady(record.clone())).bind().await.expect("bound"));
        let client = server.client().await;
        let tcp = (0..tcp).map(|n| {
            let spec = TcpMonitor { address: target.address.clone(), steps: vec![] };
            every_second(start(&format!("tcp-{n}"), Spec::Tcp(spec)))
        });
        let steady = (0..steady).map(|n| every_second(custom(&format!("steady-{n}"), "steady")));
        start_all(&client, tcp.chain(steady)).await;
        Self { server, client, record }
    }

    async fn tasks(&self) -> Vec<Task> {
        all_tasks(&mut self.client.clone()).await
    }

    /// What each task had missed before, and the moment from which on it counts.
    async fn count_from_here(&self) -> Before {
        let tcp = named(&self.tasks().await, "/tcp-").into_iter().map(|task| (task.name.clone(), told(task))).collect();
        Before { at: Instant::now(), waits: Waits::from_here(), tcp }
    }
}

/// Where counting begins.
struct Before {
    at: Instant,
    waits: Waits,
    tcp: HashMap<String, u64>,
}

/// What tasks have missed since then.
struct Missed<'a> {
    tcp: Vec<(&'a Task, u64)>,
    steady: Vec<(&'a Task, u64)>,
}

impl<'a> Missed<'a> {
    fn since(before: &Before, site: &Site, tasks: &'a [Task]) -> Self {
        let now = Instant::now();
        let tcp = named(tasks, "/tcp-").into_iter().map(|task| (task, told(task) - before.tcp[&task.name])).collect();
        let record = site.record.0.lock().expect("no panic");
        let steady = named(tasks, "/steady-").into_iter();
        let steady = steady.map(|task| (task, missed(&record[&task.name], before.at, now))).collect();
        Self { tcp, steady }
    }
}

fn worst(missed: &[(&Task, u64)]) -> u64 {
    missed.iter().map(|(_, missed)| *missed).max().expect("some")
}

/// What the task itself says that its instance has missed.
fn told(task: &Task) -> u64 {
    task.live.as_ref().expect("is sampled").missed_checks.into()
}

/// Intervals of a second that passed without a check, from the last check before `from` to `until`.
fn missed(checks: &[Instant], from: Instant, until: Instant) -> u64 {
    let first = checks.partition_point(|check| *check <= from).saturating_sub(1);
    let checks: Vec<_> = checks[first..].iter().copied().filter(|check| *check < until).chain([until]).collect();
    let gaps = checks.windows(2).map(|pair| pair[1].duration_since(pair[0]));
    gaps.map(|gap| intervals(gap).saturating_sub(1)).sum()
}

/// How many intervals are as long as that.
fn intervals(span: Duration) -> u64 {
    (span + SECOND / 2).as_secs()
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

/// What the machine itself delays it delays for a twin as well: a server beside it where nothing blocks. The twin has less to do,
/// though, so that it is in time where there is no time for all of it: how long the threads of the checks have waited for a processor
/// excuses as much. On a quiet machine neither excuses anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dozen_that_block_every_custom_thread_cost_the_others_two_checks_at_most() {
    let target = Target::start();
    let twin = Site::start(&target, TWINS, TWINS).await;
    let site = Site::start(&target, TCP, STEADY).await;
    let (twin_before, before) = (twin.count_from_here().await, site.count_from_here().await);
    start_all(&site.client, (0..BLOCKING).map(|n| drill(&format!("drill-{n}"), "block_thread", "2m"))).await;

    // RPCs answer all the while, and say who blocks.
    let mut total = site.record.1.subscribe();
    let mut all_block = async || {
        while named(&site.tasks().await, "/drill-").into_iter().filter(|task| is_blocked(task)).count() < BLOCKING {
            // Each of the tasks that go on makes a check in every second.
            total.changed().await.expect("the record is there");
        }
        // Long enough that every one of them has been checked again since the last displacement.
        let now = *total.borrow();
        total.wait_for(|checks| *checks >= now + 5 * STEADY).await.expect("the record is there");
    };
    tokio::time::timeout(BLOCKED_FOR, all_block()).await.expect("all of them block, and the others go on");

    let (tasks, twins) = (site.tasks().await, twin.tasks().await);
    let (missed, twin_missed) = (Missed::since(&before, &site, &tasks), Missed::since(&twin_before, &twin, &twins));
    let excused =
        |twins: &[(&Task, u64)], threads| worst(twins).max(intervals(before.waits.through(&[threads, "manager"])));
    let (tcp_excused, steady_excused) = (excused(&twin_missed.tcp, "shard"), excused(&twin_missed.steady, "custom"));
    assert_eq!((missed.tcp.len(), missed.steady.len()), (TCP, STEADY));
    for (task, missed) in missed.tcp {
        assert_eq!((task.state(), task.instance.as_ref().expect("runs").attempt), (State::Running, 1));
        assert!(missed <= tcp_excused, "{} missed {missed}, of which the machine excuses {tcp_excused}", task.name);
    }
    for (task, missed) in missed.steady {
        let most = 2 + steady_excused;
        assert!(missed <= most, "{} missed {missed}, of which the machine excuses {steady_excused}", task.name);
        let restarts = task.restart.as_ref().map(|restart| restart.count);
        assert_eq!((task.state(), restarts), (State::Running, Some(0)), "{task:?}");
        let attempt = task.instance.as_ref().expect("runs").attempt;
        assert!(attempt <= 2, "{} was displaced more than once", task.name);
        assert!(attempt == 1 || task.outcome.as_ref().is_some_and(|outcome| outcome.exit() == Exit::Displaced));
    }
    let metrics = site.server.metrics().await;
    for line in [
        format!("circuit_breaker_blocked_polls {BLOCKING}"),
        format!("circuit_breaker_shard_threads{{sort=\"relieved\"}} {BLOCKING}"),
        format!("circuit_breaker_shard_threads{{sort=\"custom\"}} {CUSTOM_SHARDS}"),
    ] {
        assert!(metrics.contains(&format!("\n{line}\n")), "no {line} in {metrics}");
    }
}
