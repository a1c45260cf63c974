//! The built-in kinds: HTTP, in plain text and by TLS, and TCP, on real sockets; and commands.
//!
//! Each check of a network kind opens a connection of its own and has closed it when it ends, however it ends: nothing is spawned,
//! so dropping a check drops all there is of it. (A name that is being looked up keeps a thread of the blocking pool until the
//! resolver answers, and so do the trusted root certificates while they are read.) Dials go through one limiter for the whole
//! process.
//!
//! Such a check that fails says why in a word ([`Check.reason`](crate::model::Check)): `RESOLVE_FAILED`, `CONNECTION_REFUSED`,
//! `CONNECT_FAILED`, `TLS_FAILED`, `CERTIFICATE_INVALID`, `CONNECTION_CLOSED`, `TIMEOUT`, `STATUS`, `BODY_MISMATCH`,
//! `EXPECT_MISMATCH`, `PROTOCOL_ERROR`. One that could not be made for a reason of ours (no descriptors, no ports, its turn to
//! dial did not come) is NEUTRAL, `LOCAL_FAULT`.
//!
//! Each check of the exec kind runs a command in a process group of its own, and has ended the whole group when it ends, however it
//! ends. What the command's exit status says: 0 PASS; 1 PASS, `WARNING`; 2 FAIL, `CRITICAL`; 3 and any other NEUTRAL, `UNKNOWN`.
//! One that runs out of time is FAIL, `TIMEOUT`; one that a signal has ended, NEUTRAL, `KILLED`; one that is not there or cannot be
//! run, NEUTRAL, `NOT_EXECUTABLE`; and one that was not started for a reason of ours, NEUTRAL, `LOCAL_FAULT`.

mod dial;
mod exec;
mod fault;
mod http;
mod tcp;
mod tls;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::model::{MonitorSpec, TaskSpec, Violations};
use crate::monitor::{BuiltIn, Context, Finding, Monitor, MonitorFuture};
use crate::telemetry::Perfdata;
use dial::Dialer;
use exec::{Exec, Plugin};
use fault::{Fault, Reason};
use tls::Tls;
use trace::Trace;

/// The built-in kinds: `http`, `tcp` and `exec`. One for the whole process, since its checks share limiters and the trusted root
/// certificates.
#[derive(Debug)]
pub struct BuiltIns {
    network: Arc<Network>,
    /// `None` where no commands are run.
    exec: Option<Arc<Exec>>,
}

/// What the checks of a process share.
#[derive(Debug)]
struct Network {
    dialer: Dialer,
    tls: Tls,
}

impl BuiltIns {
    /// The kinds, with a dial limiter of their own. No commands are run.
    #[expect(
        clippy::new_without_default,
        reason = "a second one would be a second limiter; nobody is to make it by accident"
    )]
    pub fn new() -> Self {
        Self { network: Arc::new(Network { dialer: Dialer::new(), tls: Tls::new() }), exec: None }
    }

    /// The kinds, with these commands for exec tasks to run, and where to show what they say of themselves.
    #[must_use]
    pub fn with_commands(self, allowed: &[String], perfdata: Perfdata) -> Self {
        let exec = (!allowed.is_empty()).then(|| Arc::new(Exec::new(allowed, perfdata)));
        Self { exec, ..self }
    }

    /// A hold on the commands, by which a server ends them.
    pub(crate) fn commands(&self) -> Commands {
        Commands(self.exec.clone())
    }
}

/// All commands that run; dropping it kills them, whatever becomes of the instances that they belong to, and no more are started.
#[derive(Debug)]
pub(crate) struct Commands(Option<Arc<Exec>>);

impl Commands {
    /// Kills them, and waits a moment for those that are just starting.
    pub(crate) async fn end(self) {
        if let Some(exec) = &self.0 {
            exec.end().await;
        }
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        if let Some(exec) = &self.0 {
            exec.kill();
        }
    }
}

impl BuiltIn for BuiltIns {
    fn names(&self) -> &'static [&'static str] {
        &["http", "tcp", "exec"]
    }

    fn validate(&self, spec: &MonitorSpec) -> Result<(), Violations> {
        match spec {
            MonitorSpec::Exec(spec) => exec::validate(self.exec.as_deref(), spec),
            MonitorSpec::Http(_) | MonitorSpec::Tcp(_) | MonitorSpec::Custom(_) => Ok(()),
        }
    }

    fn build(&self, spec: &Arc<TaskSpec>) -> Option<Box<dyn Monitor>> {
        self.validate(spec.monitor()).ok()?;
        let spec = Arc::clone(spec);
        match spec.monitor() {
            MonitorSpec::Http(_) | MonitorSpec::Tcp(_) => {
                Some(Box::new(Probe { spec, network: Arc::clone(&self.network) }))
            }
            MonitorSpec::Exec(_) => Some(Box::new(Plugin { spec, exec: self.exec.clone()? })),
            MonitorSpec::Custom(_) => None,
        }
    }
}

/// One instance of a network kind.
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
            spec @ (MonitorSpec::Exec(_) | MonitorSpec::Custom(_)) => {
                Err(Fault::new(Reason::LocalFault, format!("{:?} is no network kind", spec.kind())))
            }
        }
    }

    fn limit(&self) -> Duration {
        self.spec.schedule().timeout()
    }
}

#[cfg(test)]
mod tests;
