//! A server that the test plays. All of it is in memory, so a paused clock moves on only once nobody has anything left to do.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Router;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};
use tower::service_fn;

use super::{Builder, CircuitMirror};
use crate::pb::{WatchFrame, v1};
use v1::circuit_service_server::{CircuitService, CircuitServiceServer};
use v1::watch_circuits_request::Start;

pub(super) const API: &str = "namespaces/default/tasks/api";

/// What a test has the server do: it takes calls, and answers them.
pub(super) struct Stage {
    watches: mpsc::Receiver<Call<v1::WatchCircuitsRequest, Frames>>,
    pub(super) asks: mpsc::Receiver<Call<v1::AcquirePermitRequest, v1::AcquirePermitResponse>>,
    pub(super) reports: mpsc::Receiver<Call<Vec<v1::CallOutcome>, Vec<v1::Disposition>>>,
}

impl Stage {
    /// The watch that the mirror opens. By a paused clock, no wait before it tries again is as long as an hour.
    pub(super) async fn watch(&mut self) -> Call<v1::WatchCircuitsRequest, Frames> {
        let opened = tokio::time::timeout(Duration::from_secs(3_600), self.watches.recv()).await;
        opened.expect("the mirror opens a watch").expect("the mirror lives")
    }
}

/// A call that waits for its answer.
pub(super) struct Call<Q, A> {
    pub(super) request: Q,
    answer: oneshot::Sender<Result<A, Status>>,
}

pub(super) type Frames = mpsc::Receiver<Result<WatchFrame, Status>>;

impl<Q, A> Call<Q, A> {
    pub(super) fn answer(self, answer: Result<A, Status>) {
        // Who has given up the call needs none.
        let _ = self.answer.send(answer);
    }
}

impl Call<v1::WatchCircuitsRequest, Frames> {
    /// Where the watch is to begin.
    pub(super) fn start(&self) -> Start {
        self.request.start.clone().expect("a mirror says where")
    }

    pub(super) fn stands(self) -> Watching {
        // More than a test sends without waiting.
        let (frames, sent) = mpsc::channel(16);
        self.answer(Ok(sent));
        Watching(frames)
    }
}

/// A watch that stands until it is dropped or ended.
pub(super) struct Watching(mpsc::Sender<Result<WatchFrame, Status>>);

impl Watching {
    /// Shows circuits, and tells events, in one frame; returns once the mirror has taken it over.
    pub(super) async fn show(&self, circuits: &[v1::Circuit], events: &[v1::Event], cursor: &str) {
        let mut frame = Vec::new();
        events.iter().for_each(|event| WatchFrame::push_event(&mut frame, &event.encode_to_vec()));
        circuits.iter().for_each(|circuit| WatchFrame::push_circuit(&mut frame, circuit));
        self.send(Ok(WatchFrame::new(frame, cursor.to_owned()))).await;
    }

    /// Shows all circuits that there are.
    pub(super) async fn show_all(&self, circuits: &[v1::Circuit], cursor: &str) {
        self.show(circuits, &[], "").await;
        self.complete(cursor).await;
    }

    pub(super) async fn complete(&self, cursor: &str) {
        let complete =
            v1::WatchTasksResponse { initial_complete: true, cursor: cursor.to_owned(), ..Default::default() };
        self.send(Ok(complete.into())).await;
    }

    pub(super) async fn end(self, status: Status) {
        self.send(Err(status)).await;
    }

    /// Whether nobody follows it any more.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_closed()
    }

    async fn send(&self, frame: Result<WatchFrame, Status>) {
        self.0.send(frame).await.expect("the watch stands");
        settle().await;
    }
}

/// Returns once everybody else waits, for the test or for time to pass: only then does a paused clock move.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_nanos(1)).await;
}

/// A server, and a channel to it.
pub(super) fn stage() -> (Stage, Channel) {
    // What a test does not take while it is being made.
    let (watches, watched) = mpsc::channel(8);
    let (asks, asked) = mpsc::channel(8);
    let (reports, reported) = mpsc::channel(8);
    let played = Played { watches, asks, reports };
    let channel = serve(Server::builder().add_service(CircuitServiceServer::new(played)));
    (Stage { watches: watched, asks: asked, reports: reported }, channel)
}

/// A channel to a server in memory.
pub(in crate::client) fn serve(server: Router) -> Channel {
    let (connections, connected) = mpsc::channel::<io::Result<DuplexStream>>(8);
    tokio::spawn(server.serve_with_incoming(ReceiverStream::new(connected)));
    let connections = Arc::new(connections);
    let connect = move |_| {
        let connections = Arc::clone(&connections);
        async move {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            connections.send(Ok(theirs)).await.map_err(io::Error::other)?;
            Ok::<_, io::Error>(TokioIo::new(ours))
        }
    };
    Endpoint::from_static("http://server:1").connect_with_connector_lazy(service_fn(connect))
}

/// A mirror of a server that the test plays.
pub(super) fn mirror(set_up: impl FnOnce(Builder) -> Builder) -> (Stage, CircuitMirror) {
    let (stage, channel) = stage();
    (stage, set_up(CircuitMirror::builder("")).begin(channel, None))
}

/// A status as the server's own are.
pub(super) fn refusal(code: Code, reason: &str, retry_after: Option<Duration>) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, "switchyard", []);
    details.set_retry_info(retry_after);
    Status::with_error_details(code, reason, details)
}

pub(super) fn circuit(name: &str, uid: &str, state: v1::CircuitState) -> v1::Circuit {
    let (name, task_uid, token) = (name.to_owned(), uid.to_owned(), format!("{uid}-{state:?}"));
    v1::Circuit { name, task_uid, token, state: state.into(), ..Default::default() }
}

pub(super) fn deleted(name: &str, uid: &str) -> v1::Event {
    let (name, uid, kind) = (name.to_owned(), uid.to_owned(), v1::EventType::TaskDeleted.into());
    v1::Event { name, uid, r#type: kind, ..Default::default() }
}

/// What is logged as a warning.
#[derive(Clone, Default)]
pub(super) struct Warnings(Arc<Mutex<Vec<u8>>>);

impl io::Write for Warnings {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Warnings {
    pub(super) fn begin(&self) -> tracing::subscriber::DefaultGuard {
        let (level, log) = (tracing::Level::WARN, self.clone());
        let log = tracing_subscriber::fmt().with_max_level(level).with_writer(move || log.clone());
        tracing::subscriber::set_default(log.finish())
    }

    pub(super) fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.0.lock().unwrap()).lines().map(str::to_owned).collect()
    }
}

struct Played {
    watches: mpsc::Sender<Call<v1::WatchCircuitsRequest, Frames>>,
    asks: mpsc::Sender<Call<v1::AcquirePermitRequest, v1::AcquirePermitResponse>>,
    reports: mpsc::Sender<Call<Vec<v1::CallOutcome>, Vec<v1::Disposition>>>,
}

/// Hands a call to the test, and waits for its answer.
async fn play<Q, A>(calls: &mpsc::Sender<Call<Q, A>>, request: Q) -> Result<A, Status> {
    let (answer, answered) = oneshot::channel();
    let over = |()| Status::unavailable("the test is over");
    calls.send(Call { request, answer }).await.map_err(|_| over(()))?;
    answered.await.map_err(|_| over(()))?
}

#[tonic::async_trait]
impl CircuitService for Played {
    async fn get_circuit(&self, _: Request<v1::GetCircuitRequest>) -> Result<Response<v1::GetCircuitResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_circuits(
        &self,
        _: Request<v1::ListCircuitsRequest>,
    ) -> Result<Response<v1::ListCircuitsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type WatchCircuitsStream = BoxStream<'static, Result<WatchFrame, Status>>;

    async fn watch_circuits(
        &self,
        request: Request<v1::WatchCircuitsRequest>,
    ) -> Result<Response<Self::WatchCircuitsStream>, Status> {
        let frames = play(&self.watches, request.into_inner()).await?;
        Ok(Response::new(ReceiverStream::new(frames).boxed()))
    }

    async fn acquire_permit(
        &self,
        request: Request<v1::AcquirePermitRequest>,
    ) -> Result<Response<v1::AcquirePermitResponse>, Status> {
        play(&self.asks, request.into_inner()).await.map(Response::new)
    }

    async fn report_outcomes(
        &self,
        request: Request<Streaming<v1::ReportOutcomesRequest>>,
    ) -> Result<Response<v1::ReportOutcomesResponse>, Status> {
        let (mut requests, mut outcomes) = (request.into_inner(), Vec::new());
        while let Some(request) = requests.message().await? {
            outcomes.extend(request.outcomes);
        }
        let dispositions = play(&self.reports, outcomes).await?.into_iter().map(i32::from).collect();
        Ok(Response::new(v1::ReportOutcomesResponse { dispositions }))
    }

    async fn override_circuit(
        &self,
        _: Request<v1::OverrideCircuitRequest>,
    ) -> Result<Response<v1::OverrideCircuitResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn reset_circuit(
        &self,
        _: Request<v1::ResetCircuitRequest>,
    ) -> Result<Response<v1::ResetCircuitResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}
