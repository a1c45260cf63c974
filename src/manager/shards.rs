//! Shards: current-thread runtimes, each on a thread of its own, that monitors run on. One blocked monitor stops its shard's timers
//! (tokio #4730), so no deadline lives here, and built-in kinds share no shard with custom ones.
//!
//! A shard that is blocked for too long is *relieved*: it is left to the instance that blocks it, and another one takes its place. A
//! custom kind that has done so is quarantined: from then on its instances share shards with each other alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::watchdog::Watch;
use crate::model::{InstanceId, Isolation, TaskSpec};
use crate::monitor::{SLOW, Slot};
use crate::telemetry::{Polls, Threads};

/// Instances with a thread to themselves at the most, as their specs ask for: threads are a thing that a machine runs out of.
const MOST_ISOLATED: usize = 512;

/// Names a shard; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ShardId(u64);

#[cfg(test)]
impl ShardId {
    pub(super) const fn test(id: u64) -> Self {
        Self(id)
    }
}

/// Every shard; dropping it ends them, but for those that are blocked.
#[derive(Debug)]
pub(super) struct Shards {
    shards: BTreeMap<ShardId, Shard>,
    last: ShardId,
    quarantined: BTreeSet<String>,
    /// Shards of one quarantined kind, and those given up of one sort, at the most.
    most: Most,
    watch: Watch,
    polls: Polls,
    stop: CancellationToken,
}

/// What there may be of some shards at the most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    /// Of one quarantined kind: as many as custom kinds have together, so that one that blocks does not hold up the rest.
    pub(super) of_a_kind: usize,
    /// That are left to instances which blocked them; built-in kinds and custom ones apart.
    pub(super) relieved: usize,
}

#[derive(Debug)]
struct Shard {
    tenants: Tenants,
    runtime: Handle,
    slot: Arc<Slot>,
    instances: usize,
    stop: CancellationToken,
}

/// Whom a shard is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tenants {
    BuiltIn,
    Custom,
    /// Those of one custom kind, which is quarantined.
    Kind(String),
    /// One instance, as its spec wants it.
    Isolated,
    /// The instance that has blocked it, and nobody else.
    Relieved {
        built_in: bool,
    },
}

/// What became of a shard that was found blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relief {
    /// That poll has returned meanwhile, or no thread may be given up for it.
    None,
    /// The instance that blocks it has it to itself already: nobody is in its way.
    Alone,
    /// It is left to the instance that blocks it. Whoever else is there is to be moved.
    Given {
        /// The shard of one that has blocked it before and does so no longer: it is to be moved, too, for its thread.
        back: Option<ShardId>,
        /// Whether the culprit's kind is in quarantine only now: then its instances are to leave the shards of all kinds.
        quarantined: bool,
    },
}

/// What an instance is, as far as its place depends on that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tenant<'a> {
    pub(super) kind: &'a str,
    pub(super) built_in: bool,
    pub(super) isolation: Isolation,
}

impl<'a> Tenant<'a> {
    /// What an instance of that spec is.
    pub(super) fn of(spec: &'a TaskSpec) -> Self {
        let monitor = spec.monitor();
        Self { kind: monitor.kind(), built_in: monitor.is_built_in(), isolation: spec.isolation() }
    }
}

impl Shards {
    /// At least one of each sort.
    pub(super) fn start(
        built_in: usize,
        custom: usize,
        most_relieved: usize,
        watch: Watch,
        polls: Polls,
    ) -> io::Result<Self> {
        // Dropped with an error, it ends the shards that have started.
        let mut shards = Self {
            shards: BTreeMap::new(),
            last: ShardId(0),
            quarantined: BTreeSet::new(),
            most: Most { of_a_kind: custom.max(1), relieved: most_relieved },
            watch,
            polls,
            stop: CancellationToken::new(),
        };
        for _ in 0..built_in.max(1) {
            shards.add(Tenants::BuiltIn)?;
        }
        for _ in 0..custom.max(1) {
            shards.add(Tenants::Custom)?;
        }
        Ok(shards)
    }

    /// Chooses a shard for an instance: the one with the fewest, among those that are not blocked; or a new one, where the instance
    /// is to have one of its own, or its kind has none yet. The place is taken until [`Self::leave`].
    pub(super) fn enter(&mut self, tenant: Tenant<'_>) -> io::Result<(ShardId, Handle)> {
        let tenants = match tenant {
            Tenant { isolation: Isolation::Thread, .. } => Tenants::Isolated,
            Tenant { built_in: true, .. } => Tenants::BuiltIn,
            Tenant { kind, .. } if self.quarantined.contains(kind) => Tenants::Kind(kind.to_owned()),
            _ => Tenants::Custom,
        };
        let id = match tenants {
            Tenants::Isolated if self.count_of(Tenants::is_isolated) >= MOST_ISOLATED => {
                let why = format!("{MOST_ISOLATED} instances have a thread to themselves, which is the limit");
                return Err(io::Error::new(io::ErrorKind::QuotaExceeded, why));
            }
            Tenants::Isolated => self.add(Tenants::Isolated)?,
            tenants => match self.roomiest(&tenants) {
                Some((id, blocked)) if !blocked || !self.may_grow(&tenants) => id,
                _ => self.add(tenants)?,
            },
        };
        let Some(shard) = self.shards.get_mut(&id) else { unreachable!("it was found or added just now") };
        shard.instances += 1;
        Ok((id, shard.runtime.clone()))
    }

    /// The shard with the fewest instances, of those that are not blocked if there is one; and whether it is blocked.
    fn roomiest(&self, tenants: &Tenants) -> Option<(ShardId, bool)> {
        let fit = self.shards.iter().filter(|(_, shard)| shard.tenants == *tenants);
        let best = fit.min_by_key(|(_, shard)| (shard.is_blocked(), shard.instances));
        best.map(|(id, shard)| (*id, shard.is_blocked()))
    }

    /// Whether there may be another shard for these, where all that they have are blocked.
    fn may_grow(&self, tenants: &Tenants) -> bool {
        matches!(tenants, Tenants::Kind(_)) && self.count_of(|it| it == tenants) < self.most.of_a_kind
    }

    fn count_of(&self, wanted: impl Fn(&Tenants) -> bool) -> usize {
        self.shards.values().filter(|shard| wanted(&shard.tenants)).count()
    }

    /// Gives a place back. A shard that was there for its tenants alone ends with the last of them.
    pub(super) fn leave(&mut self, id: ShardId) {
        let Some(shard) = self.shards.get_mut(&id) else { return };
        shard.instances -= 1;
        if shard.instances == 0 && !matches!(shard.tenants, Tenants::BuiltIn | Tenants::Custom) {
            self.remove(id);
        }
    }

    /// Leaves a shard to the instance that blocks it, in that poll, and puts another one in its place. `kind` is the instance's, where
    /// that is known: one that has been given up elsewhere may yet be dropped. `may_lose` says whether a thread may be lost to a
    /// custom kind.
    pub(super) fn relieve(&mut self, id: ShardId, turn: u64, kind: Option<&str>, may_lose: bool) -> io::Result<Relief> {
        let goes_on = |shard: &&Shard| shard.slot.running().is_some_and(|poll| poll.turn == turn);
        let Some(shard) = self.shards.get(&id).filter(goes_on) else { return Ok(Relief::None) };
        let tenants = shard.tenants.clone();
        let built_in = tenants == Tenants::BuiltIn;
        if matches!(tenants, Tenants::Isolated | Tenants::Relieved { .. }) {
            return Ok(Relief::Alone);
        }
        let relieved = Tenants::Relieved { built_in };
        let mut back = None;
        if self.count_of(|it| *it == relieved) >= self.most.relieved {
            back = self.roomiest(&relieved).and_then(|(id, blocked)| (!blocked).then_some(id));
            if back.is_none() {
                return Ok(Relief::None);
            }
        }
        match tenants {
            _ if !built_in && !may_lose => return Ok(Relief::None),
            // One is added when the first of that kind comes.
            Tenants::Kind(_) => {}
            tenants => drop(self.add(tenants)?),
        }
        if let Some(shard) = self.shards.get_mut(&id) {
            shard.tenants = relieved;
        }
        let quarantined = kind.is_some_and(|kind| !built_in && self.quarantined.insert(kind.to_owned()));
        self.polls.relieved();
        if self.shards.get(&id).is_some_and(|shard| shard.instances == 0) {
            self.remove(id);
        }
        self.count();
        Ok(Relief::Given { back, quarantined })
    }

    /// Whether custom kinds share it, whichever they are, and this instance can leave it: it is not being polled.
    pub(super) fn may_leave(&self, id: ShardId, instance: InstanceId) -> bool {
        let Some(shard) = self.shards.get(&id) else { return false };
        shard.tenants == Tenants::Custom && shard.slot.running().is_none_or(|poll| poll.instance != instance)
    }

    /// Whether somebody else keeps an instance on this shard from being polled at all.
    pub(super) fn is_held_up(&self, id: ShardId, instance: InstanceId) -> bool {
        let poll = self.shards.get(&id).and_then(|shard| shard.slot.running());
        poll.is_some_and(|poll| poll.instance != instance && poll.lasts >= SLOW)
    }

    fn add(&mut self, tenants: Tenants) -> io::Result<ShardId> {
        let id = ShardId(self.last.0 + 1);
        // By these names the panic hook of `telemetry::logging` knows monitors' panics.
        let sort = if tenants == Tenants::BuiltIn { "shard" } else { "custom" };
        let (slot, stop) = (self.watch.slot(id), self.stop.child_token());
        let started = start(format!("{sort}-{}", id.0), Arc::clone(&slot), stop.clone());
        let runtime = match started {
            Ok(runtime) => runtime,
            Err(error) => {
                self.watch.forget(id);
                return Err(error);
            }
        };
        self.last = id;
        self.shards.insert(id, Shard { tenants, runtime, slot, instances: 0, stop });
        self.count();
        Ok(id)
    }

    fn remove(&mut self, id: ShardId) {
        let Some(shard) = self.shards.remove(&id) else { return };
        shard.stop.cancel();
        self.watch.forget(id);
        self.count();
    }

    fn count(&self) {
        for sort in Threads::ALL {
            self.polls.set_threads(sort, self.count_of(|tenants| tenants.sort() == sort));
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Shard {
    /// Whether it has been polling the same instance for so long that nobody should be put there.
    fn is_blocked(&self) -> bool {
        self.slot.running().is_some_and(|poll| poll.lasts >= SLOW)
    }
}

impl Tenants {
    const fn is_isolated(&self) -> bool {
        matches!(self, Self::Isolated)
    }

    const fn sort(&self) -> Threads {
        match self {
            Self::BuiltIn => Threads::BuiltIn,
            Self::Custom => Threads::Custom,
            Self::Kind(_) => Threads::Quarantined,
            Self::Isolated => Threads::Isolated,
            Self::Relieved { .. } => Threads::Relieved,
        }
    }
}

fn start(name: String, slot: Arc<Slot>, stop: CancellationToken) -> io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new().name(name).spawn(move || {
        slot.adopt();
        runtime.block_on(stop.cancelled());
        // Dropping a runtime waits for its blocking calls, which may be a monitor's and hang.
        runtime.shutdown_background();
    })?;
    Ok(handle)
}

#[cfg(test)]
mod tests;
