//! A typed client: calls with deadlines, errors decoded, and watches that resume.

mod apply;
mod backoff;
mod checks;
mod circuits;
mod error;
mod mirror;
mod patience;
mod watch;

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::pb::v1;
use v1::circuit_service_client::CircuitServiceClient;
use v1::server_service_client::ServerServiceClient;
use v1::task_service_client::TaskServiceClient;

pub use apply::Applying;
pub use checks::{CheckUpdate, Checks};
pub use error::{Error, FieldViolation, Outlook};
pub use mirror::{
    Builder as MirrorBuilder, CallError, CircuitLayer, CircuitMirror, GrpcCircuitLayer, Guard, Guarded, GuardedBody,
    GuardedGrpc, HttpStatus, Judge, Pass, Policy, Reason, Rejected, Stats, Verdict, grpc_verdict,
};
pub use tonic::Code;
pub use watch::{Update, Watch};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take that waits for nothing but the server.
const DEADLINE: Duration = Duration::from_secs(10);
/// A cancel that waits is answered within the longest grace (60 s) and abort (30 s) that a spec may have.
const CANCEL_DEADLINE: Duration = Duration::from_secs(60 + 30 + 10);
/// A swap that waits is answered within the longest readiness timeout (10 min) and twice the longest stop: under
/// BREAK_BEFORE_MAKE both the old instance and the candidate may have to go.
const SWAP_DEADLINE: Duration = Duration::from_secs(600 + 2 * (60 + 30) + 10);
/// A check on demand is answered when it has been made, right after one that may be under way: each takes 5 min at the most.
const RUN_DEADLINE: Duration = Duration::from_secs(2 * 300 + 10);
/// No call takes longer, and gRPC's header has no room for much more: eight digits.
const LONGEST_DEADLINE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// What a call that waits gets on top of its wait.
const MARGIN: Duration = Duration::from_secs(5);
/// A dead peer is found this long after it fell silent, plus the time it has to answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// h2 charges unread small frames against half of the connection's window and then closes the connection; so a stalled
/// stream is stopped by its own window long before.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// A connection to a server; cheap to clone, reconnects by itself.
///
/// Each call has a deadline, which the server is told: 10 s where nothing is waited for; what a cancel, a swap, a roll-back or a check
/// on demand may take at the most (100 s, 790 s, 790 s and 610 s) where the request says `wait`; [`wait`](Self::wait) and
/// [`wait_swap`](Self::wait_swap) take what they are given and 5 s. A deadline that has passed is DEADLINE_EXCEEDED, and what the call
/// asked for may happen all the same: whoever sets a `request_id` may ask again. What goes wrong is an [`Error`] with the server's code
/// and reason, which the definitions of the services name for each call; [`Error::outlook`] says whether to ask again is of use.
#[derive(Clone, Debug)]
pub struct Client {
    tasks: TaskServiceClient<Channel>,
    circuits: CircuitServiceClient<Channel>,
    server: ServerServiceClient<Channel>,
}

impl Client {
    /// Connects to `http://host:port`, or plain `host:port`.
    pub async fn connect(server: &str) -> Result<Self, Error> {
        let endpoint = endpoint(server)?;
        let channel = endpoint.connect().await.map_err(|error| Error::unreachable(server, &error))?;
        let (tasks, circuits) = (TaskServiceClient::new(channel.clone()), CircuitServiceClient::new(channel.clone()));
        Ok(Self { tasks, circuits, server: ServerServiceClient::new(channel) })
    }

    /// Whether anybody takes connections at `http://host:port`, or plain `host:port`; a server that ends does so until it has closed
    /// its store.
    pub async fn is_listening(server: &str) -> bool {
        let Ok(endpoint) = endpoint(server) else { return false };
        let uri = endpoint.uri();
        let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else { return false };
        // An IPv6 address stands in brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port)));
        matches!(connecting.await, Ok(Ok(_)))
    }

    /// Starts a task.
    pub async fn start(&self, request: v1::StartTaskRequest) -> Result<v1::StartTaskResponse, Error> {
        let mut tasks = self.tasks.clone();
        call(DEADLINE, request, |request| async move { tasks.start_task(request).await }).await
    }

    /// Reads a task.
    pub async fn get(&self, request: v1::GetTaskRequest) -> Result<v1::GetTaskResponse, Error> {
        let mut tasks = self.tasks.clone();
        call(DEADLINE, request, |request| async move { tasks.get_task(request).await }).await
    }

    /// Reads one page of a list.
    pub async fn list(&self, request: v1::ListTasksRequest) -> Result<v1::ListTasksResponse, Error> {
        let mut tasks = self.tasks.clone();
        call(DEADLINE, request, |request| async move { tasks.list_tasks(request).await }).await
    }

    /// Replaces a task's spec and annotations; where the request says `wait`, answers when the swap has ended.
    pub async fn swap(&self, request: v1::SwapTaskRequest) -> Result<v1::SwapTaskResponse, Error> {
        let mut tasks = self.tasks.clone();
        let deadline = if request.wait { SWAP_DEADLINE } else { DEADLINE };
        call(deadline, request, |request| async move { tasks.swap_task(request).await }).await
    }

    /// Reads the generations of a task, the newest first.
    pub async fn generations(&self, request: v1::ListGenerationsRequest) -> Result<v1::ListGenerationsResponse, Error> {
        let mut tasks = self.tasks.clone();
        call(DEADLINE, request, |request| async move { tasks.list_generations(request).await }).await
    }

    /// Swaps a task back to a former generation; where the request says `wait`, answers when the swap has ended.
    pub async fn rollback(&self, request: v1::RollbackTaskRequest) -> Result<v1::RollbackTaskResponse, Error> {
        let mut tasks = self.tasks.clone();
        let deadline = if request.wait { SWAP_DEADLINE } else { DEADLINE };
        call(deadline, request, |request| async move { tasks.rollback_task(request).await }).await
    }

    /// Cancels a task; where the request says `wait`, answers with the proven outcome.
    pub async fn cancel(&self, request: v1::CancelTaskRequest) -> Result<v1::CancelTaskResponse, Error> {
        let mut tasks = self.tasks.clone();
        let deadline = if request.wait { CANCEL_DEADLINE } else { DEADLINE };
        call(deadline, request, |request| async move { tasks.cancel_task(request).await }).await
    }

    /// Starts up to 1,000 tasks; what came of each, the results say.
    pub async fn batch_start(&self, request: v1::BatchStartTasksRequest) -> Result<v1::BatchStartTasksResponse, Error> {
        let mut tasks = self.tasks.clone();
        call(DEADLINE, request, |request| async move { tasks.batch_start_tasks(request).await }).await
    }

    /// Cancels up to 1,000 tasks; answers when each request that says `wait` has its proven outcome.
    pub async fn batch_cancel(
        &self,
        request: v1::BatchCancelTasksRequest,
    ) -> Result<v1::BatchCancelTasksResponse, Error> {
        let mut tasks = self.tasks.clone();
        let waits = request.requests.iter().any(|request| request.wait);
        let deadline = if waits { CANCEL_DEADLINE } else { DEADLINE };
        call(deadline, request, |request| async move { tasks.batch_cancel_tasks(request).await }).await
    }

    /// Swaps up to 1,000 tasks; answers when each swap has ended whose request says `wait`.
    pub async fn batch_swap(&self, request: v1::BatchSwapTasksRequest) -> Result<v1::BatchSwapTasksResponse, Error> {
        let mut tasks = self.tasks.clone();
        let waits = request.requests.iter().any(|request| request.wait);
        let deadline = if waits { SWAP_DEADLINE } else { DEADLINE };
        call(deadline, request, |request| async move { tasks.batch_swap_tasks(request).await }).await
    }

    /// Stops a task until it is resumed; answers when the pause is on record.
    pub async fn pause(&self, request: v1::PauseTaskRequest) -> Result<v1::PauseTaskResponse, Error> {
        let mut tasks = self.tasks.clone();
        call(DEADLINE, request, |request| async move { tasks.pause_task(request).await }).await
    }

    /// Has a paused task run again.
    pub async fn resume(&self, request: v1::ResumeTaskRequest) -> Result<v1::ResumeTaskResponse, Error> {
        let mut tasks = self.tasks.clone();
        call(DEADLINE, request, |request| async move { tasks.resume_task(request).await }).await
    }

    /// Has a task make one check now, and answers with what it has found.
    pub async fn run(&self, request: v1::RunTaskRequest) -> Result<v1::RunTaskResponse, Error> {
        let mut tasks = self.tasks.clone();
        call(RUN_DEADLINE, request, |request| async move { tasks.run_task(request).await }).await
    }

    /// Deletes an ended task.
    pub async fn delete(&self, request: v1::DeleteTaskRequest) -> Result<v1::DeleteTaskResponse, Error> {
        let mut tasks = self.tasks.clone();
        call(DEADLINE, request, |request| async move { tasks.delete_task(request).await }).await
    }

    /// Waits for at most `timeout` until the task has reached one of the states `until`; none: until it has ended.
    pub async fn wait(
        &self,
        name: &str,
        until: &[v1::State],
        timeout: Duration,
    ) -> Result<v1::WaitTaskResponse, Error> {
        let until = until.iter().map(|state| i32::from(*state)).collect();
        self.wait_task(timeout, v1::WaitTaskRequest { name: name.to_owned(), until, ..Default::default() }).await
    }

    /// Waits for at most `timeout` until the task's newest swap has ended, whichever way.
    pub async fn wait_swap(&self, name: &str, timeout: Duration) -> Result<v1::WaitTaskResponse, Error> {
        let request = v1::WaitTaskRequest { name: name.to_owned(), swap_ended: true, ..Default::default() };
        self.wait_task(timeout, request).await
    }

    async fn wait_task(
        &self,
        timeout: Duration,
        mut request: v1::WaitTaskRequest,
    ) -> Result<v1::WaitTaskResponse, Error> {
        let mut tasks = self.tasks.clone();
        let too_long = |_| Error::invalid("timeout: too long");
        request.timeout = Some(prost_types::Duration::try_from(timeout).map_err(too_long)?);
        call(timeout.saturating_add(MARGIN), request, |request| async move { tasks.wait_task(request).await }).await
    }

    /// Reads what the server is and allows.
    pub async fn info(&self) -> Result<v1::GetServerInfoResponse, Error> {
        let mut server = self.server.clone();
        let request = v1::GetServerInfoRequest {};
        call(DEADLINE, request, |request| async move { server.get_server_info(request).await }).await
    }

    /// Has the server drain and end; answers when the drain has begun.
    pub async fn drain(&self, request: v1::DrainServerRequest) -> Result<v1::DrainServerResponse, Error> {
        let mut server = self.server.clone();
        call(DEADLINE, request, |request| async move { server.drain_server(request).await }).await
    }

    /// Makes an owner's tasks those of a set: the header, then the tasks. What comes of it is told by what is returned, for as long as
    /// that lives.
    pub async fn apply(&self, header: v1::ApplyHeader, tasks: Vec<v1::Task>) -> Result<Applying, Error> {
        Applying::begin(self.tasks.clone(), header, tasks).await
    }

    /// Follows events; nothing happens before the first `Watch::next`, or `Watch::open`.
    pub fn watch(&self, request: v1::WatchTasksRequest) -> Watch {
        Watch::of_tasks(self.tasks.clone(), request)
    }
}

fn endpoint(server: &str) -> Result<Endpoint, Error> {
    let url = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    let endpoint = Endpoint::from_shared(url)
        .ok()
        .filter(|endpoint| endpoint.uri().scheme_str() == Some("http") && endpoint.uri().port().is_some())
        .ok_or_else(|| {
            Error::invalid(format!("the server's address must be http://HOST:PORT or HOST:PORT, not {server:?}"))
        })?;
    Ok(endpoint
        .user_agent(concat!("switchyard/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| Error::invalid(error.to_string()))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW))
}

/// Makes a call under a deadline, which the server is told and which also bounds the reading of the answer.
async fn call<Q, A, F>(deadline: Duration, message: Q, make: impl FnOnce(Request<Q>) -> F) -> Result<A, Error>
where
    F: Future<Output = Result<Response<A>, Status>>,
{
    let (mut request, deadline) = (Request::new(message), deadline.min(LONGEST_DEADLINE));
    request.set_timeout(deadline);
    match tokio::time::timeout(deadline, make(request)).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Error::from(status)),
        Err(_) => Err(Error::deadline(deadline)),
    }
}

/// The error and its sources, in one line; a source that repeats what stands there is left out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}
