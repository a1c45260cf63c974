//! What a mirror's copy of a circuit costs those who call, beside circuit breakers that know of no server.
//!
//! Calls come in bursts, and what a mirror has to tell of them it tells between these, while nothing is timed: what its server, which
//! is in this very process, does with that is another row's.
//!
//! The guard's figure has two modes where there is more than one core, 35 to 43 ns and 51 to 63 ns on the two of which this was written:
//! a run has the one or the other. On one core alone it is 33 to 35 ns. So one run says little: look at several.

use std::future::ready;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use failsafe::futures::CircuitBreaker;
use recloser::{AsyncRecloser, Recloser};
use switchyard::client::{CircuitMirror, Client, Guard};
use switchyard::pb::v1::{self, task_spec::Monitor};

use crate::lab::Lab;
use crate::served::{IDLE, Served};
use crate::table::{Bar, Case, Row, Unit};

/// Fewer than a mirror would tell of at once.
const BURST: usize = 900;
const BURSTS: usize = 200;
/// How often somebody asks whether to call.
const ASKED: usize = 1_000_000;
const TASK: &str = "mirrored";

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("mirror: permission, and guard around a ready future", run)]
}

fn run(lab: &Lab) -> Result<Vec<Row>> {
    let (served, bursts, asked) = (Served::start(lab)?, lab.scaled(BURSTS), lab.scaled(ASKED));
    let server = served.address.to_string();
    let mirror = lab.clients.block_on(mirrored(&server))?;
    let guard = mirror.guard(&format!("namespaces/default/tasks/{TASK}"));
    let failsafe = failsafe::Config::new().build();
    let permissions = lab.take_turns(
        || permission(asked, || black_box(&guard).permits()),
        || permission(asked, || black_box(&failsafe).is_call_permitted()),
    )?;
    let recloser = AsyncRecloser::from(Recloser::default());
    let turns = lab.take_turns(
        || lab.clients.block_on(guarded(&mirror, &guard, bursts)),
        || {
            lab.clients.block_on(async {
                let recloser = called(bursts, async |call| recloser.call(call).await.is_ok(), async || {}).await?;
                let failsafe = called(bursts, async |call| failsafe.call(call).await.is_ok(), async || {}).await?;
                Ok((recloser, failsafe))
            })
        },
    )?;
    let (stats, calls) = (mirror.stats(), lab.turns() * bursts * BURST);
    ensure!(stats.accepted == calls as u64 && stats.dropped + stats.denied == 0, "{stats:?} of {calls} calls");
    drop((guard, mirror));
    served.stop(lab)?;
    let beside = |baseline: fn(&(f64, f64)) -> f64| -> Vec<_> {
        turns.iter().map(|(guard, baselines)| (*guard, baseline(baselines))).collect()
    };
    let what = "mirror: guard around a ready future";
    let (recloser, failsafe) = (beside(|(recloser, _)| *recloser), beside(|(_, failsafe)| *failsafe));
    Ok(vec![
        Row::beside("mirror: permission (beside failsafe)", Unit::Nanoseconds, &permissions, Bar::AtMost(10.0)),
        Row::beside(format!("{what} (beside recloser)"), Unit::Nanoseconds, &recloser, Bar::AtMost(50.0)),
        Row::beside(format!("{what} (beside failsafe)"), Unit::Nanoseconds, &failsafe, Bar::AtMost(50.0)),
    ])
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
    // It tells when it is asked to, which is between bursts.
    Ok(CircuitMirror::builder(server).flush_interval(Duration::from_secs(3_600)).batch(1_000).connect().await?)
}

/// How long it took to ask, in nanoseconds.
fn permission(asked: usize, permits: impl Fn() -> bool) -> Result<f64> {
    let (began, mut permitted) = (Instant::now(), 0);
    for _ in 0..asked {
        permitted += usize::from(permits());
    }
    let took = began.elapsed();
    ensure!(permitted == asked, "{permitted} of {asked} permitted");
    Ok(took.as_nanos() as f64 / asked as f64)
}

async fn guarded(mirror: &CircuitMirror, guard: &Guard, bursts: usize) -> Result<f64> {
    called(bursts, async |call| guard.call(call).await.is_ok(), async || mirror.flush().await).await
}

/// How long a call took, in nanoseconds; `between`: what is done after each burst.
async fn called(
    bursts: usize,
    call: impl AsyncFn(std::future::Ready<Result<usize, ()>>) -> bool,
    between: impl AsyncFn(),
) -> Result<f64> {
    let (mut took, mut passed) = (Duration::ZERO, 0);
    for _ in 0..bursts {
        let began = Instant::now();
        for number in 0..BURST {
            passed += usize::from(call(ready(Ok(black_box(number)))).await);
        }
        took += began.elapsed();
        between().await;
    }
    ensure!(passed == bursts * BURST, "{passed} calls went well");
    Ok(took.as_nanos() as f64 / passed as f64)
}
