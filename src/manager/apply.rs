//! Applying an owner's set of tasks: it is gathered and vetted as it comes, planned against what is there, and carried out
//! (`rollout`), one set of an owner at a time.

mod job;
mod rollout;
mod tally;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, StreamExt};
use tokio::sync::watch;

use super::handle::Handle;
use crate::lifecycle::plan;
use crate::model::{Applied, Apply, ApplyCounts, Desired, PlanItem, Refusal, Target};
use rollout::RollOut;

/// Applies under way at once, those that only plan included: what bounds the memory that sets may take. Many owners take turns.
const AT_ONCE: usize = 4;
/// Specs that are being vetted at once, as many as a kind has turns.
const VETTED_AT_ONCE: usize = 8;

/// The applies that are under way.
#[derive(Debug)]
pub(super) struct Applies {
    max_tasks: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    owners: BTreeSet<String>,
}

/// The right to one apply, until it is dropped.
#[derive(Debug)]
struct Turn {
    applies: Arc<Applies>,
    /// Whose tasks nobody else changes by an apply meanwhile; `None` where nothing is going to be changed.
    owner: Option<String>,
}

impl Applies {
    /// Of sets of at most so many tasks.
    pub(super) fn new(max_tasks: usize) -> Self {
        Self { max_tasks, open: Mutex::default() }
    }

    fn take(self: &Arc<Self>, owner: Option<&str>) -> Result<Turn, Refusal> {
        let mut open = self.lock();
        if let Some(owner) = owner.filter(|owner| open.owners.contains(*owner)) {
            return Err(Refusal::ApplyInProgress(owner.to_owned()));
        }
        if open.count >= AT_ONCE {
            return Err(Refusal::ApplyLimit(AT_ONCE));
        }
        open.count += 1;
        open.owners.extend(owner.map(ToOwned::to_owned));
        Ok(Turn { applies: Arc::clone(self), owner: owner.map(ToOwned::to_owned) })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut open = self.applies.lock();
        open.count -= 1;
        if let Some(owner) = &self.owner {
            open.owners.remove(owner);
        }
    }
}

/// A set that is being gathered.
pub struct Gathering {
    handle: Handle,
    apply: Apply,
    set: Vec<Desired>,
    /// What each of the set watches.
    targets: Vec<Target>,
    turn: Turn,
}

/// A plan, and all that it takes to carry it out.
pub struct Planned {
    handle: Handle,
    apply: Apply,
    set: Vec<Desired>,
    targets: Vec<Target>,
    items: Vec<PlanItem>,
    turn: Turn,
}

impl Handle {
    /// Begins an apply, or says why that is not possible now.
    pub fn gather(&self, apply: Apply) -> Result<Gathering, Refusal> {
        let turn = self.applies.take(Some(apply.owner.as_str()).filter(|_| !apply.validate_only))?;
        Ok(Gathering { handle: self.clone(), apply, set: Vec::new(), targets: Vec::new(), turn })
    }
}

impl Gathering {
    /// Whose tasks these are.
    pub fn owner(&self) -> &str {
        &self.apply.owner
    }

    /// Adds tasks to the set, whose names no other has. Says of each that is not possible why; where there is any, the set is good
    /// for no plan.
    pub async fn add(&mut self, tasks: Vec<Desired>) -> Result<Vec<(usize, Refusal)>, Refusal> {
        if self.set.len() + tasks.len() > self.turn.applies.max_tasks {
            return Err(Refusal::SetTasks(self.turn.applies.max_tasks));
        }
        let handle = &self.handle;
        let vetted = stream::iter(tasks).map(|desired| async move {
            let target = target(handle, &desired).await;
            (desired, target)
        });
        let mut vetted = vetted.buffered(VETTED_AT_ONCE).enumerate();
        let mut refused = Vec::new();
        while let Some((n, (desired, target))) = vetted.next().await {
            match target {
                Ok(target) => {
                    self.set.push(desired);
                    self.targets.push(target);
                }
                Err(refusal) => refused.push((n, refusal)),
            }
        }
        Ok(refused)
    }

    /// The set is whole: what has to be done.
    pub fn plan(self) -> Planned {
        let Self { handle, apply, set, targets, turn } = self;
        let view = handle.journal.view();
        let items = plan(&apply, &set, |name| view.get(name).map(Arc::as_ref), view.tasks().map(Arc::as_ref));
        Planned { handle, apply, set, targets, items, turn }
    }
}

/// What the spec watches, once its kind has found it good. One that the task has already was found good before.
async fn target(handle: &Handle, desired: &Desired) -> Result<Target, Refusal> {
    let view = handle.journal.view();
    match view.get(&desired.name).filter(|task| !task.state.is_ended() && *task.spec == *desired.spec) {
        Some(task) => Ok(task.target),
        None => handle.vetting.validate(desired.spec.monitor()).await,
    }
}

impl Planned {
    /// What is to be done, in the order of the set; then what is to be cancelled, by name.
    pub fn items(&self) -> &[PlanItem] {
        &self.items
    }

    /// Whether it is the plan alone that was asked for.
    pub fn is_all(&self) -> bool {
        self.apply.validate_only
    }

    /// Carries the plan out, and shows how far it is. An error is one that every command would meet now. Dropped, it begins nothing
    /// Whose tasks they are.
    pub fn owner(&self) -> &str {
        &self.apply.owner
    }

    /// more, and what is under way goes on; applying the set again goes on from there.
    pub async fn run(self, progress: watch::Sender<ApplyCounts>) -> Result<Applied, Refusal> {
        // The turn is over when all is done.
        let Self { handle, apply, set, targets, items, turn: _turn } = self;
        let desk = handle.desk.clone();
        let applied = match RollOut::new(handle, apply, set.into_iter().zip(targets), items, progress) {
            Ok(roll_out) => roll_out.run().await,
            Err(refusal) => Err(refusal),
        };
        match applied {
            // All that a drain stops has to be committed, and that may take so long that the journal counts as stalled. Nor would it
            // tell of the drain then. But it is the drain that has cut the apply: another server is to be asked, or the next one.
            Err(Refusal::JournalStalled | Refusal::NotYetDurable(_)) if desk.drains().await => {
                Err(Refusal::ServerDraining)
            }
            applied => applied,
        }
    }
}

impl fmt::Debug for Gathering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathering").field("owner", &self.apply.owner).field("tasks", &self.set.len()).finish()
    }
}

impl fmt::Debug for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Planned").field("owner", &self.apply.owner).field("items", &self.items.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_apply_of_an_owner_is_under_way_and_few_in_all() {
        let applies = Arc::new(Applies::new(1));
        let first = applies.take(Some("a")).expect("free");
        assert_eq!(applies.take(Some("a")).err(), Some(Refusal::ApplyInProgress("a".to_owned())));
        let dry = applies.take(None).expect("it changes nothing");
        let rest: Vec<_> = ["b", "c"].map(|owner| applies.take(Some(owner)).expect("free")).into();
        assert_eq!(applies.take(None).err(), Some(Refusal::ApplyLimit(AT_ONCE)));
        drop(first);
        let again = applies.take(Some("a")).expect("free again");
        drop((dry, rest, again));
        let open = applies.lock();
        assert_eq!((open.count, open.owners.len()), (0, 0));
    }
}
