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
use crate::model::{Isolation, TaskSpec};
use crate::monitor::Slot;
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
    isolated: usize,
    watch: Watch,
    polls: Polls,
    stop: CancellationToken,
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
    Relieved,
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
    pub(super) fn start(built_in: usize, custom: usize, watch: Watch, polls: Polls) -> io::Result<Self> {
        // Dropped with an error, it ends the shards that have started.
        let mut shards = Self {
            shards: BTreeMap::new(),
            last: ShardId(0),
            quarantined: BTreeSet::new(),
            isolated: 0,
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
            Tenants::Isolated if self.isolated >= MOST_ISOLATED => {
                let why = format!("{MOST_ISOLATED} instances have a thread to themselves, which is the limit");
                return Err(io::Error::new(io::ErrorKind::QuotaExceeded, why));
            }
            Tenants::Isolated => self.add(Tenants::Isolated)?,
            tenants => match self.roomiest(&tenants) {
                Some(id) => id,
                None => self.add(tenants)?,
            },
        };
        let Some(shard) = self.shards.get_mut(&id) else { unreachable!("it was found or added just now") };
        shard.instances += 1;
        Ok((id, shard.runtime.clone()))
    }

    fn roomiest(&self, tenants: &Tenants) -> Option<ShardId> {
        let fit = self.shards.iter().filter(|(_, shard)| shard.tenants == *tenants);
        fit.min_by_key(|(_, shard)| (shard.is_blocked(), shard.instances)).map(|(id, _)| *id)
    }

    /// Gives a place back. A shard that was there for its tenants alone ends with the last of them.
    pub(super) fn leave(&mut self, id: ShardId) {
        let Some(shard) = self.shards.get_mut(&id) else { return };
        shard.instances -= 1;
        if shard.instances == 0 && !matches!(shard.tenants, Tenants::BuiltIn | Tenants::Custom) {
            self.remove(id);
        }
    }

    /// Leaves a shard to the instance that blocks it, and puts another one in its place; the kind, where it is a custom one, is in
    /// quarantine from here on. False where there is nothing to be done (any more): that poll has returned meanwhile, or the shard
    /// has been relieved before.
    pub(super) fn relieve(&mut self, id: ShardId, turn: u64, culprit: Tenant<'_>) -> io::Result<bool> {
        let goes_on = |shard: &&Shard| shard.slot.running().is_some_and(|poll| poll.turn == turn);
        let Some(shard) = self.shards.get(&id).filter(goes_on) else { return Ok(false) };
        match shard.tenants.clone() {
            Tenants::Relieved => return Ok(false),
            Tenants::Isolated => self.isolated -= 1,
            // One is added when the first of that kind comes.
            Tenants::Kind(_) => {}
            tenants @ (Tenants::BuiltIn | Tenants::Custom) => drop(self.add(tenants)?),
        }
        if let Some(shard) = self.shards.get_mut(&id) {
            shard.tenants = Tenants::Relieved;
        }
        if !culprit.built_in {
            self.quarantined.insert(culprit.kind.to_owned());
        }
        self.watch.relieved(id);
        self.polls.relieved();
        self.count();
        Ok(true)
    }

    /// How many were given up, and have not ended.
    pub(super) fn relieved(&self) -> usize {
        self.shards.values().filter(|shard| shard.tenants == Tenants::Relieved).count()
    }

    /// Whether monitors of custom kinds run there.
    pub(super) fn is_custom(&self, id: ShardId) -> bool {
        self.shards.get(&id).is_some_and(|shard| matches!(shard.tenants, Tenants::Custom | Tenants::Kind(_)))
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
        self.isolated += usize::from(tenants == Tenants::Isolated);
        self.shards.insert(id, Shard { tenants, runtime, slot, instances: 0, stop });
        self.count();
        Ok(id)
    }

    fn remove(&mut self, id: ShardId) {
        let Some(shard) = self.shards.remove(&id) else { return };
        shard.stop.cancel();
        self.isolated -= usize::from(shard.tenants == Tenants::Isolated);
        self.watch.forget(id);
        self.count();
    }

    fn count(&self) {
        for sort in Threads::ALL {
            let threads = self.shards.values().filter(|shard| shard.tenants.sort() == sort).count();
            self.polls.set_threads(sort, threads);
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
        self.slot.running().is_some_and(|poll| poll.lasts >= crate::monitor::SLOW)
    }
}

impl Tenants {
    const fn sort(&self) -> Threads {
        match self {
            Self::BuiltIn => Threads::BuiltIn,
            Self::Custom => Threads::Custom,
            Self::Kind(_) => Threads::Quarantined,
            Self::Isolated => Threads::Isolated,
            Self::Relieved => Threads::Relieved,
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
