//! How soon many mirrors decide by what a circuit has become: an operator opens it and lets it go again, and each mirror, which has a
//! connection of its own, is seen to reject, and then to let through.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use switchyard::client::{CircuitMirror, Client, Guard};
use switchyard::pb::v1;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use v1::circuit_service_client::CircuitServiceClient;
use v1::task_spec::Monitor;

use crate::lab::{Lab, connect, millis, nanos};
use crate::served::{IDLE, Served};
use crate::table::{Bar, Case, Row, Unit};

const NAME: &str = "mirror: state change, from the call until each of 1,000 mirrors decides by it";
const MIRRORS: usize = 1_000;
/// How often the circuit is opened, and as often let go.
const ROUNDS: usize = 100;
/// How many mirrors connect at a time.
const CONNECTING: usize = 50;
/// From one change to the next: a circuit that changes again at once is no common one, and what lags behind is to be its own change's.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the last mirror may take; no row that counts comes near.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(NAME, run)]
}

fn run(lab: &Lab) -> Result<Vec<Row>> {
    let (served, mirrors) = (Served::start(lab)?, lab.scaled(MIRRORS));
    let address = served.address;
    let took = lab.clients.block_on(async {
        let (name, channel) = (task(&address.to_string()).await?, connect(address, 1).await?.remove(0));
        let mirrors = mirror(&address.to_string(), mirrors).await?;
        changes(name, channel, &mirrors, lab.scaled(ROUNDS)).await
    })?;
    served.stop(lab)?;
    let row = |what: &str, quantile, bar| {
        Row::alone(format!("{NAME}: {what}"), Unit::Milliseconds, vec![millis(took.value_at_quantile(quantile))], bar)
    };
    Ok(vec![row("p50", 0.5, Bar::None), row("p99", 0.99, Bar::AtMost(50.0)), row("the last", 1.0, Bar::None)])
}

/// The name of a task that runs.
async fn task(server: &str) -> Result<String> {
    let client = Client::connect(server).await?;
    let monitor = Monitor::Custom(v1::CustomMonitor { kind: IDLE.to_owned(), config: None });
    let spec = Some(v1::TaskSpec { monitor: Some(monitor), ..Default::default() });
    let task = Some(v1::Task { spec, ..Default::default() });
    let request = v1::StartTaskRequest { task_id: "mirrored".to_owned(), task, ..Default::default() };
    let name = client.start(request).await?.task.context("started")?.name;
    client.wait(&name, &[v1::State::Running], Duration::from_secs(60)).await?;
    Ok(name)
}

/// So many mirrors.
async fn mirror(server: &str, count: usize) -> Result<Vec<CircuitMirror>> {
    let mut mirrors = Vec::with_capacity(count);
    while mirrors.len() < count {
        let some = (0..CONNECTING.min(count - mirrors.len())).map(|_| CircuitMirror::connect(server, ""));
        mirrors.extend(try_join_all(some).await?);
    }
    Ok(mirrors)
}

/// How long every change took to every mirror, all in one.
async fn changes(name: String, channel: Channel, mirrors: &[CircuitMirror], rounds: usize) -> Result<Histogram<u64>> {
    let (tell, mut seen) = mpsc::channel(mirrors.len());
    let mut watching = JoinSet::new();
    for mirror in mirrors {
        watching.spawn(watch(mirror.guard(&name), tell.clone()));
    }
    let mut client = CircuitServiceClient::new(channel);
    let mut took = Histogram::new(3)?;
    for round in 0..2 * rounds {
        sleep(PAUSE).await;
        let opens = round % 2 == 0;
        let mode = if opens { v1::Override::ForcedOpen } else { v1::Override::None };
        let request = v1::OverrideCircuitRequest { name: name.clone(), r#override: mode.into(), ..Default::default() };
        let asked = Instant::now();
        // Mirrors may know before the answer is here.
        client.override_circuit(request).await?;
        for _ in mirrors {
            let (at, permits) = timeout(PATIENCE, seen.recv()).await?.context("they watch")?;
            ensure!(permits != opens, "a mirror has missed a change, or seen another one");
            took.record(nanos(at.saturating_duration_since(asked)))?;
        }
    }
    Ok(took)
}

/// Tells whenever a mirror decides otherwise, and when that was.
async fn watch(guard: Guard, tell: mpsc::Sender<(Instant, bool)>) {
    let mut permitted = guard.permits();
    loop {
        let changed = guard.changed();
        let permits = guard.permits();
        if permits == permitted {
            changed.await;
        } else if tell.send((Instant::now(), permits)).await.is_err() {
            return;
        }
        permitted = permits;
    }
}
