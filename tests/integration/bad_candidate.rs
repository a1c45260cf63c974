//! Swaps to what cannot run: the old instance, its checks, its circuit and what is measured of them stay as they were.

use std::time::Duration;

use serde::Deserialize;
use switchyard::config::Layer;
use switchyard::model::Violations;
use switchyard::monitor::{Config, Context, Kind, Monitor, MonitorError, MonitorFuture};
use switchyard::pb::v1::task_spec::Monitor as Spec;
use switchyard::pb::v1::{
    CircuitPolicy, CustomMonitor, GetTaskRequest, HttpMonitor, Schedule, State, SwapPhase, SwapPolicy, SwapTaskRequest,
    Task,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};

use crate::harness::{Client, Harness, builder, name, reach, reason, start, with_spec};
use crate::kinds::fall;

/// A kind that goes wrong where its configuration says.
struct Bad;

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "at")]
enum Goes {
    Validate,
    ValidateByPanic,
    ValidateByHanging,
    Build,
    BuildByPanic,
    BuildByHanging,
    Run,
    RunByPanic,
    RunByReturning,
    Readiness,
}

/// Longer than a kind is given, and no longer than the process is willing to wait at its end.
fn hang() {
    std::thread::park_timeout(Duration::from_secs(3));
}

impl Kind for Bad {
    fn name(&self) -> &str {
        "bad"
    }

    fn declares_readiness(&self) -> bool {
        true
    }

    fn validate(&self, config: &Config) -> Result<(), Violations> {
        match config.parse()? {
            Goes::Validate => Err(Violations::one("at", "never takes this")),
            Goes::ValidateByPanic => fall("validates nothing"),
            Goes::ValidateByHanging => {
                hang();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn build(&self, config: &Config) -> Result<Box<dyn Monitor>, MonitorError> {
        match config.parse()? {
            Goes::Build => Err(MonitorError::from("no bricks")),
            Goes::BuildByPanic => fall("the scaffold falls"),
            Goes::BuildByHanging => {
                hang();
                Err(MonitorError::from("too late"))
            }
            goes => Ok(Box::new(goes)),
        }
    }
}

impl Monitor for Goes {
    fn run(self: Box<Self>, context: Context) -> MonitorFuture {
        Box::pin(async move {
            match *self {
                Self::Run => Err(MonitorError::from("no fuel")),
                Self::RunByPanic => fall("the boiler bursts"),
                Self::RunByReturning => Ok(()),
                _ => {
                    context.token().cancelled().await;
                    Ok(())
                }
            }
        })
    }
}

/// Answers every request, and says how many there were.
struct Target {
    url: String,
    served: watch::Receiver<u64>,
    _serving: AbortOnDropHandle<()>,
}

impl Target {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let (count, served) = watch::channel(0);
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("listens");
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.unwrap_or_default();
                // A check that was dropped meanwhile reads nothing more.
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
                count.send_modify(|count| *count += u64::from(read > 0));
            }
        });
        Self { url, served, _serving: AbortOnDropHandle::new(serving) }
    }

    /// Waits until this many more requests have come.
    async fn serves(&mut self, more: u64) {
        let goal = *self.served.borrow() + more;
        self.served.wait_for(|count| *count >= goal).await.expect("it serves");
    }
}

fn bad(at: &str) -> SwapTaskRequest {
    let goes = prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(at.to_owned())) };
    let config = Some(prost_types::Struct { fields: [("at".to_owned(), goes)].into() });
    let request = with_spec(start("task", Spec::Custom(CustomMonitor { kind: "bad".to_owned(), config })), |spec| {
        // Only for the one that waits for it.
        let soon = prost_types::Duration { seconds: 0, nanos: 200_000_000 };
        let readiness_timeout = (at == "readiness").then_some(soon);
        spec.swap = Some(SwapPolicy { readiness_timeout, ..Default::default() });
    });
    SwapTaskRequest { name: name("task"), task: request.task, wait: true, ..Default::default() }
}

async fn get(client: &mut Client) -> Task {
    let answer = client.get_task(GetTaskRequest { name: name("task") }).await.expect("there");
    answer.into_inner().task.expect("answered")
}

/// What a candidate must not touch, of the task and of what is measured.
async fn untouched(server: &Harness, client: &mut Client) -> (Task, Vec<String>) {
    let mut task = get(client).await;
    // The swap itself, when it was, and what is sampled of checks that go on, or tells of single ones.
    (task.swap, task.update_time, task.live) = (None, None, None);
    task.circuit.as_mut().expect("has one").flapping = false;
    let metrics = server.metrics().await;
    let families = ["circuits", "circuit_transitions", "alerts", "restarts", "tasks", "active_tasks"];
    let kept = |line: &&str| {
        let of = |family: &&str| line.starts_with(&format!("circuit_breaker_{family}"));
        families.iter().any(of) || (line.contains("checks") && line.contains("\"bad\""))
    };
    (task, metrics.lines().filter(kept).map(str::to_owned).collect())
}

async fn running() -> (Harness, Client, Target) {
    let mut target = Target::start().await;
    let server = Harness::run(builder(Layer::default()).register(Bad).bind().await.expect("bound"));
    let mut client = server.client().await;
    let monitor = Spec::Http(HttpMonitor { url: target.url.clone(), ..Default::default() });
    let interval = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
    let schedule = Some(Schedule { interval, ..Default::default() });
    let request = with_spec(start("task", monitor), |spec| {
        spec.schedule = schedule;
        // Checks that a busy machine is late with open no circuit.
        let (consecutive_failures, failure_rate) = (Some(1_000), Some(0));
        spec.circuit = Some(CircuitPolicy { consecutive_failures, failure_rate, ..Default::default() });
    });
    client.start_task(request).await.expect("started");
    reach(&mut client, "task", State::Running).await;
    target.serves(2).await;
    (server, client, target)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_candidate_that_goes_wrong_touches_the_old_instance() {
    let (server, mut client, mut target) = running().await;
    let before = untouched(&server, &mut client).await;
    for (at, why) in [
        ("build", "no bricks"),
        ("build-by-panic", "the scaffold falls"),
        ("build-by-hanging", "did not build within 1s"),
        ("run", "has failed: no fuel"),
        ("run-by-panic", "panicked: the boiler bursts"),
        ("run-by-returning", "has ended"),
        ("readiness", "was not ready within 200ms"),
    ] {
        let answer = client.swap_task(bad(at)).await.expect("a roll-back is no error of the call").into_inner();
        let swap = answer.task.and_then(|task| task.swap).expect("answered with the swap");
        assert_eq!(swap.phase(), SwapPhase::RolledBack, "{at}: {}", swap.error);
        assert!(swap.error.contains(why), "{at}: {}", swap.error);
        assert_eq!(untouched(&server, &mut client).await, before, "{at}");
        target.serves(2).await;
    }
    let metrics = server.metrics().await;
    assert!(metrics.contains("circuit_breaker_swaps_total{result=\"rolled_back\"} 7\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spec_that_its_kind_refuses_begins_no_swap() {
    let (server, mut client, mut target) = running().await;
    let before = untouched(&server, &mut client).await;
    let invalid = (Code::InvalidArgument, "INVALID_FIELD");
    for (at, answer, why) in [
        ("validate", invalid, "never takes this"),
        ("validate-by-panic", invalid, "validates nothing"),
        ("validate-by-hanging", (Code::FailedPrecondition, "KIND_UNRESPONSIVE"), "did not validate within 1s"),
    ] {
        let status: Status = client.swap_task(bad(at)).await.expect_err("refused");
        assert_eq!((status.code(), reason(&status).as_str()), answer, "{at}");
        assert!(status.message().contains(why), "{at}: {status}");
        assert_eq!(get(&mut client).await.swap, None, "{at}");
        assert_eq!(untouched(&server, &mut client).await, before, "{at}");
        target.serves(1).await;
    }
}
