//! Applies of 10,000 tasks over gRPC: the same set again, and one that is changed in one field of each task.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use switchyard::pb::v1;
use switchyard::pb::v1::task_service_client::TaskServiceClient;
use switchyard::pb::v1::task_spec::Monitor;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::lab::Lab;
use crate::served::{IDLE, ONCE, Served};
use crate::table::{Bar, Case, Row, Unit};

/// The tasks of a set.
const TASKS: usize = 10_000;
/// The tasks of a message.
const MESSAGE: usize = 500;
/// Swaps under way.
const PARALLEL: u32 = 64;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("apply of 10,000 tasks", run)]
}

fn run(lab: &Lab) -> Result<Vec<Row>> {
    let tasks = lab.scaled(TASKS);
    let served = Served::start(lab)?;
    let channel = lab.connect(served.address)?.swap_remove(0);
    let turns = lab.turns().min(5);
    let (mut identical, mut swapped) = (Vec::new(), Vec::new());
    lab.clients.block_on(async {
        let (_, created) = apply(&channel, tasks, 0).await?;
        ensure!(created.created as usize == tasks, "created were {created:?}");
        for turn in 1..=turns {
            let (took, same) = apply(&channel, tasks, turn - 1).await?;
            ensure!(same.left as usize == tasks, "left were {same:?}");
            identical.push(took.as_secs_f64() * 1e3);
            let (took, changed) = apply(&channel, tasks, turn).await?;
            ensure!(changed.swapped as usize == tasks, "swapped were {changed:?}");
            swapped.push(tasks as f64 / took.as_secs_f64());
        }
        anyhow::Ok(())
    })?;
    served.stop(lab)?;
    let name = "apply of 10,000 tasks";
    let same = format!("{name}, all as they are: from the half-close to the result");
    let changed = format!("{name}, all to be swapped, {PARALLEL} in flight");
    Ok(vec![
        Row::alone(same, Unit::Milliseconds, identical, Bar::AtMost(200.0)),
        Row::alone(changed, Unit::PerSecond, swapped, Bar::AtLeast(1_000.0)),
    ])
}

/// Applies a set, each round another one; how long it took from the half-close, and what was done.
async fn apply(channel: &Channel, tasks: usize, round: usize) -> Result<(Duration, v1::ApplyProgress)> {
    let (messages, receiver) = mpsc::channel(1);
    let mut client = TaskServiceClient::new(channel.clone());
    let mut frames = client.apply_tasks(ReceiverStream::new(receiver)).await?.into_inner();
    let rollout = Some(v1::Rollout { max_parallel: PARALLEL, ..Default::default() });
    let header = v1::ApplyHeader { owner: "benchmark".to_owned(), rollout, ..Default::default() };
    messages.send(v1::ApplyTasksRequest { header: Some(header), tasks: Vec::new() }).await?;
    let numbers: Vec<_> = (0..tasks).collect();
    for part in numbers.chunks(MESSAGE) {
        let tasks = part.iter().map(|number| task(*number, round)).collect();
        messages.send(v1::ApplyTasksRequest { header: None, tasks }).await?;
    }
    // Dropped, the stream is closed.
    drop(messages);
    let closed = Instant::now();
    let mut planned = 0;
    while let Some(frame) = frames.message().await? {
        planned += frame.plan.len();
        if let Some(result) = frame.result {
            ensure!(result.outcome() == v1::ApplyOutcome::Succeeded, "it ended {:?}", result.outcome());
            ensure!(planned == tasks, "the plan had {planned} items");
            return Ok((closed.elapsed(), result.counts.context("told")?));
        }
    }
    anyhow::bail!("there was no result")
}

/// A task that does nothing, and differs from round to round in one field.
fn task(number: usize, round: usize) -> v1::Task {
    let interval = ONCE - Duration::from_millis(round as u64);
    let schedule =
        Some(v1::Schedule { interval: prost_types::Duration::try_from(interval).ok(), ..Default::default() });
    let monitor = Monitor::Custom(v1::CustomMonitor { kind: IDLE.to_owned(), config: None });
    let spec = Some(v1::TaskSpec { monitor: Some(monitor), schedule, ..Default::default() });
    let name = format!("namespaces/default/tasks/apply-{number:05}");
    v1::Task { name, spec, ..Default::default() }
}
