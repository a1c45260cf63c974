//! An instance that blocks its thread comes to no check, and nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use switchyard::config::Layer;
use switchyard::monitor::Finding;
use switchyard::pb::v1::{EventType, State};

use super::{daily, not_running, run, task};
use crate::harness::{Harness, builder, events_until, reach, refusal};
use crate::kinds::{Checks, Gate, of_kind};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_is_told_so_whether_it_blocks_before_or_after() {
    let gate = Gate::default();
    let checks = Arc::new(AtomicUsize::new(0));
    let (barrier, counts) = (gate.barrier(), Arc::clone(&checks));
    // The second check blocks its thread.
    let kind = Checks::new("seized", move |_| {
        let (barrier, counts) = (barrier.clone(), Arc::clone(&counts));
        async move {
            if counts.fetch_add(1, Ordering::Relaxed) == 1 {
                barrier();
            }
            Finding::pass()
        }
    });
    let layer = Layer { custom_shards: Some(1), ..Layer::default() };
    let server = Harness::run(builder(layer).register(kind).bind().await.expect("bound"));
    let mut client = server.client().await;
    client.start_task(daily(of_kind("seized"))).await.expect("started");
    reach(&mut client, "task", State::Running).await;
    let head = server.info().await.head_cursor;
    for when in ["while it is made", "before it is asked for"] {
        let status = run(&mut client, task()).await.expect_err(when);
        assert_eq!(refusal(&status), not_running(), "{when}");
        assert!(status.message().contains("blocks its thread"), "{when}: {status}");
    }
    assert_eq!(checks.load(Ordering::Relaxed), 2);

    gate.open();
    events_until(&mut client, &head, EventType::AlertResolved).await;
    run(&mut client, task()).await.expect("its thread is back");
    assert_eq!(checks.load(Ordering::Relaxed), 3, "none was made for who had been refused");
}
