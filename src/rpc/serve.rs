//! Serving gRPC. Our own way, because tonic's leaves every bound below unset: connections, the time until a client speaks HTTP/2,
//! streams of a connection, what is buffered for a slow reader, and how long a shutdown takes.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::TcpConnectInfo;
use tower::ServiceExt;

use super::linger::Lingering;
use crate::accept;

/// Connections at once; the others wait in the listener's backlog. Far more than have a watch stream each, and few enough to
/// leave descriptors to the monitors.
const CONNECTIONS: usize = 4_096;

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4), and how long a client may take to say it: until then
/// hyper knows no end to its patience, not even in a shutdown (hyper #4170).
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait before looking again for the rest of a preface that came in pieces: doubling, since it is the rest of a
/// packet that may come soon, while thousands of clients that never finish must not keep a core busy.
const FIRST_PREFACE_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PREFACE_PAUSE: Duration = Duration::from_secs(1);

/// Streams of one connection: the watches that it may have, and calls beside them.
const STREAMS: u32 = 256;
/// Streams that we had to reset, or that were before we came to them, until the connection is taken for an attack (RUSTSEC-2024-0003,
/// CVE-2023-44487). Calls whose deadlines pass together are none, and would take the watches beside them along.
const RESET_STREAMS: usize = 1_024;
/// What is buffered for each stream of a client that does not read. hyper's default of 400 KiB would be 80 MiB for one peer.
const SEND_BUFFER: usize = 64 * 1024;
/// A peer that says nothing for so long is asked whether it lives, and cut if it does not answer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves `routes` on `listener` until `shutdown`; then takes no further requests, and returns when the calls under way have
/// ended. That is for the caller to bound: dropped, it cuts every connection.
pub async fn serve(listener: TcpListener, routes: Routes, shutdown: impl Future<Output = ()>) {
    let router = routes.prepare().into_axum_router();
    let connection = |stream, peer, closing| connection(stream, peer, router.clone(), closing);
    accept::serve(listener, CONNECTIONS, connection, shutdown).await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, closing: CancellationToken) {
    let said = tokio::select! {
        said = timeout(PREFACE_TIMEOUT, preface(&stream)) => said,
        () = closing.cancelled() => return,
    };
    if !matches!(said, Ok(Ok(()))) {
        return tracing::debug!(%peer, "a connection did not begin as HTTP/2 in time");
    }
    // Small answers wait for nothing. A failure costs latency alone.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY could not be set");
    }
    let info = TcpConnectInfo { local_addr: stream.local_addr().ok(), remote_addr: Some(peer) };
    let service = service_fn(move |request| answer(request, info.clone(), router.clone()));
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_local_error_reset_streams(RESET_STREAMS)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .serve_connection(TokioIo::new(Lingering::new(stream)), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = closing.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a gRPC connection failed");
    }
}

/// Waits until the client has sent as much as a preface; hyper judges what it says.
async fn preface(stream: &TcpStream) -> io::Result<()> {
    let mut bytes = [0; PREFACE];
    let mut pause = FIRST_PREFACE_PAUSE;
    loop {
        match stream.peek(&mut bytes).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            PREFACE => return Ok(()),
            // What is there stays readable, so waiting for that would not wait.
            _ => {
                sleep(pause).await;
                pause = longer(pause);
            }
        }
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PREFACE_PAUSE)
}

async fn answer(mut request: Request<Incoming>, info: TcpConnectInfo, router: Router) -> Result<Response, Infallible> {
    request.extensions_mut().insert(info);
    router.oneshot(request).await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn serving() -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("free port");
        let address = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let routes = Routes::from(Router::new());
        (address, stop.clone(), tokio::spawn(serve(listener, routes, stop.cancelled_owned())))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_speaks_is_cut() {
        let (address, _stop, _serving) = serving().await;
        let mut silent = TcpStream::connect(address).await.expect("listening");
        silent.write_all(b"PRI * ").await.expect("connected");
        // A reset is an end as well: what was sent was not read.
        let end = silent.read(&mut [0; 1]).await;
        assert!(!matches!(end, Ok(1)), "{end:?}");
    }

    #[test]
    fn a_preface_that_never_ends_is_looked_at_a_few_times() {
        let pauses = std::iter::successors(Some(FIRST_PREFACE_PAUSE), |pause| Some(longer(*pause)));
        let looked_at = pauses.scan(Duration::ZERO, |since, pause| {
            *since += pause;
            Some(*since)
        });
        let looks = looked_at.take_while(|since| *since < PREFACE_TIMEOUT).count();
        assert!(looks <= 20, "{looks}");
    }

    #[tokio::test]
    async fn a_shutdown_waits_for_no_handshake() {
        let (address, stop, serving) = serving().await;
        let _silent = TcpStream::connect(address).await.expect("listening");
        stop.cancel();
        serving.await.expect("no panic");
    }

    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;

    /// A client that begins as HTTP/2, and then says no more.
    async fn begun(address: SocketAddr) -> TcpStream {
        let mut client = TcpStream::connect(address).await.expect("listening");
        let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("connected");
        client.write_all(&empty_settings).await.expect("connected");
        client
    }

    /// The type of the next frame, and its payload; `None` where the connection ends instead.
    async fn frame(client: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 9];
        client.read_exact(&mut head).await.ok()?;
        let [_, high, low, kind, ..] = head;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low]))];
        client.read_exact(&mut payload).await.ok()?;
        Some((kind, payload))
    }

    #[tokio::test]
    async fn a_client_is_told_how_many_streams_it_may_have() {
        const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];
        let (address, _stop, _serving) = serving().await;
        let mut client = begun(address).await;
        let (kind, settings) = frame(&mut client).await.expect("settings come first");
        assert_eq!(kind, SETTINGS);
        let [setting] = settings.chunks(6).filter(|it| it.starts_with(&MAX_CONCURRENT_STREAMS)).collect::<Vec<_>>()[..]
        else {
            panic!("not once: {settings:?}");
        };
        assert_eq!(setting[2..], STREAMS.to_be_bytes());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_no_ping_is_cut() {
        let (address, _stop, _serving) = serving().await;
        let mut client = begun(address).await;
        let pinged_and_cut = async {
            let mut pinged = false;
            while let Some((kind, _)) = frame(&mut client).await {
                pinged |= kind == PING;
            }
            pinged
        };
        let pinged = timeout(2 * (KEEP_ALIVE_INTERVAL + KEEP_ALIVE_TIMEOUT), pinged_and_cut).await;
        assert!(pinged.expect("cut in time"));
    }

    #[tokio::test]
    async fn a_client_that_still_sends_reads_everything_to_the_end() {
        const PONG: u8 = 1;
        const WINDOW_UPDATE: [u8; 13] = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let (address, stop, serving) = serving().await;
        let mut client = begun(address).await;
        assert!(matches!(frame(&mut client).await, Some((SETTINGS, _))));
        stop.cancel();
        let ping = loop {
            if let (PING, payload) = frame(&mut client).await.expect("a ping, to know what is on its way") {
                break payload;
            }
        };
        client.write_all(&[&[0, 0, 8, PING, PONG, 0, 0, 0, 0], &*ping].concat()).await.expect("connected");
        while frame(&mut client).await.is_some() {}
        // It has closed its side. Closed altogether it would reset the connection for each of these.
        for _ in 0..3 {
            client.write_all(&WINDOW_UPDATE).await.expect("not reset");
            tokio::task::yield_now().await;
        }
        assert!(!serving.is_finished(), "it waits for us");
        assert_eq!(client.read(&mut [0; 1]).await.expect("not reset"), 0);
        drop(client);
        serving.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_shutdown_says_goodbye_to_idle_connections() {
        let (address, stop, serving) = serving().await;
        let mut client = begun(address).await;
        assert!(matches!(frame(&mut client).await, Some((SETTINGS, _))));
        stop.cancel();
        while frame(&mut client).await.expect("a goodbye").0 != GOAWAY {}
        drop(client);
        serving.await.expect("no panic");
    }
}
