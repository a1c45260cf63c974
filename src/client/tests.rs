//! The client against a scripted server, on real sockets.

mod silent;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt, stream};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::*;
use crate::pb::WatchFrame;
use crate::pb::v1::task_service_server::{TaskService, TaskServiceServer};
use crate::pb::v1::watch_tasks_request::Start;

type Frames = Pin<Box<dyn Stream<Item = Result<WatchFrame, Status>> + Send>>;

/// What the server does with one watch: frames, then how it goes on.
struct Script {
    frames: Vec<v1::WatchTasksResponse>,
    then: Then,
}

enum Then {
    /// The stream ends with a status.
    Fail(Status),
    /// The stream ends without one that tells anything.
    End,
    /// Nothing more comes.
    Silence,
}

#[derive(Clone, Default)]
struct Scripted {
    scripts: Arc<Mutex<VecDeque<Script>>>,
    starts: Arc<Mutex<Vec<Option<Start>>>>,
}

#[tonic::async_trait]
impl TaskService for Scripted {
    async fn pause_task(
        &self,
        _request: Request<v1::PauseTaskRequest>,
    ) -> Result<Response<v1::PauseTaskResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn resume_task(
        &self,
        _request: Request<v1::ResumeTaskRequest>,
    ) -> Result<Response<v1::ResumeTaskResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn run_task(&self, _request: Request<v1::RunTaskRequest>) -> Result<Response<v1::RunTaskResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    type ApplyTasksStream = stream::Pending<Result<v1::ApplyTasksResponse, Status>>;

    async fn apply_tasks(
        &self,
        _: Request<tonic::Streaming<v1::ApplyTasksRequest>>,
    ) -> Result<Response<Self::ApplyTasksStream>, Status> {
        Err(Status::unimplemented(""))
    }

    type WatchChecksStream = Pin<Box<dyn Stream<Item = Result<v1::WatchChecksResponse, Status>> + Send>>;

    async fn watch_checks(
        &self,
        _: Request<v1::WatchChecksRequest>,
    ) -> Result<Response<Self::WatchChecksStream>, Status> {
        // It stands, and then says nothing.
        Ok(Response::new(stream::iter([Ok(v1::WatchChecksResponse::default())]).chain(stream::pending()).boxed()))
    }

    type WatchTasksStream = Frames;

    async fn watch_tasks(&self, request: Request<v1::WatchTasksRequest>) -> Result<Response<Frames>, Status> {
        self.starts.lock().expect("not poisoned").push(request.into_inner().start);
        let Script { frames, then } = self.scripts.lock().expect("not poisoned").pop_front().expect("a script");
        let frames = stream::iter(frames.into_iter().map(|frame| Ok(frame.into())));
        Ok(Response::new(match then {
            Then::Fail(status) => frames.chain(stream::iter([Err(status)])).boxed(),
            Then::End => frames.boxed(),
            Then::Silence => frames.chain(stream::pending()).boxed(),
        }))
    }

    async fn start_task(&self, _: Request<v1::StartTaskRequest>) -> Result<Response<v1::StartTaskResponse>, Status> {
        let mut details = ErrorDetails::with_error_info("INVALID_FIELD", "switchyard", [("a".into(), "b".into())]);
        details.add_bad_request_violation("task_id", "required").add_bad_request_violation("task.spec", "required");
        details.set_retry_info(Some(Duration::from_secs(3)));
        Err(Status::with_error_details(Code::InvalidArgument, "2 fields are invalid", details))
    }

    async fn get_task(&self, _: Request<v1::GetTaskRequest>) -> Result<Response<v1::GetTaskResponse>, Status> {
        std::future::pending().await
    }

    async fn list_tasks(&self, _: Request<v1::ListTasksRequest>) -> Result<Response<v1::ListTasksResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn swap_task(&self, _: Request<v1::SwapTaskRequest>) -> Result<Response<v1::SwapTaskResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn cancel_task(&self, _: Request<v1::CancelTaskRequest>) -> Result<Response<v1::CancelTaskResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_generations(
        &self,
        _: Request<v1::ListGenerationsRequest>,
    ) -> Result<Response<v1::ListGenerationsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn rollback_task(
        &self,
        _: Request<v1::RollbackTaskRequest>,
    ) -> Result<Response<v1::RollbackTaskResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn batch_start_tasks(
        &self,
        _: Request<v1::BatchStartTasksRequest>,
    ) -> Result<Response<v1::BatchStartTasksResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn batch_cancel_tasks(
        &self,
        _: Request<v1::BatchCancelTasksRequest>,
    ) -> Result<Response<v1::BatchCancelTasksResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn batch_swap_tasks(
        &self,
        _: Request<v1::BatchSwapTasksRequest>,
    ) -> Result<Response<v1::BatchSwapTasksResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn delete_task(&self, _: Request<v1::DeleteTaskRequest>) -> Result<Response<v1::DeleteTaskResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn wait_task(&self, _: Request<v1::WaitTaskRequest>) -> Result<Response<v1::WaitTaskResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

impl Scripted {
    async fn serve(&self, scripts: impl IntoIterator<Item = Script>) -> SocketAddr {
        self.scripts.lock().expect("not poisoned").extend(scripts);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let router = Server::builder().add_service(TaskServiceServer::new(self.clone()));
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    fn starts(&self) -> Vec<Option<Start>> {
        self.starts.lock().expect("not poisoned").clone()
    }
}

/// Stands between client and server, and can cut every connection.
struct Proxy {
    address: SocketAddr,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Proxy {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let accepted = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut inbound, _)) = listener.accept().await {
                accepted.lock().expect("not poisoned").spawn(async move {
                    let mut outbound = TcpStream::connect(server).await.expect("the server listens");
                    // A connection that breaks is what this is for.
                    let _ = copy_bidirectional(&mut inbound, &mut outbound).await;
                });
            }
        });
        Self { address, connections }
    }

    fn cut(&self) {
        self.connections.lock().expect("not poisoned").abort_all();
    }
}

fn frame(sequences: impl IntoIterator<Item = u64>, cursor: &str) -> v1::WatchTasksResponse {
    let event = |sequence| v1::Event { sequence, ..v1::Event::default() };
    let events = sequences.into_iter().map(event).collect();
    v1::WatchTasksResponse { events, cursor: cursor.to_owned(), ..v1::WatchTasksResponse::default() }
}

fn cursor(text: &str) -> Option<Start> {
    Some(Start::Cursor(text.to_owned()))
}

fn expired() -> Status {
    let metadata = [("oldest".into(), "c90".into()), ("head".into(), "c99".into())];
    let details = ErrorDetails::with_error_info("CURSOR_EXPIRED", "switchyard", metadata);
    Status::with_error_details(Code::OutOfRange, "the cursor has expired", details)
}

/// Everything a watch tells until it fails: sequences seen, and the error.
async fn follow(watch: &mut Watch, mut after: impl FnMut(u64)) -> (Vec<u64>, Error) {
    let mut seen = Vec::new();
    loop {
        match watch.next().await {
            Ok(Update::Frame { events, .. }) => {
                for event in events {
                    seen.push(event.sequence);
                    after(event.sequence);
                }
            }
            Ok(Update::Lost { .. } | Update::Resumed { .. }) => {}
            Err(error) => return (seen, error),
        }
    }
}

#[tokio::test]
async fn a_watch_resumes_from_its_last_cursor_and_surfaces_the_gap() {
    let server = Scripted::default();
    let drained = Status::with_error_details(
        Code::Unavailable,
        "the server is draining",
        ErrorDetails::with_error_info("SERVER_DRAINING", "switchyard", []),
    );
    let address = server
        .serve([
            Script { frames: vec![frame([], "c0"), frame([1, 2], "c2")], then: Then::Fail(drained) },
            Script { frames: vec![frame([3], "c3")], then: Then::End },
            Script { frames: vec![frame([], "c5"), frame([6, 7], "c7")], then: Then::Silence },
            Script { frames: vec![frame([8], "c8")], then: Then::Fail(Status::unavailable("")) },
            Script { frames: vec![], then: Then::Fail(expired()) },
        ])
        .await;
    let proxy = Proxy::before(address).await;
    let client = Client::connect(&proxy.address.to_string()).await.expect("connects");
    let mut watch = client.watch(v1::WatchTasksRequest::default());
    let (seen, error) = follow(&mut watch, |sequence| {
        if sequence == 7 {
            proxy.cut();
        }
    })
    .await;
    assert_eq!(seen, [1, 2, 3, 6, 7, 8]);
    assert_eq!(server.starts(), [None, cursor("c2"), cursor("c3"), cursor("c7"), cursor("c8")]);
    assert_eq!((error.code, error.reason.as_str()), (Code::OutOfRange, "CURSOR_EXPIRED"));
    assert_eq!(error.metadata.get("head").map(String::as_str), Some("c99"));
    assert_eq!(watch.cursor(), Some("c8"));
}

#[tokio::test]
async fn an_initial_state_that_breaks_off_begins_anew() {
    let part = v1::WatchTasksResponse { tasks: vec![v1::Task::default()], ..v1::WatchTasksResponse::default() };
    let complete = v1::WatchTasksResponse { initial_complete: true, cursor: "c9".to_owned(), ..part.clone() };
    let server = Scripted::default();
    let address = server
        .serve([
            Script { frames: vec![part], then: Then::Fail(Status::unavailable("")) },
            Script { frames: vec![complete], then: Then::Fail(expired()) },
        ])
        .await;
    let client = Client::connect(&address.to_string()).await.expect("connects");
    let start = Some(Start::SendInitialState(true));
    let mut watch = client.watch(v1::WatchTasksRequest { start: start.clone(), ..v1::WatchTasksRequest::default() });
    assert!(matches!(watch.next().await, Ok(Update::Frame { initial_complete: false, .. })));
    assert!(matches!(watch.next().await, Ok(Update::Lost { .. })));
    assert!(matches!(watch.next().await, Ok(Update::Resumed { anew: true })));
    assert!(matches!(watch.next().await, Ok(Update::Frame { initial_complete: true, .. })));
    assert_eq!(server.starts(), [start.clone(), start]);
}

#[tokio::test]
async fn a_watch_that_is_opened_stands_before_it_is_read() {
    let server = Scripted::default();
    let address = server.serve([Script { frames: vec![frame([1], "c1")], then: Then::Fail(expired()) }]).await;
    let client = Client::connect(&address.to_string()).await.expect("connects");
    let mut watch = client.watch(v1::WatchTasksRequest::default());
    watch.open().await.expect("stands");
    assert_eq!(server.starts(), [None]);
    let (seen, error) = follow(&mut watch, |_| {}).await;
    assert_eq!((seen, error.code, server.starts().len()), (vec![1], Code::OutOfRange, 1));
}

#[tokio::test]
async fn a_watch_that_never_stood_fails_at_once() {
    let server = Scripted::default();
    let address = server.serve([Script { frames: vec![], then: Then::Fail(Status::unavailable("no")) }]).await;
    let client = Client::connect(&address.to_string()).await.expect("connects");
    let error = client.watch(v1::WatchTasksRequest::default()).next().await.expect_err("unavailable");
    assert_eq!(error.code, Code::Unavailable);
    assert_eq!(server.starts().len(), 1);
}

#[tokio::test]
async fn the_details_of_an_error_are_decoded() {
    let address = Scripted::default().serve([]).await;
    let client = Client::connect(&format!("http://{address}")).await.expect("connects");
    let error = client.start(v1::StartTaskRequest::default()).await.expect_err("invalid");
    assert_eq!((error.code, error.reason.as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    let fields: Vec<_> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["task_id", "task.spec"]);
    assert_eq!(error.retry_after, Some(Duration::from_secs(3)));
    assert_eq!(error.metadata.get("a").map(String::as_str), Some("b"));
}

#[tokio::test]
async fn a_call_is_bounded_by_its_deadline() {
    let address = Scripted::default().serve([]).await;
    let client = Client::connect(&address.to_string()).await.expect("connects");
    let mut tasks = client.tasks.clone();
    let request = v1::GetTaskRequest::default();
    let deadline = Duration::from_millis(20);
    let error = call(deadline, request, |request| async move { tasks.get_task(request).await }).await;
    assert_eq!(error.expect_err("late").code, Code::DeadlineExceeded);
}

#[tokio::test]
async fn addresses_are_checked_and_refused_connections_are_unavailable() {
    for address in ["", "localhost", "https://localhost:1", "http://", "http://localhost", "a b:1", "/x"] {
        let error = Client::connect(address).await.expect_err(address);
        assert_eq!(error.code, Code::InvalidArgument, "{address}: {error}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let error = Client::connect(&address).await.expect_err("nothing listens");
    assert_eq!(error.code, Code::Unavailable);
    assert!(error.message.contains(&address) && error.message.contains("refused"), "{error}");
}
