//! The incorrect patterns of the document that Switchyard was made for, one fixture each, in its own words as far as they go: what
//! exactly the server says and does about each of them, as its clients see it. `docs/runbook/wrong-patterns.md` tells operators the
//! same.
//!
//! Where the document's figures would only take longer, the spec's are smaller, and the test says so. What has to be waited for is
//! waited for as an event; what blocks a thread is let go of by the test, also where that fails.

mod blocking;
mod gates;
mod scene;
mod unseen;
mod yielding;

use std::time::Duration;

/// What stands for the document's `check_endpoint_health()`: something to wait for.
async fn check_endpoint_health() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}
