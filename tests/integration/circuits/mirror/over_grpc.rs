//! gRPC clients behind a guard, and an upstream on a real socket.

use std::pin::Pin;

use futures_util::Stream;
use switchyard::client::{GrpcCircuitLayer, GuardedGrpc};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::Layer as _;

use super::relay::Relay;
use super::witness::Witness;
use super::*;
use CallVerdict::{Cancelled, Failure, Ignored, Success};

/// Answers with the status whose number it is asked for. A stream sends one message, and ends with that status; or never, where it is
/// asked for `never`.
struct Upstreams;

type Answers = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

fn status(request: &HealthCheckRequest) -> Result<(), Status> {
    match Code::from(request.service.parse::<i32>().expect("a number")) {
        Code::Ok => Ok(()),
        code => Err(Status::new(code, "as you wish")),
    }
}

#[tonic::async_trait]
impl Health for Upstreams {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        status(request.get_ref())?;
        Ok(Response::new(HealthCheckResponse::default()))
    }

    type WatchStream = Answers;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Answers>, Status> {
        use futures_util::StreamExt;
        let first = tokio_stream::once(Ok(HealthCheckResponse::default()));
        if request.get_ref().service == "never" {
            return Ok(Response::new(Box::pin(first.chain(futures_util::stream::pending()))));
        }
        let last = status(request.get_ref()).err().map(Err);
        Ok(Response::new(Box::pin(first.chain(futures_util::stream::iter(last)))))
    }
}

struct Scene {
    server: Harness,
    circuits: Circuits,
    witness: Witness,
    mirror: CircuitMirror,
    /// Calls the upstream, by way of the relay.
    health: HealthClient<GuardedGrpc<Channel>>,
    relay: Relay,
    _target: Target,
    _upstream: AbortOnDropHandle<()>,
}

impl Scene {
    async fn begin(policy: CircuitPolicy) -> Self {
        let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
        let (_client, circuits) = watched(&server, &target, policy).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let relay = Relay::start(listener.local_addr().expect("bound")).await;
        let upstream = async move {
            let incoming = TcpListenerStream::new(listener);
            let served = Server::builder().add_service(HealthServer::new(Upstreams)).serve_with_incoming(incoming);
            served.await.expect("serves");
        };
        let upstream = AbortOnDropHandle::new(tokio::spawn(upstream));
        let witness = Witness::start(server.connect().await).await;
        let (mirror, guard) = mirror(witness.address).await;
        let channel = Endpoint::from_shared(format!("http://{}", relay.address)).expect("valid").connect_lazy();
        let health = HealthClient::new(GrpcCircuitLayer::new(guard).layer(channel));
        Self { server, circuits, witness, mirror, health, relay, _target: target, _upstream: upstream }
    }

    async fn check(&mut self, service: impl ToString) -> Result<(), Status> {
        self.health.check(HealthCheckRequest { service: service.to_string() }).await.map(drop)
    }

    /// A stream whose first message has come.
    async fn watch(&mut self, service: impl ToString) -> Streaming<HealthCheckResponse> {
        let request = HealthCheckRequest { service: service.to_string() };
        let mut stream = self.health.watch(request).await.expect("its head comes").into_inner();
        stream.message().await.expect("no error").expect("not ended");
        stream
    }

    /// What was told of calls that have ended.
    async fn told(&self) -> Vec<CallVerdict> {
        flush(&self.mirror).await;
        self.witness.told()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_calls_are_told_by_their_status() {
    let mut scene = Scene::begin(CircuitPolicy { passive_min: 1_000, ..policy() }).await;
    scene.check(0).await.expect("well");
    assert_eq!(scene.told().await, [Success]);
    for (code, verdict) in [
        (Code::Unavailable, Failure),
        (Code::DeadlineExceeded, Failure),
        (Code::Internal, Failure),
        (Code::Unknown, Failure),
        (Code::DataLoss, Failure),
        (Code::Cancelled, Cancelled),
        (Code::NotFound, Ignored),
        (Code::InvalidArgument, Ignored),
        (Code::ResourceExhausted, Ignored),
        (Code::Unauthenticated, Ignored),
    ] {
        let status = scene.check(code as i32).await.expect_err("as it was asked for");
        assert_eq!((status.code(), status.message()), (code, "as you wish"), "it comes through as it is");
        assert_eq!(scene.told().await, [verdict], "{code:?}");
    }
    scene.relay.lead_to(None);
    // Some get through before the relay has cut them off.
    while scene.check(0).await.is_ok() {
        assert_eq!(scene.told().await, [Success]);
    }
    assert_eq!(scene.told().await, [Failure]);
    assert_eq!(scene.witness.asks(), 0, "closed: nobody asks for a permit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_stream_is_told_by_how_it_ends() {
    let mut scene = Scene::begin(CircuitPolicy { passive_min: 1_000, ..policy() }).await;
    for (code, verdict) in [(Code::Ok, Success), (Code::Internal, Failure), (Code::NotFound, Ignored)] {
        let mut stream = scene.watch(code as i32).await;
        assert_eq!(scene.told().await, [], "it has not ended");
        let end = stream.message().await.map_err(|status| status.code());
        assert_eq!(end, if code == Code::Ok { Ok(None) } else { Err(code) });
        assert_eq!(scene.told().await, [verdict], "{code:?}");
    }
    let stream = scene.watch("never").await;
    drop(stream);
    assert_eq!(scene.told().await, [Cancelled]);

    let mut stream = scene.watch("never").await;
    scene.relay.lead_to(None);
    stream.message().await.expect_err("it was cut");
    assert_eq!(scene.told().await, [Failure]);
    let stats = scene.mirror.stats();
    assert_eq!((stats.reported, stats.accepted, stats.neutral), (5, 3, 2), "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_grpc_call_is_unavailable_and_says_why_and_when_to_try_again() {
    let mut scene = Scene::begin(CircuitPolicy { open_base: span(3_600_000), ..policy() }).await;
    let mut watch = from_now(&mut scene.circuits).await;
    for _ in 0..4 {
        scene.check(Code::Internal as i32).await.expect_err("as it was asked for");
    }
    assert_eq!(scene.told().await, [Failure; 4]);
    // A report is answered before the step that it causes is on record.
    watch.until(EventType::CircuitTripped).await;
    let details = |status: &Status| {
        let details = status.get_error_details();
        let info = details.error_info().cloned().expect("said");
        (info, details.retry_info().and_then(|retry| retry.retry_delay))
    };
    // What the upstream says bears no details.
    let status = rejection(&mut scene, |status| status.code() == Code::Unavailable).await;
    let (info, wait) = details(&status);
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("switchyard", "CIRCUIT_OPEN"));
    assert_eq!(info.metadata["circuit"], name("api"));
    let wait = wait.expect("known");
    assert!(wait <= Duration::from_secs(3_600) && wait > Duration::from_secs(3_000), "{wait:?}");

    scene.circuits.override_circuit(over(Override::ForcedOpen, "maintenance")).await.expect("laid");
    let status = rejection(&mut scene, |status| status.message().ends_with("was opened by an operator")).await;
    let (info, wait) = details(&status);
    assert_eq!((info.reason.as_str(), wait), ("CIRCUIT_OPEN", None));
    assert_eq!(scene.witness.asks(), 0);
    scene.server.shut_down();
}

/// Calls whenever the mirror's copy has changed, until a call is rejected like that.
async fn rejection(scene: &mut Scene, wanted: impl Fn(&Status) -> bool) -> Status {
    let guard = scene.mirror.guard(&name("api"));
    let patience = Patience::with("a rejection");
    loop {
        let changed = guard.changed();
        match scene.check(0).await {
            Err(status) if wanted(&status) => return status,
            other => patience.wait(changed, (other, &scene.mirror)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_circuit_is_told_of_grpc_trials_by_their_status() {
    let mut scene = Scene::begin(policy()).await;
    let mut watch = from_now(&mut scene.circuits).await;
    for _ in 0..4 {
        scene.check(Code::Internal as i32).await.expect_err("as it was asked for");
    }
    assert_eq!(scene.told().await, [Failure; 4]);
    watch.until(EventType::CircuitHalfOpened).await;
    let calls = async {
        loop {
            if scene.check(0).await.is_err() {
                // As a caller would.
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    tokio::select! {
        biased;
        _ = watch.until(EventType::CircuitRecovered) => {}
        () = calls => {}
    }
    assert!(scene.witness.asks() >= 2 && scene.mirror.stats().trials == 2, "{:?}", scene.mirror.stats());
}
