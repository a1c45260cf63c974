//! How monitors behave.

use std::sync::Arc;
use std::time::Duration;

use super::scripts::{Script, block, block_in_clean_up};
use super::shards::ShardId;
use super::{Happening, Input, Launch, RootEnd, World};
use crate::lifecycle::simulation::Rng;
use crate::model::*;

/// What it does.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Ready,
    CheckBegins,
    /// One that was asked for.
    CheckNow,
    CheckEnds,
    /// One poll lasts for that long.
    Blocks(Duration),
    Root(RootEnd),
    Child {
        aborted: bool,
    },
}

/// An instance as the world knows it.
#[derive(Clone, Debug)]
pub(in crate::lifecycle::simulation) struct Actor {
    script: Script,
    pub(super) spec: Arc<TaskSpec>,
    pub(in crate::lifecycle::simulation) shard: ShardId,
    pub(in crate::lifecycle::simulation) uid: Uid,
    pub(in crate::lifecycle::simulation) generation: Generation,
    pub(in crate::lifecycle::simulation) attempt: Attempt,
    /// The one it was given last.
    pub(in crate::lifecycle::simulation) regime: Regime,
    /// Under which its present check has begun, and when.
    check: Option<(Regime, Mono)>,
    /// Whether the next one is planned.
    check_due: bool,
    /// What its checks find, and how many more of them do.
    streak: (Verdict, u64),
    pub(in crate::lifecycle::simulation) root_alive: bool,
    pub(in crate::lifecycle::simulation) child_alive: bool,
    pub(in crate::lifecycle::simulation) signalled: Option<Mono>,
    pub(in crate::lifecycle::simulation) aborted: Option<Mono>,
}

impl Actor {
    fn new(script: Script, launch: &Launch, shard: ShardId) -> Self {
        Self {
            script,
            spec: Arc::clone(&launch.spec),
            shard,
            uid: launch.task.uid,
            generation: launch.generation,
            attempt: launch.attempt,
            regime: launch.regime,
            check: None,
            check_due: script == Script::Checking,
            streak: (Verdict::Pass, 0),
            root_alive: true,
            child_alive: script == Script::LeakingChild,
            signalled: None,
            aborted: None,
        }
    }

    pub(in crate::lifecycle::simulation) const fn alive(&self) -> bool {
        self.root_alive || self.child_alive
    }

    /// Whether it would end in time, were it not for others on its thread.
    pub(in crate::lifecycle::simulation) fn hears(&self) -> bool {
        !matches!(self.script, Script::Ignoring | Script::LeakingChild)
    }

    /// A few times the same, so that circuits open and close.
    fn verdict(&mut self, rng: &mut Rng) -> Verdict {
        if self.streak.1 == 0 {
            let verdict = match rng.below(7) {
                0..=2 => Verdict::Pass,
                3..=5 => Verdict::Fail,
                _ => Verdict::Neutral,
            };
            self.streak = (verdict, 1 + rng.below(8));
        }
        self.streak.1 -= 1;
        self.streak.0
    }
}

impl World {
    /// Lets an instance act, unless its thread is blocked: then later.
    pub(super) fn acts(&mut self, instance: InstanceId, act: Act, now: Mono, rng: &mut Rng) -> Option<Input> {
        let actor = self.actors.get_mut(&instance)?;
        if let Some(free) = self.shards.blocked_until(actor.shard) {
            self.plan(free, Happening::Of(instance, act));
            return None;
        }
        match act {
            Act::Ready if actor.root_alive => Some(Input::Ready(instance)),
            Act::CheckBegins | Act::CheckNow => {
                actor.check_due &= matches!(act, Act::CheckNow);
                if !actor.root_alive || actor.signalled.is_some() || actor.check.is_some() {
                    return None;
                }
                let took = if rng.one_in(20) { rng.millis(40_000) } else { rng.millis(300) };
                actor.check = Some((actor.regime, now));
                if rng.one_in(60) {
                    self.plan(now, Happening::Of(instance, Act::Blocks(block(rng))));
                }
                self.plan(now + took, Happening::Of(instance, Act::CheckEnds));
                Some(Input::CheckBegan(instance, now))
            }
            Act::CheckEnds if actor.root_alive => {
                let (regime, began) = actor.check.take()?;
                let verdict = actor.verdict(rng);
                let evidence = Evidence { regime, verdict, latency: now.since(began) };
                // Bursts, and long pauses: time passes in long steps, too.
                let pauses = verdict == Verdict::Pass && rng.one_in(8);
                let pause = if pauses { rng.millis(40_000_000) } else { rng.millis(400) };
                if actor.script == Script::Checking && !std::mem::replace(&mut actor.check_due, true) {
                    self.plan(now + pause, Happening::Of(instance, Act::CheckBegins));
                }
                Some(Input::CheckEnded(instance, now, evidence))
            }
            Act::Blocks(lasts) if actor.root_alive && actor.aborted.is_none() => {
                self.block(instance, lasts, now, rng);
                None
            }
            Act::Root(end) if actor.root_alive => {
                actor.root_alive = false;
                Some(Input::RootEnded { instance, end, children: actor.child_alive })
            }
            Act::Child { aborted } if actor.child_alive => {
                actor.child_alive = false;
                (!actor.root_alive).then_some(Input::ChildrenEnded { instance, aborted })
            }
            _ => None,
        }
    }

    /// Its poll has returned.
    pub(super) fn goes_on(&mut self, id: InstanceId, now: Mono, rng: &mut Rng) {
        let Some(actor) = self.actors.get(&id) else { return };
        if actor.script == Script::Blocking && actor.signalled.is_none() {
            self.plan(now + rng.millis(30_000), Happening::Of(id, Act::Blocks(block(rng))));
        }
    }

    pub(super) fn launch(&mut self, launch: &Launch, now: Mono, rng: &mut Rng) {
        let id = launch.instance;
        let script = Script::random(self.blocking, rng);
        let shard = self.shards.place(!launch.spec.monitor().is_built_in(), rng);
        self.actors.insert(id, Actor::new(script, launch, shard));
        let soon = now + rng.millis(2_000);
        // Some end before they are ready.
        let later = if rng.one_in(3) { now + rng.millis(2_000) } else { soon + rng.millis(30_000) };
        let mut plan = |due, act| self.plan(due, Happening::Of(id, act));
        if script == Script::SpinningAtStart {
            plan(now, Act::Blocks(block(rng)));
        }
        if script != Script::NeverReady {
            plan(soon, Act::Ready);
        }
        match script {
            // The first check may begin before it is ready, and end after that.
            Script::Checking => plan(now + rng.millis(2_000), Act::CheckBegins),
            Script::Blocking => plan(now + rng.millis(20_000), Act::Blocks(block(rng))),
            Script::Failing => plan(later, Act::Root(RootEnd::Failed("failed".to_owned()))),
            Script::Panicking => plan(later, Act::Root(RootEnd::Panicked("panicked".to_owned()))),
            Script::EndingEarly => plan(later, Act::Root(RootEnd::Returned)),
            Script::LeakingChild => {
                plan(now + rng.millis(3_600_000), Act::Child { aborted: false });
                if rng.one_in(3) {
                    plan(later, Act::Root(RootEnd::Returned));
                }
            }
            _ => {}
        }
    }

    pub(super) fn signal(&mut self, id: InstanceId, now: Mono, rng: &mut Rng) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.signalled = Some(now);
        let script = actor.script;
        let soon = now + rng.millis(200);
        let end = match script {
            Script::Ignoring => return,
            Script::Failing => (soon, RootEnd::Failed("clean-up".to_owned())),
            Script::PanickingInCleanUp => (soon, RootEnd::Panicked("clean-up".to_owned())),
            // Some take their time, so that they end in phase 2 by themselves, or race with the abort.
            _ if rng.one_in(4) => (now + rng.millis(9_000), RootEnd::Returned),
            _ => (soon, RootEnd::Returned),
        };
        if script == Script::BlockingInCleanUp {
            self.plan(soon, Happening::Of(id, Act::Blocks(block_in_clean_up(rng))));
        }
        self.plan(end.0, Happening::Of(id, Act::Root(end.1)));
    }

    pub(super) fn abort(&mut self, id: InstanceId, now: Mono, rng: &mut Rng) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.aborted = Some(now);
        let child = actor.child_alive;
        let soon = now + rng.millis(100);
        self.plan(soon, Happening::Of(id, Act::Root(RootEnd::Cancelled)));
        if child {
            self.plan(soon, Happening::Of(id, Act::Child { aborted: true }));
        }
    }

    /// Nothing of it happens any more; but something may be under way, and once its thread is free, its root is found dropped.
    pub(super) fn displace(&mut self, id: InstanceId, now: Mono, rng: &mut Rng) {
        let Some(actor) = self.actors.remove(&id) else { return };
        let freed = self.shards.blocked_until(actor.shard).unwrap_or(now);
        let evidence = Evidence { regime: actor.regime, verdict: Verdict::Fail, latency: Duration::ZERO };
        let late = match rng.below(6) {
            0 => Some(Input::Ready(id)),
            1 => Some(Input::CheckBegan(id, now)),
            2 => Some(Input::CheckEnded(id, now, evidence)),
            3 => Some(Input::PollBlocked(id, now)),
            4 => Some(Input::PollReturned(id)),
            _ => None,
        };
        if let Some(late) = late {
            self.plan(now + rng.millis(20), Happening::Told(late));
        }
        let end = Input::RootEnded { instance: id, end: RootEnd::Cancelled, children: false };
        self.plan(freed + rng.millis(20), Happening::Told(end));
        self.shards.sweep(&self.actors);
    }
}
