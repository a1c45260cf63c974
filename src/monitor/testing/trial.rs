//! One trial of a monitor, on the thread that it is conducted on.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::ear::Ear;
use super::pulse::{BEAT, Pulse, Stopwatch};
use super::{BOUND, READY_WITHIN, Uncooperative, WATCHED};
use crate::model::{
    Attempt, ConfigValue, CustomSpec, Epoch, Generation, InstanceId, MonitorDraft, Namespace, Regime, ScheduleDraft,
    SpecDraft, TaskName, TaskSpec, Uid, Violations,
};
use crate::monitor::children::panic_message;
use crate::monitor::{
    Assignment, CancellationToken, Children, Clock, Config, Context, Fact, Kind, LiveCell, Monitor, MonitorError,
    MonitorFuture, Orders, Report,
};
use crate::telemetry::Metrics;

/// What a monitor is given after it is ready, to get into its stride; as the seed document's test does.
const SETTLE: Duration = Duration::from_millis(100);

/// What a trial is to find out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    /// Whether the monitor ends when it is told to.
    Cooperative,
    /// Whether it ends within a bound although its clean-up hangs.
    CleanupBounded(Duration),
}

impl Question {
    const fn bound(self) -> Duration {
        match self {
            Self::Cooperative => BOUND,
            Self::CleanupBounded(bound) => bound,
        }
    }

    /// What is made of a monitor that has ended in time.
    const fn answer(self, waited: bool) -> Result<(), Uncooperative> {
        match self {
            Self::CleanupBounded(_) if !waited => Err(Uncooperative::NothingHangs),
            Self::CleanupBounded(_) | Self::Cooperative => Ok(()),
        }
    }
}

/// Builds the kind's monitor and sees whether it keeps the rules.
pub(super) fn conduct(
    kind: &impl Kind,
    config: &Config,
    question: Question,
    pulse: &Pulse,
) -> Result<(), Uncooperative> {
    pulse.attach();
    kind.validate(config).map_err(Uncooperative::Configuration)?;
    let build = |error: MonitorError| Uncooperative::Build(error.to_string());
    let monitor = kind.build(config).map_err(build)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| build(error.into()))?;
    let (reports, inbox) = mpsc::channel(16);
    let assignment = assignment(kind.name(), ScheduleDraft::default(), reports).map_err(Uncooperative::Build)?;
    let ready = Arc::new(Notify::new());
    let verdict = runtime.block_on(async {
        // The runtime owns both; they end with it.
        tokio::spawn(pulse.clone().go_on());
        tokio::spawn(listen(inbox, Arc::clone(&ready)));
        let trial = Trial::start(monitor, kind.declares_readiness(), assignment, ready);
        trial.run(question, pulse).await
    });
    // A child may be in a blocking call: that must not keep the verdict back.
    runtime.shutdown_background();
    verdict
}

/// A monitor that runs.
struct Trial {
    root: JoinHandle<Return>,
    token: CancellationToken,
    children: Children,
    ready: Arc<Notify>,
    ear: Arc<Ear>,
}

/// How things stood when the root returned.
struct Return {
    outcome: Result<(), MonitorError>,
    /// How often it had been polled.
    polled: u64,
    /// Whether it left no child.
    alone: bool,
}

impl Trial {
    fn start(monitor: Box<dyn Monitor>, declares_readiness: bool, assignment: Assignment, ready: Arc<Notify>) -> Self {
        let (token, children, ear) = (CancellationToken::new(), Children::new(), Arc::new(Ear::default()));
        let context = Context::new(assignment, token.clone(), children.clone());
        let at_pending = (!declares_readiness).then(|| Arc::clone(&ready));
        let root = {
            let (ear, children) = (Arc::clone(&ear), children.clone());
            tokio::spawn(async move {
                let outcome = overheard(monitor.run(context), &ear, at_pending).await;
                Return { outcome, polled: ear.polled(), alone: children.is_empty() }
            })
        };
        Self { root, token, children, ready, ear }
    }

    async fn run(mut self, question: Question, pulse: &Pulse) -> Result<(), Uncooperative> {
        tokio::select! {
            ended = &mut self.root => return Err(ended_before(ended)),
            reached = timeout(READY_WITHIN, self.ready.notified()) => reached.map_err(|_| Uncooperative::NotReady)?,
        }
        if let Ok(ended) = timeout(SETTLE, &mut self.root).await {
            return Err(ended_before(ended));
        }
        self.cancel(question, pulse).await
    }

    async fn cancel(self, question: Question, pulse: &Pulse) -> Result<(), Uncooperative> {
        let Self { root, token, children, ear, .. } = self;
        let (bound, polled, returned) = (question.bound(), ear.polled(), Cell::new(None));
        // It is judged by the time that it had, and told with the time that it took.
        let asked = pulse.stopwatch();
        let heard = ear.hears(|| token.cancel());
        let mut ended = Box::pin(async {
            let last = root.await.map_err(panicked)?;
            returned.set(Some(asked.had()));
            children.ended().await;
            // What the cancel woke and what returned at the poll that followed, without a child, has waited for nothing.
            let waited = !(heard && last.polled == polled + 1 && last.alone);
            Ok((asked.had() <= bound, asked.elapsed(), waited))
        });
        let by_then = within(bound, &asked, &mut ended).await.transpose()?;
        let late = match by_then {
            Some((true, _, waited)) => return question.answer(waited),
            // While a thread is blocked its timers are too: what has ended by then looks as if it had been in time.
            Some((false, took, _)) => Some(took),
            None => None,
        };
        // A thread that was silent for so long is why its monitor is late.
        let silence = pulse.longest_silence();
        if silence.length >= BOUND {
            return Err(silence.fault());
        }
        let cooperative = matches!(question, Question::Cooperative);
        if cooperative && returned.get().is_some_and(|took| took <= bound) {
            return Err(Uncooperative::LeavesChildren);
        }
        let after = match late {
            Some(took) => Some(took),
            None => watch(&mut ended).await.transpose()?.map(|(_, took, _)| took),
        };
        Err(match after {
            _ if heard || !cooperative => Uncooperative::CleansUpTooLong { bound, after },
            Some(after) => Uncooperative::LooksSeldom { after },
            None => Uncooperative::IgnoresToken,
        })
    }
}

/// Waits for the end until the thread has had so much time.
async fn within<T>(bound: Duration, asked: &Stopwatch, mut ended: impl Future<Output = T> + Unpin) -> Option<T> {
    loop {
        match timeout(bound.saturating_sub(asked.had()), &mut ended).await {
            Ok(ended) => return Some(ended),
            Err(_) if asked.had() >= bound => return None,
            Err(_) => {}
        }
    }
}

/// Waits for the end a little longer. In beats and not by the clock: a thread that the machine keeps waiting loses none of them.
async fn watch<T>(ended: impl Future<Output = T>) -> Option<T> {
    let beats = async {
        for _ in 0..WATCHED.as_millis() / BEAT.as_millis() {
            sleep(BEAT).await;
        }
    };
    tokio::select! {
        biased;
        ended = ended => Some(ended),
        // Bounded by the clock too, for the sake of one that blocks its thread between any two beats.
        _ = timeout(4 * WATCHED, beats) => None,
    }
}

/// Runs a monitor so that it is known what wakes it, and notes when its first poll is pending.
async fn overheard(
    mut monitor: MonitorFuture,
    ear: &Arc<Ear>,
    mut pending: Option<Arc<Notify>>,
) -> Result<(), MonitorError> {
    poll_fn(|cx| {
        let polled = monitor.as_mut().poll(&mut TaskContext::from_waker(&ear.waker(cx.waker())));
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

fn ended_before(ended: Result<Return, JoinError>) -> Uncooperative {
    match ended.map(|last| last.outcome) {
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
    let spec = spec(schedule)?;
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
        orders: Arc::new(Orders::new(Regime { epoch: Epoch::new(1), counted: true, trial_interval: None })),
        spread_millis: 0,
        checks: Metrics::new().map_err(|error| error.to_string())?.checks,
    })
}

/// The spec of a trial instance: of the defaults, where the schedule does not say otherwise.
pub(super) fn spec(schedule: ScheduleDraft) -> Result<TaskSpec, String> {
    let custom = CustomSpec { kind: "trial".to_owned(), config: ConfigValue::default() };
    let draft = SpecDraft { monitor: Some(MonitorDraft::Custom(custom)), schedule, ..SpecDraft::default() };
    let mut violations = Violations::new();
    TaskSpec::try_new(draft, &mut violations).ok_or_else(|| violations.to_string())
}
