//! From a host and a port to a connection.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
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

    /// Connects to the first of the host's addresses that answers. The caller drops it at the deadline, which is told so that no
    /// address takes the time of the others.
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
        if addresses.is_empty() {
            return Err(Fault::new(Reason::ResolveFailed, format!("{host} has no address")));
        }
        self.connect_any(&addresses, deadline, trace).await
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "on the blocking pool; tokio's own gives no place back when it is done"
    )]
    async fn resolve(&self, name: &str, port: u16, trace: &mut Trace) -> Result<Vec<SocketAddr>, Fault> {
        trace.enter(Stage::Queue);
        let place = Arc::clone(&self.lookups).acquire_owned().await.map_err(|_| closed())?;
        trace.enter(Stage::Resolve);
        let asked = (name.to_owned(), port);
        let asking = tokio::task::spawn_blocking(move || {
            // Given back when the resolver answers, not when the check is dropped: it is threads that are counted, and
            // `getaddrinfo` cannot be interrupted.
            let _place = place;
            #[expect(clippy::disallowed_methods, reason = "this is the blocking pool")]
            let addresses = asked.to_socket_addrs()?;
            Ok(addresses.take(ADDRESSES).collect())
        });
        let addresses = asking.await.map_err(|_| closed())?;
        addresses.map_err(|error| Fault::io(&error, Reason::ResolveFailed, format_args!("cannot resolve {name}")))
    }

    /// Tries the addresses one after the other, which share the time that is left; the last one's fault is told.
    async fn connect_any(
        &self,
        addresses: &[SocketAddr],
        deadline: Instant,
        trace: &mut Trace,
    ) -> Result<TcpStream, Fault> {
        let mut outcome = Err(closed());
        for (n, address) in addresses.iter().enumerate() {
            let left = u32::try_from(addresses.len() - n).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            let until = deadline.min(Instant::now() + share.max(ADDRESS_TIME));
            outcome = self.connect(*address, until, trace).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    async fn connect(&self, address: SocketAddr, until: Instant, trace: &mut Trace) -> Result<TcpStream, Fault> {
        trace.enter(Stage::Queue);
        let place = self.dials.acquire().await.map_err(|_| closed())?;
        trace.enter(Stage::Connect);
        let connected = timeout_at(until, holding(place, TcpStream::connect(address))).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = connected.map_err(|error| {
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

/// Awaits a dial, and keeps its place for no longer than [`HOLD`].
async fn holding<T>(place: SemaphorePermit<'_>, dial: impl Future<Output = T>) -> T {
    let mut dial = pin!(dial);
    match timeout(HOLD, &mut dial).await {
        Ok(done) => done,
        Err(_) => {
            drop(place);
            dial.await
        }
    }
}

/// Semaphores are never closed, and the blocking pool is only while its runtime goes down.
fn closed() -> Fault {
    Fault::new(Reason::LocalFault, "the server no longer dials")
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::Ipv4Addr;

    use futures_util::FutureExt;
    use tokio::net::TcpListener;

    use super::*;

    fn in_a_minute() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn the_next_address_is_tried_where_one_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let open = listener.local_addr().expect("bound");
        // Nobody else listens on this address: the port belongs to the one above.
        let refused = SocketAddr::from(([127, 0, 0, 2], open.port()));
        let (dialer, mut trace) = (Dialer::new(), Trace::begin());
        let stream = dialer.connect_any(&[refused, open], in_a_minute(), &mut trace).await.expect("the second one");
        assert_eq!(stream.peer_addr().expect("connected"), open);
        let fault = dialer.connect_any(&[refused, refused], in_a_minute(), &mut trace).await.expect_err("neither");
        assert_eq!(fault.reason, Reason::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_dial_whose_turn_does_not_come_says_nothing_of_the_target() {
        let (dialer, mut trace) = (Dialer { dials: Semaphore::new(0), ..Dialer::new() }, Trace::begin());
        let host = Host::Ipv4(Ipv4Addr::LOCALHOST);
        assert!(dialer.dial(&host, 1, in_a_minute(), &mut trace).now_or_never().is_none());
        assert_eq!(trace.timed_out(Duration::from_secs(60)).reason, Reason::LocalFault);
    }

    #[tokio::test(start_paused = true)]
    async fn targets_that_swallow_packets_do_not_keep_their_places() {
        let dials = Semaphore::new(1);
        let begin = Instant::now();
        let swallowed = async { holding(dials.acquire().await.expect("open"), pending::<()>()).await };
        tokio::select! {
            biased;
            () = swallowed => unreachable!("it never answers"),
            place = dials.acquire() => drop(place),
        }
        assert!((HOLD..2 * HOLD).contains(&begin.elapsed()));
    }
}
