//! The correct patterns of the document that Switchyard was made for ("Circuit Breaker Monitoring Task Patterns"), one file each,
//! in its own words as far as they go: functions of the cancellation token, which `monitor::from_fn` makes kinds of.
//!
//! `cargo test --example seed_patterns` has the testing kit prove each of them cooperative. `cargo run --example seed_patterns`
//! serves them, starts a task of each, cancels it, and prints what came of it:
//!
//! ```text
//! required         GRACEFUL  after 219.367us
//! blocking-work    GRACEFUL  after 382.549us
//! long-work        GRACEFUL  after 1ms
//! cleanup          GRACEFUL  after 298ms
//! hanging-cleanup  GRACEFUL  after 2.003s
//! resources        GRACEFUL  after 285.195us
//! ```

#![expect(clippy::print_stdout, reason = "what it prints is what it is run for")]

mod blocking_work;
mod cleanup;
mod long_work;
mod required;
mod resources;

use std::error::Error;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use switchyard::client::Client;
use switchyard::config::{Config, Layer, StoreKind};
use switchyard::model::Pretty;
use switchyard::monitor::{CancellationToken, from_fn};
use switchyard::pb::v1;
use switchyard::server::{Builder, Ended, Server};
use tokio::net::TcpListener;
use tokio::time::sleep;

const KINDS: [&str; 6] = ["required", "blocking-work", "long-work", "cleanup", "hanging-cleanup", "resources"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    for (kind, task) in run_and_cancel_each().await? {
        println!("{kind:<15}  {}", outcome(&task));
    }
    Ok(())
}

/// Serves the patterns until each has been started and cancelled.
async fn run_and_cancel_each() -> Result<Vec<(&'static str, v1::Task)>, Box<dyn Error>> {
    // What the patterns connect to; the system accepts for it.
    let endpoint = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let server = builder(endpoint.local_addr()?)?.bind().await?;
    let address = server.addr();
    let done = CancellationToken::new();
    let cancelled = async {
        // However it ends, nobody needs the server any more.
        let _stop = done.clone().drop_guard();
        cancel_each(&address.to_string()).await
    };
    match tokio::join!(server.run(done.cancelled(), pending()), cancelled) {
        (Ended::Clean, cancelled) => cancelled,
        (ended, _) => Err(format!("the server did not end cleanly: {ended:?}").into()),
    }
}

/// A server on ports of the system's choosing that knows the patterns.
fn builder(endpoint: SocketAddr) -> Result<Builder, Box<dyn Error>> {
    let any = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    // Its tasks are not to survive it.
    let store = Some(StoreKind::Memory);
    let config = Config::try_new(Layer { listen: any, http_listen: any, store, ..Layer::default() })?;
    Ok(Server::builder()
        .config(config)
        .register(from_fn("required", move |token| required::monitoring_task(token, endpoint)))
        .register(from_fn("blocking-work", |token| {
            blocking_work::monitoring_task_with_blocking_work(token, || (0..1_000_000).sum())
        }))
        .register(from_fn("long-work", |token| {
            long_work::monitoring_task_with_long_work(token, |chunk| tracing::debug!(chunk, "processed"))
        }))
        .register(from_fn("cleanup", |token| {
            cleanup::monitoring_task_with_cleanup(token, sleep(Duration::from_millis(300)))
        }))
        .register(from_fn("hanging-cleanup", |token| cleanup::monitoring_task_with_cleanup(token, pending())))
        .register(from_fn("resources", move |token| resources::monitoring_task_with_resources(token, endpoint))))
}

/// Starts a task of each kind, and cancels it once it runs.
async fn cancel_each(server: &str) -> Result<Vec<(&'static str, v1::Task)>, Box<dyn Error>> {
    let client = Client::connect(server).await?;
    let mut cancelled = Vec::new();
    for kind in KINDS {
        let custom = v1::CustomMonitor { kind: kind.to_owned(), config: None };
        let spec = v1::TaskSpec { monitor: Some(v1::task_spec::Monitor::Custom(custom)), ..Default::default() };
        let task = v1::Task { spec: Some(spec), ..Default::default() };
        let request = v1::StartTaskRequest { task_id: kind.to_owned(), task: Some(task), ..Default::default() };
        client.start(request).await?;
        let name = format!("namespaces/default/tasks/{kind}");
        client.wait(&name, &[v1::State::Running], Duration::from_secs(10)).await?;
        let cancel = v1::CancelTaskRequest { name, wait: true, ..Default::default() };
        cancelled.push((kind, client.cancel(cancel).await?.task.unwrap_or_default()));
    }
    Ok(cancelled)
}

/// How the task ended, and how long it took from the cancel.
fn outcome(task: &v1::Task) -> String {
    let exit = task.outcome.as_ref().map_or(v1::Exit::Unspecified, v1::Outcome::exit);
    let exit = exit.as_str_name().trim_start_matches("EXIT_");
    let took = task.instance.as_ref().and_then(|instance| instance.shutdown.as_ref()?.graceful_duration);
    match took.and_then(|took| Duration::try_from(took).ok()) {
        Some(took) => format!("{exit}  after {}", Pretty::about(took)),
        None => exit.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_pattern_ends_gracefully_when_its_task_is_cancelled() {
        let cancelled = run_and_cancel_each().await.expect("served");
        assert_eq!(cancelled.len(), KINDS.len());
        for (kind, task) in cancelled {
            assert!(outcome(&task).starts_with("GRACEFUL  after"), "{kind}: {task:?}");
        }
    }
}
