//! The loop's own ordered timers.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{InstanceId, Mono, Uid};

/// What a timer is for. Timers that are due at the same moment fire in this order, so a phase's end comes before the alerts
/// that it may cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The instance should be ready by now.
    StartTimeout(InstanceId),
    /// Phase 1 of the instance's shutdown is over.
    Grace(InstanceId),
    /// Phase 2 is over.
    Abort(InstanceId),
    /// The instance was asked to stop a while ago.
    SlowCancellation(InstanceId),
    /// The instance's piece of work may have run for too long.
    LongRunning(InstanceId),
    /// The swap's candidate has been ready for long enough.
    Healthy(InstanceId),
    /// The task's next instance is due.
    Restart(Uid),
    /// The task has been paused for long enough.
    PauseExpires(Uid),
    /// What the task's newest swap has brought in has been observed for long enough.
    Observed(Uid),
    /// The open span of the task's circuit is over, or the deadline of its trial.
    Circuit(Uid),
    /// The override over the task's circuit has lasted for long enough.
    Override(Uid),
    /// The ended task has been kept for long enough.
    Expire(Uid),
}

/// Every timer that is set, at most one of each kind and subject.
#[derive(Debug, Default)]
pub(super) struct Timers {
    order: BTreeSet<(Mono, Timer)>,
    due: BTreeMap<Timer, Mono>,
    /// Those that came due, but may not fire yet.
    put_off: BTreeSet<Timer>,
}

impl Timers {
    /// Sets a timer, or moves it.
    pub(super) fn set(&mut self, timer: Timer, due: Mono) {
        self.clear(timer);
        self.order.insert((due, timer));
        self.due.insert(timer, due);
    }

    /// Clears a timer, if it is set.
    pub(super) fn clear(&mut self, timer: Timer) {
        self.put_off.remove(&timer);
        if let Some(due) = self.due.remove(&timer) {
            self.order.remove(&(due, timer));
        }
    }

    /// Clears every timer of an instance.
    pub(super) fn clear_instance(&mut self, id: InstanceId) {
        use Timer::{Abort, Grace, Healthy, LongRunning, SlowCancellation, StartTimeout};
        for timer in [StartTimeout, Grace, Abort, SlowCancellation, LongRunning, Healthy] {
            self.clear(timer(id));
        }
    }

    /// When a timer is due, if it is set.
    pub(super) fn due(&self, timer: Timer) -> Option<Mono> {
        self.due.get(&timer).copied()
    }

    /// Whether a timer is set, or put off.
    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.due.contains_key(&timer) || self.put_off.contains(&timer)
    }

    /// Keeps a timer that has come due, without being due again by itself.
    pub(super) fn put_off(&mut self, timer: Timer) {
        self.put_off.insert(timer);
    }

    /// Has everything that was put off come due.
    pub(super) fn call_in(&mut self, now: Mono) {
        for timer in std::mem::take(&mut self.put_off) {
            self.set(timer, now);
        }
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Mono> {
        self.order.first().map(|(due, _)| *due)
    }

    /// Those that are due by `now`, in their order.
    pub(super) fn due_by(&self, now: Mono) -> impl Iterator<Item = Timer> {
        self.order.iter().take_while(move |(due, _)| *due <= now).map(|(_, timer)| *timer)
    }

    /// Takes the next one that is due by `now`.
    pub(super) fn pop_due(&mut self, now: Mono) -> Option<Timer> {
        let (due, timer) = *self.order.first()?;
        if due > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }

    /// How many are set, or put off.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        debug_assert_eq!(self.order.len(), self.due.len());
        self.order.len() + self.put_off.len()
    }
}
