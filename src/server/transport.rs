//! Serving gRPC on a listener.

use std::time::Duration;

use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

/// Calls at once on one connection: tonic announces no limit by itself.
const CONCURRENT_STREAMS: u32 = 256;
/// How often an idle connection is asked whether its peer lives, and how long that has to answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// Serves until `stop`, and then until the last connection has ended: whoever calls bounds that (hyper #4170).
pub(super) async fn serve(listener: TcpListener, routes: Routes, stop: impl Future<Output = ()>) {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let served = tonic::transport::Server::builder()
        .max_concurrent_streams(CONCURRENT_STREAMS)
        .http2_keepalive_interval(Some(KEEP_ALIVE.0))
        .http2_keepalive_timeout(Some(KEEP_ALIVE.1))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop)
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "gRPC is no longer served");
    }
}
