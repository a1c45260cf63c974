//! The loop: one turn takes what has happened (`sources`), has the machine decide, appends the events, and acts (`act`). Commands are
//! answered (`answer`) once what they have brought about is committed. What runs is in `instances`, and moved by `relief` where another
//! instance blocks its thread.

mod act;
mod answer;
mod instances;
mod relief;
mod sources;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::unconstrained;
use tokio_util::sync::CancellationToken;

pub(super) use sources::Sources;

use super::Counts;
use super::dice::Dice;
use super::handle::{Lives, With};
use super::observe::Observer;
use super::shards::Shards;
use super::vetting::{Built, Vetting};
use crate::journal::{Append, Condition, Journal, Release, Vigil};
use crate::lifecycle::{Effect, Input, Lifecycle, Limits, Past};
use crate::model::{Event, InstanceId, Remembered};
use crate::monitor::{Clock, Fact, Report};
use crate::telemetry::Metrics;
use instances::Running;
use sources::{Incoming, Source};

/// What one turn takes from each source, so that none starves the others or the timers.
const TURN: usize = 256;
/// How many events may wait for their commit while more tasks are taken over: a transaction of so many is quick, and large enough to be
/// worth its syncs.
const BACKLOG: u64 = 8_192;
/// How long to wait where more do.
const BREATH: Duration = Duration::from_millis(1);

/// What the loop is connected with.
pub(super) struct Wiring {
    pub(super) sources: Sources,
    /// The other end of the reports' source, for monitors.
    pub(super) reporter: mpsc::Sender<Report>,
    /// Whether too many instances are stuck for any of a custom kind to be started.
    pub(super) stuck_limit: watch::Sender<bool>,
    /// How the journal does.
    pub(super) condition: watch::Sender<Condition>,
    /// Ends the loop.
    pub(super) stop: CancellationToken,
    pub(super) shards: Shards,
    pub(super) vetting: Vetting,
    pub(super) lives: Arc<Lives>,
    pub(super) counts: Arc<Counts>,
    pub(super) journal: Journal,
    pub(super) metrics: Metrics,
}

/// The loop's state.
pub(super) struct Shell {
    wiring: Wiring,
    lifecycle: Lifecycle<Dice>,
    observer: Observer,
    clock: Clock,
    running: HashMap<InstanceId, Running>,
    /// Candidates that are built and wait for their launch.
    candidates: HashMap<InstanceId, Built>,
    drained: Vec<oneshot::Sender<usize>>,
    vigil: Vigil,
    condition: Condition,
}

/// What one turn has gathered: events and answers for the journal first, everything else after that.
#[derive(Default)]
struct Turn {
    events: Vec<Event>,
    requests: Vec<Remembered>,
    releases: Vec<Release>,
    /// What waits for nothing but the turn's end.
    at_once: Vec<Box<dyn FnOnce() + Send>>,
    actions: Vec<(Effect, With)>,
}

impl Shell {
    /// Call it in the loop's runtime.
    pub(super) fn new(wiring: Wiring, past: Past, limits: Limits) -> Self {
        let clock = Clock::new();
        Self {
            lifecycle: Lifecycle::restore(past, limits, Dice::new(), clock.now()),
            observer: Observer::new(&wiring.metrics, wiring.journal.view().tasks()),
            clock,
            running: HashMap::new(),
            candidates: HashMap::new(),
            drained: Vec::new(),
            vigil: wiring.journal.vigil(),
            condition: Condition::default(),
            wiring,
        }
    }

    pub(super) async fn run(mut self) {
        self.count();
        while !self.wiring.stop.is_cancelled() {
            let mut turn = Turn::default();
            if self.lifecycle.has_orphans() && !self.is_clogged() {
                self.adopt(&mut turn).await;
            } else {
                self.wait(&mut turn).await;
            }
            let timer = self.wiring.metrics.manager.step.start_timer();
            let every_exit = self.take(Source::Exits, TURN, &mut turn);
            for source in Source::AFTER_EXITS {
                self.take(source, TURN, &mut turn);
            }
            // An exit that came in time must not be overtaken by the deadline that it met, however many came at once.
            if every_exit && self.lifecycle.next_due().is_some_and(|due| due <= self.clock.now().mono) {
                self.on_held_up(&mut turn);
                self.step(Input::Tick, &mut turn);
            }
            self.finish(turn);
            timer.observe_duration();
        }
    }

    /// Takes over a few of the tasks that an earlier server has left, as fast as the journal commits what comes of that; where it commits
    /// nothing, as many as may wait for it, so that they are checked meanwhile. Whoever commands something does not wait for all of them.
    async fn adopt(&mut self, turn: &mut Turn) {
        if self.has_room() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(BREATH).await;
        }
        // Nobody waits here, but how the journal does must be heard of, and before anything is started.
        if let Some(condition) = unconstrained(self.vigil.next()).now_or_never() {
            self.on_condition(condition, turn);
        }
        if self.has_room() {
            self.step(Input::Adopt, turn);
        }
    }

    /// Whether nothing more can be taken over before the journal commits again, of which the vigil tells.
    fn is_clogged(&self) -> bool {
        self.condition.stalled && !self.has_room()
    }

    fn has_room(&self) -> bool {
        let uncommitted = self.lifecycle.head().get().saturating_sub(self.wiring.journal.view().head().get());
        uncommitted < BACKLOG
    }

    /// Waits until anything has happened, and takes the first of it.
    async fn wait(&mut self, turn: &mut Turn) {
        let due = self.lifecycle.next_due().map(|due| self.clock.instant(due));
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.wiring.stop.cancelled() => {}
            condition = self.vigil.next() => self.on_condition(condition, turn),
            incoming = self.wiring.sources.next() => self.dispatch(incoming, turn),
            () = timer => {}
        }
    }

    /// Takes what is there of a source, this many at the most; whether that was all.
    fn take(&mut self, source: Source, most: usize, turn: &mut Turn) -> bool {
        for _ in 0..most {
            let Some(incoming) = self.wiring.sources.ready(source) else { return true };
            self.dispatch(incoming, turn);
        }
        false
    }

    fn dispatch(&mut self, incoming: Incoming, turn: &mut Turn) {
        match incoming {
            Incoming::Exit(reaped) => self.on_reaped(reaped, turn),
            Incoming::Build(build) => self.on_built(build, turn),
            Incoming::Commit(replaced) => self.step(Input::Committed(replaced), turn),
            Incoming::News(news) => self.on_news(news, turn),
            Incoming::Report(report) => self.on_report(&report, turn),
            Incoming::Request(request) => self.on_request(request, turn),
        }
    }

    fn on_condition(&mut self, condition: Condition, turn: &mut Turn) {
        self.condition = condition;
        self.step(Input::Admission(condition.admission()), turn);
    }

    fn on_report(&mut self, report: &Report, turn: &mut Turn) {
        let Report { instance, at, fact } = *report;
        let input = match fact {
            Fact::Ready => Input::Ready(instance),
            Fact::CheckBegan => Input::CheckBegan(instance, at),
            Fact::CheckEnded(evidence) => Input::CheckEnded(instance, at, evidence),
        };
        self.step(input, turn);
    }

    fn step(&mut self, input: Input, turn: &mut Turn) {
        for effect in self.lifecycle.step(input, self.clock.now()) {
            self.gather(effect, turn);
        }
    }

    fn gather(&mut self, effect: Effect, turn: &mut Turn) {
        match effect {
            Effect::Append(event) => {
                self.observer.observe(&event);
                turn.events.push(event);
            }
            Effect::Remember(request) => turn.requests.push(request),
            effect => turn.actions.push((effect, With::default())),
        }
    }

    /// Appends, then acts: nothing is done that the log does not know.
    fn finish(&mut self, turn: Turn) {
        let Turn { events, requests, mut releases, at_once, actions } = turn;
        // Before clients can see what has come of the turn, so that no scrape after that shows less.
        self.count();
        let full = self.lifecycle.is_at_stuck_limit();
        self.wiring.stuck_limit.send_if_modified(|was| std::mem::replace(was, full) != full);
        for (effect, _) in &actions {
            if let Effect::AwaitCommit { after, instance } = *effect {
                releases.push(self.wiring.sources.commit(after, instance));
            }
        }
        if !(events.is_empty() && requests.is_empty() && releases.is_empty()) {
            self.wiring.journal.append(Append { events, requests, releases });
        }
        for (effect, with) in actions {
            self.act(effect, with);
        }
        at_once.into_iter().for_each(|answer| answer());
        let condition = self.condition;
        self.wiring.condition.send_if_modified(|was| std::mem::replace(was, condition) != condition);
        if self.lifecycle.is_drained() {
            for done in self.drained.drain(..) {
                // Whoever asked may have stopped waiting.
                let _ = done.send(self.lifecycle.stuck());
            }
        }
    }

    fn count(&self) {
        self.wiring.counts.set(self.lifecycle.live());
        self.wiring.metrics.manager.tasks_left.set(i64::try_from(self.lifecycle.orphans()).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests;
