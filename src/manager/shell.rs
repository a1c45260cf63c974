//! The loop: one turn takes what has happened, has the machine decide, appends the events, and acts.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Counts;
use super::handle::{Lives, Request};
use super::observe::observe;
use super::reaper::{Body, Reaped, reap_children, reap_root, spawn};
use super::shards::{ShardId, Shards};
use super::vetting::Vetting;
use crate::journal::{Journal, Release};
use crate::lifecycle::{CallId, Chance, Command, Effect, Input, Lifecycle, Reply, RootEnd};
use crate::model::{Attempt, Event, InstanceId, Refusal, Task};
use crate::monitor::{Assignment, Children, Clock, Context, Fact, Monitor, Report};
use crate::telemetry::Metrics;

/// Reports that wait for the loop. A monitor whose report finds no place waits, so a slow loop slows checks and loses nothing.
const REPORTS: usize = 4096;
/// What one turn takes from each source, so that none starves the others or the timers.
const TURN: usize = 256;

/// The loop's state.
pub(super) struct Shell {
    lifecycle: Lifecycle<Dice>,
    clock: Clock,
    requests: mpsc::Receiver<Request>,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
    reapers: FuturesUnordered<BoxFuture<'static, Reaped>>,
    builds: FuturesUnordered<BoxFuture<'static, Built>>,
    running: HashMap<InstanceId, Running>,
    drained: Vec<oneshot::Sender<usize>>,
    open: bool,
    shards: Shards,
    vetting: Vetting,
    lives: Arc<Lives>,
    counts: Arc<Counts>,
    journal: Journal,
    metrics: Metrics,
}

/// A live instance, as far as it can be reached.
struct Running {
    token: CancellationToken,
    children: Children,
    /// Where it runs; `None` while its monitor is being built.
    root: Option<(AbortHandle, ShardId)>,
}

/// A monitor that was built for an instance; `None` where it was asked to stop before that.
struct Built {
    instance: InstanceId,
    task: Arc<Task>,
    monitor: Option<Result<Box<dyn Monitor>, String>>,
}

/// What one turn has gathered: events and answers for the journal first, everything else after that.
#[derive(Default)]
struct Turn {
    events: Vec<Event>,
    releases: Vec<Release>,
    actions: Vec<(Effect, Option<Box<dyn Monitor>>)>,
    unused: Vec<Box<dyn Monitor>>,
}

impl Shell {
    #[expect(clippy::too_many_arguments, reason = "called once, by the composition in Manager::start")]
    pub(super) fn new(
        requests: mpsc::Receiver<Request>,
        shards: Shards,
        vetting: Vetting,
        lives: Arc<Lives>,
        counts: Arc<Counts>,
        journal: Journal,
        metrics: Metrics,
        clock: Clock,
        max_tasks: usize,
    ) -> Self {
        let (reporter, reports) = mpsc::channel(REPORTS);
        Self {
            lifecycle: Lifecycle::new(journal.view().head(), max_tasks, Dice),
            clock,
            requests,
            reports,
            reporter,
            reapers: FuturesUnordered::new(),
            builds: FuturesUnordered::new(),
            running: HashMap::new(),
            drained: Vec::new(),
            open: true,
            shards,
            vetting,
            lives,
            counts,
            journal,
            metrics,
        }
    }

    pub(super) async fn run(mut self) {
        while self.open {
            let mut turn = Turn::default();
            self.wait(&mut turn).await;
            let timer = self.metrics.manager.step.start_timer();
            self.take_what_is_ready(&mut turn);
            let now = self.clock.now();
            if self.lifecycle.next_due().is_some_and(|due| due <= now.mono) {
                self.step(Input::Tick, &mut turn);
            }
            self.finish(turn);
            timer.observe_duration();
        }
    }

    /// Waits until anything has happened, and takes the first of it. Exits come before deadlines.
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
            Some(reaped) = self.reapers.next() => self.on_reaped(reaped, turn),
            Some(built) = self.builds.next() => self.on_built(built, turn),
            Some(report) = self.reports.recv() => self.on_report(&report, turn),
            request = self.requests.recv() => self.on_request(request, turn),
            () = timer => {}
        }
    }

    fn take_what_is_ready(&mut self, turn: &mut Turn) {
        for _ in 0..TURN {
            let Some(Some(reaped)) = self.reapers.next().now_or_never() else { break };
            self.on_reaped(reaped, turn);
        }
        for _ in 0..TURN {
            let Ok(report) = self.reports.try_recv() else { break };
            self.on_report(&report, turn);
        }
        for _ in 0..TURN {
            let Ok(request) = self.requests.try_recv() else { break };
            self.on_request(Some(request), turn);
        }
    }

    fn on_request(&mut self, request: Option<Request>, turn: &mut Turn) {
        match request {
            Some(Request::Command { command, monitor, answer }) => self.on_command(command, monitor, answer, turn),
            Some(Request::Drain { bound, done }) => {
                self.drained.push(done);
                let bound = self.clock.now().mono + bound;
                self.step(Input::Drain { bound }, turn);
            }
            Some(Request::Close) | None => self.open = false,
        }
    }

    fn on_command(
        &mut self,
        command: Command,
        monitor: Option<Box<dyn Monitor>>,
        answer: oneshot::Sender<Result<Reply, Refusal>>,
        turn: &mut Turn,
    ) {
        let mut monitor = monitor;
        let mut answer = Some(answer);
        // A command is answered in its own step, so its name never has to tell two apart.
        let input = Input::Command { call: CallId(0), command };
        for effect in self.lifecycle.step(input, self.clock.now()) {
            match effect {
                Effect::Answer { call: _, after, reply } => {
                    let Some(answer) = answer.take() else { continue };
                    // The caller may have stopped waiting.
                    let run = Box::new(move || drop(answer.send(reply)));
                    turn.releases.push(Release { after, run });
                }
                Effect::Launch { .. } => turn.actions.push((effect, monitor.take())),
                effect => self.gather(effect, turn),
            }
        }
        turn.unused.extend(monitor);
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

    fn on_built(&mut self, built: Built, turn: &mut Turn) {
        let Built { instance, task, monitor } = built;
        let end = match monitor {
            Some(Ok(monitor)) => return self.place(instance, &task, monitor),
            Some(Err(problem)) => RootEnd::Failed(problem),
            None => RootEnd::Returned,
        };
        self.leave(instance);
        self.step(Input::RootEnded { instance, end, children: false }, turn);
    }

    fn leave(&mut self, instance: InstanceId) {
        if let Some(Running { root: Some((_, shard)), .. }) = self.running.remove(&instance) {
            self.shards.leave(shard);
        }
    }

    fn step(&mut self, input: Input, turn: &mut Turn) {
        for effect in self.lifecycle.step(input, self.clock.now()) {
            self.gather(effect, turn);
        }
    }

    fn gather(&mut self, effect: Effect, turn: &mut Turn) {
        match effect {
            Effect::Append(event) => {
                observe(&event, &self.metrics.instances);
                turn.events.push(event);
            }
            effect => turn.actions.push((effect, None)),
        }
    }

    /// Appends, then acts: nothing is done that the log does not know.
    fn finish(&mut self, turn: Turn) {
        let Turn { events, releases, actions, unused } = turn;
        if !events.is_empty() || !releases.is_empty() {
            self.journal.append(events, releases);
        }
        for (effect, monitor) in actions {
            self.act(effect, monitor);
        }
        if !unused.is_empty() {
            // A monitor's `drop` is code that we did not write.
            tokio::task::spawn_blocking(move || drop(unused));
        }
        self.counts.set(self.lifecycle.live(), self.lifecycle.stuck());
        if self.lifecycle.is_drained() {
            for done in self.drained.drain(..) {
                // Whoever asked may have stopped waiting.
                let _ = done.send(self.lifecycle.stuck());
            }
        }
    }

    fn act(&mut self, effect: Effect, monitor: Option<Box<dyn Monitor>>) {
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
            Effect::Forget(uid) => self.lives.forget(uid),
            Effect::Append(_) | Effect::Answer { .. } => {}
        }
    }

    fn launch(&mut self, instance: InstanceId, task: Arc<Task>, monitor: Option<Box<dyn Monitor>>) {
        let token = CancellationToken::new();
        let running = Running { token: token.clone(), children: Children::default(), root: None };
        self.running.insert(instance, running);
        match monitor.or_else(|| self.vetting.build_built_in(&task.spec)) {
            Some(monitor) => self.place(instance, &task, monitor),
            None => {
                let vetting = self.vetting.clone();
                let build = async move {
                    let monitor = tokio::select! {
                        monitor = vetting.build_for(&task.spec) => Some(monitor),
                        () = token.cancelled() => None,
                    };
                    Built { instance, task, monitor }
                };
                self.builds.push(build.boxed());
            }
        }
    }

    fn place(&mut self, instance: InstanceId, task: &Arc<Task>, monitor: Box<dyn Monitor>) {
        let Some(running) = self.running.get_mut(&instance) else { return };
        let built_in = task.spec.monitor().is_built_in();
        let (shard, runtime, slot) = self.shards.enter(built_in);
        let assignment = Assignment {
            instance,
            name: task.name.clone(),
            uid: task.uid,
            generation: task.generation,
            attempt: task.instance.as_ref().map_or(Attempt::default(), |instance| instance.attempt),
            kind: task.spec.monitor().kind().into(),
            schedule: *task.spec.schedule(),
            clock: self.clock,
            reports: self.reporter.clone(),
            live: self.lives.renew(task.uid),
            checks: self.metrics.checks.clone(),
        };
        let body = Body {
            monitor,
            context: Context::new(assignment, running.token.clone(), running.children.clone()),
            declares_readiness: self.vetting.declares_readiness(task.spec.monitor()),
            instance,
            reports: self.reporter.clone(),
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
