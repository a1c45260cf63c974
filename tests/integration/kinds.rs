//! Kinds for tests to hold what they watch: threads, checks, and the drain.

use std::any::Any;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use switchyard::model::Violations;
use switchyard::monitor::{
    CancellationToken, Config, Context, Finding, Kind, Monitor, MonitorError, MonitorFuture, from_fn,
};
use switchyard::pb::v1::task_spec::Monitor as Spec;
use switchyard::pb::v1::{CustomMonitor, StartTaskRequest};

use crate::harness::start;

/// Asks for a task of a custom kind that has no configuration.
pub(crate) fn custom(id: &str, kind: &str) -> StartTaskRequest {
    start(id, of_kind(kind))
}

/// A custom kind without a configuration.
pub(crate) fn of_kind(kind: &str) -> Spec {
    Spec::Custom(CustomMonitor { kind: kind.to_owned(), config: None })
}

/// Holds threads until the test opens it, or is over.
#[derive(Default)]
pub(crate) struct Gate(Arc<Bar>);

#[derive(Default)]
struct Bar {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.open.lock().expect("no panic") = true;
        self.0.changed.notify_all();
    }

    /// Blocks the thread that calls it, until the gate opens.
    pub(crate) fn barrier(&self) -> impl Fn() + Clone + Send + Sync + 'static {
        let bar = Arc::clone(&self.0);
        move || bar.pass()
    }

    /// The kind `blocker`: it is ready, then it blocks its thread at this gate.
    pub(crate) fn kind(&self) -> impl Kind {
        let barrier = self.barrier();
        from_fn("blocker", move |_| {
            let barrier = barrier.clone();
            async move {
                tokio::task::yield_now().await;
                barrier();
            }
        })
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

impl Bar {
    /// Not for ever: a test that fails must not leave its process behind.
    fn pass(&self) {
        let held = self.open.lock().expect("no panic");
        let waited = self.changed.wait_timeout_while(held, Duration::from_secs(120), |open| !*open);
        drop(waited.expect("no panic"));
    }
}

/// Asks for a task that blocks its thread at the gate.
pub(crate) fn blocker(id: &str) -> StartTaskRequest {
    custom(id, "blocker")
}

/// Holds a drain up for as long as a task may, or until it is let go.
#[derive(Default)]
pub(crate) struct Hold(CancellationToken);

impl Hold {
    /// The kind `holding`: told to stop, its instances wait for this.
    pub(crate) fn kind(&self) -> impl Kind {
        let let_go = self.0.clone();
        from_fn("holding", move |token: CancellationToken| {
            let let_go = let_go.clone();
            async move {
                token.cancelled().await;
                let_go.cancelled().await;
            }
        })
    }

    pub(crate) fn let_go(&self) {
        self.0.cancel();
    }
}

/// Panics without a backtrace: to write one takes its time, for which others that panic in this process wait, and a kind has a second.
pub(crate) fn fall(with: impl Any + Send) -> ! {
    resume_unwind(Box::new(with))
}

type Checking = dyn Fn(usize) -> Pin<Box<dyn Future<Output = Finding> + Send>> + Send + Sync;

/// A kind that is ready once its first check has passed, and whose checks are the test's: each is told how many its instance has made
/// before.
#[derive(Clone)]
pub(crate) struct Checks {
    name: &'static str,
    check: Arc<Checking>,
}

impl Checks {
    pub(crate) fn new<F, Checked>(name: &'static str, check: F) -> Self
    where
        F: Fn(usize) -> Checked + Send + Sync + 'static,
        Checked: Future<Output = Finding> + Send + 'static,
    {
        Self { name, check: Arc::new(move |made| Box::pin(check(made))) }
    }
}

impl Kind for Checks {
    fn name(&self) -> &str {
        self.name
    }

    fn declares_readiness(&self) -> bool {
        true
    }

    fn validate(&self, config: &Config) -> Result<(), Violations> {
        config.refuse_any()
    }

    fn build(&self, _config: &Config) -> Result<Box<dyn Monitor>, MonitorError> {
        Ok(Box::new(self.clone()))
    }
}

impl Monitor for Checks {
    fn run(self: Box<Self>, context: Context) -> MonitorFuture {
        Box::pin(async move {
            let mut made = 0..;
            let check = || (self.check)(made.next().expect("without end"));
            context.every(context.schedule().interval(), check).await;
            Ok(())
        })
    }
}
