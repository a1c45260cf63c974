//! Server reflection. Its streams last for as long as their clients ask, so a drain has to end them.

use axum::body::Body;
use axum::extract::Request;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

/// The paths of both versions.
const PREFIX: &str = "/grpc.reflection.";

/// Has the questions of a client end when the streams close: what was asked is answered, then the answers end as well.
pub(super) fn close(closing: &CancellationToken, request: Request) -> Request {
    if !request.uri().path().starts_with(PREFIX) {
        return request;
    }
    let closed = closing.clone().cancelled_owned();
    request.map(|body| Body::from_stream(body.into_data_stream().take_until(closed)))
}
