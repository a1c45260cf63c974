//! Carrying a plan out: creates and cancels at once, swaps so many at a time, and as long as few enough fail.
//!
//! Each task is a [`Job`], which is in one of three places: it waits for its turn, for the answer of a command, or for an event. Events
//! come from one follower of the journal for all. What is to be done next about a task is decided anew from what is there whenever
//! something has happened to it, so that others may change it meanwhile.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::job::{Aim, Answer, Ask, Call, Have, Job, Observed, Way};
use super::tally::Tally;
use crate::journal::{Batch, FollowError, Follower};
use crate::lifecycle::{Step, is_excess, next_step};
use crate::manager::handle::Handle;
use crate::model::{
    Action, Applied, Apply, ApplyCounts, ApplyFailure, Cause, Desired, Event, EventType, Intent, NotApplied, PlanItem,
    Reason, Refusal, SwapPhase, Target, Task, Uid,
};

/// Starts and cancels whose answers are awaited at once: as many as clients of a few connections would have.
const CALLS: usize = 256;
/// Commands about one task: each changes it, so that only somebody else who changes it too can make more of them necessary.
const COMMANDS: usize = 8;
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
            if self.calls.is_empty() && self.awaiting.is_empty() && !self.roll_back() {
                return Ok(self.tally.applied());
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

    /// Does what is to be done next about the job's task, as that stands.
    fn advance(&mut self, job: Job) {
        let view = self.handle.journal.view();
        let task = view.get(job.name());
        let Aim::Have(have) = &job.aim else { return self.end_task(job, task) };
        // It is not for the apply to try again what has failed after its swap.
        if let Some(task) = task.filter(|task| have.way == Way::Swap && job.did.is_some() && is_reverted(task)) {
            return self.reverted(job, task);
        }
        let (step, _) = next_step(&self.apply.owner, &have.desired, task.map(Arc::as_ref));
        let cause = self.cause(&job);
        match (step, have.way) {
            (Step::Leave, Way::Swap) if job.did == Some(Action::Swap) => self.swapped(job, task),
            (Step::Leave, _) => self.done(job),
            (Step::Refuse(refusal), _) => self.failed(job, NotApplied::Refused(refusal)),
            (Step::Create | Step::Recreate(_) | Step::AwaitEnd, Way::Back) => {
                let state = task.map(|task| task.state).filter(|state| state.is_ended());
                let name = job.name().clone();
                let refusal = match state {
                    Some(state) => Refusal::TaskNotRunning { name, state },
                    None => Refusal::TaskNotFound(name),
                };
                self.failed(job, NotApplied::Refused(refusal));
            }
            (Step::Swap | Step::Join(_) | Step::AwaitSwap, Way::Create) => self.swap_instead(job),
            (Step::Create, _) => self.ask(have.start(cause), job),
            (Step::Recreate(etag), _) => self.ask(Ask::delete(job.name().clone(), etag, cause), job),
            (Step::Swap, _) => {
                let ask = have.swap(cause);
                let before = task.cloned();
                self.ask(ask, Job { before: job.before.clone().or(before), ..job });
            }
            (Step::Join(swap), _) => self.follow(job, swap),
            (Step::AwaitEnd | Step::AwaitSwap, _) => self.await_event(job, task),
        }
    }

    /// Has the task ended, unless it is not one that the owner has too many any more.
    fn end_task(&mut self, job: Job, task: Option<&Arc<Task>>) {
        match task {
            None => self.done(job),
            Some(task) if task.state.is_ended() => self.done(job),
            Some(task) if task.intent != Intent::Cancel && !is_excess(&self.apply.owner, task) => self.done(job),
            Some(task) if task.intent != Intent::Cancel => {
                let ask = Ask::cancel(job.name().clone(), task.etag(), self.cause(&job));
                self.ask(ask, job);
            }
            Some(task) if task.is_stopped() => self.failed(job, NotApplied::Stuck),
            Some(_) => self.await_event(Job { did: Some(Action::Cancel), ..job }, task),
        }
    }

    /// There is one of that name by now, so that its turn comes with the other swaps.
    fn swap_instead(&mut self, mut job: Job) {
        if let Aim::Have(have) = &mut job.aim {
            have.way = Way::Swap;
        }
        self.tally.put_back();
        self.swaps.push_back(job);
    }

    fn cause(&self, job: &Job) -> Cause {
        let Cause { actor, reason, request_id } = self.apply.cause.clone();
        let reason = match job.is_back() {
            true => Reason::cut("rolled back: too many swaps of the same apply have failed".to_owned()),
            false => reason,
        };
        Cause { actor, reason, request_id }
    }

    fn ask(&mut self, ask: Ask, mut job: Job) {
        if job.commands >= COMMANDS {
            return self.failed(job, NotApplied::Contended);
        }
        job.commands += 1;
        if !job.is_swap() {
            self.calling += 1;
        }
        self.calls.push(ask.of(self.handle.clone(), job));
    }

    fn answered(&mut self, mut job: Job, answer: Result<Answer, Refusal>) {
        if !job.is_swap() {
            self.calling -= 1;
        }
        match answer {
            Err(refusal) if refusal.is_of_the_server() => self.end = Some(refusal),
            // Somebody else has changed the task since it was looked at.
            Err(refusal) if is_of_the_moment(&refusal) && job.commands < COMMANDS => self.advance(job),
            Err(refusal) => self.failed(job, NotApplied::Refused(refusal)),
            Ok(Answer::Deleted(sequence)) => {
                self.tally.reached(sequence);
                self.advance(job);
            }
            Ok(Answer::Task(accepted)) => {
                self.tally.reached(accepted.sequence);
                job.did = Some(job.action());
                match job.action() {
                    Action::Create => self.done(job),
                    Action::Swap => self.swap_begun(job, &accepted.task),
                    Action::Cancel | Action::Leave => self.advance(job),
                }
            }
        }
    }

    /// The swap was accepted, with the task as it stood then.
    fn swap_begun(&mut self, job: Job, task: &Task) {
        match task.swap.as_deref() {
            Some(swap) if !swap.is_ended() => self.follow(job, swap.id),
            // Other annotations alone, which are there at once.
            _ => self.advance(job),
        }
    }

    /// Waits for the end of the swap; or finds that it was missed.
    fn follow(&mut self, mut job: Job, swap: Uuid) {
        job.follows = Some(swap);
        let view = self.handle.journal.view();
        let Some(task) = view.get(job.name()) else {
            let refusal = Refusal::TaskNotFound(job.name().clone());
            return self.failed(job, NotApplied::Refused(refusal));
        };
        match task.swap.as_deref() {
            Some(newest) if newest.id == swap && !newest.is_ended() => self.await_event(job, Some(task)),
            Some(newest) if newest.id == swap => self.swap_ended(job, task),
            // The next one has begun, so that this one has ended.
            _ => self.advance(Job { follows: None, ..job }),
        }
    }

    fn swap_ended(&mut self, job: Job, task: &Task) {
        let Some(swap) = task.swap.as_deref() else { return self.advance(job) };
        let job = Job { follows: None, ..job };
        if let Some(reason) = job.reverted.clone() {
            return self.failed(job, NotApplied::Reverted(reason));
        }
        match swap.phase {
            SwapPhase::Done => self.advance(Job { did: Some(Action::Swap), ..job }),
            phase if job.is_back() => self.failed(job, NotApplied::NotRolledBack(phase, swap.error.clone())),
            // It was another's, as an earlier server's that had ended in the middle: the task is yet to be swapped by this apply.
            _ if job.did != Some(Action::Swap) && job.commands < COMMANDS => {
                self.advance(Job { commands: job.commands + 1, ..job });
            }
            phase => self.failed(job, NotApplied::Swap(phase, swap.error.clone())),
        }
    }

    /// The task is as desired, by a swap. What that has brought in may be observed: then it counts once that is over.
    fn swapped(&mut self, mut job: Job, task: Option<&Arc<Task>>) {
        let Some(task) = task else { return self.done(job) };
        let Some(observation) = task.observation.as_deref() else { return self.done(job) };
        match job.observed {
            _ if !observation.failure.is_empty() && task.state.is_ended() => {
                // There was nothing to go back to any more.
                self.failed(job, NotApplied::Reverted(observation.failure.clone()));
            }
            _ if !observation.failure.is_empty() => self.await_event(job, Some(task)),
            Observed::Over => self.done(job),
            Observed::Until(_) => self.await_event(job, Some(task)),
            Observed::No => {
                // From when it was seen: no earlier than from when it has begun.
                let over = Instant::now() + task.spec.swap().observation_time();
                job.observed = Observed::Until(over);
                self.observations.insert((over, task.uid));
                self.await_event(job, Some(task));
            }
        }
    }

    /// The time of some observation is over.
    fn observed(&mut self) {
        let now = Instant::now();
        while let Some((over, uid)) = self.observations.first().copied().filter(|(over, _)| *over <= now) {
            self.observations.remove(&(over, uid));
            if let Some(job) = self.awaiting.remove(&uid) {
                self.advance(Job { observed: Observed::Over, ..job });
            }
        }
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

    /// What the swap has brought in has failed, and the server swaps back: that is awaited, since it is a swap under way.
    fn reverted(&mut self, mut job: Job, task: &Task) {
        let Some(swap) = task.swap.as_deref() else { return self.await_event(job, None) };
        let reason = swap.revert_reason.clone();
        if swap.is_ended() {
            return self.failed(job, NotApplied::Reverted(reason));
        }
        (job.reverted, job.follows) = (Some(reason), Some(swap.id));
        self.awaiting.insert(task.uid, job);
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

/// Whether the newest swap of the task is the server's own, to go back.
fn is_reverted(task: &Task) -> bool {
    task.swap.as_deref().is_some_and(|swap| !swap.revert_reason.is_empty())
}

/// Whether another look at the task may show what to do instead.
fn is_of_the_moment(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::TaskExists(_)
            | Refusal::TaskNotFound(_)
            | Refusal::TaskLive(_)
            | Refusal::EtagMismatch { .. }
            | Refusal::SwapInProgress(_)
            | Refusal::TaskNotRunning { .. }
    )
}
