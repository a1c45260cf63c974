//! Polls that do not return: what comes of the watchdog's news, and who must not suffer from another's.

use super::instances::Running;
use super::{Shell, Turn};
use crate::lifecycle::Input;
use crate::manager::shards::{Relief, ShardId};
use crate::manager::watchdog::News;
use crate::model::InstanceId;

impl Shell {
    pub(super) fn on_news(&mut self, news: News, turn: &mut Turn) {
        match news {
            News::Blocked { instance, lasts } => {
                let since = self.clock.now().mono.before(lasts);
                self.step(Input::PollBlocked(instance, since), turn);
            }
            News::Returned { instance } => self.step(Input::PollReturned(instance), turn),
            News::Stalled { shard, turn: poll, culprit } => self.on_stalled(shard, poll, culprit, turn),
        }
    }

    /// Leaves a blocked shard to the instance that blocks it; what else ran there is started again on others. At the stuck limit
    /// custom kinds have lost as many threads as they may: then whoever shares one waits, and is told of again.
    fn on_stalled(&mut self, shard: ShardId, poll: u64, culprit: InstanceId, turn: &mut Turn) {
        // It may have been given up before, and be dropped only now.
        let kind = self.kind(culprit).map(ToOwned::to_owned);
        let may_lose = !self.lifecycle.is_at_stuck_limit();
        let (back, quarantined) = match self.wiring.shards.relieve(shard, poll, kind.as_deref(), may_lose) {
            Ok(Relief::Given { back, quarantined }) => (back, quarantined),
            Ok(Relief::Alone) => return self.step(Input::Stalled { culprit, displaced: Vec::new() }, turn),
            Ok(Relief::None) => return,
            Err(error) => return tracing::error!(%error, "no thread can be put in a blocked one's place"),
        };
        let is_in_the_way = |id: &InstanceId, place: ShardId| {
            let shares =
                || quarantined && self.wiring.shards.may_leave(place, *id) && self.kind(*id) == kind.as_deref();
            place == shard || back == Some(place) || shares()
        };
        let places = self.running.iter().filter_map(|(id, running)| Some((id, running.shard()?)));
        let others = places.filter(|(id, place)| **id != culprit && is_in_the_way(id, *place));
        let mut displaced: Vec<_> = others.map(|(id, _)| *id).collect();
        displaced.sort_unstable();
        tracing::warn!(instances = displaced.len(), kind, "a blocked thread is relieved");
        self.step(Input::Stalled { culprit, displaced }, turn);
    }

    /// What a deadline is about to find stopping, though it cannot even be polled, since another instance blocks its thread, is not
    /// stuck: it is given up there.
    pub(super) fn on_held_up(&mut self, turn: &mut Turn) {
        for id in self.lifecycle.running_out(self.clock.now().mono) {
            let shard = self.running.get(&id).and_then(Running::shard);
            if shard.is_some_and(|shard| self.wiring.shards.is_held_up(shard, id)) {
                self.step(Input::HeldUp(id), turn);
            }
        }
    }

    fn kind(&self, instance: InstanceId) -> Option<&str> {
        self.lifecycle.spec(instance).map(|spec| spec.monitor().kind())
    }
}
