//! From a host and a port to a connection.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use url::Host;

use super::fault::{Fault, Reason};
use super::trace::{Stage, Trace};

/// How many checks may dial at once, in the whole process. When thousands of tasks are started together it keeps their first
/// checks from overrunning the backlogs of what they check, and the process from running out of descriptors.
const DIALS: usize = 512;
/// How long a dial counts among those. A healthy target is connected by then. Targets that swallow packets would otherwise hold
/// every place, and a few hundred dead ones would keep the checks of all others waiting. So at least `DIALS / HOLD` dials begin
/// in each second, 10,240, whatever the targets do.
const HOLD: Duration = Duration::from_millis(50);
/// How many names may be looked up at once: each takes a thread of the blocking pool, and keeps it even where its check has been
/// dropped.
const LOOKUPS: usize = 64;
/// What each address is given, if there is as much left: less than a lost SYN's repetition after 1 s would make a healthy target
/// look dead. Go's dialler has the same minimum.
const ADDRESS_TIME: Duration = Duration::from_secs(2);
/// How many of a name's addresses are tried. They share the check's time; among more, none would have enough.
const ADDRESSES: usize = 8;

/// Dials for all checks of the process.
#[derive(Debug)]
pub(super) struct Dialer {
    dials: Semaphore,
    lookups: Arc<Semaphore>,
}

impl Dialer {
    pub(super) fn new() -> Self {
        Self { dials: Semaphore::new(DIALS), lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }

    /// Connects to the first of the host's addresses that answers. Keeps trying past the deadline, at which the caller drops it.
    pub(super) async fn dial(
        &self,
        host: &Host,
        port: u16,
        deadline: Instant,
        trace: &mut Trace,
    ) -> Result<TcpStream, Fault> {
        let addresses = match host {
            Host::Ipv4(address) => vec![SocketAddr::from((*address, port))],
            Host::Ipv6(address) => vec![SocketAddr::from((*address, port))],
            Host::Domain(name) => self.resolve(name, port, trace).await?,
        };
        let mut last = Fault::new(Reason::ResolveFailed, format!("{host} has no address"));
        for (n, address) in addresses.iter().enumerate() {
            let left = u32::try_from(addresses.len() - n).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            let until = deadline.min(Instant::now() + share.max(ADDRESS_TIME));
            match self.connect(*address, until, trace).await {
                Ok(stream) => return Ok(stream),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    async fn resolve(&self, name: &str, port: u16, trace: &mut Trace) -> Result<Vec<SocketAddr>, Fault> {
        trace.enter(Stage::Queue);
        let place = Arc::clone(&self.lookups).acquire_owned().await.map_err(|_| closed())?;
        trace.enter(Stage::Resolve);
        let addresses = lookup(name.to_owned(), port, place).await;
        addresses.map_err(|error| Fault::io(&error, Reason::ResolveFailed, format_args!("cannot resolve {name}")))
    }

    async fn connect(&self, address: SocketAddr, until: Instant, trace: &mut Trace) -> Result<TcpStream, Fault> {
        trace.enter(Stage::Queue);
        let place = self.dials.acquire().await.map_err(|_| closed())?;
        trace.enter(Stage::Connect);
        let mut connecting = pin!(TcpStream::connect(address));
        let outcome = match timeout(HOLD, &mut connecting).await {
            Ok(outcome) => Ok(outcome),
            Err(_) => {
                drop(place);
                timeout_at(until, connecting).await
            }
        };
        let outcome = outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = outcome.map_err(|error| {
            let reason = match error.kind() {
                io::ErrorKind::ConnectionRefused => Reason::ConnectionRefused,
                io::ErrorKind::TimedOut => Reason::Timeout,
                _ => Reason::ConnectFailed,
            };
            Fault::io(&error, reason, format_args!("cannot connect to {address}"))
        })?;
        // Requests are written whole. That it cannot be set says nothing of the target.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

/// Asks the system's resolver. Its place among the lookups is given back when the resolver answers, not when the check is dropped:
/// it is threads that are counted, and `getaddrinfo` cannot be interrupted.
async fn lookup(name: String, port: u16, place: OwnedSemaphorePermit) -> io::Result<Vec<SocketAddr>> {
    let asking = tokio::task::spawn_blocking(move || {
        let _place = place;
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the blocking pool; it is our place that must outlive the check"
        )]
        let addresses = (name.as_str(), port).to_socket_addrs()?;
        Ok(addresses.take(ADDRESSES).collect())
    });
    asking.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Neither semaphore is ever closed.
fn closed() -> Fault {
    Fault::new(Reason::LocalFault, "the server no longer dials")
}
