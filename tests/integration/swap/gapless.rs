//! A thousand swaps, back to back, of tasks that four clients fight over while others are preempted and cancelled, as their target
//! sees them: none misses a check, none that is fenced counts, and every circuit goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use switchyard::pb::v1::{
    DeleteTaskRequest, EventView, HttpMonitor, Instance, Verdict, WatchChecksRequest, WatchChecksResponse,
};
use tonic::Streaming;

use super::target::{Request, Target};
use super::*;
use crate::harness::builder;

/// Swapped by all clients; what the last one watches is down.
const TASKS: [&str; 4] = ["up-0", "up-1", "up-2", "down-3"];
/// Never swapped: what shows of a machine that is too busy to check in time shows of these, too.
const CONTROLS: [&str; 3] = ["control-0", "control-1", "control-2"];
const CLIENTS: usize = 4;
const SWAPS: usize = 1_000;
/// Checks of each of the controls that the swaps have to last for.
const INTERVALS: usize = 12;
/// One of so many swaps preempts another.
const PREEMPTS: usize = 5;
const INTERVAL: Duration = Duration::from_secs(1);
/// How far from a point of the grid a candidate's first check still stands in for the one that is due there.
const BESIDE: Duration = Duration::from_millis(200);

/// What the clients share.
struct Storm {
    target: Target,
    version: AtomicUsize,
    done: AtomicUsize,
    over: AtomicBool,
}

impl Storm {
    /// A task that watches the target once a second. Where that is down, its circuit opens for an hour with the first check; else it
    /// only counts.
    fn task(&self, id: &str) -> StartTaskRequest {
        let version = self.version.fetch_add(1, Ordering::Relaxed);
        let url = self.target.url(id, version);
        with_spec(start(id, Monitor::Http(HttpMonitor { url, ..Default::default() })), |spec| {
            let interval = Some(INTERVAL.try_into().expect("short"));
            spec.schedule = Some(Schedule { interval, ..Default::default() });
            let hour = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
            spec.circuit = Some(CircuitPolicy {
                consecutive_failures: Some(u32::from(id.starts_with("down"))),
                active_window: 1_024,
                active_min: 10,
                failure_rate: Some(10_000),
                open_base: hour,
                open_max: hour,
                ..Default::default()
            });
        })
    }

    fn swap_of(&self, id: &str) -> SwapTaskRequest {
        let task = self.task(id).task;
        SwapTaskRequest { name: name(id), task, state_policy: StatePolicy::Keep.into(), ..Default::default() }
    }

    /// Swaps one task after the other, until that is over.
    async fn swap_on(self: Arc<Self>, mut client: Client, nth: usize) {
        for number in 0.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let preempt = number % PREEMPTS == 0;
            let request = self.swap_of(TASKS[(nth + number) % TASKS.len()]);
            match swap(&mut client, SwapTaskRequest { wait: true, preempt, ..request }).await {
                Ok((task, _)) if newest(&task).phase() == SwapPhase::Done => {
                    self.done.fetch_add(1, Ordering::Relaxed);
                }
                Ok((task, _)) => assert_eq!(newest(&task).phase(), SwapPhase::Cancelled, "preempted: {task:?}"),
                Err(status) => assert_eq!(reason(&status), "SWAP_IN_PROGRESS"),
            }
        }
    }

    /// Starts a task, swaps it, preempts that and cancels it all, until that is over.
    async fn come_and_go(self: Arc<Self>, mut client: Client) {
        while !self.over.load(Ordering::Relaxed) {
            client.start_task(self.task("passing")).await.expect("started");
            reach(&mut client, "passing", State::Running).await;
            for _ in 0..2 {
                let request = SwapTaskRequest { preempt: true, ..self.swap_of("passing") };
                // Where the first has cut over meanwhile, there is nothing to preempt.
                if let Err(status) = swap(&mut client, request).await {
                    assert_eq!(reason(&status), "SWAP_IN_PROGRESS");
                }
            }
            client.cancel_task(cancel("passing")).await.expect("cancelled");
            let delete = DeleteTaskRequest { name: name("passing"), ..Default::default() };
            client.delete_task(delete).await.expect("deleted");
        }
    }
}

/// Every task, running, and those that are down with an open circuit.
async fn begun(storm: &Storm, client: &mut Client) -> BTreeMap<String, Circuit> {
    let mut circuits = BTreeMap::new();
    for id in TASKS.iter().chain(&CONTROLS) {
        client.start_task(storm.task(id)).await.expect("started");
    }
    for id in TASKS.iter().chain(&CONTROLS) {
        let mut task = reach(client, id, State::Running).await;
        while id.starts_with("down") && task.circuit.as_ref().is_some_and(|it| it.state() == CircuitState::Closed) {
            task = reach(client, id, State::Running).await;
        }
        circuits.insert(name(id), task.circuit.expect("has one"));
    }
    circuits
}

/// The events between two cursors, each with its task.
async fn events_between(client: &mut Client, from: &str, through: &str) -> Vec<Event> {
    let (start, view) = (Some(Start::Cursor(from.to_owned())), EventView::Full.into());
    let request = WatchTasksRequest { start, end_cursor: through.to_owned(), view, ..Default::default() };
    let mut frames = client.watch_tasks(request).await.expect("opened").into_inner();
    let mut events = Vec::new();
    while let Some(frame) = frames.message().await.expect("no error") {
        events.extend(frame.events);
    }
    events
}

/// What the server has told of checks that failed.
#[derive(Debug, Default)]
struct Told {
    /// By task, those that no answer came to in time. A target that is up says that all is bad to nobody but those who are fenced, so
    /// these are all that may count against it.
    unanswered: BTreeMap<String, u32>,
    /// Those that were not told.
    dropped: u64,
}

/// Reads to the end of the server.
async fn told(mut frames: Streaming<WatchChecksResponse>) -> Told {
    let mut told = Told::default();
    while let Ok(Some(frame)) = frames.message().await {
        told.dropped += frame.dropped;
        for record in frame.checks {
            let check = record.check.expect("always");
            if check.verdict() == Verdict::Fail && check.reason != "STATUS" {
                *told.unanswered.entry(record.name).or_default() += 1;
            }
        }
    }
    told
}

/// At no event is any of the tasks without an instance that is ready.
fn always_ready(events: &[Event]) {
    for event in events {
        let Some(task) = event.task.as_ref().filter(|task| TASKS.contains(&id_of(&task.name))) else { continue };
        let is_ready = |instance: &&Instance| instance.state() == InstanceState::Ready;
        let ready = task.instance.iter().chain(&task.draining).filter(is_ready).count();
        assert!(ready > 0, "{event:?}");
    }
}

/// Every task's circuit is as it was at every event. That it flaps tells of single checks, and a machine may be late with some.
fn circuits_go_on(events: &[Event], before: &BTreeMap<String, Circuit>) {
    for event in events {
        let Some(task) = &event.task else { continue };
        if let Some(circuit) = before.get(&task.name) {
            let shown = task.circuit.clone().map(|shown| Circuit { flapping: circuit.flapping, ..shown });
            assert_eq!(shown.as_ref(), Some(circuit), "{event:?}");
        }
    }
}

fn id_of(name: &str) -> &str {
    name.rsplit('/').next().expect("a name")
}

/// Whether a candidate's first check was made where the next one was due.
fn stands_in(first: &Request, last: &Request) -> bool {
    let (since, interval) = ((first.at - last.at).as_millis(), INTERVAL.as_millis());
    let points = (since + interval / 2) / interval;
    points > 0 && since.abs_diff(points * interval) <= BESIDE.as_millis()
}

/// A point of the grid was missed where all of the controls were checked twice before a ready instance of the task was checked again.
fn none_missed(log: &[Request], task: &str) {
    let mut last: Option<&Request> = None;
    let mut controls = BTreeMap::new();
    for request in log {
        if CONTROLS.contains(&request.task.as_str()) {
            *controls.entry(&request.task).or_insert(0) += 1;
            let twice = controls.len() == CONTROLS.len() && controls.values().all(|checks| *checks >= 2);
            assert!(last.is_none() || !twice, "{task} has missed a check since {last:?}: {request:?}");
        } else if request.task == task && (!request.first || last.is_some_and(|last| stands_in(request, last))) {
            (last, controls) = (Some(request), BTreeMap::new());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_thousand_swaps_no_interval_is_without_a_check_and_none_that_is_fenced_counts() {
    let (target, _serving) = Target::start().await;
    let storm = Storm {
        target: target.clone(),
        version: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    };
    let storm = Arc::new(storm);
    let server = Harness::run(builder(Layer::default()).store(target.store()).bind().await.expect("bound"));
    let mut client = server.client().await;
    let frames = client.watch_checks(WatchChecksRequest::default()).await.expect("opened").into_inner();
    let told = tokio::spawn(told(frames));
    let circuits = begun(&storm, &mut client).await;
    let (from, began) = (server.info().await.head_cursor, target.log().len());
    let mut working = vec![tokio::spawn(Arc::clone(&storm).come_and_go(server.client().await))];
    for nth in 0..CLIENTS {
        working.push(tokio::spawn(Arc::clone(&storm).swap_on(server.client().await, nth)));
    }
    let controls = CONTROLS.map(str::to_owned);
    while storm.done.load(Ordering::Relaxed) < SWAPS || !target.has_seen(&controls, INTERVALS, began) {
        assert!(working.iter().all(|work| !work.is_finished()), "somebody has given up");
        tokio::time::sleep(INTERVAL).await;
    }
    storm.over.store(true, Ordering::Relaxed);
    for worked in join_all(working).await {
        worked.expect("no panic");
    }

    let events = events_between(&mut client, &from, &server.info().await.head_cursor).await;
    let log = target.log().split_off(began);
    println!("{} swaps, {} events, {} requests", storm.done.load(Ordering::Relaxed), events.len(), log.len());
    always_ready(&events);
    circuits_go_on(&events, &circuits);
    for task in TASKS {
        none_missed(&log, task);
    }
    let fenced = log.iter().filter(|request| request.fenced && request.task.starts_with("up")).count();
    assert!(fenced > 0, "no check was under way at a cut-over");
    let mut counted = Vec::new();
    for id in &TASKS[..3] {
        let task = reach(&mut client, id, State::Running).await;
        counted.push((task.name, task.live.and_then(|live| live.circuit).expect("sampled")));
    }
    server.shut_down();
    let told = told.await.expect("no panic");
    for (task, counts) in counted {
        // More results than any one generation had: the window went on.
        assert!(counts.results >= 5, "{task}: {counts:?}");
        let unanswered = told.unanswered.get(&task).copied().unwrap_or_default();
        assert!(u64::from(counts.failed) <= u64::from(unanswered) + told.dropped, "{task}: {counts:?}, {told:?}");
    }
}
