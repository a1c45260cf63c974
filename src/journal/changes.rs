//! Waiting for one task to change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::sync::watch;

use crate::model::{Event, Uid};

/// Who waits for which task.
#[derive(Default)]
pub(super) struct Registry(Mutex<Waiters>);

#[derive(Default)]
struct Waiters {
    by_uid: HashMap<Uid, Waiting>,
    ended: bool,
}

struct Waiting {
    changed: watch::Sender<()>,
    waiters: usize,
}

/// Tells of commits that change one task. Whoever wants to wait for a state subscribes first, then looks at the view, then
/// awaits [`changed`](Self::changed), and looks again: so no change is missed.
pub struct TaskChanges {
    registry: Arc<Registry>,
    uid: Uid,
    changed: watch::Receiver<()>,
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
        let changed = if waiters.ended {
            // Its sender is dropped at once, which is how the end shows.
            watch::channel(()).1
        } else {
            let waiting =
                waiters.by_uid.entry(uid).or_insert_with(|| Waiting { changed: watch::Sender::new(()), waiters: 0 });
            waiting.waiters += 1;
            waiting.changed.subscribe()
        };
        drop(waiters);
        TaskChanges { registry: Arc::clone(self), uid, changed }
    }

    /// Wakes those who wait for a task of the group.
    pub(super) fn wake(&self, group: &[Arc<Event>]) {
        let waiters = self.lock();
        if waiters.by_uid.is_empty() {
            return;
        }
        let uids = group.iter().filter_map(|event| event.task.as_ref()).map(|task| task.uid);
        let woken: Vec<_> = uids.filter_map(|uid| waiters.by_uid.get(&uid)).map(|w| w.changed.clone()).collect();
        drop(waiters);
        for changed in woken {
            changed.send_replace(());
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
    /// Waits until a commit has changed the task since the last call, or since the subscription. Cancel-safe.
    pub async fn changed(&mut self) -> Result<(), Ended> {
        self.changed.changed().await.map_err(|_| Ended)
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
