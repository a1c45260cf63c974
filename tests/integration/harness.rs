//! A real server in this process, on ports of the system's choosing, and clients on real sockets.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::pin::Pin;

use switchyard::config::{Config, Layer, StoreKind};
use switchyard::pb::v1::server_service_client::ServerServiceClient;
use switchyard::pb::v1::task_service_client::TaskServiceClient;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{self, GetServerInfoRequest, GetServerInfoResponse};
use switchyard::server::{Builder, Ended, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The generated client.
pub(crate) type Client = TaskServiceClient<Channel>;

/// A server that runs until it is stopped, or dropped with its test.
pub(crate) struct Harness {
    address: SocketAddr,
    http: SocketAddr,
    shutdown: CancellationToken,
    running: AbortOnDropHandle<Ended>,
}

impl Harness {
    /// A server as `layer` says, but for its addresses; drills are enabled.
    pub(crate) async fn start(layer: Layer) -> Self {
        Self::run(builder(layer).bind().await.expect("bound"))
    }

    /// Runs a server that is bound.
    pub(crate) fn run(server: Server) -> Self {
        let (address, http, shutdown) = (server.addr(), server.http_addr(), CancellationToken::new());
        let running = tokio::spawn(server.run(shutdown.clone().cancelled_owned(), std::future::pending()));
        let running = AbortOnDropHandle::new(running);
        Self { address, http, shutdown, running }
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("valid");
        endpoint.connect().await.expect("listening")
    }

    /// A client on a connection of its own.
    pub(crate) async fn client(&self) -> Client {
        TaskServiceClient::new(self.connect().await)
    }

    /// What the server says of itself.
    pub(crate) async fn info(&self) -> GetServerInfoResponse {
        let mut client = ServerServiceClient::new(self.connect().await);
        client.get_server_info(GetServerInfoRequest {}).await.expect("alive").into_inner()
    }

    /// What `/metrics` says.
    pub(crate) async fn metrics(&self) -> String {
        metrics(self.http).await
    }

    /// Where gRPC is served.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where HTTP is served.
    pub(crate) fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Asks the server to drain.
    pub(crate) fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// How the server ended.
    pub(crate) async fn ended(self) -> Ended {
        self.running.await.expect("no panic")
    }
}

/// What `/metrics` of the server there says.
pub(crate) async fn metrics(http: SocketAddr) -> String {
    let mut stream = TcpStream::connect(http).await.expect("listening");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("reads");
    response
}

/// What puts a server together as `layer` says, on ports of the system's choosing, with drills; in memory, unless
/// `layer` says otherwise.
pub(crate) fn builder(layer: Layer) -> Builder {
    let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let store = layer.store.or(Some(StoreKind::Memory));
    let layer = Layer { listen: any, http_listen: any, enable_drills: Some(true), store, ..layer };
    Server::builder().config(Config::try_new(layer).expect("valid"))
}

/// The name of a task of the default namespace.
pub(crate) fn name(id: &str) -> String {
    format!("namespaces/default/tasks/{id}")
}

/// Asks for a task that does nothing, cooperatively, until it is cancelled.
pub(crate) fn idle(id: &str) -> v1::StartTaskRequest {
    drill(id, "cooperative", "30s")
}

/// Asks for a task that behaves as it is told.
pub(crate) fn drill(id: &str, behaviour: &str, duration: &str) -> v1::StartTaskRequest {
    let text = |text: &str| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(text.to_owned())) };
    let fields = [("behaviour".to_owned(), text(behaviour)), ("duration".to_owned(), text(duration))].into();
    let config = Some(prost_types::Struct { fields });
    start(id, Monitor::Custom(v1::CustomMonitor { kind: "drill".to_owned(), config }))
}

/// Asks for a task of the default namespace.
pub(crate) fn start(id: &str, monitor: Monitor) -> v1::StartTaskRequest {
    let spec = v1::TaskSpec { monitor: Some(monitor), ..Default::default() };
    let task = v1::Task { spec: Some(spec), ..Default::default() };
    v1::StartTaskRequest { task_id: id.to_owned(), task: Some(task), ..Default::default() }
}

/// The request with another spec.
pub(crate) fn with_spec(
    mut request: v1::StartTaskRequest,
    change: impl FnOnce(&mut v1::TaskSpec),
) -> v1::StartTaskRequest {
    change(request.task.as_mut().and_then(|task| task.spec.as_mut()).expect("has a spec"));
    request
}

/// How the task's last instance ended, and why it was asked to.
pub(crate) fn outcome(task: &v1::Task) -> (v1::Exit, v1::Asked) {
    let outcome = task.outcome.as_ref().expect("has ended");
    (outcome.exit(), outcome.asked())
}

/// Asks for a task to be stopped, and for its outcome.
pub(crate) fn cancel(id: &str) -> v1::CancelTaskRequest {
    v1::CancelTaskRequest { name: name(id), wait: true, ..Default::default() }
}

/// Sends a call that is not answered yet, and returns once the server has it: what is asked later over the same connection arrives
/// later. A client that is told goodbye before it has sent a call fails that by itself.
pub(crate) async fn sent<T: Debug>(
    call: impl Future<Output = T>,
    client: &mut Client,
) -> Pin<Box<impl Future<Output = T>>> {
    let mut call = Box::pin(call);
    tokio::select! {
        biased;
        answer = &mut call => panic!("answered already: {answer:?}"),
        _ = all_tasks(client) => {}
    }
    call
}

/// Waits until the task is in a state.
pub(crate) async fn reach(client: &mut Client, id: &str, state: v1::State) -> v1::Task {
    let request = v1::WaitTaskRequest { name: name(id), until: vec![state.into()], ..Default::default() };
    let answer = client.wait_task(request).await.expect("there").into_inner();
    assert!(answer.reached, "{id} did not reach {state:?}: {:?}", answer.task);
    answer.task.expect("answered")
}

/// Every task of every namespace, by name, on one page.
pub(crate) async fn all_tasks(client: &mut Client) -> Vec<v1::Task> {
    let request = v1::ListTasksRequest { parent: "namespaces/-".to_owned(), page_size: 1_000, ..Default::default() };
    client.list_tasks(request).await.expect("lists").into_inner().tasks
}

/// The events of the default namespace after the cursor, up to the first of that type.
pub(crate) async fn events_until(client: &mut Client, cursor: &str, last: v1::EventType) -> Vec<v1::Event> {
    let start = Some(Start::Cursor(cursor.to_owned()));
    let request = v1::WatchTasksRequest { start, ..Default::default() };
    let mut frames = client.watch_tasks(request).await.expect("opened").into_inner();
    let mut events: Vec<v1::Event> = Vec::new();
    loop {
        for event in frames.message().await.expect("no error").expect("not ended").events {
            let is_last = event.r#type() == last;
            events.push(event);
            if is_last {
                return events;
            }
        }
    }
}

/// What happened, in order.
pub(crate) fn types(events: &[v1::Event]) -> Vec<v1::EventType> {
    events.iter().map(v1::Event::r#type).collect()
}

/// The status's code, and the reason that it gives.
pub(crate) fn refusal(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

/// The reason that a status gives.
pub(crate) fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}
