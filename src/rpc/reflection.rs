//! Server reflection. Its streams last for as long as their clients ask, so a drain has to end them.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

/// The paths of both versions.
const PREFIX: &str = "/grpc.reflection.";

/// Has the questions of a client end when the streams close: what was asked is answered, then the answers end as well.
pub(super) async fn close(State(closing): State<CancellationToken>, request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with(PREFIX) {
        return next.run(request).await;
    }
    let closed = closing.cancelled_owned();
    next.run(request.map(|body| Body::from_stream(body.into_data_stream().take_until(closed)))).await
}
