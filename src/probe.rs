//! The built-in kinds, on real sockets: HTTP, in plain text and by TLS, and TCP.
//!
//! Each check opens a connection of its own and has closed it when it ends, however it ends: nothing is spawned, so dropping a
//! check drops all there is of it. (A name that is being looked up keeps a thread of the blocking pool until the resolver
//! answers, and so do the trusted root certificates while they are read.) Dials go through one limiter for the whole process.
//!
//! A check that fails says why in a word ([`Check.reason`](crate::model::Check)): `RESOLVE_FAILED`, `CONNECTION_REFUSED`,
//! `CONNECT_FAILED`, `TLS_FAILED`, `CERTIFICATE_INVALID`, `CONNECTION_CLOSED`, `TIMEOUT`, `STATUS`, `BODY_MISMATCH`,
//! `EXPECT_MISMATCH`, `PROTOCOL_ERROR`. One that could not be made for a reason of ours (no descriptors, no ports, its turn to
//! dial did not come) is NEUTRAL, `LOCAL_FAULT`.

mod dial;
mod fault;
mod http;
mod tcp;
mod tls;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::model::{MonitorSpec, TaskSpec};
use crate::monitor::{BuiltIn, Context, Finding, Monitor, MonitorFuture};
use dial::Dialer;
use fault::{Fault, Reason};
use tls::Tls;
use trace::Trace;

/// The built-in kinds: `http` and `tcp`. One for the whole process, since its checks share a dial limiter and the trusted root
/// certificates.
#[derive(Debug)]
pub struct BuiltIns {
    network: Arc<Network>,
}

/// What the checks of a process share.
#[derive(Debug)]
struct Network {
    dialer: Dialer,
    tls: Tls,
}

impl BuiltIns {
    /// The kinds, with a dial limiter of their own.
    #[expect(
        clippy::new_without_default,
        reason = "a second one would be a second limiter; nobody is to make it by accident"
    )]
    pub fn new() -> Self {
        Self { network: Arc::new(Network { dialer: Dialer::new(), tls: Tls::new() }) }
    }
}

impl BuiltIn for BuiltIns {
    fn names(&self) -> &'static [&'static str] {
        &["http", "tcp"]
    }

    fn build(&self, spec: &Arc<TaskSpec>) -> Option<Box<dyn Monitor>> {
        let probe = Probe { spec: Arc::clone(spec), network: Arc::clone(&self.network) };
        spec.monitor().is_built_in().then(|| Box::new(probe) as Box<dyn Monitor>)
    }
}

/// One instance of a built-in kind.
struct Probe {
    spec: Arc<TaskSpec>,
    network: Arc<Network>,
}

impl Monitor for Probe {
    fn run(self: Box<Self>, context: Context) -> MonitorFuture {
        Box::pin(async move {
            context.every_until(context.schedule().interval(), |deadline| self.check(deadline)).await;
            Ok(())
        })
    }
}

impl Probe {
    async fn check(&self, deadline: Instant) -> Finding {
        let mut trace = Trace::begin();
        let outcome = timeout_at(deadline, self.attempt(deadline, &mut trace)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(trace.timed_out(self.limit())));
        let phases = trace.finish();
        match outcome {
            Ok(()) => Finding::pass().with_phases(phases),
            Err(fault) => fault.finding(phases),
        }
    }

    async fn attempt(&self, deadline: Instant, trace: &mut Trace) -> Result<(), Fault> {
        match self.spec.monitor() {
            MonitorSpec::Http(spec) => http::attempt(spec, &self.network, deadline, trace).await,
            MonitorSpec::Tcp(spec) => tcp::attempt(spec, &self.network.dialer, deadline, trace).await,
            // `BuiltIns::build` makes no probe of these.
            MonitorSpec::Custom(spec) => {
                Err(Fault::new(Reason::LocalFault, format!("{:?} is not a built-in kind", spec.kind)))
            }
        }
    }

    fn limit(&self) -> Duration {
        self.spec.schedule().timeout()
    }
}

#[cfg(test)]
mod tests;
