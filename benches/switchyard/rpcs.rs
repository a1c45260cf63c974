//! Unary calls, each against a bare call of the same number of bytes both ways.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::BoxFuture;
use prost::Message;
use prost_types::Duration;
use switchyard::pb::v1;
use switchyard::pb::v1::task_service_client::TaskServiceClient;
use switchyard::pb::v1::task_spec::Monitor;
use tonic::transport::Channel;

use crate::bare::{self, Bare};
use crate::lab::{Calls, Lab};
use crate::served::{IDLE, ONCE, Served};
use crate::table::{Bar, Case, Row, Unit};

const IN_FLIGHT: [usize; 3] = [1, 64, 256];
/// The starts of a batch.
const BATCH: usize = 100;
/// What there is to be read.
const TASKS: usize = 1_000;
const PAGE: u16 = 50;

/// A call to be measured; it is given its number and says how long request and answer were.
pub(crate) type Call = Arc<dyn Fn(Channel, usize) -> BoxFuture<'static, Result<(usize, usize)>> + Send + Sync>;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, monitor) in [
        // Nobody listens there, so that its first check is as cheap as one can be.
        ("tcp", Monitor::Tcp(v1::TcpMonitor { address: "127.0.0.1:1".to_owned(), steps: Vec::new() })),
        ("custom", Monitor::Custom(v1::CustomMonitor { kind: IDLE.to_owned(), config: None })),
    ] {
        for in_flight in IN_FLIGHT {
            let start = start(monitor.clone());
            let name = format!("StartTask, {kind}, {in_flight} in flight");
            cases.push(Case::new(name.clone(), move |lab| compare(lab, name, in_flight, &start, Starts::Many)));
        }
    }
    for in_flight in [1, 64] {
        let name =
            format!("BatchStartTasks of {BATCH}, tcp, {in_flight} in flight: tasks, beside StartTask, 64 in flight");
        cases.push(Case::new(name.clone(), move |lab| batches(lab, name, in_flight)));
    }
    for (name, call) in [("GetTask", get()), ("ListTasks, a page of 50", list())] {
        for in_flight in IN_FLIGHT {
            let call = Arc::clone(&call);
            let name = format!("{name}, {in_flight} in flight");
            cases.push(Case::new(name.clone(), move |lab| compare(lab, name, in_flight, &call, Starts::None)));
        }
    }
    cases
}

/// Whether what is called starts tasks.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Starts {
    /// So each turn has a server of its own, or later turns would have more tasks to do with.
    Many,
    None,
}

fn compare(lab: &Lab, name: String, in_flight: usize, call: &Call, starts: Starts) -> Result<Vec<Row>> {
    let (bare, filled) = (Bare::start(lab)?, Served::start(lab)?);
    let (bare_channels, channels) = (lab.connect(bare.address)?, lab.connect(filled.address)?);
    let fill = start(Monitor::Custom(v1::CustomMonitor { kind: IDLE.to_owned(), config: None }));
    for number in 0..TASKS {
        lab.clients.block_on(fill(channels[0].clone(), number))?;
    }
    // Numbered past those that are there.
    let (asked, answered) = lab.clients.block_on(call(channels[0].clone(), TASKS))?;
    let request = bare::request(asked, answered, 1);
    let turn = |channels: &[Channel]| {
        let call = Arc::clone(call);
        lab.call(channels, in_flight, move |channel, number| {
            let called = call(channel, number);
            async { called.await.map(drop) }
        })
    };
    let row = || match starts {
        Starts::None => turn(&channels),
        Starts::Many => {
            let served = Served::start(lab)?;
            let calls = turn(&lab.connect(served.address)?)?;
            served.stop(lab)?;
            Ok(calls)
        }
    };
    let baseline = || {
        let request = request.clone();
        let call = move |channel, _| {
            let called = bare::call(channel, request.clone());
            async { called.await.map(drop) }
        };
        lab.call(&bare_channels, in_flight, call)
    };
    let turns = lab.take_turns(row, baseline)?;
    filled.stop(lab)?;
    Ok(vec![row_of(name, in_flight, starts, &turns)])
}

/// One call in flight is about how long it takes; more are about how many there can be.
pub(crate) fn row_of(name: String, in_flight: usize, starts: Starts, turns: &[(Calls, Calls)]) -> Row {
    let pairs = |figure: fn(&Calls) -> f64| -> Vec<_> {
        turns.iter().map(|(row, baseline)| (figure(row), figure(baseline))).collect()
    };
    let bar = |bar| if starts == Starts::Many { bar } else { Bar::None };
    if in_flight == 1 {
        let p50 = pairs(|calls| calls.p50);
        Row::beside(format!("{name}: p50"), Unit::Milliseconds, &p50, bar(Bar::AboveBaseline(0.2)))
    } else {
        Row::beside(name, Unit::PerSecond, &pairs(|calls| calls.per_second), bar(Bar::OfBaseline(0.7)))
    }
}

/// Starts by the hundred beside starts one by one, each on a server of its own.
fn batches(lab: &Lab, name: String, in_flight: usize) -> Result<Vec<Row>> {
    let monitor = Monitor::Tcp(v1::TcpMonitor { address: "127.0.0.1:1".to_owned(), steps: Vec::new() });
    let turn = |in_flight, call: &Call| {
        let served = Served::start(lab)?;
        let call = Arc::clone(call);
        let calls = lab.call(&lab.connect(served.address)?, in_flight, move |channel, number| {
            let called = call(channel, number);
            async { called.await.map(drop) }
        })?;
        served.stop(lab)?;
        Ok(calls.per_second)
    };
    let (batch, single) = (batch(monitor.clone()), start(monitor));
    let turns = lab.take_turns(|| Ok(turn(in_flight, &batch)? * BATCH as f64), || turn(64, &single))?;
    Ok(vec![Row::beside(name, Unit::PerSecond, &turns, Bar::None)])
}

fn batch(monitor: Monitor) -> Call {
    Arc::new(move |channel, number| {
        let requests = (number * BATCH..(number + 1) * BATCH).map(|number| request(&monitor, number)).collect();
        let request = v1::BatchStartTasksRequest { parent: String::new(), requests };
        Box::pin(async move {
            let asked = request.encoded_len();
            let answer = TaskServiceClient::new(channel).batch_start_tasks(request).await?.into_inner();
            let started = |result: &v1::BatchResult| matches!(result.result, Some(v1::batch_result::Result::Task(_)));
            ensure!(answer.results.iter().all(started), "one was not started");
            Ok((asked, answer.encoded_len()))
        })
    })
}

/// All of one length.
fn request(monitor: &Monitor, number: usize) -> v1::StartTaskRequest {
    let interval = Duration::try_from(ONCE).ok();
    let schedule = Some(v1::Schedule { interval, ..Default::default() });
    let spec = Some(v1::TaskSpec { monitor: Some(monitor.clone()), schedule, ..Default::default() });
    let task = Some(v1::Task { spec, ..Default::default() });
    v1::StartTaskRequest { task_id: format!("task-{number:08}"), task, ..Default::default() }
}

pub(crate) fn start(monitor: Monitor) -> Call {
    Arc::new(move |channel, number| {
        let request = request(&monitor, number);
        Box::pin(async move {
            let asked = request.encoded_len();
            let answer = TaskServiceClient::new(channel).start_task(request).await?.into_inner();
            Ok((asked, answer.encoded_len()))
        })
    })
}

fn get() -> Call {
    Arc::new(|channel, number| {
        let request = v1::GetTaskRequest { name: format!("namespaces/default/tasks/task-{:08}", number % TASKS) };
        Box::pin(async move {
            let asked = request.encoded_len();
            let answer = TaskServiceClient::new(channel).get_task(request).await?.into_inner();
            answer.task.as_ref().context("the task is missing")?;
            Ok((asked, answer.encoded_len()))
        })
    })
}

fn list() -> Call {
    Arc::new(|channel, _| {
        let request = v1::ListTasksRequest { page_size: PAGE.into(), ..Default::default() };
        Box::pin(async move {
            let asked = request.encoded_len();
            let answer = TaskServiceClient::new(channel).list_tasks(request).await?.into_inner();
            let tasks = answer.tasks.len();
            ensure!(tasks == usize::from(PAGE), "the page has {tasks} tasks");
            Ok((asked, answer.encoded_len()))
        })
    })
}
