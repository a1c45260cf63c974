//! The required pattern: `tokio::select!` with the token, on every iteration.

use std::net::SocketAddr;
use std::time::Duration;

use switchyard::monitor::CancellationToken;
use tokio::net::TcpStream;
use tokio::time::sleep;

const INTERVAL: Duration = Duration::from_secs(10);

pub(crate) async fn monitoring_task(cancel_token: CancellationToken, endpoint: SocketAddr) {
    tracing::info!("monitoring task started");
    loop {
        tokio::select! {
            // The token first: work that is always ready would hide it otherwise.
            biased;
            () = cancel_token.cancelled() => {
                tracing::info!("received cancellation signal");
                break;
            }
            // The check belongs here and not into the arm's body: what a body awaits keeps the token waiting.
            () = async {
                check_endpoint_health(endpoint).await;
                sleep(INTERVAL).await;
            } => {}
        }
    }
    tracing::info!("monitoring task exited cleanly");
}

async fn check_endpoint_health(endpoint: SocketAddr) {
    match TcpStream::connect(endpoint).await {
        Ok(_connection) => tracing::info!(%endpoint, "the endpoint is well"),
        Err(error) => tracing::warn!(%endpoint, %error, "the endpoint is not well"),
    }
}

#[cfg(test)]
mod tests {
    use switchyard::monitor::testing::assert_cooperative;
    use switchyard::monitor::{Config, from_fn};

    use super::*;

    #[tokio::test]
    async fn it_is_cooperative_whether_the_endpoint_is_there_or_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = listener.local_addr().expect("bound");
        let kind = || from_fn("required", move |token| monitoring_task(token, endpoint));
        assert_cooperative(kind(), Config::default()).await;
        drop(listener);
        assert_cooperative(kind(), Config::default()).await;
    }
}
