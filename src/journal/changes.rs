//! Waiting for one task to change, without a look at what happens to all others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::model::{Event, Uid};

/// How many events of one task a waiter may be behind before it misses some: more than a task's whole life has by itself, so
/// only a waiter that does not run for long misses any.
const BEHIND: usize = 64;

/// Who waits for which task.
#[derive(Default)]
pub(super) struct Registry(Mutex<Waiters>);

#[derive(Default)]
struct Waiters {
    by_uid: HashMap<Uid, Waiting>,
    ended: bool,
}

struct Waiting {
    events: broadcast::Sender<Arc<Event>>,
    waiters: usize,
}

/// Tells of the committed events of one task. Whoever waits for a state subscribes first, then looks at the view, then awaits
/// [`next`](Self::next): so nothing is missed, not even a state that was passed through between two looks.
pub struct TaskChanges {
    registry: Arc<Registry>,
    uid: Uid,
    events: broadcast::Receiver<Arc<Event>>,
}

/// What has happened to the task.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An event, with the task as it stood after it.
    Event(Arc<Event>),
    /// So much that it was not kept; the view shows where it led to.
    Missed,
}

/// The journal has been closed; nothing will change any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the journal has ended")]
pub struct Ended;

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn subscribe(self: &Arc<Self>, uid: Uid) -> TaskChanges {
        let mut waiters = self.lock();
        let events = if waiters.ended {
            // Its sender is dropped at once, which is how the end shows.
            broadcast::channel(1).1
        } else {
            let new = || Waiting { events: broadcast::Sender::new(BEHIND), waiters: 0 };
            let waiting = waiters.by_uid.entry(uid).or_insert_with(new);
            waiting.waiters += 1;
            waiting.events.subscribe()
        };
        drop(waiters);
        TaskChanges { registry: Arc::clone(self), uid, events }
    }

    /// Tells those who wait for a task of the group.
    pub(super) fn wake(&self, group: &[Arc<Event>]) {
        let waiters = self.lock();
        if waiters.by_uid.is_empty() {
            return;
        }
        let about = |event: &Arc<Event>| {
            let waiting = waiters.by_uid.get(&event.task.as_ref()?.uid)?;
            Some((waiting.events.clone(), Arc::clone(event)))
        };
        let told: Vec<_> = group.iter().filter_map(about).collect();
        drop(waiters);
        for (events, event) in told {
            // An error says that the last waiter has just left.
            let _ = events.send(event);
        }
    }

    /// Tells everyone that nothing will change any more.
    pub(super) fn end(&self) {
        let mut waiters = self.lock();
        waiters.ended = true;
        let told = std::mem::take(&mut waiters.by_uid);
        drop(waiters);
        drop(told);
    }
}

impl TaskChanges {
    /// Waits for the next event of the task since the subscription. Cancel-safe.
    pub async fn next(&mut self) -> Result<Change, Ended> {
        match self.events.recv().await {
            Ok(event) => Ok(Change::Event(event)),
            Err(RecvError::Lagged(_)) => Ok(Change::Missed),
            Err(RecvError::Closed) => Err(Ended),
        }
    }
}

impl Drop for TaskChanges {
    fn drop(&mut self) {
        let mut waiters = self.registry.lock();
        if let Some(waiting) = waiters.by_uid.get_mut(&self.uid) {
            waiting.waiters -= 1;
            if waiting.waiters == 0 {
                waiters.by_uid.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use uuid::Uuid;

    use super::*;
    use crate::journal::testing::{created, shared};

    fn first_event() -> Change {
        Change::Event(Arc::new(created(1)))
    }

    #[test]
    fn the_registry_forgets_those_who_are_gone() {
        let registry = Arc::<Registry>::default();
        let uid = Uid::new(Uuid::from_u128(1));
        let (mut first, second) = (registry.subscribe(uid), registry.subscribe(uid));
        drop(second);
        registry.wake(&shared([created(1)]));
        assert_eq!(first.next().now_or_never(), Some(Ok(first_event())), "the other one is still there");
        drop(first);
        assert!(registry.lock().by_uid.is_empty());
    }

    #[test]
    fn the_last_change_is_told_before_the_end() {
        let registry = Arc::<Registry>::default();
        let mut changes = registry.subscribe(Uid::new(Uuid::from_u128(1)));
        registry.wake(&shared([created(1)]));
        registry.end();
        assert_eq!(changes.next().now_or_never(), Some(Ok(first_event())));
        assert_eq!(changes.next().now_or_never(), Some(Err(Ended)));
    }

    #[test]
    fn whoever_is_too_far_behind_is_told_so() {
        let registry = Arc::<Registry>::default();
        let mut changes = registry.subscribe(Uid::new(Uuid::from_u128(1)));
        for _ in 0..=BEHIND {
            registry.wake(&shared([created(1)]));
        }
        assert_eq!(changes.next().now_or_never(), Some(Ok(Change::Missed)));
        assert_eq!(changes.next().now_or_never(), Some(Ok(first_event())));
    }
}
