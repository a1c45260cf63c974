//! Whether blocked polls cost only those who block, and relief only what lifecycle.md §3 allows.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::{Effect, Input, Launch, Lifecycle};
use super::super::Rng;
use super::super::world::{HELD_UP, STALL_AFTER, World};
use super::recovery::Recovery;
use super::roles::{Key, Role, Roles, blocks_since};
use super::{Checked, View, check, displaced};
use crate::model::*;

#[derive(Debug)]
pub(super) struct Relief {
    max_stuck: usize,
    /// Since when polls block, as far as that was told.
    blocked: BTreeMap<InstanceId, Timestamp>,
    /// Who has a thread for itself by blocking it.
    lost: BTreeSet<InstanceId>,
    /// All of these, as clients know them.
    blocking: BTreeSet<Key>,
    /// Who has begun a check, or takes the place of one that had.
    marks: BTreeSet<InstanceId>,
    /// What the present step is fed with, where that is news of the watchdog's.
    news: Option<News>,
}

/// What a step of relief, or of an alert, may do.
#[derive(Debug, Default)]
struct News {
    /// The tasks that it is about.
    concerned: BTreeSet<Uid>,
    displaced: BTreeMap<Key, Displaced>,
    starts: BTreeMap<Uid, usize>,
}

#[derive(Debug)]
struct Displaced {
    instance: InstanceId,
    /// Whether another must take its place at once; `None` where that depends on more.
    again: Option<bool>,
    /// It runs as before, elsewhere: not a start that others have asked for.
    rehomed: bool,
    marked: bool,
    told: bool,
    ended: bool,
}

impl Relief {
    pub(super) fn new(max_stuck: usize) -> Self {
        let (blocked, lost, marks) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { max_stuck, blocked, lost, blocking: BTreeSet::new(), marks, news: None }
    }

    pub(super) fn before(
        &mut self,
        input: &Input,
        view: &View,
        roles: &Roles,
        world: &World,
        (draining, now): (bool, Now),
    ) -> Checked {
        let of = |id: &InstanceId| world.key(*id);
        self.news = match input {
            Input::CheckBegan(id, _) if of(id).is_some() => {
                self.marks.insert(*id);
                None
            }
            Input::PollBlocked(id, since) => {
                if of(id).and_then(|key| roles.get(&key)).is_some() {
                    self.blocked.insert(*id, blocks_since(*since, now));
                }
                Some(News { concerned: of(id).map(|key| key.0).into_iter().collect(), ..News::default() })
            }
            Input::PollReturned(id) => {
                self.blocked.remove(id);
                self.lost.remove(id);
                Some(News { concerned: of(id).map(|key| key.0).into_iter().collect(), ..News::default() })
            }
            Input::Stalled { .. } | Input::HeldUp(_) => {
                match input {
                    Input::Stalled { culprit, displaced } => {
                        let custom = world.actors.get(culprit).is_some_and(|actor| world.shards.is_custom(actor.shard));
                        // Of each sort as many, and one that is about to be given back.
                        let full = self.is_full(roles, world) || world.shards.relieved() > 2 * self.max_stuck + 1;
                        check(displaced.is_empty() || !custom || !full, || {
                            format!("{culprit}'s thread is given up, and too many are lost")
                        })?;
                        self.lost.extend(of(culprit).map(|_| *culprit));
                    }
                    Input::HeldUp(id) => check(world.is_held_up(*id, now.mono), || format!("{id} is not held up"))?,
                    _ => {}
                }
                let mut news = News::default();
                for id in displaced(input) {
                    let Some(key) = of(id) else { continue };
                    let Some(task) = view.values().find(|task| task.uid == key.0) else { continue };
                    let mut displaced = Displaced::new(*id, key, task, roles, draining);
                    displaced.marked = self.marks.contains(id);
                    news.concerned.insert(key.0);
                    news.displaced.insert(key, displaced);
                }
                Some(news)
            }
            _ => None,
        };
        self.blocking = self.blocked.keys().chain(&self.lost).filter_map(of).collect();
        Ok(())
    }

    pub(super) fn crashed(&mut self) {
        *self = Self::new(self.max_stuck);
    }

    /// Nobody else's task moves; of the displaced nothing is told but that they end, and that others start.
    pub(super) fn event(&mut self, event: &Event, task: &Task, before: Option<&Task>) -> Checked {
        let Some(news) = &mut self.news else { return Ok(()) };
        let wrong = |what: &str| format!("{:?} of {}: {what}", event.kind, task.name);
        check(news.concerned.contains(&task.uid), || wrong("it shares no thread with what blocks"))?;
        if news.displaced.is_empty() {
            let alerts = matches!(event.kind, EventType::AlertRaised | EventType::AlertResolved);
            return check(alerts, || wrong("because a poll blocks"));
        }
        check(event.kind != EventType::AlertRaised, || wrong("an alert about what is displaced"))?;
        match event.kind {
            EventType::InstanceEnded => {
                let key = (task.uid, event.generation, event.attempt);
                let displaced = news.displaced.get_mut(&key).ok_or_else(|| wrong("it was not displaced"))?;
                let twice = std::mem::replace(&mut displaced.ended, true);
                check(displaced.told && !twice, || wrong("not told to be displaced, or ended twice"))?;
            }
            EventType::InstanceStarting => *news.starts.entry(task.uid).or_default() += 1,
            _ => {}
        }
        let same = before.is_some_and(|before| before.restart == task.restart);
        check(same || !news.all_rehomed(task.uid), || wrong("that it was displaced counts as a restart"))
    }

    pub(super) fn effect(&mut self, effect: &Effect, recovery: &Recovery) -> Checked {
        match (effect, &mut self.news) {
            (Effect::Displace(id), Some(news)) => {
                let found = news.displaced.values_mut().find(|displaced| displaced.instance == *id);
                let displaced = found.ok_or_else(|| format!("{id} is displaced, and was not in the way"))?;
                check(!std::mem::replace(&mut displaced.told, true), || format!("{id} is displaced twice"))
            }
            (Effect::Displace(id), None) => Err(format!("{id} is displaced for nothing")),
            (Effect::Launch(launch), _) => {
                let uid = launch.task.uid;
                self.launched(launch, recovery.is_at_hand(uid) || recovery.is_overslept(uid))
            }
            _ => Ok(()),
        }
    }

    /// What starts in the place of a displaced instance has its first check spread, and is known to mark its checks where that was.
    fn launched(&mut self, launch: &Launch, recovered: bool) -> Checked {
        let uid = launch.task.uid;
        let is_active = launch.generation == launch.task.generation;
        let displaced = self.news.iter().flat_map(|news| &news.displaced);
        let mut rehomed = displaced.filter(|(key, it)| key.0 == uid && it.rehomed && key.1 == launch.generation);
        let place = rehomed.next().filter(|_| is_active);
        let spread = !launch.spread.is_zero();
        check(recovered || spread == place.is_some(), || format!("{} is spread: {spread}", launch.instance))?;
        if place.is_some_and(|(_, displaced)| displaced.marked) {
            self.marks.insert(launch.instance);
        }
        Ok(())
    }

    pub(super) fn raised(&self, alert: &Alert, uid: Uid, world: &World) -> Checked {
        let mut told = self.blocked.keys().filter_map(|id| world.key(*id));
        check(told.any(|key| key == (uid, alert.generation, alert.attempt)), || format!("{alert:?} without a reason"))
    }

    /// Whether the instance is known to block its thread, or to have one to itself because it does.
    pub(super) fn blocks(&self, key: Key) -> bool {
        self.blocking.contains(&key)
    }

    /// Whether the active instance of a task is known to mark its checks.
    pub(super) fn marks(&self, task: &Task, world: &World) -> bool {
        let is_active = |key: Key| {
            task.instance.as_ref().is_some_and(|active| key == (task.uid, active.generation, active.attempt))
        };
        task.spec.monitor().is_built_in() || self.marks.iter().any(|id| world.key(*id).is_some_and(is_active))
    }

    /// Why nothing of this kind may be started.
    pub(super) fn refuses(&self, spec: &TaskSpec, roles: &Roles, world: &World) -> Option<Refusal> {
        let refused = self.is_full(roles, world) && !spec.monitor().is_built_in();
        refused.then_some(Refusal::StuckLimit(self.max_stuck))
    }

    fn is_full(&self, roles: &Roles, world: &World) -> bool {
        let stuck = roles.live.iter().filter(|(_, live)| live.instance.state == InstanceState::Stuck);
        let lost = self.lost.iter().filter_map(|id| world.key(*id));
        stuck.map(|(key, _)| *key).chain(lost).collect::<BTreeSet<_>>().len() >= self.max_stuck
    }

    /// What must hold after every step.
    pub(super) fn after(
        &mut self,
        machine: &Lifecycle<Rng>,
        view: &View,
        roles: &Roles,
        world: &World,
        admits: bool,
    ) -> Checked {
        let lives = |id: &InstanceId| world.actors.get(id).is_some_and(super::super::world::Actor::alive);
        self.blocked.retain(|id, _| lives(id));
        self.lost.retain(lives);
        self.marks.retain(lives);
        self.news.take().map_or(Ok(()), |news| news.is_done())?;
        let full = self.is_full(roles, world);
        check(machine.is_at_stuck_limit() == full, || format!("{} of {:?} lost", machine.lost, self.lost))?;
        for (id, actor) in world.actors.iter().filter(|(id, _)| lives(id)) {
            let key = (actor.uid, actor.generation, actor.attempt);
            let since = self.blocked.get(id).copied();
            let shown = roles.get(&key).and_then(|live| live.instance.blocked_since);
            let task = view.values().find(|task| task.uid == actor.uid).ok_or("an instance without a task")?;
            let about = |alert: &Alert| (task.uid, alert.generation, alert.attempt) == key;
            let mut open = task.alerts.iter().filter(|alert| alert.kind == AlertKind::PollBlocked);
            let (blocks, alerted) = (since.is_some(), open.any(about));
            // One that is over stays open until the journal is.
            let right = (blocks == alerted || alerted && !admits) && since == shown;
            check(right, || format!("instance {id} of {} blocks since {since:?}", task.name))?;
        }
        Ok(())
    }

    /// Who hears what it is told can be stuck only by its own poll.
    pub(super) fn stuck(&self, key: Key, world: &World, now: Now) -> Checked {
        let mut all = world.actors.iter();
        let Some((id, actor)) = all.find(|(id, _)| world.key(**id) == Some(key)) else { return Ok(()) };
        let excused = match world.shards.blocked(actor.shard) {
            Some(block) if block.culprit() == *id => true,
            Some(block) => {
                // The watchdog's clock needs that long to tell a blocked thread from a busy one.
                now.mono.since(block.since) < HELD_UP
            }
            // A drain may leave it less time than it takes to be dropped.
            None => actor.aborted.is_none_or(|aborted| now.mono.since(aborted) < STALL_AFTER / 10),
        };
        check(excused || !actor.hears(), || {
            let block = world.shards.blocked(actor.shard);
            format!("instance {id} is stuck, and it is not its doing: {block:?}")
        })
    }
}

impl Displaced {
    fn new(instance: InstanceId, key: Key, task: &Task, roles: &Roles, draining: bool) -> Self {
        let live = roles.get(&key);
        let stops = live.is_some_and(|live| live.instance.state >= InstanceState::Stopping);
        let runs = task.intent == Intent::Run && !draining;
        let root = roles.has_root(instance);
        let late = live.is_some_and(|live| live.asked == Asked::StartTimeout && !live.resumed);
        let (again, rehomed) = match live.map(|live| live.role) {
            _ if root => (None, false),
            Some(Role::Active) if runs && (!stops || late) => (Some(true), true),
            Some(Role::Candidate) if runs && !stops => (Some(true), false),
            // What waited for it to end may start then.
            _ if runs => (None, false),
            _ => (Some(false), false),
        };
        Self { instance, again, rehomed, marked: false, told: false, ended: false }
    }
}

impl News {
    fn of(&self, uid: Uid) -> impl Iterator<Item = &Displaced> {
        self.displaced.iter().filter(move |(key, _)| key.0 == uid).map(|(_, displaced)| displaced)
    }

    fn all_rehomed(&self, uid: Uid) -> bool {
        self.of(uid).all(|displaced| displaced.again.is_some())
    }

    /// Each of them has ended, and has been started again, once, where its task is to run.
    fn is_done(&self) -> Checked {
        for displaced in self.displaced.values() {
            check(displaced.told && displaced.ended, || format!("{} is in the way", displaced.instance))?;
        }
        for uid in &self.concerned {
            let due = self.of(*uid).filter(|displaced| displaced.again == Some(true)).count();
            let made = self.starts.get(uid).copied().unwrap_or(0);
            let right = if self.all_rehomed(*uid) { made == due } else { made >= due };
            check(right, || format!("{uid}: {made} starts for {due} that were displaced"))?;
        }
        Ok(())
    }
}
