//! The accept loop. Every connection is bounded: in number, in the time a request's head may take, and in age.

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long to leave the listener alone after an error of the machine's, such as having no descriptor left: it would come back
/// at once, and the loop would spin.
const BACK_OFF: Duration = Duration::from_millis(50);

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
    let closing = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < limits.connections => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(connection(stream, router.clone(), limits, closing.clone()));
                }
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "HTTP connections cannot be accepted");
                    sleep(BACK_OFF).await;
                }
            },
        }
    }
    drop(listener);
    closing.cancel();
    // Each connection keeps its own deadline from here.
    while connections.join_next().await.is_some() {}
}

/// Errors of one connection that ended before it was accepted; the next one may be fine.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
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
