//! Carrying a plan out: creates and cancels at once, swaps so many at a time, and as long as few enough fail.
//!
//! Each task is a [`Job`], which is in one of three places: it waits for its turn, for the answer of a command, or for an event. Events
//! come from one follower of the journal for all. What is to be done next about a task is decided anew from what is there whenever
//! something has happened to it (`course`), so that others may change it meanwhile; a swap is followed to its proven end (`swaps`).

mod course;
mod swaps;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::job::{Aim, Call, Have, Job, Way};
use super::tally::Tally;
use crate::journal::{Batch, FollowError, Follower};
use crate::manager::handle::Handle;
use crate::model::{
    Action, Applied, Apply, ApplyCounts, ApplyFailure, Desired, Event, EventType, NotApplied, PlanItem, Refusal,
    Target, Task, Uid,
};

/// Starts and cancels whose answers are awaited at once: as many as clients of a few connections would have.
const CALLS: usize = 256;
/// Events that are looked at before anything else gets its turn.
const BATCH: usize = 256;

/// A plan that is carried out.
pub(super) struct RollOut {
    handle: Handle,
    apply: Apply,
    /// Starts and cancels whose turn has not come.
    first: VecDeque<Job>,
    /// Swaps whose turn has not come.
    swaps: VecDeque<Job>,
    /// Of those that have: starts and cancels in `calls`, and all swaps.
    calling: usize,
    swapping: usize,
    calls: FuturesUnordered<Call>,
    /// Those that wait for an event of their task.
    awaiting: HashMap<Uid, Job>,
    follower: Follower,
    /// When the observation of those that are observed ends.
    observations: BTreeSet<(Instant, Uid)>,
    progress: watch::Sender<ApplyCounts>,
    tally: Tally,
    /// What every command would be refused with from now on.
    end: Option<Refusal>,
}

impl RollOut {
    pub(super) fn new(
        handle: Handle,
        apply: Apply,
        set: impl Iterator<Item = (Desired, Target)>,
        plan: Vec<PlanItem>,
        progress: watch::Sender<ApplyCounts>,
    ) -> Result<Self, Refusal> {
        let (head, rollout) = (handle.journal.bounds().head, apply.rollout);
        // The head can always be followed from, unless the journal moves by all that it keeps in this moment.
        let follower = handle.journal.follow(head).map_err(|_| Refusal::JournalStalled)?;
        let mut this = Self {
            handle,
            apply,
            first: VecDeque::new(),
            swaps: VecDeque::new(),
            calling: 0,
            swapping: 0,
            calls: FuturesUnordered::new(),
            awaiting: HashMap::new(),
            follower,
            observations: BTreeSet::new(),
            progress,
            tally: Tally::new(rollout, head),
            end: None,
        };
        this.queue(set, plan);
        Ok(this)
    }

    fn queue(&mut self, mut set: impl Iterator<Item = (Desired, Target)>, plan: Vec<PlanItem>) {
        for PlanItem { name, action, why: _, generation: _ } in plan {
            if action == Ok(Action::Cancel) {
                self.first.push_back(Job::new(Aim::End(name)));
                continue;
            }
            // The items of the set come first, in its order.
            let Some((desired, target)) = set.next() else { continue };
            let have = |way| Job::new(Aim::Have(Box::new(Have { desired, target, way })));
            match action {
                Ok(Action::Create) => self.first.push_back(have(Way::Create)),
                Ok(Action::Swap) => self.swaps.push_back(have(Way::Swap)),
                Ok(Action::Leave | Action::Cancel) => self.tally.counts.left += 1,
                Err(refusal) => self.tally.note(ApplyFailure { name, action: None, why: NotApplied::Refused(refusal) }),
            }
        }
        self.tally.counts.waiting = self.first.len() + self.swaps.len();
    }

    /// Carries it out.
    pub(super) async fn run(mut self) -> Result<Applied, Refusal> {
        let desk = self.handle.desk.clone();
        let mut stalled = pin!(desk.stalled());
        loop {
            self.begin();
            self.progress.send_replace(self.tally.counts);
            if let Some(refusal) = self.end.take() {
                return Err(refusal);
            }
            if self.calls.is_empty() && self.awaiting.is_empty() {
                if !self.roll_back() {
                    return Ok(self.tally.applied());
                }
                // What is to be swapped back begins now: nothing else need ever happen.
                continue;
            }
            let over = self.observations.first().map(|(over, _)| *over);
            tokio::select! {
                Some((job, answer)) = self.calls.next(), if !self.calls.is_empty() => self.answered(job, answer),
                batch = self.follower.next(BATCH) => self.followed(batch),
                () = sleep_until(over.unwrap_or_else(Instant::now)), if over.is_some() => self.observed(),
                () = &mut stalled => return Err(Refusal::NotYetDurable("the apply is under way")),
            }
        }
    }

    /// Begins what may be under way beside what is.
    fn begin(&mut self) {
        while self.end.is_none()
            && self.calling < CALLS
            && let Some(job) = self.first.pop_front()
        {
            self.take_up(job);
        }
        while self.end.is_none() && self.swapping < self.apply.rollout.max_parallel && !self.tally.is_spent() {
            let Some(job) = self.swaps.pop_front() else { break };
            self.swapping += 1;
            self.take_up(job);
        }
    }

    fn take_up(&mut self, job: Job) {
        self.tally.taken_up();
        self.advance(job);
    }

    /// Once, when all else is done: what has been swapped is swapped back, where so many have failed. Whether there is any.
    fn roll_back(&mut self) -> bool {
        let Some(back) = self.tally.roll_back() else { return false };
        // What was not begun is not going to be.
        self.swaps = back.into();
        !self.swaps.is_empty()
    }

    fn await_event(&mut self, job: Job, task: Option<&Arc<Task>>) {
        match task {
            Some(task) => drop(self.awaiting.insert(task.uid, job)),
            None => {
                let refusal = Refusal::TaskNotFound(job.name().clone());
                self.failed(job, NotApplied::Refused(refusal));
            }
        }
    }

    fn followed(&mut self, batch: Result<Option<Batch>, FollowError>) {
        match batch {
            Ok(Some(batch)) => batch.events.iter().for_each(|event| self.happened(event)),
            // The journal ends last in a drain.
            Ok(None) => self.end = Some(Refusal::ServerDraining),
            Err(FollowError::Trimmed(_)) => self.look_again(),
            Err(FollowError::Store(error)) => {
                tracing::error!(%error, "the journal's store failed an apply");
                self.end = Some(Refusal::JournalStalled);
            }
        }
    }

    fn happened(&mut self, event: &Event) {
        if event.kind == EventType::ServerDraining {
            self.end = Some(Refusal::ServerDraining);
        }
        let Some(task) = event.task.as_deref() else { return };
        let Some(job) = self.awaiting.remove(&task.uid) else { return };
        let is_its_end = |swap: Uuid| task.swap.as_deref().is_some_and(|newest| newest.id == swap && newest.is_ended());
        match job.follows {
            // The event's own image: the view may show the next swap already.
            Some(swap) if is_its_end(swap) => self.swap_ended(job, task),
            Some(_) if event.kind != EventType::TaskDeleted => drop(self.awaiting.insert(task.uid, job)),
            _ => self.advance(Job { follows: None, ..job }),
        }
    }

    /// So much has happened that some of it was missed: what is there now has to do.
    fn look_again(&mut self) {
        match self.handle.journal.follow(self.handle.journal.bounds().head) {
            Ok(follower) => self.follower = follower,
            // It comes again.
            Err(_) => return,
        }
        for (_, job) in std::mem::take(&mut self.awaiting) {
            match job.follows {
                Some(swap) => self.follow(job, swap),
                None => self.advance(job),
            }
        }
    }

    fn done(&mut self, job: Job) {
        self.leaves(&job);
        self.tally.done(job);
    }

    fn failed(&mut self, job: Job, why: NotApplied) {
        self.leaves(&job);
        self.tally.failed(&job, why);
    }

    fn leaves(&mut self, job: &Job) {
        if job.is_swap() {
            self.swapping -= 1;
        }
    }
}
