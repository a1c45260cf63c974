//! The threads that instances share: one whose poll blocks keeps everything there from happening.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Actor;
use crate::lifecycle::simulation::Rng;
use crate::model::{InstanceId, Mono};

/// After how long a blocked thread is given up; told of each time that it has passed.
pub(in crate::lifecycle::simulation) const STALL_AFTER: Duration = Duration::from_secs(1);

/// After how long whoever waits for a blocked thread is known to be held up.
pub(in crate::lifecycle::simulation) const HELD_UP: Duration = Duration::from_millis(50);

/// Names a shard; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::lifecycle::simulation) struct ShardId(u64);

/// One poll of an instance that blocks its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Poll {
    pub(super) shard: ShardId,
    pub(super) instance: InstanceId,
    turn: u64,
}

/// What is known of it.
#[derive(Clone, Copy, Debug)]
pub(in crate::lifecycle::simulation) struct Block {
    poll: Poll,
    pub(in crate::lifecycle::simulation) since: Mono,
    until: Mono,
    /// The machine was told of it.
    pub(super) told: bool,
    /// Its thread was given up.
    pub(super) relieved: bool,
}

#[derive(Debug)]
pub(in crate::lifecycle::simulation) struct Shards {
    shards: BTreeMap<ShardId, Shard>,
    last: u64,
    turns: u64,
}

#[derive(Debug)]
struct Shard {
    custom: bool,
    /// It is the culprit's alone.
    relieved: bool,
    block: Option<Block>,
}

impl Block {
    pub(in crate::lifecycle::simulation) const fn culprit(&self) -> InstanceId {
        self.poll.instance
    }
}

impl Shards {
    /// One or two for built-in kinds, and for custom ones: few, so that they are shared.
    pub(super) fn new(rng: &mut Rng) -> Self {
        let mut shards = Self { shards: BTreeMap::new(), last: 0, turns: 0 };
        for custom in [false, true] {
            for _ in 0..=u64::from(rng.one_in(3)) {
                shards.add(custom);
            }
        }
        shards
    }

    fn add(&mut self, custom: bool) {
        self.last += 1;
        self.shards.insert(ShardId(self.last), Shard { custom, relieved: false, block: None });
    }

    /// Any shard that is fit for the kind; one that is blocked only where all are.
    pub(super) fn place(&self, custom: bool, rng: &mut Rng) -> ShardId {
        let fit = |shard: &Shard, blocked: bool| {
            shard.custom == custom && !shard.relieved && (blocked || shard.block.is_none())
        };
        let all = |blocked| self.shards.iter().filter(move |(_, shard)| fit(shard, blocked)).map(|(id, _)| *id);
        let free: Vec<_> = all(false).collect();
        let fit = if free.is_empty() { all(true).collect() } else { free };
        fit[usize::try_from(rng.below(fit.len() as u64)).expect("small")]
    }

    /// The poll that blocks a shard.
    pub(in crate::lifecycle::simulation) fn blocked(&self, id: ShardId) -> Option<Block> {
        self.shards.get(&id)?.block
    }

    /// Until when nothing can happen there.
    pub(super) fn blocked_until(&self, id: ShardId) -> Option<Mono> {
        self.blocked(id).map(|block| block.until)
    }

    pub(in crate::lifecycle::simulation) fn is_custom(&self, id: ShardId) -> bool {
        self.shards.get(&id).is_some_and(|shard| shard.custom)
    }

    pub(super) fn block(&mut self, id: ShardId, instance: InstanceId, since: Mono, until: Mono) -> Poll {
        self.turns += 1;
        let poll = Poll { shard: id, instance, turn: self.turns };
        if let Some(shard) = self.shards.get_mut(&id) {
            shard.block = Some(Block { poll, since, until, told: false, relieved: false });
        }
        poll
    }

    /// The block, if it is that poll which still blocks.
    pub(super) fn current(&mut self, poll: Poll) -> Option<&mut Block> {
        self.shards.get_mut(&poll.shard)?.block.as_mut().filter(|block| block.poll == poll)
    }

    /// The poll has returned.
    pub(super) fn free(&mut self, poll: Poll) -> Option<Block> {
        self.shards.get_mut(&poll.shard)?.block.take_if(|block| block.poll == poll)
    }

    /// Gives a shard up, unless it has been already, and puts another in its place.
    pub(super) fn relieve(&mut self, id: ShardId) -> bool {
        let Some(shard) = self.shards.get_mut(&id).filter(|shard| !shard.relieved) else { return false };
        shard.relieved = true;
        let custom = shard.custom;
        self.add(custom);
        true
    }

    pub(super) fn is_relieved(&self, id: ShardId) -> bool {
        self.shards.get(&id).is_some_and(|shard| shard.relieved)
    }

    /// Where `most` of that sort were given up already: one that is blocked no longer, which is to be given back; an error where
    /// there is none.
    pub(super) fn give_back(&self, custom: bool, most: usize) -> Result<Option<ShardId>, ()> {
        let mut relieved = self.shards.iter().filter(|(_, shard)| shard.relieved && shard.custom == custom);
        if relieved.clone().count() < most {
            return Ok(None);
        }
        relieved.find(|(_, shard)| shard.block.is_none()).map(|(id, _)| Some(*id)).ok_or(())
    }

    /// How many were given up, and have not ended.
    pub(in crate::lifecycle::simulation) fn relieved(&self) -> usize {
        self.shards.values().filter(|shard| shard.relieved).count()
    }

    /// Ends the shards that were given up and that nobody is on any more.
    pub(super) fn sweep(&mut self, actors: &BTreeMap<InstanceId, Actor>) {
        self.shards.retain(|id, shard| !shard.relieved || actors.values().any(|actor| actor.shard == *id));
    }
}
