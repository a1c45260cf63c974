//! Swaps of tasks that check on a grid, each from the command until the view shows its end: how many there are, and whether any of
//! the tasks missed a point of its grid meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::{BoxFuture, try_join_all};
use prost::Message;
use switchyard::journal::MemoryStore;
use switchyard::model::{
    Annotations, Cause, ConfigValue, CustomSpec, Labels, MonitorDraft, ScheduleDraft, SpecDraft, State, SwapPhase,
    SwapTask, TaskSpec, Violations,
};
use switchyard::monitor::{Config, Context, Finding, Kind, Monitor, MonitorError, MonitorFuture};
use switchyard::pb::v1;
use switchyard::pb::v1::task_service_client::TaskServiceClient;
use switchyard::pb::v1::task_spec::Monitor as MonitorOf;

use crate::bare::{self, Bare};
use crate::handle::{reached, start};
use crate::lab::Lab;
use crate::served::{IDLE, Managed, ONCE, Served, name};
use crate::table::{Bar, Case, Row, Unit};

/// The tasks that are swapped in turn.
const TASKS: usize = 256;
/// Swaps under way.
const IN_FLIGHT: usize = 16;
/// How often they check: far enough apart that a check which is only late is not taken for one that was missed.
const INTERVAL: Duration = Duration::from_millis(250);
/// How late a check at a point may be, timers and a busy machine considered.
const LATE: Duration = Duration::from_millis(10);
/// The name of the kind.
const TICKING: &str = "ticking";

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("swaps at the handle", at_the_handle), Case::new("SwapTask with wait", over_rpc)]
}

fn at_the_handle(lab: &Lab) -> Result<Vec<Row>> {
    let ticking = Ticking::default();
    let managed = Managed::with(MemoryStore::RETENTION, ticking.clone())?;
    let numbers = 0..lab.scaled(TASKS).max(IN_FLIGHT);
    let tasks = numbers.len();
    lab.clients.block_on(async {
        start(&managed, numbers, || spec(0)).await?;
        reached(&managed, State::Running, tasks).await
    })?;
    let turn = |turn| lab.clients.block_on(turn_of(&managed, tasks, turn, lab.window()));
    let turns = (1..=lab.turns()).map(turn).collect::<Result<_>>()?;
    let missed = ticking.missed();
    lab.clients.block_on(managed.manager.close())?;
    let name = format!("swaps at the handle, {IN_FLIGHT} in flight");
    let points = Row::alone(format!("{name}: checks missed"), Unit::Count, vec![missed], Bar::AtMost(0.0));
    Ok(vec![Row::alone(name, Unit::PerSecond, turns, Bar::AtLeast(1_000.0)), points])
}

/// How many swaps came to their end in each second of the window.
async fn turn_of(managed: &Managed, tasks: usize, turn: usize, window: Duration) -> Result<f64> {
    let began = Instant::now();
    // Each loop has tasks of its own: of one task, one swap is under way at a time.
    let loops = (0..IN_FLIGHT).map(|first| async move {
        let mut swapped = 0;
        for number in (first..tasks).step_by(IN_FLIGHT).cycle() {
            if began.elapsed() >= window {
                break;
            }
            swap(managed, number, turn * 1_000_000 + swapped).await?;
            swapped += 1;
        }
        anyhow::Ok(swapped)
    });
    let swapped: usize = try_join_all(loops).await?.into_iter().sum();
    Ok(swapped as f64 / began.elapsed().as_secs_f64())
}

/// Swaps a task, until the view shows that the swap is done.
async fn swap(managed: &Managed, number: usize, round: usize) -> Result<()> {
    let name = name(number)?;
    let task = managed.journal.view().get(&name).cloned().context("the task is missing")?;
    let mut changes = managed.journal.changes(task.uid);
    let cause = Cause::system("benchmark", "");
    let (labels, annotations) = (Labels::default(), Annotations::default());
    let (former, strategy, state_policy, etag, idempotency, validate_only) = (None, None, None, None, None, false);
    let spec = spec(round)?;
    let request = SwapTask {
        name: name.clone(),
        labels,
        annotations,
        spec,
        former,
        strategy,
        state_policy,
        preempt: false,
        validate_only,
        etag,
        cause,
        idempotency,
    };
    let accepted = managed.handle.swap(request).await?;
    let asked = accepted.task.swap.as_ref().context("there is no swap")?.id;
    loop {
        let task = managed.journal.view().get(&name).cloned().context("the task is missing")?;
        let swap = task.swap.as_ref().filter(|swap| swap.id == asked).context("another swap came between")?;
        match swap.phase {
            SwapPhase::Done => return Ok(()),
            SwapPhase::RolledBack | SwapPhase::Cancelled => bail!("the swap was rolled back: {}", swap.error),
            _ => changes.next().await?,
        };
    }
}

/// A spec unlike that of any other round.
fn spec(round: usize) -> Result<TaskSpec> {
    let config = BTreeMap::from([("round".to_owned(), ConfigValue::Number(round as f64))]);
    let custom = CustomSpec { kind: TICKING.to_owned(), config: ConfigValue::Object(config) };
    let schedule = ScheduleDraft { interval: Some(INTERVAL), ..ScheduleDraft::default() };
    let draft = SpecDraft { monitor: Some(MonitorDraft::Custom(custom)), schedule, ..SpecDraft::default() };
    let mut violations = Violations::new();
    TaskSpec::try_new(draft, &mut violations).with_context(|| violations.to_string())
}

/// A kind that checks nothing, and remembers for each task when it did.
#[derive(Clone, Default)]
struct Ticking(Arc<Mutex<BTreeMap<String, Ticks>>>);

struct Ticks {
    last: Instant,
    missed: u32,
}

impl Ticking {
    /// A check of the task was made. An instance's first one stands off the grid, and shows nothing about a point unless it was
    /// made there: where a swap cuts over right at a point, the old instance's check may be too late, and the candidate's stands
    /// in for it.
    fn tick(&self, task: &str, first: bool) {
        let now = Instant::now();
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ticks) = tasks.get_mut(task) else {
            if !first {
                tasks.insert(task.to_owned(), Ticks { last: now, missed: 0 });
            }
            return;
        };
        let since = (now - ticks.last).as_millis();
        // To the nearest point: checks are never early, and a little late.
        let points = (since + INTERVAL.as_millis() / 2) / INTERVAL.as_millis();
        if first && (points == 0 || since.abs_diff(points * INTERVAL.as_millis()) > LATE.as_millis()) {
            return;
        }
        ticks.missed += u32::try_from(points).unwrap_or(u32::MAX).saturating_sub(1);
        ticks.last = now;
    }

    fn missed(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().map(|ticks| f64::from(ticks.missed)).sum()
    }
}

impl Kind for Ticking {
    fn name(&self) -> &str {
        TICKING
    }

    fn declares_readiness(&self) -> bool {
        true
    }

    fn validate(&self, _: &Config) -> Result<(), Violations> {
        Ok(())
    }

    /// One target, so that the circuit goes on.
    fn target_key(&self, _: &Config) -> String {
        String::new()
    }

    fn build(&self, _: &Config) -> Result<Box<dyn Monitor>, MonitorError> {
        Ok(Box::new(self.clone()))
    }
}

impl Monitor for Ticking {
    fn run(self: Box<Self>, context: Context) -> MonitorFuture {
        Box::pin(async move {
            let mut first = true;
            let check = || {
                self.tick(context.name().as_str(), std::mem::take(&mut first));
                std::future::ready(Finding::pass())
            };
            context.every(context.schedule().interval(), check).await;
            Ok(())
        })
    }
}

/// Swaps that answer when they are done, against bare calls of as many bytes.
fn over_rpc(lab: &Lab) -> Result<Vec<Row>> {
    let (bare, served) = (Bare::start(lab)?, Served::start(lab)?);
    let (bare_channels, channels) = (lab.connect(bare.address)?, lab.connect(served.address)?);
    let tasks = lab.scaled(TASKS).max(IN_FLIGHT);
    for number in 0..tasks {
        let request = v1::StartTaskRequest { task_id: id(number), task: Some(task(0)), ..Default::default() };
        lab.clients.block_on(TaskServiceClient::new(channels[0].clone()).start_task(request))?;
    }
    // One number is one loop's, so of one task one swap is under way; the round makes each spec another than the one before.
    let call = move |channel, number: usize| -> BoxFuture<'static, Result<(usize, usize)>> {
        Box::pin(async move {
            let (round, task) = (number / tasks + 1, task(number / tasks + 1));
            let name = format!("namespaces/default/tasks/{}", id(number % tasks));
            let request = v1::SwapTaskRequest { name, task: Some(task), wait: true, ..Default::default() };
            let asked = request.encoded_len();
            let answer = TaskServiceClient::new(channel).swap_task(request).await?.into_inner();
            let swap = answer.task.as_ref().and_then(|task| task.swap.as_ref()).context("there is no swap")?;
            ensure!(swap.phase() == v1::SwapPhase::Done, "the swap of round {round} became {:?}", swap.phase());
            Ok((asked, answer.encoded_len()))
        })
    };
    let (asked, answered) = lab.clients.block_on(call(channels[0].clone(), 0))?;
    let request = bare::request(asked, answered, 1);
    // Each turn goes on where the last one ended, or a spec would be swapped for itself.
    let mut turn = 0;
    let row = || {
        turn += 1;
        let offset = turn * ROUNDS * tasks;
        lab.call(&channels, IN_FLIGHT, move |channel, number| {
            let called = call(channel, offset + number);
            async { called.await.map(drop) }
        })
    };
    let baseline = || {
        let request = request.clone();
        lab.call(&bare_channels, IN_FLIGHT, move |channel, _| {
            let called = bare::call(channel, request.clone());
            async { called.await.map(drop) }
        })
    };
    let turns = lab.take_turns(row, baseline)?;
    served.stop(lab)?;
    let turns: Vec<_> = turns.iter().map(|(row, baseline)| (row.per_second, baseline.per_second)).collect();
    let name = format!("SwapTask with wait, {IN_FLIGHT} in flight");
    Ok(vec![Row::beside(name, Unit::PerSecond, &turns, Bar::AtLeast(1_000.0))])
}

/// More rounds than a turn makes.
const ROUNDS: usize = 10_000;

fn id(number: usize) -> String {
    format!("task-{number:08}")
}

/// A task whose spec is unlike that of any other round.
fn task(round: usize) -> v1::Task {
    let interval = ONCE - Duration::from_millis(round as u64);
    let schedule =
        Some(v1::Schedule { interval: prost_types::Duration::try_from(interval).ok(), ..Default::default() });
    let monitor = MonitorOf::Custom(v1::CustomMonitor { kind: IDLE.to_owned(), config: None });
    let spec = Some(v1::TaskSpec { monitor: Some(monitor), schedule, ..Default::default() });
    v1::Task { spec, ..Default::default() }
}
