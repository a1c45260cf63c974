//! Starts and cancels at the manager's handle, without gRPC: from the first to the last that has come to its end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use futures_util::stream::{StreamExt, TryStreamExt, iter};
use switchyard::model::{Annotations, CancelTask, Cause, Labels, StartTask, State};
use tokio::time::sleep;

use crate::lab::Lab;
use crate::scratch::Scratch;
use crate::served::{Managed, custom, name};
use crate::table::{Bar, Case, Row, Unit};

/// Starts under way, as clients of a few connections would have.
const STARTS: usize = 256;
/// Cancels under way: more than the loop takes in a turn.
const CANCELS: usize = 4_096;
/// On the disk.
const DURABLE: &str = "handle, durable, 100,000 tasks";
/// How often to look whether it is done, and how long at the most.
const LOOK: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn cases() -> Vec<Case> {
    let sizes = [(1_000, Bar::None), (10_000, Bar::None), (100_000, Bar::AtMost(2_000.0))];
    sizes
        .map(|(tasks, bar)| {
            let name = format!("handle, {} tasks", shown(tasks));
            Case::new(name.clone(), move |lab| run(lab, &name, tasks, bar, in_memory))
        })
        .into_iter()
        .chain([Case::new(DURABLE, |lab| run(lab, DURABLE, 100_000, Bar::AtMost(6_000.0), on_disk))])
        .collect()
}

fn in_memory() -> Result<(Managed, Option<Scratch>)> {
    Ok((Managed::start(1_000)?, None))
}

fn on_disk() -> Result<(Managed, Option<Scratch>)> {
    let scratch = Scratch::new();
    Ok((Managed::durable(scratch.path())?, Some(scratch)))
}

type Make = fn() -> Result<(Managed, Option<Scratch>)>;

fn run(lab: &Lab, name: &str, tasks: usize, bar: Bar, make: Make) -> Result<Vec<Row>> {
    let most = lab.scaled(tasks);
    let turns = lab.turns().min(5);
    let turns: Vec<_> = (0..turns).map(|_| lab.clients.block_on(turn(most, make))).collect::<Result<_>>()?;
    let stored: Vec<_> = turns.iter().filter_map(|turn| turn.stored).collect();
    let (started, cancelled) = turns.iter().map(|turn| (turn.started, turn.cancelled)).unzip();
    let mut rows = vec![
        Row::alone(format!("{name}: start until all run"), Unit::Milliseconds, started, Bar::None),
        Row::alone(format!("{name}: cancel until all ended"), Unit::Milliseconds, cancelled, bar),
    ];
    if !stored.is_empty() {
        let (held, file) = stored.into_iter().unzip();
        rows.push(Row::alone(
            format!("{name}: stored for each task, its 6 events included"),
            Unit::Bytes,
            held,
            Bar::None,
        ));
        rows.push(Row::alone(format!("{name}: the file, for each task"), Unit::Bytes, file, Bar::None));
    }
    Ok(rows)
}

/// What one turn took, in milliseconds; and what the store and its file then hold, in bytes for each task.
struct Turn {
    started: f64,
    cancelled: f64,
    stored: Option<(f64, f64)>,
}

/// How long it took until all were running, and from there until the view showed that all had ended; in milliseconds.
async fn turn(tasks: usize, make: Make) -> Result<Turn> {
    let (owned, scratch) = make()?;
    let managed = &owned;
    let began = Instant::now();
    start(managed, 0..tasks, custom).await?;
    reached(managed, State::Running, tasks).await?;
    let started = began.elapsed();

    let began = Instant::now();
    let cancels = iter(0..tasks).map(|number| async move {
        let cause = Cause::system("benchmark", "");
        let cancel = CancelTask { name: name(number)?, force: false, etag: None, cause, idempotency: None };
        managed.handle.cancel(cancel).await?;
        anyhow::Ok(())
    });
    cancels.buffer_unordered(CANCELS).try_collect::<()>().await?;
    reached(managed, State::Cancelled, tasks).await?;
    let cancelled = began.elapsed();
    ensure!(managed.manager.live() == 0, "{} instances live after the cancel", managed.manager.live());
    owned.close().await?;
    let each = |bytes: u64| bytes as f64 / tasks as f64;
    let stored = scratch.map(|scratch| scratch.bytes()).transpose()?;
    let stored = stored.map(|(held, file)| (each(held), each(file)));
    Ok(Turn { started: started.as_secs_f64() * 1e3, cancelled: cancelled.as_secs_f64() * 1e3, stored })
}

/// Starts tasks with these numbers.
pub(crate) async fn start(
    managed: &Managed,
    numbers: std::ops::Range<usize>,
    spec: impl Fn() -> Result<switchyard::model::TaskSpec>,
) -> Result<()> {
    let starts = iter(numbers).map(|number| {
        let spec = spec();
        async move {
            let start = StartTask {
                name: name(number)?,
                labels: Labels::default(),
                annotations: Annotations::default(),
                spec: spec?,
                validate_only: false,
                cause: Cause::system("benchmark", ""),
                idempotency: None,
            };
            managed.handle.start(start).await?;
            anyhow::Ok(())
        }
    });
    starts.buffer_unordered(STARTS).try_collect().await
}

/// Waits until the view shows so many tasks in a state.
pub(crate) async fn reached(managed: &Managed, state: State, tasks: usize) -> Result<()> {
    let began = Instant::now();
    loop {
        let there = managed.journal.view().counts().tasks(state);
        if there == tasks {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("{there} of {tasks} tasks became {}", state.name());
        }
        sleep(LOOK).await;
    }
}

fn shown(tasks: usize) -> String {
    format!("{},000", tasks / 1_000)
}
