//! What the demo's tasks watch: an HTTP server in this process that can be told to fail, has a page that is slow, and keeps a log
//! of its requests.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

/// The request header by which the log tells which of a task's specs has asked.
pub(super) const RELEASE: &str = "x-release";
/// The page that takes its time.
pub(super) const SLOW_PATH: &str = "/report";
const SLOWNESS: Duration = Duration::from_secs(10);
/// Connections at once. Each check has one of its own, and few tasks watch; the others wait in the listener's backlog.
const CONNECTIONS: usize = 32;
/// How long to leave the listener alone where the machine has no descriptor left: the error would come back at once.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Requests that the log keeps: those of minutes.
const KEPT: usize = 4_096;

/// The target; it ends when it is dropped.
pub(super) struct Target {
    address: SocketAddr,
    site: Arc<Site>,
    _serving: AbortOnDropHandle<()>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    pub(super) at: Instant,
    /// What `x-release` said.
    pub(super) release: String,
}

#[derive(Default)]
struct Site {
    failing: AtomicBool,
    log: Mutex<VecDeque<Hit>>,
}

impl Target {
    /// Serves at a port of the system's choosing, in good health.
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, site) = (listener.local_addr()?, Arc::<Site>::default());
        let serving = tokio::spawn(serve(listener, Arc::clone(&site)));
        Ok(Self { address, site, _serving: AbortOnDropHandle::new(serving) })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether to answer 503 from now on, or 200.
    pub(super) fn fail(&self, failing: bool) {
        self.site.failing.store(failing, Ordering::Relaxed);
    }

    /// The requests that have come since, in their order.
    pub(super) fn requests_since(&self, start: Instant) -> Vec<Hit> {
        self.site.log().iter().filter(|hit| hit.at >= start).cloned().collect()
    }
}

impl Site {
    fn log(&self) -> MutexGuard<'_, VecDeque<Hit>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<String> {
        let release = request.headers().get(RELEASE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        {
            let mut log = self.log();
            if log.len() == KEPT {
                log.pop_front();
            }
            log.push_back(Hit { at: Instant::now(), release: release.to_owned() });
        }
        if request.uri().path() == SLOW_PATH {
            sleep(SLOWNESS).await;
        }
        let failing = self.failing.load(Ordering::Relaxed);
        let mut response = Response::new(String::new());
        *response.status_mut() = if failing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        response
    }
}

async fn serve(listener: TcpListener, site: Arc<Site>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&site)));
                }
                // A check that finds no way in fails, and its task tells.
                Err(_) => sleep(BACK_OFF).await,
            }
        }
    }
}

async fn connection(stream: TcpStream, site: Arc<Site>) {
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(site.answer(request).await) }
    });
    // The tcp task connects and asks nothing, a check that is cancelled leaves in the middle: neither is a fault.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
