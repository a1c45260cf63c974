//! An instance that blocks its thread comes to no check, and nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use switchyard::config::Layer;
use switchyard::model::Violations;
use switchyard::monitor::{Config, Context, Finding, Kind, Monitor, MonitorError, MonitorFuture};
use switchyard::pb::v1::task_spec::Monitor as Spec;
use switchyard::pb::v1::{CustomMonitor, EventType, State};

use super::{daily, not_running, run, task};
use crate::blocked::Gate;
use crate::harness::{Harness, builder, events_until, reach, refusal};

/// Its checks pass, but for the second, which blocks its thread first; it counts them.
#[derive(Clone)]
struct Seized {
    barrier: Arc<dyn Fn() + Send + Sync>,
    checks: Arc<AtomicUsize>,
}

impl Kind for Seized {
    fn name(&self) -> &str {
        "seized"
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

impl Monitor for Seized {
    fn run(self: Box<Self>, context: Context) -> MonitorFuture {
        Box::pin(async move {
            let check = async || {
                if self.checks.fetch_add(1, Ordering::Relaxed) == 1 {
                    (self.barrier)();
                }
                Finding::pass()
            };
            context.every(context.schedule().interval(), check).await;
            Ok(())
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_is_told_so_whether_it_blocks_before_or_after() {
    let gate = Gate::default();
    let kind = Seized { barrier: Arc::new(gate.barrier()), checks: Arc::default() };
    let layer = Layer { custom_shards: Some(1), ..Layer::default() };
    let server = Harness::run(builder(layer).register(kind.clone()).bind().await.expect("bound"));
    let mut client = server.client().await;
    let monitor = Spec::Custom(CustomMonitor { kind: "seized".to_owned(), config: None });
    client.start_task(daily(monitor)).await.expect("started");
    reach(&mut client, "task", State::Running).await;
    let head = server.info().await.head_cursor;
    for when in ["while it is made", "before it is asked for"] {
        let status = run(&mut client, task()).await.expect_err(when);
        assert_eq!(refusal(&status), not_running(), "{when}");
        assert!(status.message().contains("blocks its thread"), "{when}: {status}");
    }
    assert_eq!(kind.checks.load(Ordering::Relaxed), 2);

    gate.open();
    events_until(&mut client, &head, EventType::AlertResolved).await;
    run(&mut client, task()).await.expect("its thread is back");
    assert_eq!(kind.checks.load(Ordering::Relaxed), 3, "none was made for who had been refused");
}
