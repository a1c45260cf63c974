//! The accept loop that both edges share: a connection for each place there is, a pause where the machine has no descriptor left,
//! and an end that every connection hears of.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long to leave the listener alone after an error of the machine's, such as having no descriptor left: it would come back
/// at once, and the loop would spin.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Runs `connection` for each connection, `most` of them at once (the others wait in the listener's backlog), until `shutdown`.
/// Then cancels the token that each was given, and returns when the last has ended: that is for them, or for the caller, to
/// bound. Until then whoever comes is turned away at once, and not left waiting in the backlog of an address that somebody may keep.
/// Dropped, it cuts every connection.
pub(crate) async fn serve<C: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    most: usize,
    connection: impl Fn(TcpStream, SocketAddr, CancellationToken) -> C,
    shutdown: impl Future<Output = ()>,
) {
    let closing = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < most => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, closing.clone()));
                }
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, listener = ?listener.local_addr().ok(), "connections cannot be accepted");
                    sleep(BACK_OFF).await;
                }
            },
        }
    }
    closing.cancel();
    while !connections.is_empty() {
        tokio::select! {
            _ = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok(turned_away) => drop(turned_away),
                Err(error) if is_the_peers(&error) => {}
                Err(_) => sleep(BACK_OFF).await,
            },
        }
    }
}

/// Errors of one connection that ended before it was accepted; the next one may be fine.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
