//! External resources: what the task has opened it closes, however it ends; and opening it can be cancelled too.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use switchyard::monitor::CancellationToken;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A peer that is gone must not keep the connection open.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// An error ends the instance as failed; the restart policy decides when the next one connects anew.
pub(crate) async fn monitoring_task_with_resources(
    cancel_token: CancellationToken,
    endpoint: SocketAddr,
) -> io::Result<()> {
    let Some(connected) = cancel_token.run_until_cancelled(TcpStream::connect(endpoint)).await else { return Ok(()) };
    let mut connection = connected?;
    let mut data = [0; 1024];
    loop {
        tokio::select! {
            biased;
            () = cancel_token.cancelled() => {
                tracing::info!("closing the connection gracefully");
                return timeout(CLOSE_TIMEOUT, connection.shutdown()).await?;
            }
            // An arm that loses is dropped, and must not lose data with it: `read` is cancel-safe, and `read_exact` is not.
            read = connection.read(&mut data) => match read? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => process_data(&data[..length]),
            }
        }
    }
}

fn process_data(data: &[u8]) {
    tracing::info!(bytes = data.len(), "the endpoint has sent something");
}

#[cfg(test)]
mod tests {
    use switchyard::monitor::testing::assert_cooperative;
    use switchyard::monitor::{Config, from_fn};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn it_is_cooperative_and_closes_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = listener.local_addr().expect("bound");
        let kind = from_fn("resources", move |token| monitoring_task_with_resources(token, endpoint));
        let peer = async {
            let (mut connection, _) = listener.accept().await.expect("it connects");
            connection.write_all(b"beat\n").await.expect("it listens");
            connection.read(&mut [0]).await.expect("it closes, and does not reset")
        };
        let ((), received) = tokio::join!(assert_cooperative(kind, Config::default()), peer);
        assert_eq!(received, 0, "the end of the stream");
    }

    #[tokio::test]
    async fn a_peer_that_leaves_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = listener.local_addr().expect("bound");
        let leaves = async { drop(listener.accept().await.expect("it connects")) };
        let (ended, ()) = tokio::join!(monitoring_task_with_resources(CancellationToken::new(), endpoint), leaves);
        assert_eq!(ended.expect_err("the peer has left").kind(), io::ErrorKind::UnexpectedEof);
    }
}
