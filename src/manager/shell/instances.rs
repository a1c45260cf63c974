//! Instances: from the launch until nothing of them is left.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::sources::{Build, Source};
use super::{Shell, Turn};
use crate::lifecycle::{Input, Launch, RootEnd};
use crate::manager::reaper::{Body, Reaped, reap_children, reap_root, spawn};
use crate::manager::shards::{ShardId, Tenant};
use crate::manager::vetting::Built;
use crate::model::{InstanceId, TaskSpec};
use crate::monitor::{Assignment, Children, Context, LiveCell, Occupant, Orders};

/// A live instance, as far as it can be reached.
pub(super) struct Running {
    token: CancellationToken,
    children: Children,
    pub(super) live: Arc<LiveCell>,
    pub(super) orders: Arc<Orders>,
    /// `None` while its monitor is being built.
    root: Option<(AbortHandle, ShardId)>,
}

impl Running {
    /// Where it runs, once its monitor is built.
    pub(super) fn shard(&self) -> Option<ShardId> {
        self.root.as_ref().map(|(_, shard)| *shard)
    }

    pub(super) fn signal(&self) {
        self.token.cancel();
    }

    pub(super) fn abort(&self) {
        self.abort_root();
        self.children.abort_all();
    }

    fn abort_root(&self) {
        if let Some((root, _)) = &self.root {
            root.abort();
        }
    }
}

impl Shell {
    /// Builds a swap's candidate, which is launched or discarded later.
    pub(super) fn build(&mut self, instance: InstanceId, spec: Arc<TaskSpec>) {
        let vetting = self.wiring.vetting.clone();
        self.wiring.sources.build(async move { Build::Candidate(instance, vetting.build_for(&spec).await) });
    }

    pub(super) fn launch(&mut self, launch: Launch, monitor: Option<Built>) {
        let token = CancellationToken::new();
        let orders = Arc::new(Orders::new(launch.regime));
        let live = Arc::new(LiveCell::new());
        if launch.regime.counted {
            self.wiring.lives.show(launch.task.uid, Arc::clone(&live));
        }
        let running = Running { token: token.clone(), children: Children::default(), live, orders, root: None };
        self.running.insert(launch.instance, running);
        let built = monitor.or_else(|| self.candidates.remove(&launch.instance));
        match built.or_else(|| self.wiring.vetting.build_built_in(&launch.spec)) {
            Some(built) => self.place(&launch, built),
            None => {
                let vetting = self.wiring.vetting.clone();
                let build = async move {
                    let built = tokio::select! {
                        // First: an abort would not reach what is placed after its signal.
                        biased;
                        () = token.cancelled() => None,
                        built = vetting.build_for(&launch.spec) => Some(built),
                    };
                    Build::Instance(launch, built)
                };
                self.wiring.sources.build(build);
            }
        }
    }

    pub(super) fn on_built(&mut self, build: Build, turn: &mut Turn) {
        let (instance, end) = match build {
            Build::Candidate(instance, Ok(built)) => {
                self.candidates.insert(instance, built);
                return self.step(Input::Built(instance, Ok(())), turn);
            }
            Build::Candidate(instance, Err(problem)) => return self.step(Input::Built(instance, Err(problem)), turn),
            Build::Instance(launch, Some(Ok(built))) => return self.place(&launch, built),
            Build::Instance(launch, Some(Err(problem))) => (launch.instance, RootEnd::Failed(problem)),
            Build::Instance(launch, None) => (launch.instance, RootEnd::Returned),
        };
        self.leave(instance);
        self.step(Input::RootEnded { instance, end, children: false }, turn);
    }

    fn place(&mut self, launch: &Launch, built: Built) {
        let Launch { instance, ref task, ref spec, generation, attempt, regime: _, spread } = *launch;
        let Some(running) = self.running.get_mut(&instance) else { return };
        let (shard, runtime) = match self.wiring.shards.enter(Tenant::of(spec)) {
            Ok(place) => place,
            Err(error) => {
                // The loop hears of it as of any other end: what acts does not decide. The monitor is dropped on the blocking pool.
                let failed = Build::Instance(launch.clone(), Some(Err(format!("no thread to run on: {error}"))));
                return self.wiring.sources.build(async move { failed });
            }
        };
        let declares_readiness = built.declares_readiness;
        let Some(monitor) = built.take() else { return };
        let assignment = Assignment {
            instance,
            name: task.name.clone(),
            uid: task.uid,
            generation,
            attempt,
            kind: spec.monitor().kind().into(),
            schedule: *spec.schedule(),
            clock: self.clock,
            reports: self.wiring.reporter.clone(),
            live: Arc::clone(&running.live),
            orders: Arc::clone(&running.orders),
            spread_millis: spread_millis(spread, spec),
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
        let occupant = Occupant::new(instance, spec.watchdog().blocked_poll_after());
        let root = spawn(&runtime, occupant, body);
        running.root = Some((root.abort_handle(), shard));
        self.wiring.sources.reap(reap_root(instance, root, running.children.clone()));
    }

    pub(super) fn on_reaped(&mut self, reaped: Reaped, turn: &mut Turn) {
        // What an instance has said it said before it ended: that it was ready, and what its last check has found.
        self.take(Source::Reports, self.wiring.sources.reports(), turn);
        match reaped {
            Reaped::Root { instance, end, children } => {
                let live = !children.is_empty();
                if live {
                    self.wiring.sources.reap(reap_children(instance, children));
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

    /// Gives up an instance that another one keeps from being polled.
    pub(super) fn displace(&mut self, instance: InstanceId) {
        // An aborted root that is not being polled is dropped instead of polled again; and who is polled there is another.
        if let Some(running) = self.running.get(&instance) {
            running.abort_root();
        }
        self.leave(instance);
    }

    fn leave(&mut self, instance: InstanceId) {
        let Some(running) = self.running.remove(&instance) else { return };
        if let Some(shard) = running.shard() {
            self.wiring.shards.leave(shard);
        }
        // Code that the monitor has left behind untracked may still spawn children: they would live beside the next instance.
        running.children.abort_all();
    }
}

/// One that has little time to become ready is not to lose it by waiting.
fn spread_millis(spread: Duration, spec: &TaskSpec) -> u16 {
    let spread = spread.min(spec.start_timeout() / 4);
    u16::try_from(spread.as_millis()).unwrap_or(u16::MAX)
}
