//! One trial of a monitor, on the thread that it is conducted on.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinError;
use tokio::time::{sleep, timeout, timeout_at};
use uuid::Uuid;

use super::{BOUND, READY_WITHIN, Uncooperative};
use crate::model::{
    Attempt, ConfigValue, CustomSpec, Epoch, Generation, InstanceId, MonitorDraft, Namespace, Regime, ScheduleDraft,
    SpecDraft, TaskName, TaskSpec, Uid, Violations,
};
use crate::monitor::children::panic_message;
use crate::monitor::{
    Assignment, CancellationToken, Children, Clock, Config, Context, Fact, Kind, LiveCell, Monitor, MonitorError,
    MonitorFuture, RegimeCell, Report,
};
use crate::telemetry::Metrics;

/// What a monitor is given after it is ready, to get into its stride; as the seed document's test does.
const SETTLE: Duration = Duration::from_millis(100);
/// The beat of a thread that is not blocked.
const BEAT: Duration = Duration::from_millis(10);

/// Builds the kind's monitor and sees whether it keeps the rules.
pub(super) fn conduct(kind: &impl Kind, config: &Config, pulse: &Pulse) -> Result<(), Uncooperative> {
    kind.validate(config).map_err(Uncooperative::Configuration)?;
    let build = |error: MonitorError| Uncooperative::Build(error.to_string());
    let monitor = kind.build(config).map_err(build)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| build(error.into()))?;
    let (reports, inbox) = mpsc::channel(16);
    let assignment = assignment(kind.name(), ScheduleDraft::default(), reports).map_err(Uncooperative::Build)?;
    let verdict = runtime.block_on(run(monitor, kind.declares_readiness(), assignment, inbox, pulse));
    // A child may be in a blocking call: that must not keep the verdict back.
    runtime.shutdown_background();
    verdict
}

async fn run(
    monitor: Box<dyn Monitor>,
    declares_readiness: bool,
    assignment: Assignment,
    inbox: mpsc::Receiver<Report>,
    pulse: &Pulse,
) -> Result<(), Uncooperative> {
    let (token, children, ready) = (CancellationToken::new(), Children::new(), Arc::new(Notify::new()));
    let context = Context::new(assignment, token.clone(), children.clone());
    // The runtime owns both; they end with it.
    tokio::spawn(pulse.clone().beat());
    tokio::spawn(listen(inbox, Arc::clone(&ready)));
    let at_pending = (!declares_readiness).then(|| Arc::clone(&ready));
    let mut root = tokio::spawn(async move { until_pending(monitor.run(context), at_pending).await });

    tokio::select! {
        ended = &mut root => return Err(ended_before(ended)),
        reached = timeout(READY_WITHIN, ready.notified()) => reached.map_err(|_| Uncooperative::NotReady)?,
    }
    if let Ok(ended) = timeout(SETTLE, &mut root).await {
        return Err(ended_before(ended));
    }

    let asked = tokio::time::Instant::now();
    token.cancel();
    // A thread that was silent for the whole bound is why its monitor is late.
    let late = |fault| if pulse.longest_silence() >= BOUND { Uncooperative::BlocksThread } else { fault };
    match timeout_at(asked + BOUND, root).await {
        Ok(Ok(_outcome)) => {}
        Ok(Err(error)) => return Err(panicked(error)),
        Err(_) => return Err(late(Uncooperative::IgnoresToken)),
    }
    timeout_at(asked + BOUND, children.ended()).await.map_err(|_| late(Uncooperative::LeavesChildren))?;
    // While a thread is blocked its timers are too: what has ended by then looks as if it had been in time.
    if asked.elapsed() > BOUND { Err(Uncooperative::BlocksThread) } else { Ok(()) }
}

/// Runs a monitor, and notes when its first poll is pending.
async fn until_pending(mut monitor: MonitorFuture, mut pending: Option<Arc<Notify>>) -> Result<(), MonitorError> {
    poll_fn(|cx| {
        let polled = monitor.as_mut().poll(cx);
        if let (Poll::Pending, Some(ready)) = (&polled, pending.take()) {
            ready.notify_one();
        }
        polled
    })
    .await
}

/// Takes what the monitor reports, so that it never waits for the trial.
async fn listen(mut inbox: mpsc::Receiver<Report>, ready: Arc<Notify>) {
    while let Some(report) = inbox.recv().await {
        if report.fact == Fact::Ready {
            ready.notify_one();
        }
    }
}

fn ended_before(ended: Result<Result<(), MonitorError>, JoinError>) -> Uncooperative {
    match ended {
        Ok(Ok(())) => Uncooperative::EndedBefore("it returned".to_owned()),
        Ok(Err(error)) => Uncooperative::EndedBefore(error.to_string()),
        Err(error) => panicked(error),
    }
}

fn panicked(error: JoinError) -> Uncooperative {
    let message = error.try_into_panic().map(|panic| panic_message(&*panic).to_owned());
    Uncooperative::Panics(message.unwrap_or_else(|error| error.to_string()))
}

/// The assignment of a trial instance.
pub(crate) fn assignment(
    kind: &str,
    schedule: ScheduleDraft,
    reports: mpsc::Sender<Report>,
) -> Result<Assignment, String> {
    let custom = CustomSpec { kind: "trial".to_owned(), config: ConfigValue::default() };
    let draft = SpecDraft { monitor: Some(MonitorDraft::Custom(custom)), schedule, ..SpecDraft::default() };
    let mut violations = Violations::new();
    let spec = TaskSpec::try_new(draft, &mut violations).ok_or_else(|| violations.to_string())?;
    Ok(Assignment {
        instance: InstanceId::new(1),
        name: TaskName::try_new(&Namespace::default(), "trial").map_err(|error| error.to_string())?,
        uid: Uid::new(Uuid::from_u128(1)),
        generation: Generation::new(1),
        attempt: Attempt::new(1),
        kind: kind.into(),
        schedule: *spec.schedule(),
        clock: Clock::new(),
        reports,
        live: Arc::new(LiveCell::new()),
        regime: Arc::new(RegimeCell::new(Regime { epoch: Epoch::new(1), counted: true, trial_interval: None })),
        spread: Duration::ZERO,
        checks: Metrics::new().map_err(|error| error.to_string())?.checks,
    })
}

/// The sign of life of a thread: a task on it that beats. Read from another thread.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    start: Instant,
    last: Arc<AtomicU64>,
    longest: Arc<AtomicU64>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), last: Arc::default(), longest: Arc::default() }
    }

    async fn beat(self) {
        loop {
            let silence = millis(self.silence());
            self.longest.fetch_max(silence, Ordering::Relaxed);
            self.last.store(millis(self.start.elapsed()), Ordering::Relaxed);
            sleep(BEAT).await;
        }
    }

    /// For how long the thread has not beaten.
    pub(super) fn silence(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    /// The longest silence up to now.
    fn longest_silence(&self) -> Duration {
        self.silence().max(Duration::from_millis(self.longest.load(Ordering::Relaxed)))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
