//! A call through a mirror's guard, beside one through a circuit breaker that knows of no server.

use std::future::ready;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use recloser::{AsyncRecloser, Recloser};
use switchyard::client::{CircuitMirror, Client, Guard};
use switchyard::pb::v1::{self, task_spec::Monitor};

use crate::lab::Lab;
use crate::served::{IDLE, Served};
use crate::table::{Bar, Case, Row, Unit};

const CALLS: usize = 200_000;
/// Eight parts, of which the one thread fills three quarters of one with successes: none is dropped.
const QUEUE: usize = 8 * 2 * CALLS;
const TASK: &str = "mirrored";

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("mirror: guard", run)]
}

fn run(lab: &Lab) -> Result<Vec<Row>> {
    let (served, calls) = (Served::start(lab)?, lab.scaled(CALLS));
    let server = served.address.to_string();
    let mirror = lab.clients.block_on(mirrored(&server))?;
    let guard = mirror.guard(&format!("namespaces/default/tasks/{TASK}"));
    let recloser = AsyncRecloser::from(Recloser::default());
    let guarded = || lab.clients.block_on(guarded(&mirror, &guard, calls));
    let plain = || lab.clients.block_on(plain(&recloser, calls));
    let turns = lab.take_turns(guarded, plain)?;
    let stats = mirror.stats();
    ensure!(stats.dropped + stats.denied == 0 && stats.accepted > 0, "{stats:?}");
    drop((guard, mirror));
    served.stop(lab)?;
    let what = "mirror: guard around a ready future (beside recloser)";
    Ok(vec![Row::beside(what, Unit::Nanoseconds, &turns, Bar::AtMost(50.0))])
}

/// A mirror that has the circuit of a task which runs.
async fn mirrored(server: &str) -> Result<CircuitMirror> {
    let client = Client::connect(server).await?;
    let monitor = Monitor::Custom(v1::CustomMonitor { kind: IDLE.to_owned(), config: None });
    let spec = Some(v1::TaskSpec { monitor: Some(monitor), ..Default::default() });
    let task = Some(v1::Task { spec, ..Default::default() });
    let started = client.start(v1::StartTaskRequest { task_id: TASK.to_owned(), task, ..Default::default() }).await?;
    let name = started.task.map(|task| task.name).unwrap_or_default();
    client.wait(&name, &[v1::State::Running], Duration::from_secs(60)).await?;
    // It tells of what one turn leaves before the next one begins.
    Ok(CircuitMirror::builder(server)
        .queue(QUEUE)
        .flush_interval(Duration::from_secs(3_600))
        .batch(1_000)
        .connect()
        .await?)
}

/// How long a call took, in nanoseconds.
async fn guarded(mirror: &CircuitMirror, guard: &Guard, calls: usize) -> Result<f64> {
    let began = Instant::now();
    for call in 0..calls {
        black_box(guard.call(ready(Ok::<_, ()>(black_box(call)))).await).ok();
    }
    let took = each(began, calls);
    mirror.flush().await;
    Ok(took)
}

async fn plain(recloser: &AsyncRecloser, calls: usize) -> Result<f64> {
    let began = Instant::now();
    for call in 0..calls {
        black_box(recloser.call(ready(Ok::<_, ()>(black_box(call)))).await).ok();
    }
    Ok(each(began, calls))
}

fn each(began: Instant, calls: usize) -> f64 {
    began.elapsed().as_nanos() as f64 / calls as f64
}
