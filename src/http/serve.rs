//! Serving HTTP. Every connection is bounded: in number, in the time a request's head may take, and in age.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::accept;

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; the others wait in the listener's backlog.
    pub connections: usize,
    /// How long a request's head may take; a kept connection may idle as long.
    pub header_read_timeout: Duration,
    /// How old a connection may get before it takes no further request.
    pub max_age: Duration,
    /// How long a connection that takes no further request has for its last response.
    pub last_response: Duration,
}

impl Default for Limits {
    /// For some scrapers and probes: each calls every few seconds at the most often.
    fn default() -> Self {
        Self {
            connections: 64,
            header_read_timeout: Duration::from_secs(5),
            max_age: Duration::from_secs(300),
            last_response: Duration::from_secs(1),
        }
    }
}

/// Serves `router` on `listener` until `shutdown`; then requests under way have `limits.last_response`, and the rest is cut.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: impl Future<Output = ()>) {
    let connection = |stream, _peer, closing| connection(stream, router.clone(), limits, closing);
    accept::serve(listener, limits.connections, connection, shutdown).await;
}

async fn connection(stream: TcpStream, router: Router, limits: Limits, closing: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = wait(limits.max_age, &closing) => {
            connection.as_mut().graceful_shutdown();
            match timeout(limits.last_response, connection).await {
                Ok(ended) => ended,
                Err(_late) => return tracing::debug!("an HTTP connection was cut, its last response unread"),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection failed");
    }
}

/// Until the connection is to take no further request.
async fn wait(max_age: Duration, closing: &CancellationToken) {
    tokio::select! {
        () = sleep(max_age) => {}
        () = closing.cancelled() => {}
    }
}
