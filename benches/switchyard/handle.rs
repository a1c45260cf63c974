//! Starts and cancels at the manager's handle, without gRPC: from the first to the last that has come to its end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use futures_util::stream::{StreamExt, TryStreamExt, iter};
use switchyard::model::{Annotations, CancelTask, Cause, Labels, StartTask, State};
use tokio::time::sleep;

use crate::lab::Lab;
use crate::served::{Managed, custom, name};
use crate::table::{Bar, Case, Row, Unit};

/// Starts under way, as clients of a few connections would have.
const STARTS: usize = 256;
/// Cancels under way: more than the loop takes in a turn.
const CANCELS: usize = 4_096;
/// How often to look whether it is done, and how long at the most.
const LOOK: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn cases() -> Vec<Case> {
    let sizes = [(1_000, Bar::None), (10_000, Bar::None), (100_000, Bar::AtMost(2_000.0))];
    sizes
        .map(|(tasks, bar)| Case::new(format!("handle, {} tasks", shown(tasks)), move |lab| run(lab, tasks, bar)))
        .into()
}

fn run(lab: &Lab, tasks: usize, bar: Bar) -> Result<Vec<Row>> {
    let most = lab.scaled(tasks);
    let turns = lab.turns().min(5);
    let turns: Vec<_> = (0..turns).map(|_| lab.clients.block_on(turn(most))).collect::<Result<_>>()?;
    let (started, cancelled) = turns.into_iter().unzip();
    let shown = shown(tasks);
    Ok(vec![
        Row::alone(format!("handle, {shown} tasks: start until all run"), Unit::Milliseconds, started, Bar::None),
        Row::alone(format!("handle, {shown} tasks: cancel until all ended"), Unit::Milliseconds, cancelled, bar),
    ])
}

/// How long it took until all were running, and from there until the view showed that all had ended; in milliseconds.
async fn turn(tasks: usize) -> Result<(f64, f64)> {
    let owned = Managed::start(1_000)?;
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
    owned.manager.close().await?;
    Ok((started.as_secs_f64() * 1e3, cancelled.as_secs_f64() * 1e3))
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
