//! A real server on real sockets, and real clients of it.

use std::net::SocketAddr;
use std::time::Duration;

use switchyard::config::{Config, Layer};
use switchyard::pb::v1::task_service_client::TaskServiceClient;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::{CustomMonitor, StartTaskRequest, State, Task, TaskSpec, WaitTaskRequest};
use switchyard::server::{Ended, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// A server of the test's own; it ends with the test.
pub(crate) struct Harness {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    channel: Channel,
    shutdown: CancellationToken,
    running: JoinHandle<Ended>,
}

impl Harness {
    /// With the drills.
    pub(crate) async fn with_drills() -> Self {
        Self::start_with(Layer { enable_drills: Some(true), ..Layer::default() }).await
    }

    /// With what the layer says; the ports are free ones.
    pub(crate) async fn start_with(layer: Layer) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config::try_new(Layer { listen: Some(any), http_listen: Some(any), ..layer }).expect("valid");
        let server = Server::builder().config(config).bind().await.expect("binds");
        let (grpc, http) = (server.addr(), server.http_addr());
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(server.run(shutdown.clone().cancelled_owned(), std::future::pending()));
        let channel = connect(grpc).await;
        Self { grpc, http, channel, shutdown, running }
    }

    /// A client on the harness's own connection.
    pub(crate) fn tasks(&self) -> TaskServiceClient<Channel> {
        TaskServiceClient::new(self.channel.clone())
    }

    /// The harness's own connection.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Starts a task; its name.
    pub(crate) async fn start(&self, id: &str, spec: TaskSpec) -> String {
        let task = Some(Task { spec: Some(spec), ..Task::default() });
        let request = StartTaskRequest { task_id: id.to_owned(), task, ..StartTaskRequest::default() };
        let response = self.tasks().start_task(request).await.expect("starts").into_inner();
        response.task.expect("the task").name
    }

    /// Waits for a state; the task, as it stands then.
    pub(crate) async fn wait_for(&self, name: &str, state: State) -> Task {
        let timeout = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        let request = WaitTaskRequest { name: name.to_owned(), until: vec![state.into()], timeout };
        let response = self.tasks().wait_task(request).await.expect("waits").into_inner();
        assert!(response.reached, "{:?} is not reached: {:?}", state, response.task);
        response.task.expect("the task")
    }

    /// What `/metrics` says.
    pub(crate) async fn metrics(&self) -> String {
        get(self.http, "/metrics").await
    }

    /// Begins the drain.
    pub(crate) fn drain(&self) {
        self.shutdown.cancel();
    }

    /// Drains, and waits for the end.
    pub(crate) async fn ended(self) -> Ended {
        self.drain();
        self.running.await.expect("no panic")
    }
}

/// A connection of one's own.
pub(crate) async fn connect(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("a URL");
    endpoint.connect_timeout(Duration::from_secs(30)).connect().await.expect("connects")
}

/// The spec of a drill.
pub(crate) fn drill(behaviour: &str, duration: &str) -> TaskSpec {
    let text = |text: &str| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(text.to_owned())) };
    let fields = [("behaviour", behaviour), ("duration", duration)];
    let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), text(value))).collect();
    let custom = CustomMonitor { kind: "drill".to_owned(), config: Some(prost_types::Struct { fields }) };
    TaskSpec { monitor: Some(Monitor::Custom(custom)), ..TaskSpec::default() }
}

/// The whole response to a plain GET.
pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("reads");
    response
}
