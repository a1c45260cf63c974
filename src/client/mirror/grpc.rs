//! A mirror's guard as a tower layer for tonic's channels.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;
use tonic::{Code, Status, TimeoutExpired};
use tonic_types::{ErrorDetails, StatusExt};
use tower::{Layer, Service};

use super::layer::take_ready;
use super::{Guard, Pass, Reason, Rejected, Verdict};

/// As tonic has it of services, which its generated clients take.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a status says of the target, where nothing else is said: UNAVAILABLE, DEADLINE_EXCEEDED, INTERNAL, UNKNOWN and DATA_LOSS are
/// failures; CANCELLED means that the call was given up; all other errors are the request's own.
pub fn grpc_verdict(code: Code) -> Verdict {
    match code {
        Code::Ok => Verdict::Success,
        Code::Unavailable | Code::DeadlineExceeded | Code::Internal | Code::Unknown | Code::DataLoss => {
            Verdict::Failure
        }
        Code::Cancelled => Verdict::Cancelled,
        _ => Verdict::Ignored,
    }
}

impl From<Rejected> for Status {
    /// UNAVAILABLE, with RetryInfo if anybody knows when it is worth trying again, and the reason CIRCUIT_OPEN where the target should not
    /// be called, CIRCUIT_UNKNOWN where nobody knows.
    fn from(rejected: Rejected) -> Self {
        let reason = match rejected.reason {
            Reason::Open | Reason::HalfOpen | Reason::ForcedOpen => "CIRCUIT_OPEN",
            Reason::Suspended | Reason::Stale | Reason::Unknown | Reason::Unreachable => "CIRCUIT_UNKNOWN",
        };
        let circuit = [("circuit".to_owned(), rejected.circuit.to_string())];
        let mut details = ErrorDetails::with_error_info(reason, "switchyard", circuit);
        details.set_retry_info(rejected.retry_after);
        Self::with_error_details(Code::Unavailable, rejected.to_string(), details)
    }
}

/// Puts a guard before a tonic channel, which keeps the mirror alive. A call that it rejects is answered as by a server that is UNAVAILABLE,
/// which the generated client makes a `tonic::Status` of.
///
/// A call ends with its status; one whose answer is dropped before was given up. Its latency ends with the answer's head, so a stream may
/// go on for long and is not slow. But a trial call whose stream goes on for longer than its lease (`lease_ttl`) decides nothing: its
/// outcome comes too late, and by then the next call may try.
#[derive(Clone, Debug)]
pub struct GrpcCircuitLayer {
    guard: Guard,
    judge: fn(Code) -> Verdict,
}

impl GrpcCircuitLayer {
    /// Guards a channel.
    pub fn new(guard: Guard) -> Self {
        Self { guard, judge: grpc_verdict }
    }

    /// Has statuses judged otherwise. Where there was no answer: DEADLINE_EXCEEDED is the caller's own deadline, for which tonic gives its
    /// callers CANCELLED; a status that a service beneath failed with is that; and all else is UNAVAILABLE, as is an answer whose
    /// connection breaks. An answer that ends without a status is UNKNOWN.
    #[must_use]
    pub fn judged(self, judge: fn(Code) -> Verdict) -> Self {
        Self { judge, ..self }
    }
}

impl<S> Layer<S> for GrpcCircuitLayer {
    type Service = GuardedGrpc<S>;

    fn layer(&self, inner: S) -> GuardedGrpc<S> {
        GuardedGrpc { inner, layer: self.clone() }
    }
}

/// A channel behind a guard.
#[derive(Clone, Debug)]
pub struct GuardedGrpc<S> {
    inner: S,
    layer: GrpcCircuitLayer,
}

impl<S, Q, B> Service<http::Request<Q>> for GuardedGrpc<S>
where
    S: Service<http::Request<Q>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    Q: Send + 'static,
    B: Body,
{
    type Response = http::Response<GuardedBody<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: http::Request<Q>) -> Self::Future {
        let GrpcCircuitLayer { guard, judge } = self.layer.clone();
        let mut inner = take_ready(&mut self.inner);
        Box::pin(async move {
            let pass = match guard.admit().await {
                Ok(pass) => pass.into_owned(),
                Err(rejected) => return Ok(Status::from(rejected).into_http()),
            };
            let began = Instant::now();
            let response = match inner.call(request).await {
                Ok(response) => response,
                Err(error) => {
                    let error = error.into();
                    pass.finish(judge(unanswered(&*error)));
                    return Err(error);
                }
            };
            let (head, body) = response.into_parts();
            let ending = Ending { pass, judge, latency: began.elapsed() };
            let mut body = GuardedBody { body: Some(body), ending: Some(ending) };
            if let Some(status) = Status::from_header_map(&head.headers) {
                body.end(status.code());
            } else if !head.status.is_success() {
                // No gRPC server, such as a proxy that has nowhere to go.
                body.end(code_of(head.status));
            }
            Ok(http::Response::from_parts(head, body))
        })
    }
}

/// Why there was no answer.
fn unanswered(error: &(dyn std::error::Error + 'static)) -> Code {
    if let Some(status) = error.downcast_ref::<Status>() {
        status.code()
    } else if error.is::<TimeoutExpired>() {
        Code::DeadlineExceeded
    } else {
        error.source().map_or(Code::Unavailable, unanswered)
    }
}

/// What gRPC takes an HTTP status for that comes without one of its own (its "HTTP to gRPC Status Code Mapping").
fn code_of(status: http::StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// Who is told of the status, and by what it is judged.
#[derive(Debug)]
struct Ending {
    pass: Pass<'static>,
    judge: fn(Code) -> Verdict,
    latency: Duration,
}

/// The answer's body, which ends with what the call has come to.
#[derive(Debug)]
pub struct GuardedBody<B> {
    body: Option<B>,
    ending: Option<Ending>,
}

impl<B> Default for GuardedBody<B> {
    fn default() -> Self {
        Self { body: None, ending: None }
    }
}

impl<B> GuardedBody<B> {
    fn end(&mut self, code: Code) {
        if let Some(Ending { pass, judge, latency }) = self.ending.take() {
            pass.finish_after(judge(code), latency);
        }
    }
}

impl<B: Body + Unpin> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.end(Status::from_header_map(trailers).map_or(Code::Unknown, |status| status.code()));
                }
            }
            Some(Err(_)) => self.end(Code::Unavailable),
            // It was cut.
            None => self.end(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
