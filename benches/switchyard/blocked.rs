//! Calls while every thread of custom kinds is blocked, against the same calls while none is. A thousand tasks of a custom kind share
//! those threads; within the turn they are moved to others.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::future::{BoxFuture, try_join_all};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use switchyard::pb::v1;
use switchyard::pb::v1::task_service_client::TaskServiceClient;
use switchyard::pb::v1::task_spec::Monitor;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use crate::lab::{Calls, Lab};
use crate::served::{CUSTOM_SHARDS, IDLE, Served};
use crate::table::{Bar, Case, Row, Unit};

const IN_FLIGHT: usize = 16;
/// What shares the threads, and is read.
const TASKS: usize = 1_000;
/// From the first drill to the last call, and more than until a thread is given up; whatever a window is.
const BLOCKS: Duration = Duration::from_secs(3);
const BAR: Bar = Bar::TimesBaseline(2.0);

/// What is called, by a call's number.
type Call = fn(Channel, usize) -> BoxFuture<'static, Result<()>>;

pub(crate) fn cases() -> Vec<Case> {
    let calls: [(&str, Call); 2] = [("GetTask", get), ("StartTask and CancelTask", start_and_cancel)];
    // Those that compute take the cores, too, which no server can do anything about: reported.
    let ways = [("sleep", "block_thread", BAR), ("compute", "spin", Bar::None)];
    let mut cases = Vec::new();
    for (call_name, call) in calls {
        for (way, behaviour, bar) in ways {
            let name = format!("{call_name}, {CUSTOM_SHARDS} monitors block and {way}: p99");
            cases.push(Case::new(name.clone(), move |lab| run(lab, name, call, behaviour, bar)));
        }
    }
    cases
}

fn run(lab: &Lab, name: String, call: Call, behaviour: &'static str, bar: Bar) -> Result<Vec<Row>> {
    let turns = lab.take_turns(|| turn(lab, call, Some(behaviour)), || turn(lab, call, None))?;
    let p99: Vec<_> = turns.iter().map(|(blocked, idle)| (blocked.p99, idle.p99)).collect();
    Ok(vec![Row::beside(name, Unit::Milliseconds, &p99, bar)])
}

/// A server of its own: later turns would have more tasks to do with.
fn turn(lab: &Lab, call: Call, behaviour: Option<&str>) -> Result<Calls> {
    let served = Served::start(lab)?;
    let channels = lab.connect(served.address)?;
    lab.clients.block_on(async {
        let tasks = (0..TASKS).map(|number| start(channels[0].clone(), number, custom(IDLE, None)));
        try_join_all(tasks).await?;
        try_join_all((0..TASKS).map(|number| runs(channels[0].clone(), number))).await?;
        if let Some(behaviour) = behaviour {
            block(&channels[0], behaviour).await?;
        }
        anyhow::Ok(())
    })?;
    let calls = lab.call(&channels, IN_FLIGHT, call)?;
    drop(channels);
    served.stop(lab)?;
    Ok(calls)
}

/// Has as many drills block as there are threads, one on each since each goes where the fewest are; returns once all of them do.
async fn block(channel: &Channel, behaviour: &str) -> Result<()> {
    let numbers = TASKS..TASKS + CUSTOM_SHARDS;
    for number in numbers.clone() {
        start(channel.clone(), number, custom("drill", Some(behaviour))).await?;
        runs(channel.clone(), number).await?;
    }
    let patience = Instant::now() + BLOCKS / 2;
    for number in numbers {
        while !is_blocked(channel.clone(), number).await? {
            if Instant::now() > patience {
                bail!("a drill does not block");
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

async fn is_blocked(channel: Channel, number: usize) -> Result<bool> {
    let task = TaskServiceClient::new(channel).get_task(v1::GetTaskRequest { name: name(number) }).await?;
    Ok(task.into_inner().task.and_then(|task| task.instance).is_some_and(|instance| instance.blocked_since.is_some()))
}

fn get(channel: Channel, number: usize) -> BoxFuture<'static, Result<()>> {
    Box::pin(async move {
        let request = v1::GetTaskRequest { name: name(number % TASKS) };
        let answer = TaskServiceClient::new(channel).get_task(request).await?.into_inner();
        answer.task.context("the task is missing").map(drop)
    })
}

/// Without waiting for its end: that of one that was placed on a blocked thread is later than the answer.
fn start_and_cancel(channel: Channel, number: usize) -> BoxFuture<'static, Result<()>> {
    Box::pin(async move {
        let number = TASKS + CUSTOM_SHARDS + number;
        start(channel.clone(), number, custom(IDLE, None)).await?;
        let request = v1::CancelTaskRequest { name: name(number), ..Default::default() };
        TaskServiceClient::new(channel).cancel_task(request).await?;
        Ok(())
    })
}

fn custom(kind: &str, behaviour: Option<&str>) -> Monitor {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let config = behaviour.map(|behaviour| {
        let duration = format!("{}s", BLOCKS.as_secs());
        let fields = [("behaviour", text(behaviour)), ("duration", text(&duration))];
        Struct { fields: fields.map(|(key, value)| (key.to_owned(), value)).into() }
    });
    Monitor::Custom(v1::CustomMonitor { kind: kind.to_owned(), config })
}

async fn start(channel: Channel, number: usize, monitor: Monitor) -> Result<()> {
    // Soon told of, so that nothing is measured before all of them block.
    let blocked_poll_after = prost_types::Duration::try_from(Duration::from_millis(50)).ok();
    let watchdog = Some(v1::WatchdogPolicy { blocked_poll_after, ..Default::default() });
    let spec = Some(v1::TaskSpec { monitor: Some(monitor), watchdog, ..Default::default() });
    let task = Some(v1::Task { spec, ..Default::default() });
    let request = v1::StartTaskRequest { task_id: format!("task-{number:08}"), task, ..Default::default() };
    TaskServiceClient::new(channel).start_task(request).await?;
    Ok(())
}

async fn runs(channel: Channel, number: usize) -> Result<()> {
    let request =
        v1::WaitTaskRequest { name: name(number), until: vec![v1::State::Running.into()], ..Default::default() };
    let answer = TaskServiceClient::new(channel).wait_task(request).await?.into_inner();
    if answer.reached { Ok(()) } else { bail!("a task does not run: {:?}", answer.task) }
}

fn name(number: usize) -> String {
    format!("namespaces/default/tasks/task-{number:08}")
}
