//! Outcomes of calls that callers report, over real sockets and as mirrors do it: each reporter has a connection of its own, and makes one
//! call after another, of ten messages with a thousand outcomes each. They are put together while it is timed, as a mirror does.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use futures_util::stream;
use switchyard::client::Client;
use switchyard::pb::v1;
use tonic::transport::Channel;
use v1::circuit_service_client::CircuitServiceClient;
use v1::task_spec::Monitor;

use crate::lab::{Lab, connect};
use crate::served::{IDLE, Served};
use crate::table::{Bar, Case, Row, Unit};

const REPORTERS: usize = 8;
/// Whose circuits are told of, in turn.
const TASKS: usize = 100;
/// What a mirror puts in a message, and how many of them in a call.
const MESSAGE: u64 = 1_000;
const MESSAGES: u64 = 10;
/// One call in so many failed: too few to open a circuit.
const FAILS: u64 = 10;
/// The names of the threads that callers have; all others are the server's.
const CALLERS: [&str; 2] = ["client", "switchyard"];

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("circuit: outcomes reported", run)]
}

fn run(lab: &Lab) -> Result<Vec<Row>> {
    let served = Served::start(lab)?;
    let channels = lab.clients.block_on(connect(served.address, REPORTERS))?;
    let circuits = lab.clients.block_on(circuits(&served.address.to_string(), channels[0].clone()))?;
    let turns: Vec<Turn> =
        (0..lab.turns()).map(|turn| report(lab, &channels, &circuits, turn)).collect::<Result<_>>()?;
    served.stop(lab)?;
    let what = format!("circuit: outcomes reported by {REPORTERS}, all accepted");
    let (rates, cpu): (Vec<f64>, Vec<Option<f64>>) = turns.iter().map(|turn| (turn.per_second, turn.cpu)).unzip();
    let mut rows = vec![Row::alone(what.clone(), Unit::PerSecond, rates, Bar::AtLeast(100_000.0))];
    // Only Linux tells.
    if let Some(cpu) = cpu.into_iter().collect() {
        rows.push(Row::alone(format!("{what}: the server's CPU for each"), Unit::Nanoseconds, cpu, Bar::None));
    }
    Ok(rows)
}

/// What came of reporting for a while.
struct Turn {
    per_second: f64,
    /// The CPU time of the server for each, in nanoseconds.
    cpu: Option<f64>,
}

/// The circuits of tasks that run.
async fn circuits(server: &str, channel: Channel) -> Result<Vec<v1::Circuit>> {
    let client = Client::connect(server).await?;
    let monitor = Monitor::Custom(v1::CustomMonitor { kind: IDLE.to_owned(), config: None });
    let task =
        v1::Task { spec: Some(v1::TaskSpec { monitor: Some(monitor), ..Default::default() }), ..Default::default() };
    let mut circuits = CircuitServiceClient::new(channel);
    let mut shown = Vec::new();
    for number in 0..TASKS {
        let (task_id, task) = (format!("called-{number}"), Some(task.clone()));
        let started = client.start(v1::StartTaskRequest { task_id, task, ..Default::default() }).await?;
        let name = started.task.context("started")?.name;
        client.wait(&name, &[v1::State::Running], Duration::from_secs(60)).await?;
        let circuit = circuits.get_circuit(v1::GetCircuitRequest { name }).await?.into_inner().circuit;
        shown.push(circuit.context("it has a circuit")?);
    }
    Ok(shown)
}

fn report(lab: &Lab, channels: &[Channel], circuits: &[v1::Circuit], turn: usize) -> Result<Turn> {
    let (began, before) = (Instant::now(), server_cpu());
    let until = began + lab.window();
    let reporting = channels.iter().enumerate().map(|(number, channel)| {
        let reporter = format!("reporter-{turn}-{number}");
        lab.clients.spawn(report_until(until, channel.clone(), reporter, circuits.to_vec()))
    });
    let accepted = lab.clients.block_on(try_join_all(reporting))?.into_iter().sum::<Result<u64>>()?;
    let (took, after) = (began.elapsed(), server_cpu());
    let cpu = before.zip(after).map(|(before, after)| after.saturating_sub(before).as_nanos() as f64 / accepted as f64);
    Ok(Turn { per_second: accepted as f64 / took.as_secs_f64(), cpu })
}

/// Reports for a while; says of how many calls, each of which counted.
async fn report_until(until: Instant, channel: Channel, reporter: String, circuits: Vec<v1::Circuit>) -> Result<u64> {
    let mut client = CircuitServiceClient::new(channel);
    let mut told = 0;
    while Instant::now() < until {
        let requests: Vec<_> = (0..MESSAGES).map(|_| message(&reporter, &circuits, &mut told)).collect();
        let answer = client.report_outcomes(stream::iter(requests)).await?.into_inner();
        let accepted = v1::Disposition::Accepted;
        let counted = answer.dispositions.iter().filter(|told| **told == i32::from(accepted)).count();
        ensure!(counted as u64 == MESSAGES * MESSAGE, "{counted} were accepted");
    }
    Ok(told)
}

fn message(reporter: &str, circuits: &[v1::Circuit], told: &mut u64) -> v1::ReportOutcomesRequest {
    let outcomes = circuits.iter().cycle().take(MESSAGE as usize).map(|circuit| {
        *told += 1;
        // Another one of the circuits' each time around.
        let failed = (*told + *told / circuits.len() as u64).is_multiple_of(FAILS);
        let outcome = if failed { v1::CallVerdict::Failure } else { v1::CallVerdict::Success };
        v1::CallOutcome {
            name: circuit.name.clone(),
            token: circuit.token.clone(),
            sequence: *told,
            outcome: outcome.into(),
            latency: Duration::from_millis(3).try_into().ok(),
        }
    });
    v1::ReportOutcomesRequest { reporter: reporter.to_owned(), outcomes: outcomes.collect() }
}

/// The CPU time that the threads of the server have had.
#[expect(clippy::disallowed_methods, reason = "files of the kernel's, and nothing else to do meanwhile")]
fn server_cpu() -> Option<Duration> {
    let mut all = Duration::ZERO;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        let thread = thread.ok()?.path();
        let read = |file: &str| std::fs::read_to_string(thread.join(file)).ok();
        if read("comm").is_some_and(|name| CALLERS.iter().any(|caller| name.starts_with(caller))) {
            continue;
        }
        // Of a thread that has ended meanwhile nothing is left to read, and it had no part in this.
        let ran = read("schedstat").and_then(|stat| stat.split(' ').next()?.parse().ok());
        all += Duration::from_nanos(ran.unwrap_or(0));
    }
    Some(all)
}
