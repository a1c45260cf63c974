//! Tasks that run: restarts until the policy gives up, which threads they run on, and what a reader and `/metrics` see of it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use switchyard::config::Layer;
use switchyard::model::Violations;
use switchyard::monitor::{Config as KindConfig, Context, Kind, Monitor, MonitorError, MonitorFuture, from_fn};
use switchyard::pb::v1::event::Detail;
use switchyard::pb::v1::task_spec::Monitor as Spec;
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{
    AlertKind, Asked, EventType, EventView, Exit, GetTaskRequest, HttpMonitor, RestartPolicy, Schedule, ShutdownPolicy,
    StartTaskRequest, State, Task, TcpMonitor, Verdict, WatchTasksRequest, WatchTasksResponse,
};
use switchyard::server::Builder;
use tonic::Streaming;

use crate::harness::{Client, Harness, all_tasks, builder, cancel, drill, name, outcome, reach, start, with_spec};
use crate::kinds::custom;

/// Says never that it is ready, and is otherwise as it should be.
struct NeverReady;

impl Kind for NeverReady {
    fn name(&self) -> &str {
        "never-ready"
    }

    fn declares_readiness(&self) -> bool {
        true
    }

    fn validate(&self, config: &KindConfig) -> Result<(), Violations> {
        config.refuse_any()
    }

    fn build(&self, _config: &KindConfig) -> Result<Box<dyn Monitor>, MonitorError> {
        Ok(Box::new(Self))
    }
}

impl Monitor for NeverReady {
    fn run(self: Box<Self>, context: Context) -> MonitorFuture {
        Box::pin(async move {
            context.token().cancelled().await;
            Ok(())
        })
    }
}

async fn run(builder: Builder) -> (Harness, Client) {
    let server = Harness::run(builder.bind().await.expect("bound"));
    let client = server.client().await;
    (server, client)
}

fn millis(millis: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: 0, nanos: millis * 1_000_000 })
}

fn restarted_at_once(max_restarts: u32) -> Option<RestartPolicy> {
    let max_restarts = Some(max_restarts);
    Some(RestartPolicy { max_restarts, initial_backoff: millis(10), max_backoff: millis(20), window: None })
}

/// Asks for a task that checks its target ten times a second; on a busy machine a check may well run out of its 100 ms.
fn checking(id: &str, monitor: Spec) -> StartTaskRequest {
    with_spec(start(id, monitor), |spec| {
        spec.schedule = Some(Schedule { interval: millis(100), ..Schedule::default() })
    })
}

/// Watches the server's own health, over HTTP.
fn http(server: &Harness) -> Spec {
    let url = format!("http://{}/healthz", server.http_address());
    Spec::Http(HttpMonitor { url, ..HttpMonitor::default() })
}

/// Watches that the server's gRPC port accepts connections.
fn tcp(server: &Harness) -> Spec {
    Spec::Tcp(TcpMonitor { address: server.address().to_string(), steps: Vec::new() })
}

async fn get(client: &mut Client, id: &str) -> Task {
    let answer = client.get_task(GetTaskRequest { name: name(id) }).await.expect("there").into_inner();
    answer.task.expect("answered")
}

/// Looks again and again until it is seen; what there is instead is told after a minute.
async fn seen<T>(mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(instead) => assert!(Instant::now() < deadline, "{instead}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Which attempt the newest instance is, and how many restarts have been counted.
fn attempts(task: &Task) -> (u32, u32) {
    (task.instance.as_ref().expect("was started").attempt, task.restart.as_ref().expect("was restarted").count)
}

#[tokio::test]
async fn a_failing_task_is_restarted_until_the_policy_gives_up() {
    let (_server, mut client) = run(builder(Layer::default())).await;
    let failing = with_spec(drill("failing", "panic", "10ms"), |spec| spec.restart = restarted_at_once(2));
    client.start_task(failing).await.expect("starts");
    let task = reach(&mut client, "failing", State::Failed).await;
    assert_eq!((outcome(&task), attempts(&task)), ((Exit::Panic, Asked::None), (3, 2)), "{task:?}");
    assert_eq!(task.restart.as_ref().and_then(|restart| restart.next_time), None);
}

#[tokio::test]
async fn one_that_is_never_ready_is_stopped_and_restarted() {
    let (_server, mut client) = run(builder(Layer::default()).register(NeverReady)).await;
    let never = with_spec(custom("never", "never-ready"), |spec| {
        spec.start_timeout = millis(100);
        spec.restart = restarted_at_once(1);
    });
    client.start_task(never).await.expect("starts");
    let task = reach(&mut client, "never", State::Failed).await;
    assert_eq!((outcome(&task), attempts(&task)), ((Exit::Graceful, Asked::StartTimeout), (2, 1)), "{task:?}");
    assert_eq!(task.instance.and_then(|instance| instance.ready_time), None);
}

#[tokio::test]
async fn custom_kinds_never_run_on_the_threads_of_built_in_ones() {
    let threads = Arc::new(Mutex::new(Vec::new()));
    let noting = from_fn("noting", {
        let threads = Arc::clone(&threads);
        move |_| {
            threads.lock().unwrap().push(std::thread::current().name().unwrap_or_default().to_owned());
            std::future::ready(())
        }
    });
    let layer = Layer { built_in_shards: Some(1), custom_shards: Some(2), ..Layer::default() };
    let (server, mut client) = run(builder(layer).register(noting)).await;
    client.start_task(custom("before", "noting")).await.expect("starts");
    reach(&mut client, "before", State::Succeeded).await;
    let noted = threads.lock().unwrap().clone();
    assert!(noted.len() == 1 && noted[0].starts_with("custom"), "{noted:?}");

    client.start_task(checking("checking", http(&server))).await.expect("starts");
    for id in ["blocking-a", "blocking-b"] {
        // Longer than the test takes: nothing waits for their end.
        client.start_task(drill(id, "block_thread", "60s")).await.expect("starts");
        reach(&mut client, id, State::Running).await;
    }
    // Each check is another proof that the built-in ones' only thread is free.
    checks_five_times(&mut client).await;
    client.start_task(custom("behind", "noting")).await.expect("starts");
    checks_five_times(&mut client).await;
    // It runs once one of the two blocked threads has been relieved.
    reach(&mut client, "behind", State::Succeeded).await;
    let noted = threads.lock().unwrap().clone();
    assert!(noted.len() == 2 && noted.iter().all(|thread| thread.starts_with("custom")), "{noted:?}");
}

/// Waits until the task `checking` has made further checks, which pass.
async fn checks_five_times(client: &mut Client) {
    let mut last = None;
    for _ in 0..5 {
        let check = seen(async || {
            let task = get(client, "checking").await;
            let check = task.live.as_ref().and_then(|live| live.last_check.clone());
            let passed = check.filter(|check| check.time != last && check.verdict() == Verdict::Pass);
            passed.ok_or_else(|| format!("no further check that passes: {task:?}"))
        });
        last = check.await.time;
    }
}

#[tokio::test]
async fn a_task_that_is_read_shows_its_last_check() {
    let (server, mut client) = run(builder(Layer::default())).await;
    let oldest = server.info().await.oldest_cursor;
    for (id, monitor) in [("http", http(&server)), ("tcp", tcp(&server))] {
        client.start_task(checking(id, monitor)).await.expect("starts");
        let task = reach(&mut client, id, State::Running).await;
        let checked = task.live.as_ref().is_some_and(|live| live.last_check.is_some());
        assert!(checked, "ready comes after the first check: {task:?}");
        // While a check runs, none is scheduled.
        let scheduled = |task: &Task| task.live.as_ref().is_some_and(|live| live.next_check_time.is_some());
        seen(async || {
            let task = get(&mut client, id).await;
            shows_a_check(&task)?;
            if scheduled(&task) { Ok(()) } else { Err(format!("no next check: {task:?}")) }
        })
        .await;
    }
    seen(async || {
        let tasks = all_tasks(&mut client).await;
        assert_eq!(tasks.len(), 2);
        tasks.iter().try_for_each(shows_a_check)
    })
    .await;

    let watch =
        WatchTasksRequest { start: Some(Start::Cursor(oldest)), view: EventView::Full.into(), ..Default::default() };
    let mut frames = client.watch_tasks(watch).await.expect("opened").into_inner();
    let mut ready = 0;
    while ready < 2 {
        for event in frame(&mut frames).await.events {
            ready += usize::from(event.r#type() == EventType::InstanceReady);
            assert_eq!(event.task.expect("in full").live, None);
        }
    }
}

/// The first attempt's check, which has passed, with its times.
fn shows_a_check(task: &Task) -> Result<(), String> {
    let live = task.live.as_ref().ok_or("nothing live")?;
    let check = live.last_check.as_ref().ok_or("no check")?;
    let phases = check.phases.as_ref().ok_or("no phases")?;
    let is_http = matches!(task.spec.as_ref().and_then(|spec| spec.monitor.as_ref()), Some(Spec::Http(_)));
    let timed = check.time.is_some() && check.duration.is_some() && live.last_progress_time.is_some();
    let phased = phases.connect.is_some() && (phases.first_byte.is_some() || !is_http);
    let passed = check.verdict() == Verdict::Pass && check.reason.is_empty() && check.attempt == 1;
    if timed && phased && passed { Ok(()) } else { Err(format!("{live:?}")) }
}

async fn frame(frames: &mut Streaming<WatchTasksResponse>) -> WatchTasksResponse {
    frames.message().await.expect("no error").expect("not ended")
}

/// What the story below makes of each series.
const FED: [&str; 15] = [
    "circuit_breaker_monitoring_task_count",
    "circuit_breaker_active_tasks",
    r#"circuit_breaker_tasks{state="running"}"#,
    r#"circuit_breaker_instance_exits_total{exit="graceful"}"#,
    r#"circuit_breaker_instance_exits_total{exit="aborted"}"#,
    "circuit_breaker_restarts_total",
    r#"circuit_breaker_shutdown_duration_seconds_count{outcome="ended",phase="graceful"}"#,
    r#"circuit_breaker_alerts_raised_total{alert="abort_required"}"#,
    r#"circuit_breaker_checks_total{kind="http",verdict="pass"}"#,
    r#"circuit_breaker_check_duration_seconds_count{kind="http"}"#,
    r#"circuit_breaker_rpcs_total{code="OK",method="/switchyard.v1.TaskService/StartTask"}"#,
    r#"circuit_breaker_rpc_duration_seconds_count{method="/switchyard.v1.TaskService/StartTask"}"#,
    "circuit_breaker_watch_streams",
    "circuit_breaker_events_sent_total",
    "circuit_breaker_loop_step_duration_seconds_count",
];

/// Families that may well be zero.
const THERE: [&str; 14] = [
    "circuit_breaker_loop_queue_length",
    "circuit_breaker_tasks_left",
    "circuit_breaker_scheduling_lag_seconds_count",
    "circuit_breaker_checks_missed_total",
    r#"circuit_breaker_alerts_active{alert="abort_required"}"#,
    "circuit_breaker_blocked_polls",
    "circuit_breaker_slow_poll_duration_seconds_count",
    r#"circuit_breaker_shard_threads{sort="quarantined"}"#,
    "circuit_breaker_shards_relieved_total",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
];

/// A task that checks and one each that is restarted, ends gracefully, and has to be aborted; told to the stream.
async fn story(server: &Harness, client: &mut Client) -> Streaming<WatchTasksResponse> {
    let mut frames = client.watch_tasks(WatchTasksRequest::default()).await.expect("opened").into_inner();
    assert!(frame(&mut frames).await.events.is_empty(), "the head");
    let failing = with_spec(drill("failing", "panic", "10ms"), |spec| spec.restart = restarted_at_once(1));
    let ignoring = with_spec(drill("ignoring", "ignore_cancel", "1h"), |spec| {
        spec.shutdown = Some(ShutdownPolicy { grace_timeout: millis(10), abort_timeout: None });
    });
    let tasks = [checking("http", http(server)), drill("cooperative", "cooperative", "1h"), failing, ignoring];
    for task in tasks {
        client.start_task(task).await.expect("starts");
    }
    reach(client, "http", State::Running).await;
    reach(client, "failing", State::Failed).await;
    for (id, exit) in [("cooperative", Exit::Graceful), ("ignoring", Exit::Aborted)] {
        reach(client, id, State::Running).await;
        let task = client.cancel_task(cancel(id)).await.expect("cancels").into_inner().task.expect("the task");
        assert_eq!(outcome(&task), (exit, Asked::Cancel));
    }
    let mut alerted = false;
    while !alerted {
        let told = frame(&mut frames).await.events;
        alerted = told.iter().any(
            |event| matches!(&event.detail, Some(Detail::Alert(alert)) if alert.kind() == AlertKind::AbortRequired),
        );
    }
    frames
}

#[tokio::test]
async fn every_metric_family_is_fed() {
    let (server, mut client) = run(builder(Layer::default())).await;
    let _open = story(&server, &mut client).await;
    let value = |metrics: &str, series: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse::<f64>().expect("a number"))
    };
    // A call is counted once its answer is out, which its client may see first.
    let metrics = seen(async || {
        let metrics = server.metrics().await;
        let fed = |series: &str| value(&metrics, series).is_some_and(|value| value > 0.0);
        let missing: Vec<_> = FED.into_iter().filter(|series| !fed(series)).collect();
        if missing.is_empty() { Ok(metrics) } else { Err(format!("{missing:?} in {metrics}")) }
    });
    let metrics = metrics.await;
    let missing: Vec<_> = THERE.into_iter().filter(|series| value(&metrics, series).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?} in {metrics}");
    assert_eq!(value(&metrics, "circuit_breaker_watch_streams"), Some(1.0));
    assert_eq!(value(&metrics, "circuit_breaker_restarts_total"), Some(1.0));
    assert_eq!(value(&metrics, "circuit_breaker_alerts_raised_total{alert=\"abort_required\"}"), Some(1.0));
}
