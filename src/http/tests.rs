//! Over real sockets, as Prometheus and a load balancer see it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;

/// Long enough for anything that is to happen on a busy machine.
const FOREVER: Duration = Duration::from_secs(60);

/// Limits that no test reaches by being slow.
fn patient() -> Limits {
    Limits { connections: 64, header_read_timeout: FOREVER, max_age: FOREVER, last_response: FOREVER }
}

struct Fixture {
    addr: SocketAddr,
    readiness: Readiness,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Fixture {
    async fn start(limits: Limits, refresh: Refresh) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let addr = listener.local_addr().expect("bound");
        let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
        let router = router(Metrics::new().expect("registers"), readiness.clone(), refresh);
        let serving = tokio::spawn(serve(listener, router, limits, shutdown.clone().cancelled_owned()));
        Self { addr, readiness, shutdown, serving }
    }

    async fn plain() -> Self {
        Self::start(patient(), Arc::new(|| {})).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.expect("connects")
    }

    /// One request on a connection of its own: head and body.
    async fn get(&self, path: &str) -> (String, String) {
        let mut stream = self.connect().await;
        send(&mut stream, path, "Connection: close\r\n").await;
        let text = to_end(&mut stream).await;
        let (head, body) = text.split_once("\r\n\r\n").expect("a response");
        (head.to_ascii_lowercase(), body.to_owned())
    }
}

async fn send(stream: &mut TcpStream, path: &str, headers: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sends");
}

async fn to_end(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    timeout(FOREVER, stream.read_to_string(&mut text)).await.expect("ends").expect("reads");
    text
}

/// Waits until the server has closed the connection, in whatever way.
async fn closed(stream: &mut TcpStream) {
    let mut bytes = [0; 512];
    while timeout(FOREVER, stream.read(&mut bytes)).await.expect("ends").is_ok_and(|read| read > 0) {}
}

/// One answer of a known end, on a connection that is kept.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut bytes = [0; 512];
        let read = timeout(FOREVER, stream.read(&mut bytes)).await.expect("answers").expect("reads");
        assert!(read > 0, "closed after {text:?}");
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    text
}

#[tokio::test]
async fn a_journal_that_takes_in_nothing_makes_a_server_unready_that_would_be_ready() {
    let server = Fixture::plain().await;
    server.readiness.set(Phase::Ready);
    for (admission, status, why) in [
        (Admission::Stalled, "503", "the journal is stalled\n"),
        (Admission::Full, "503", "the journal's store is full\n"),
        (Admission::Open, "200", "ready\n"),
    ] {
        server.readiness.set_admission(admission);
        let (head, body) = server.get("/readyz").await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert_eq!(body, why);
        assert!(server.get("/healthz").await.0.starts_with("http/1.1 200"));
    }
    server.readiness.set_admission(Admission::Stalled);
    server.readiness.set(Phase::Draining);
    assert_eq!(server.get("/readyz").await.1, "draining\n", "that is for good");
}

#[tokio::test]
async fn readiness_follows_the_servers_life_and_health_does_not() {
    let server = Fixture::plain().await;
    for (phase, status) in [(Phase::Starting, "503"), (Phase::Ready, "200"), (Phase::Draining, "503")] {
        server.readiness.set(phase);
        let (head, body) = server.get("/readyz").await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert_eq!(body, format!("{phase}\n"));
        let (head, body) = server.get("/healthz").await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert_eq!(body, "ok\n");
    }
}

#[tokio::test]
async fn a_scrape_refreshes_first_and_has_the_expositions_type() {
    let metrics = Metrics::new().expect("registers");
    let scrapes = Arc::new(AtomicUsize::new(0));
    let (refreshed, instances) = (Arc::clone(&scrapes), metrics.instances.clone());
    let refresh: Refresh = Arc::new(move || instances.set_live(40 + refreshed.fetch_add(1, Ordering::Relaxed)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let addr = listener.local_addr().expect("bound");
    let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
    let router = router(metrics, readiness.clone(), refresh);
    let serving = tokio::spawn(serve(listener, router, patient(), shutdown.clone().cancelled_owned()));
    let server = Fixture { addr, readiness, shutdown, serving };
    for live in [40, 41] {
        let (head, body) = server.get("/metrics").await;
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        assert!(body.contains(&format!("\ncircuit_breaker_active_tasks {live}\n")), "{body}");
    }
    let (_, body) = server.get("/metrics").await;
    assert!(body.contains(&format!("circuit_breaker_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))));
    assert!(body.contains("\nprocess_open_fds "));
}

#[tokio::test]
async fn a_refresh_that_panics_costs_its_own_scrape_alone() {
    let server = Fixture::start(patient(), Arc::new(|| panic!("a fault of ours"))).await;
    assert!(server.get("/metrics").await.0.starts_with("http/1.1 500"));
    assert!(server.get("/metrics").await.0.starts_with("http/1.1 500"), "its slot was given back");
    assert!(server.get("/healthz").await.0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let server = Fixture::plain().await;
    assert!(server.get("/").await.0.starts_with("http/1.1 404"));
    let mut stream = server.connect().await;
    stream.write_all(b"DELETE /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await.expect("sends");
    assert!(to_end(&mut stream).await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut() {
    let limits = Limits { header_read_timeout: Duration::from_millis(50), ..patient() };
    let server = Fixture::start(limits, Arc::new(|| {})).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost:").await.expect("sends");
    closed(&mut stream).await;
}

#[tokio::test]
async fn a_kept_connection_ends_of_idleness_and_of_age() {
    let bounds = [
        Limits { header_read_timeout: Duration::from_millis(50), ..patient() },
        Limits { max_age: Duration::from_millis(50), ..patient() },
    ];
    for limits in bounds {
        let server = Fixture::start(limits, Arc::new(|| {})).await;
        let mut stream = server.connect().await;
        // On a busy machine the bound may pass before the request is read, so whether it is answered proves nothing.
        send(&mut stream, "/healthz", "").await;
        closed(&mut stream).await;
    }
}

#[tokio::test]
async fn connections_above_the_cap_wait_their_turn() {
    let server = Fixture::start(Limits { connections: 1, ..patient() }, Arc::new(|| {})).await;
    let mut first = server.connect().await;
    send(&mut first, "/healthz", "").await;
    read_until(&mut first, "ok\n").await;

    let mut second = server.connect().await;
    send(&mut second, "/healthz", "").await;
    // However long this waits, nothing may come.
    assert!(timeout(Duration::from_millis(50), second.read_u8()).await.is_err());
    drop(first);
    read_until(&mut second, "ok\n").await;
}

#[tokio::test]
async fn a_request_under_way_is_answered_through_the_shutdown_and_idle_connections_do_not_delay_it() {
    let (entered, has_entered) = mpsc::sync_channel(1);
    let (release, released) = mpsc::sync_channel::<()>(1);
    let released = std::sync::Mutex::new(released);
    let refresh: Refresh = Arc::new(move || {
        entered.send(()).expect("the test waits");
        released.lock().expect("not poisoned").recv().expect("the test releases");
    });
    let server = Fixture::start(patient(), refresh).await;
    let mut idle = server.connect().await;
    send(&mut idle, "/healthz", "").await;
    read_until(&mut idle, "ok\n").await;
    let mut scrape = server.connect().await;
    send(&mut scrape, "/metrics", "").await;
    task::spawn_blocking(move || has_entered.recv()).await.expect("joins").expect("entered");

    server.shutdown.cancel();
    assert_eq!(to_end(&mut idle).await, "");
    release.send(()).expect("the scrape waits");
    assert!(to_end(&mut scrape).await.starts_with("HTTP/1.1 200"));
    timeout(FOREVER, server.serving).await.expect("ends").expect("no panic");
    assert!(TcpStream::connect(server.addr).await.is_err());
}

#[tokio::test]
async fn a_client_that_says_nothing_cannot_hold_the_shutdown() {
    let limits = Limits { last_response: Duration::from_millis(50), ..patient() };
    let server = Fixture::start(limits, Arc::new(|| {})).await;
    let mut silent = server.connect().await;
    silent.write_all(b"GET /healthz HTTP/1.1\r\n").await.expect("sends");
    // An answer elsewhere shows that the accept loop has taken this one too.
    server.get("/healthz").await;
    server.shutdown.cancel();
    timeout(FOREVER, server.serving).await.expect("ends").expect("no panic");
}
