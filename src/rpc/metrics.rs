//! Counting calls by method and code.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use prost::Message;
use prost_types::FileDescriptorSet;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::pb::code_name;
use crate::telemetry;

/// The methods there are. Labels come from here, never from a request's path.
#[derive(Clone)]
pub(super) struct Calls {
    metrics: telemetry::Rpcs,
    methods: Arc<HashMap<String, Method>>,
}

#[derive(Clone)]
struct Method {
    path: Arc<str>,
    unary: bool,
}

impl Calls {
    /// Knows the methods of all services that the encoded descriptor sets describe.
    pub(super) fn new(metrics: telemetry::Rpcs, descriptors: &[&[u8]]) -> Result<Self, prost::DecodeError> {
        let mut methods = HashMap::new();
        for set in descriptors {
            for file in FileDescriptorSet::decode(*set)?.file {
                for service in &file.service {
                    for method in &service.method {
                        let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                        let unary = !method.client_streaming() && !method.server_streaming();
                        methods.insert(path.clone(), Method { path: path.into(), unary });
                    }
                }
            }
        }
        Ok(Self { metrics, methods: Arc::new(methods) })
    }

    fn begin(&self, path: &str) -> Call {
        let method = self.methods.get(path).cloned();
        let method = method.unwrap_or_else(|| Method { path: "unknown".into(), unary: false });
        Call { metrics: self.metrics.clone(), method, began: Instant::now(), ended: false }
    }
}

/// Counts the call when its answer has been given, or given up.
pub(super) async fn count<F>(calls: &Calls, request: Request, next: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let mut call = calls.begin(request.uri().path());
    let response = next(request).await;
    // An answer that is an error from the start has its status here, and no body.
    if let Some(code) = code(response.headers()) {
        call.end(code);
    }
    response.map(|body| Body::new(Counted { body, call }))
}

fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}

/// One call; counted once. Dropped before its end, it was given up by its caller.
struct Call {
    metrics: telemetry::Rpcs,
    method: Method,
    began: Instant,
    ended: bool,
}

impl Call {
    fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.metrics.ended(&self.method.path, code_name(code));
        if self.method.unary {
            self.metrics.took(&self.method.path, self.began.elapsed());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

/// A body, whose trailers say how the call ended.
struct Counted {
    body: Body,
    call: Call,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().map(|trailers| code(trailers).unwrap_or(Code::Unknown)) {
                    self.call.end(code);
                }
            }
            // Without a status, which gRPC reads as UNKNOWN.
            Some(Err(_)) | None => self.call.end(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::Router;
    use axum::middleware::{Next, from_fn};
    use axum::routing::any;
    use futures_util::FutureExt;
    use http_body_util::{BodyExt, Full};
    use tower::ServiceExt;

    use super::*;
    use crate::pb;
    use crate::telemetry::Metrics;

    const GET: &str = "/switchyard.v1.TaskService/GetTask";
    const WATCH: &str = "/switchyard.v1.TaskService/WatchTasks";

    fn request(path: &str) -> Request {
        http::Request::builder().uri(path).body(Body::empty()).expect("valid")
    }

    fn counting(router: Router, calls: Calls) -> Router {
        router.layer(from_fn(move |request, next: Next| {
            let calls = calls.clone();
            async move { count(&calls, request, |request| next.run(request)).await }
        }))
    }

    /// What is counted of `answer` to a call of `path`, after `end` has dealt with it.
    async fn counted(path: &str, answer: Response<Body>, end: impl AsyncFnOnce(Body)) -> String {
        let metrics = Metrics::new().expect("registered once");
        let calls = Calls::new(metrics.rpcs.clone(), &[pb::DESCRIPTORS]).expect("decodes");
        let answer = Arc::new(Mutex::new(Some(answer)));
        let answer = async move || answer.lock().expect("no panic").take().expect("called once");
        let router = counting(Router::new().fallback(any(answer)), calls);
        let answered = router.oneshot(request(path)).await.expect("infallible");
        end(answered.into_body()).await;
        let text = String::from_utf8(metrics.render().expect("renders")).expect("text");
        let lines = text.lines().filter(|line| line.starts_with("circuit_breaker_rpcs_total"));
        lines.collect::<Vec<_>>().join(" ")
    }

    fn streaming(trailers: Option<HeaderMap>) -> Response<Body> {
        let body = Full::new(Bytes::from_static(b"a message"));
        Response::new(Body::new(body.with_trailers(std::future::ready(trailers.map(Ok)))))
    }

    fn trailers(code: &'static str) -> Option<HeaderMap> {
        Some([(Status::GRPC_STATUS, http::HeaderValue::from_static(code))].into_iter().collect())
    }

    async fn read(body: Body) {
        body.collect().await.expect("no error");
    }

    #[tokio::test]
    async fn the_code_is_what_the_caller_got() {
        let line =
            |path: &str, code: &str| format!("circuit_breaker_rpcs_total{{code=\"{code}\",method=\"{path}\"}} 1");
        assert_eq!(counted(GET, streaming(trailers("0")), read).await, line(GET, "OK"));
        assert_eq!(counted(WATCH, streaming(trailers("11")), read).await, line(WATCH, "OUT_OF_RANGE"));
        assert_eq!(counted(GET, Status::not_found("").into_http(), read).await, line(GET, "NOT_FOUND"));
        assert_eq!(counted(GET, streaming(None), read).await, line(GET, "UNKNOWN"));
        assert_eq!(counted(GET, streaming(trailers("0")), async |body| drop(body)).await, line(GET, "CANCELLED"));
        assert_eq!(
            counted("/x/y", Status::unimplemented("").into_http(), read).await,
            line("unknown", "UNIMPLEMENTED")
        );
    }

    #[tokio::test]
    async fn a_call_given_up_before_its_answer_is_cancelled() {
        let metrics = Metrics::new().expect("registered once");
        let calls = Calls::new(metrics.rpcs.clone(), &[pb::DESCRIPTORS]).expect("decodes");
        let never = async || std::future::pending::<Response>().await;
        let router = counting(Router::new().fallback(any(never)), calls);
        assert!(router.oneshot(request(GET)).now_or_never().is_none());
        let text = String::from_utf8(metrics.render().expect("renders")).expect("text");
        assert!(text.contains("code=\"CANCELLED\""), "{text}");
    }
}
