//! The loop: one turn takes what has happened, has the machine decide, appends the events, and acts.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, unconstrained};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Counts;
use super::handle::{Lives, Request};
use super::observe::observe;
use super::reaper::{Body, Reaped, reap_children, reap_root, spawn};
use super::shards::{ShardId, Shards};
use super::vetting::{Built, Vetting};
use crate::journal::{Journal, Release};
use crate::lifecycle::{Chance, Command, Effect, Input, Lifecycle, Reply, RootEnd};
use crate::model::{Attempt, Event, InstanceId, Refusal, Task};
use crate::monitor::{Assignment, Children, Clock, Context, Fact, Report};
use crate::telemetry::Metrics;

/// What one turn takes from each source, so that none starves the others or the timers.
const TURN: usize = 256;

/// What the loop is connected with.
pub(super) struct Wiring {
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) reports: mpsc::Receiver<Report>,
    /// The other end of `reports`, for monitors.
    pub(super) reporter: mpsc::Sender<Report>,
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
    clock: Clock,
    reapers: FuturesUnordered<BoxFuture<'static, Reaped>>,
    builds: FuturesUnordered<BoxFuture<'static, Build>>,
    running: HashMap<InstanceId, Running>,
    drained: Vec<oneshot::Sender<usize>>,
}

/// A live instance, as far as it can be reached.
struct Running {
    token: CancellationToken,
    children: Children,
    /// Where it runs; `None` while its monitor is being built.
    root: Option<(AbortHandle, ShardId)>,
}

/// What came of building a monitor for an instance; `None` where it was asked to stop before that.
struct Build {
    instance: InstanceId,
    task: Arc<Task>,
    built: Option<Result<Built, String>>,
}

/// What one turn has gathered: events and answers for the journal first, everything else after that.
#[derive(Default)]
struct Turn {
    events: Vec<Event>,
    releases: Vec<Release>,
    actions: Vec<(Effect, Option<Built>)>,
}

impl Shell {
    /// Call it in the loop's runtime.
    pub(super) fn new(wiring: Wiring, max_tasks: usize) -> Self {
        Self {
            lifecycle: Lifecycle::new(wiring.journal.view().head(), max_tasks, Dice),
            clock: Clock::new(),
            reapers: FuturesUnordered::new(),
            builds: FuturesUnordered::new(),
            running: HashMap::new(),
            drained: Vec::new(),
            wiring,
        }
    }

    pub(super) async fn run(mut self) {
        while !self.wiring.stop.is_cancelled() {
            let mut turn = Turn::default();
            self.wait(&mut turn).await;
            let timer = self.wiring.metrics.manager.step.start_timer();
            let every_exit = self.take_exits(&mut turn);
            self.take_what_is_ready(&mut turn);
            // An exit that came in time must not be overtaken by the deadline that it met, however many came at once.
            if every_exit && self.lifecycle.next_due().is_some_and(|due| due <= self.clock.now().mono) {
                self.step(Input::Tick, &mut turn);
            }
            self.finish(turn);
            timer.observe_duration();
        }
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
            Some(reaped) = self.reapers.next() => self.on_reaped(reaped, turn),
            Some(built) = self.builds.next() => self.on_built(built, turn),
            Some(report) = self.wiring.reports.recv() => self.on_report(&report, turn),
            Some(request) = self.wiring.requests.recv() => self.on_request(request, turn),
            () = timer => {}
        }
    }

    /// Whether these were all exits that there are.
    fn take_exits(&mut self, turn: &mut Turn) -> bool {
        for _ in 0..TURN {
            // Tokio's own budget for a turn is smaller, and would have exits that are there look as if they were not.
            let Some(Some(reaped)) = unconstrained(self.reapers.next()).now_or_never() else { return true };
            self.on_reaped(reaped, turn);
        }
        false
    }

    fn take_what_is_ready(&mut self, turn: &mut Turn) {
        for _ in 0..TURN {
            let Some(Some(build)) = unconstrained(self.builds.next()).now_or_never() else { break };
            self.on_built(build, turn);
        }
        for _ in 0..TURN {
            let Ok(report) = self.wiring.reports.try_recv() else { break };
            self.on_report(&report, turn);
        }
        for _ in 0..TURN {
            let Ok(request) = self.wiring.requests.try_recv() else { break };
            self.on_request(request, turn);
        }
    }

    fn on_request(&mut self, request: Request, turn: &mut Turn) {
        match request {
            Request::Command { command, monitor, answer } => self.on_command(command, monitor, answer, turn),
            Request::Drain { bound, done } => {
                self.drained.push(done);
                let bound = self.clock.now().mono + bound;
                self.step(Input::Drain { bound }, turn);
            }
        }
    }

    fn on_command(
        &mut self,
        command: Command,
        mut monitor: Option<Built>,
        answer: oneshot::Sender<Result<Reply, Refusal>>,
        turn: &mut Turn,
    ) {
        let mut answer = Some(answer);
        for effect in self.lifecycle.step(Input::Command(command), self.clock.now()) {
            match effect {
                Effect::Answer { after, reply } => {
                    let Some(answer) = answer.take() else { continue };
                    // The caller may have stopped waiting.
                    let run = Box::new(move || drop(answer.send(reply)));
                    turn.releases.push(Release { after, run });
                }
                Effect::Launch { .. } => turn.actions.push((effect, monitor.take())),
                effect => self.gather(effect, turn),
            }
        }
    }

    fn on_report(&mut self, report: &Report, turn: &mut Turn) {
        let Report { instance, at, fact } = *report;
        let input = match fact {
            Fact::Ready => Input::Ready(instance),
            Fact::CheckBegan => Input::CheckBegan(instance, at),
            Fact::CheckEnded => Input::CheckEnded(instance, at),
        };
        self.step(input, turn);
    }

    fn on_reaped(&mut self, reaped: Reaped, turn: &mut Turn) {
        match reaped {
            Reaped::Root { instance, end, children } => {
                let live = !children.is_empty();
                if live {
                    self.reapers.push(reap_children(instance, children).boxed());
                } else {
                    self.leave(instance);
                }
                self.step(Input::RootEnded { instance, end, children: live }, turn);
            }
            Reaped::Children { instance, aborted } => {
                self.leave(instance);
                self.step(Input::ChildrenEnded { instance, aborted }, turn);
            }
        }
    }

    fn on_built(&mut self, build: Build, turn: &mut Turn) {
        let Build { instance, task, built } = build;
        let end = match built {
            Some(Ok(built)) => return self.place(instance, &task, built),
            Some(Err(problem)) => RootEnd::Failed(problem),
            None => RootEnd::Returned,
        };
        self.leave(instance);
        self.step(Input::RootEnded { instance, end, children: false }, turn);
    }

    fn leave(&mut self, instance: InstanceId) {
        let Some(Running { root, children, .. }) = self.running.remove(&instance) else { return };
        if let Some((_, shard)) = root {
            self.wiring.shards.leave(shard);
        }
        // Code that the monitor has left behind untracked may still spawn children: they would live beside the next instance.
        children.abort_all();
    }

    fn step(&mut self, input: Input, turn: &mut Turn) {
        for effect in self.lifecycle.step(input, self.clock.now()) {
            self.gather(effect, turn);
        }
    }

    fn gather(&mut self, effect: Effect, turn: &mut Turn) {
        match effect {
            Effect::Append(event) => {
                observe(&event, &self.wiring.metrics.instances);
                turn.events.push(event);
            }
            effect => turn.actions.push((effect, None)),
        }
    }

    /// Appends, then acts: nothing is done that the log does not know.
    fn finish(&mut self, turn: Turn) {
        let Turn { events, releases, actions } = turn;
        // Before clients can see what has come of the turn, so that no scrape after that shows less.
        self.wiring.counts.set(self.lifecycle.live());
        if !events.is_empty() || !releases.is_empty() {
            self.wiring.journal.append(events, releases);
        }
        for (effect, monitor) in actions {
            self.act(effect, monitor);
        }
        if self.lifecycle.is_drained() {
            for done in self.drained.drain(..) {
                // Whoever asked may have stopped waiting.
                let _ = done.send(self.lifecycle.stuck());
            }
        }
    }

    fn act(&mut self, effect: Effect, monitor: Option<Built>) {
        match effect {
            Effect::Launch { instance, task } => self.launch(instance, task, monitor),
            Effect::Signal(instance) => {
                if let Some(running) = self.running.get(&instance) {
                    running.token.cancel();
                }
            }
            Effect::Abort(instance) => {
                if let Some(running) = self.running.get(&instance) {
                    if let Some((root, _)) = &running.root {
                        root.abort();
                    }
                    running.children.abort_all();
                }
            }
            Effect::Forget(uid) => self.wiring.lives.forget(uid),
            Effect::Append(_) | Effect::Answer { .. } => {}
        }
    }

    fn launch(&mut self, instance: InstanceId, task: Arc<Task>, monitor: Option<Built>) {
        let token = CancellationToken::new();
        let running = Running { token: token.clone(), children: Children::default(), root: None };
        self.running.insert(instance, running);
        match monitor.or_else(|| self.wiring.vetting.build_built_in(&task.spec)) {
            Some(built) => self.place(instance, &task, built),
            None => {
                let vetting = self.wiring.vetting.clone();
                let build = async move {
                    let built = tokio::select! {
                        // First: an abort would not reach what is placed after its signal.
                        biased;
                        () = token.cancelled() => None,
                        built = vetting.build_for(&task.spec) => Some(built),
                    };
                    Build { instance, task, built }
                };
                self.builds.push(build.boxed());
            }
        }
    }

    fn place(&mut self, instance: InstanceId, task: &Arc<Task>, built: Built) {
        let Some(running) = self.running.get_mut(&instance) else { return };
        let declares_readiness = built.declares_readiness;
        let Some(monitor) = built.take() else { return };
        let built_in = task.spec.monitor().is_built_in();
        let (shard, runtime, slot) = self.wiring.shards.enter(built_in);
        let assignment = Assignment {
            instance,
            name: task.name.clone(),
            uid: task.uid,
            generation: task.generation,
            attempt: task.instance.as_ref().map_or(Attempt::default(), |instance| instance.attempt),
            kind: task.spec.monitor().kind().into(),
            schedule: *task.spec.schedule(),
            clock: self.clock,
            reports: self.wiring.reporter.clone(),
            live: self.wiring.lives.renew(task.uid),
            checks: self.wiring.metrics.checks.clone(),
        };
        let body = Body {
            monitor,
            context: Context::new(assignment, running.token.clone(), running.children.clone()),
            declares_readiness,
            instance,
            reports: self.wiring.reporter.clone(),
            clock: self.clock,
        };
        let root = spawn(&runtime, (!built_in).then_some(slot), body);
        running.root = Some((root.abort_handle(), shard));
        self.reapers.push(reap_root(instance, root, running.children.clone()).boxed());
    }
}

/// The loop's randomness.
#[derive(Debug)]
struct Dice;

impl Chance for Dice {
    fn uuid(&mut self) -> Uuid {
        Uuid::new_v4()
    }

    fn unit(&mut self) -> f64 {
        let bits = Uuid::new_v4().as_u64_pair().1 as u32;
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}
