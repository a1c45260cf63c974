//! What the server does once it has lost as many threads to custom kinds as it may.

use switchyard::config::Layer;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::{
    Asked, EventType, Exit, Isolation, ShutdownPolicy, StartTaskRequest, State, SwapTaskRequest, TcpMonitor,
};
use switchyard::server::Ended;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::harness::{
    Client, Harness, builder, cancel, drill, events_until, idle, name, outcome, reach, refusal, start, with_spec,
};
use crate::kinds::{Gate, blocker};

const TASKS: &str = "switchyard.v1.TaskService";

/// A server on which one thread may be lost; with one thread for custom kinds.
async fn server(gate: &Gate) -> (Harness, Client) {
    let layer = Layer { max_stuck: Some(1), custom_shards: Some(1), ..Layer::default() };
    let server = Harness::run(builder(layer).register(gate.kind()).bind().await.expect("bound"));
    let client = server.client().await;
    (server, client)
}

/// The health of a name, as it changes.
struct Health(Streaming<HealthCheckResponse>);

impl Health {
    async fn of(server: &Harness, service: &str) -> Self {
        let request = HealthCheckRequest { service: service.to_owned() };
        Self(HealthClient::new(server.connect().await).watch(request).await.expect("known").into_inner())
    }

    async fn becomes(&mut self, wanted: ServingStatus) {
        while self.0.message().await.expect("no error").expect("not ended").status() != wanted {}
    }
}

async fn health(server: &Harness, service: &str) -> ServingStatus {
    let mut client: HealthClient<Channel> = HealthClient::new(server.connect().await);
    let request = HealthCheckRequest { service: service.to_owned() };
    client.check(request).await.expect("known").into_inner().status()
}

fn swap_to(other: StartTaskRequest) -> SwapTaskRequest {
    SwapTaskRequest { name: name(&other.task_id), task: other.task, wait: true, ..Default::default() }
}

fn tcp(server: &Harness, id: &str) -> StartTaskRequest {
    start(id, Monitor::Tcp(TcpMonitor { address: server.http_address().to_string(), steps: Vec::new() }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_limit_custom_kinds_wait_and_the_health_of_the_service_says_so() {
    let gate = Gate::default();
    let (server, mut client) = server(&gate).await;
    let mut tasks = Health::of(&server, TASKS).await;
    tasks.becomes(ServingStatus::Serving).await;
    client.start_task(idle("custom")).await.expect("started");
    reach(&mut client, "custom", State::Running).await;
    client.start_task(blocker("mule")).await.expect("started");
    tasks.becomes(ServingStatus::NotServing).await;
    for other in ["", "switchyard.v1.ServerService"] {
        assert_eq!(health(&server, other).await, ServingStatus::Serving, "{other:?}: operators must get in");
    }
    let limit = (Code::ResourceExhausted, "STUCK_LIMIT".to_owned());
    let status = client.start_task(idle("late")).await.expect_err("at the limit");
    assert_eq!(refusal(&status), limit);
    let status = client.swap_task(swap_to(drill("custom", "cooperative", "1h"))).await.expect_err("at the limit");
    assert_eq!(refusal(&status), limit);
    client.start_task(tcp(&server, "built-in")).await.expect("it blocks nothing");
    reach(&mut client, "built-in", State::Running).await;
    client.swap_task(swap_to(tcp(&server, "custom"))).await.expect("a way out");

    gate.open();
    tasks.becomes(ServingStatus::Serving).await;
    client.start_task(idle("late")).await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_has_its_thread_to_itself_delays_nobody() {
    let gate = Gate::default();
    let (server, mut client) = server(&gate).await;
    let mut tasks = Health::of(&server, TASKS).await;
    client.start_task(idle("beside")).await.expect("started");
    reach(&mut client, "beside", State::Running).await;
    let apart = with_spec(blocker("mule"), |spec| spec.isolation = Isolation::Thread.into());
    client.start_task(apart).await.expect("started");
    reach(&mut client, "mule", State::Running).await;
    let metrics = server.metrics().await;
    assert!(metrics.contains("\ncircuit_breaker_shard_threads{sort=\"isolated\"} 1\n"), "{metrics}");
    // By then it has blocked for as long as makes others be moved.
    tasks.becomes(ServingStatus::NotServing).await;
    let task = client.cancel_task(cancel("beside")).await.expect("cancelled").into_inner().task.expect("answered");
    assert_eq!((outcome(&task), task.instance.expect("the last").attempt), ((Exit::Graceful, Asked::Cancel), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_to_end_at_the_limit_says_so_by_its_exit_code() {
    let layer = Layer { max_stuck: Some(1), exit_on_stuck_limit: Some(true), ..Layer::default() };
    let server = Harness::start(layer).await;
    let mut client = server.client().await;
    let head = server.info().await.head_cursor;
    let at_once = Some(ShutdownPolicy {
        grace_timeout: Some(prost_types::Duration { seconds: 0, nanos: 0 }),
        abort_timeout: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
    });
    // Longer than a drain takes.
    let mule = with_spec(drill("mule", "block_thread", "60s"), |spec| spec.shutdown = at_once);
    client.start_task(mule).await.expect("started");
    let events = events_until(&mut client, &head, EventType::ServerDraining).await;
    let cause = events.last().and_then(|event| event.cause.clone()).expect("always");
    assert_eq!(cause.actor, "system:stuck-limit");
    let ended = server.ended().await;
    assert_eq!((ended, ended.exit_code()), (Ended::Abandoned(1), 10));
}
