//! A tonic client that does not call what is known to be broken: a circuit mirror before its channel.
//!
//! `cargo run --example mirror_tonic -- SWITCHYARD TASK UPSTREAM`: the server's address, the task that watches the upstream, and the
//! upstream, whose health is asked once a second.
//!
//! ```sh
//! cargo run --example mirror_tonic -- 127.0.0.1:6710 namespaces/default/tasks/api http://127.0.0.1:50051
//! ```
#![expect(clippy::print_stdout, reason = "it shows what happens")]

use std::time::Duration;

use anyhow::{Context as _, Result};
use switchyard::client::{CircuitMirror, GrpcCircuitLayer, Policy};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use tower::Layer;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let [server, task, upstream] = [(); 3].map(|()| arguments.next());
    let usage = "usage: mirror_tonic SWITCHYARD TASK UPSTREAM";
    let (server, task, upstream) = (server.context(usage)?, task.context(usage)?, upstream.context(usage)?);

    // Without the server, too, this client works: by what was last known.
    let mirror = CircuitMirror::builder(server).reporter("mirror-tonic").policy(Policy::LastKnown).connect_lazy()?;
    let layer = GrpcCircuitLayer::new(mirror.guard(&task));
    let mut health = HealthClient::new(layer.layer(Endpoint::from_shared(upstream)?.connect_lazy()));
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                // What waits to be told is worth a second.
                let told = tokio::time::timeout(Duration::from_secs(1), mirror.flush()).await;
                println!("{:?}{}", mirror.stats(), if told.is_err() { ", and not all was told" } else { "" });
                return Ok(());
            }
        }
        match health.check(HealthCheckRequest::default()).await {
            Ok(answer) => println!("{:?}", answer.into_inner().status()),
            Err(status) => {
                let retry = status.get_error_details().retry_info().and_then(|retry| retry.retry_delay);
                println!("{}: {}; try again after {:?}", status.code(), status.message(), retry.unwrap_or_default());
            }
        }
    }
}
