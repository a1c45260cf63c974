//! Doing what the machine has decided, once the log knows it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::sources::Build;
use super::{Running, Shell, With};
use crate::lifecycle::{Effect, Launch};
use crate::manager::reaper::{Body, reap_root, spawn};
use crate::manager::shards::Tenant;
use crate::manager::vetting::Built;
use crate::model::{InstanceId, TaskSpec};
use crate::monitor::{Assignment, Children, Context, LiveCell, Occupant, Orders};

impl Shell {
    pub(super) fn act(&mut self, effect: Effect, with: With) {
        match effect {
            Effect::Launch(launch) => self.launch(launch, with.monitor),
            Effect::Build { instance, spec } => self.build(instance, spec),
            // Dropped on the blocking pool.
            Effect::Discard(instance) => drop(self.candidates.remove(&instance)),
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
            Effect::Displace(instance) => {
                // An aborted root that is not being polled is dropped instead of polled again; and who is polled there is another.
                if let Some((root, _)) = self.running.get(&instance).and_then(|running| running.root.as_ref()) {
                    root.abort();
                }
                self.leave(instance);
            }
            Effect::CheckNow(instance) => {
                if let (Some(running), Some(wanted)) = (self.running.get(&instance), with.wanted) {
                    running.orders.want(wanted);
                }
            }
            Effect::Regime(instance, regime) => {
                if let Some(running) = self.running.get(&instance) {
                    running.orders.set_regime(regime);
                }
            }
            Effect::Promote { instance, uid, regime } => {
                if let Some(running) = self.running.get(&instance) {
                    self.wiring.lives.show(uid, Arc::clone(&running.live));
                    running.orders.set_regime(regime);
                }
            }
            Effect::Counted(uid, counts) => self.wiring.lives.count(uid, counts),
            Effect::Forget(uid) => self.wiring.lives.forget(uid),
            Effect::Append(_) | Effect::Remember(_) | Effect::Answer { .. } | Effect::AwaitCommit { .. } => {}
        }
    }

    /// Builds a swap's candidate, which is launched or discarded later.
    fn build(&mut self, instance: InstanceId, spec: Arc<TaskSpec>) {
        let vetting = self.wiring.vetting.clone();
        self.wiring.sources.build(async move { Build::Candidate(instance, vetting.build_for(&spec).await) });
    }

    fn launch(&mut self, launch: Launch, monitor: Option<Built>) {
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

    pub(super) fn place(&mut self, launch: &Launch, built: Built) {
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
}

/// One that has little time to become ready is not to lose it by waiting.
fn spread_millis(spread: Duration, spec: &TaskSpec) -> u16 {
    let spread = spread.min(spec.start_timeout() / 4);
    u16::try_from(spread.as_millis()).unwrap_or(u16::MAX)
}
