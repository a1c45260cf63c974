//! A panic in a handler is a bug of ours; it costs its caller the answer, and nobody else the connection.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;

use super::error::Error;

/// Answers INTERNAL where a handler, or the stream it answered with, panics. What a handler leaves behind half-done is
/// dropped with its future: all it shares is behind locks that outlive a panic.
pub(super) async fn catch<F>(request: Request, next: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    // What comes next may do something before it is awaited.
    match AssertUnwindSafe(async { next(request).await }).catch_unwind().await {
        Ok(response) => response.map(|body| Body::new(Guarded(Some(body)))),
        Err(panic) => status(panic.as_ref()).into_http(),
    }
}

fn status(panic: &(dyn Any + Send)) -> Status {
    let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::Bug(format!("a handler panicked: {}", message.unwrap_or("it did not say why")).into()).into()
}

/// A body, until it panics.
struct Guarded(Option<Body>);

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx))) {
            Ok(polled) => polled,
            Err(panic) => {
                self.0 = None;
                let mut trailers = HeaderMap::new();
                // It fails only for a message that no header can hold; ours is fixed text.
                let written = status(panic.as_ref()).add_header(&mut trailers);
                Poll::Ready(written.is_ok().then(|| Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::{Next, from_fn};
    use axum::routing::get;
    use futures_util::stream::poll_fn;
    use http_body_util::BodyExt;
    use tonic::Code;
    use tower::ServiceExt;

    use super::*;

    async fn code(router: Router) -> Code {
        let catching = from_fn(|request, next: Next| catch(request, |request| next.run(request)));
        let response = router.layer(catching).oneshot(Request::new(Body::empty())).await.expect("infallible");
        let (head, body) = response.into_parts();
        let trailers = body.collect().await.expect("no error").trailers().cloned();
        let headers = trailers.unwrap_or(head.headers);
        Code::from_bytes(headers[Status::GRPC_STATUS].as_bytes())
    }

    #[tokio::test]
    async fn a_panicking_handler_is_answered_internal() {
        let handler = async || {
            assert!(std::hint::black_box(false), "on purpose");
            ""
        };
        assert_eq!(code(Router::new().route("/", get(handler))).await, Code::Internal);
    }

    #[tokio::test]
    async fn a_panicking_stream_ends_internal() {
        let stream = || poll_fn(|_| -> Poll<Option<Result<Bytes, axum::Error>>> { panic!("on purpose") });
        let handler = async move || Body::from_stream(stream());
        assert_eq!(code(Router::new().route("/", get(handler))).await, Code::Internal);
    }
}
