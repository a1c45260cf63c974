//! Polls that block their thread, and relief (lifecycle.md §3): what shares a thread with one that blocks it is given up there and
//! started anew elsewhere, so that it costs only itself. The thread is the culprit's own from there on.

use super::Lifecycle;
use super::io::{Chance, Effect, RootEnd};
use crate::model::{AlertKind, InstanceId, Mono, Now, Pretty};

/// Why an instance was displaced.
pub(super) const RELIEVED: &str = "another instance blocked its thread";

impl<C: Chance> Lifecycle<C> {
    /// One poll of the instance has kept its thread since then, and goes on.
    pub(super) fn on_poll_blocked(&mut self, id: InstanceId, since: Mono, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let Some(run) = entry.run_mut(id) else { return };
        let lasts = now.mono.since(since);
        // The watchdog's clock is a coarse one: this may lie a tick before the instance's own start.
        run.blocked_since = Some(now.wall.before(lasts));
        let message = format!("one poll has kept its thread for {}, and goes on", Pretty::about(lasts));
        self.raise(id, AlertKind::PollBlocked, message, now);
    }

    /// The poll has returned: the instance hears of what it was told meanwhile.
    pub(super) fn on_poll_returned(&mut self, id: InstanceId, now: Now) {
        let Some((_, entry)) = self.entry_of(id) else { return };
        let Some(run) = entry.run_mut(id) else { return };
        run.blocked_since = None;
        let was_lost = std::mem::take(&mut run.lost);
        let back = was_lost && !run.is_stuck();
        self.lost -= usize::from(back);
        self.resolve_live(id, AlertKind::PollBlocked, now);
    }

    /// A thread is given up for the instance that blocks it.
    pub(super) fn on_stalled(&mut self, culprit: InstanceId, displaced: Vec<InstanceId>, now: Now) {
        if let Some((_, entry)) = self.entry_of(culprit)
            && let Some(run) = entry.run_mut(culprit)
        {
            let newly = !run.is_lost();
            run.lost = true;
            self.lost += usize::from(newly);
        }
        for id in displaced {
            self.displace(id, now);
        }
    }

    /// The instance was told to stop, and could not hear of it.
    pub(super) fn on_held_up(&mut self, id: InstanceId, now: Now) {
        let stops = self.entry_of(id).and_then(|(_, entry)| entry.run(id)).is_some_and(|run| run.stop().is_some());
        if stops {
            self.displace(id, now);
        }
    }

    /// The instance counts as ended at once, since nothing of it is polled again; and where its task is to run, another one takes
    /// its place.
    fn displace(&mut self, id: InstanceId, now: Now) {
        let Some((uid, entry)) = self.entry_of(id) else { return };
        let is_candidate = entry.is_candidate(id);
        let root = entry.run_mut(id).and_then(|run| run.root.take());
        self.log.effects.push(Effect::Displace(id));
        match root {
            // Only children were left of it, and what it had come to stands.
            Some(root) => self.ended(id, root, true, now),
            None if is_candidate => self.try_candidate_again(uid, id, now),
            None => self.ended(id, RootEnd::Displaced, false, now),
        }
    }
}
