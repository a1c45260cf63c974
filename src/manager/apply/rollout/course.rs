//! What is to be done next about one job's task, by how that stands; and what the answers to the commands say of that.

use std::sync::Arc;

use super::RollOut;
use super::swaps::is_reverted;
use crate::lifecycle::{Step, is_excess, next_step};
use crate::manager::apply::job::{Aim, Answer, Ask, Job, Way};
use crate::model::{Action, Cause, Intent, NotApplied, Reason, Refusal, Task};

/// Commands about one task: each changes it, so that only somebody else who changes it too can make more of them necessary.
pub(super) const COMMANDS: usize = 8;

impl RollOut {
    /// Does what is to be done next about the job's task, as that stands.
    pub(super) fn advance(&mut self, job: Job) {
        let view = self.handle.journal.view();
        let task = view.get(job.name());
        let Aim::Have(have) = &job.aim else { return self.end_task(job, task) };
        // It is not for the apply to try again what has failed after its swap.
        if let Some(task) = task.filter(|task| have.way == Way::Swap && job.did.is_some() && is_reverted(task)) {
            return self.reverted(job, task);
        }
        let (step, _) = next_step(&self.apply.owner, &have.desired, task.map(Arc::as_ref));
        // What somebody does by hand in the middle of a roll-out, is done for a reason.
        let is_cancelled = task.is_some_and(|task| task.intent == Intent::Cancel);
        let is_undone = job.was_done && !matches!(step, Step::Leave);
        if have.way == Way::Swap && (is_cancelled || is_undone) {
            return self.failed(job, NotApplied::TakenOver);
        }
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

    pub(super) fn answered(&mut self, mut job: Job, answer: Result<Answer, Refusal>) {
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
            | Refusal::SwapTakenOver(_)
            | Refusal::TaskNotRunning { .. }
    )
}
