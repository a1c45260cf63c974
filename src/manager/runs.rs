//! What was asked for on demand under which `request_id`, so that it is made once (lifecycle.md §6). Checks alone: what changes a
//! task is remembered by the machine, but a check is answered when it has been made, and only then is it known whether it was.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::model::{Actor, Check, Idempotency, Refusal};

/// How long a check is remembered.
const KEPT: Duration = Duration::from_secs(86_400);
/// How many are at the most; the oldest go first. Each was made at a client's wish, one by one, and may carry a long message.
const MOST: usize = 4096;

/// What came of a request.
pub(super) type Outcome = Result<Check, Refusal>;

/// The checks that are being made, and those that were made within the last day.
#[derive(Default)]
pub(super) struct Runs(Mutex<Table>);

#[derive(Default)]
struct Table {
    runs: HashMap<Key, Run>,
    /// From the oldest to the newest.
    order: BTreeMap<u64, Key>,
    last: u64,
}

/// Who asked, and under which id.
type Key = (Actor, Uuid);

struct Run {
    fingerprint: Uuid,
    number: u64,
    since: Instant,
    making: Making,
}

/// A check that is being made, or was.
#[derive(Clone)]
struct Making {
    /// `None` while it is being made.
    outcome: watch::Receiver<Option<Outcome>>,
    /// Makes it, and forgets it where it fails. It goes on for as long as it is remembered, or somebody waits.
    _driver: Arc<AbortOnDropHandle<()>>,
}

impl Runs {
    /// Makes a check, or waits for the one that is being made for the same request, or answers with the one that was. Giving up
    /// waiting does not undo it. Call it in a runtime.
    pub(super) async fn once(
        self: &Arc<Self>,
        actor: &Actor,
        idempotency: Idempotency,
        make: impl Future<Output = Outcome> + Send + 'static,
    ) -> Outcome {
        let key = (actor.clone(), idempotency.request_id);
        self.join(key, idempotency.fingerprint, make)?.outcome().await
    }

    fn join(
        self: &Arc<Self>,
        key: Key,
        fingerprint: Uuid,
        make: impl Future<Output = Outcome> + Send + 'static,
    ) -> Result<Making, Refusal> {
        let now = Instant::now();
        let mut table = self.lock();
        table.forget_old(now);
        match table.runs.get(&key).filter(|run| run.making.stands()) {
            Some(run) if run.fingerprint == fingerprint => return Ok(run.making.clone()),
            Some(_) => return Err(Refusal::RequestIdReused),
            None => {}
        }
        table.forget(&key);
        if table.runs.len() >= MOST {
            table.forget_oldest();
        }
        table.last += 1;
        let number = table.last;
        let making = self.begin(key.clone(), number, make);
        table.order.insert(number, key.clone());
        table.runs.insert(key, Run { fingerprint, number, since: now, making: making.clone() });
        Ok(making)
    }

    fn begin(self: &Arc<Self>, key: Key, number: u64, make: impl Future<Output = Outcome> + Send + 'static) -> Making {
        let (tell, outcome) = watch::channel(None);
        let runs = Arc::downgrade(self);
        let driver = tokio::spawn(async move {
            let made = make.await;
            if made.is_err()
                && let Some(runs) = runs.upgrade()
            {
                runs.forget(&key, number);
            }
            tell.send_replace(Some(made));
        });
        Making { outcome, _driver: Arc::new(AbortOnDropHandle::new(driver)) }
    }

    /// Another one of the same id may have taken its place.
    fn forget(&self, key: &Key, number: u64) {
        let mut table = self.lock();
        if table.runs.get(key).is_some_and(|run| run.number == number) {
            table.forget(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Making {
    async fn outcome(mut self) -> Outcome {
        let made = self.outcome.wait_for(Option::is_some).await.ok().and_then(|made| made.clone());
        // It ends without one only with the process, or by a fault of ours that was reported when it happened.
        made.unwrap_or(Err(Refusal::ServerDraining))
    }

    /// Whether it may still succeed, or has.
    fn stands(&self) -> bool {
        // First: what ends in between has left its outcome.
        let goes_on = self.outcome.has_changed().is_ok();
        self.outcome.borrow().as_ref().map_or(goes_on, Result::is_ok)
    }
}

impl Table {
    fn forget_old(&mut self, now: Instant) {
        let since = |table: &Self| table.order.first_key_value().and_then(|(_, key)| Some(table.runs.get(key)?.since));
        while since(self).is_some_and(|since| now.duration_since(since) >= KEPT) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_first() {
            self.runs.remove(&key);
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some(run) = self.runs.remove(key) {
            self.order.remove(&run.number);
        }
    }
}

#[cfg(test)]
mod tests;
