//! Waiting for a task, by its own committed events: a state that was only passed through counts, and nothing is polled.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::error::Error;
use crate::journal::{Change, Journal, TaskChanges};
use crate::model::{EventType, Intent, Refusal, Sequence, State, Task, TaskName, Uid};
use crate::pb::parse::{Until, WaitTask};

/// How far a task is from what someone waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Reached,
    Pending,
    /// It will never be.
    Unreachable,
}

/// How far a task is from what is waited for.
fn toward(until: &Until, task: &Task) -> Progress {
    match until {
        Until::States(states) => toward_state(states, task),
        // A swap that nobody has asked for yet is none to wait for.
        Until::SwapEnded => match &task.swap {
            None => Progress::Unreachable,
            Some(swap) if swap.is_ended() => Progress::Reached,
            Some(_) => Progress::Pending,
        },
    }
}

/// How far a task is from one of the states `until`.
fn toward_state(until: &BTreeSet<State>, task: &Task) -> Progress {
    if until.contains(&task.state) {
        return Progress::Reached;
    }
    // The only way from here on.
    let cancelled = [State::Stopping, State::Aborting, State::Stuck, State::Cancelled];
    match task.intent {
        _ if task.state.is_ended() => Progress::Unreachable,
        Intent::Cancel if !cancelled.iter().any(|state| until.contains(state)) => Progress::Unreachable,
        Intent::Cancel | Intent::Pause | Intent::Run => Progress::Pending,
    }
}

/// Whether the outcome of a cancel is proven.
fn is_proven(task: &Task) -> bool {
    task.state.is_ended() || (task.intent == Intent::Cancel && task.is_stopped())
}

/// One task, under its uid: another one of the same name is not it.
pub(super) struct Watched {
    journal: Journal,
    name: TaskName,
    uid: Uid,
    /// Events up to here are known, and tell nothing new.
    known: Sequence,
    changes: TaskChanges,
}

impl Watched {
    /// Finds a task by its name, as it stands.
    pub(super) fn find(journal: &Journal, name: TaskName) -> Result<(Self, Arc<Task>), Error> {
        let Some(uid) = journal.view().get(&name).map(|task| task.uid) else {
            return Err(Refusal::TaskNotFound(name).into());
        };
        let watched = Self::subscribe(journal, name, uid);
        let task = watched.look()?;
        Ok((watched, task))
    }

    /// Hears of everything that is committed from now on.
    pub(super) fn subscribe(journal: &Journal, name: TaskName, uid: Uid) -> Self {
        Self { changes: journal.changes(uid), journal: journal.clone(), name, uid, known: Sequence::default() }
    }

    /// Passes over what was committed up to `known`, however much of it has been heard by now.
    #[must_use]
    pub(super) fn after(self, known: Sequence) -> Self {
        Self { known, ..self }
    }

    pub(super) fn uid(&self) -> Uid {
        self.uid
    }

    /// The task as it stands.
    pub(super) fn look(&self) -> Result<Arc<Task>, Error> {
        let view = self.journal.view();
        view.get(&self.name).filter(|task| task.uid == self.uid).cloned().ok_or_else(|| self.not_found())
    }

    /// The task as it stood after its next event. Cancel-safe.
    async fn next(&mut self) -> Result<Arc<Task>, Error> {
        let event = loop {
            match self.changes.next().await? {
                Change::Event(event) if event.sequence <= self.known => {}
                Change::Event(event) => break event,
                Change::Missed => return self.look(),
            }
        };
        match &event.task {
            Some(task) if event.kind != EventType::TaskDeleted => Ok(Arc::clone(task)),
            _ => Err(self.not_found()),
        }
    }

    /// The task as it stands, once the wait for it is over: what one step decided is several events, and who waited for the
    /// first of them shall see all. A task that has been deleted meanwhile is shown as it was last `seen`.
    fn latest(&self, seen: Arc<Task>) -> Arc<Task> {
        self.look().unwrap_or(seen)
    }

    fn not_found(&self) -> Error {
        Refusal::TaskNotFound(self.name.clone()).into()
    }

    /// The task as it stood after its next event, unless the server goes first.
    async fn next_until(&mut self, closing: &CancellationToken) -> Result<Arc<Task>, Error> {
        tokio::select! {
            biased;
            next = self.next() => next,
            () = closing.cancelled() => Err(Error::Draining),
        }
    }

    /// Waits until the outcome of the task's cancel is proven; `task` is the task as it was when that was accepted.
    pub(super) async fn proven(mut self, mut task: Arc<Task>, closing: &CancellationToken) -> Result<Arc<Task>, Error> {
        while !is_proven(&task) {
            task = self.next_until(closing).await?;
        }
        Ok(self.latest(task))
    }

    /// Waits until the newest swap of `task`, which is the task as it was when the swap was accepted, has ended. The answer
    /// shows that swap as it ended, even where the next one has begun meanwhile.
    pub(super) async fn swapped(
        mut self,
        mut task: Arc<Task>,
        closing: &CancellationToken,
    ) -> Result<Arc<Task>, Error> {
        let Some(id) = task.swap.as_ref().map(|swap| swap.id) else { return Ok(task) };
        loop {
            if has_ended(&task, id) {
                let latest = self.latest(Arc::clone(&task));
                return Ok(if has_ended(&latest, id) { latest } else { task });
            }
            if !is_of(&task, id) {
                // From before the swap, or from so long after it that its own events were missed.
                let latest = self.look()?;
                if !is_of(&latest, id) || has_ended(&latest, id) {
                    return Ok(latest);
                }
            }
            task = self.next_until(closing).await?;
        }
    }
}

/// Whether the newest swap of the task is that one.
fn is_of(task: &Task, swap: Uuid) -> bool {
    task.swap.as_ref().is_some_and(|newest| newest.id == swap)
}

/// Whether the newest swap of the task is that one, and has ended.
fn has_ended(task: &Task, swap: Uuid) -> bool {
    is_of(task, swap) && task.swap.as_ref().is_some_and(|newest| newest.is_ended())
}

/// Waits as asked; says whether that was reached.
pub(super) async fn wait(
    journal: &Journal,
    request: WaitTask,
    closing: &CancellationToken,
) -> Result<(Arc<Task>, bool), Error> {
    let WaitTask { name, until, timeout } = request;
    let (watched, task) = Watched::find(journal, name)?;
    tokio::select! {
        biased;
        reached = reach(watched, task, &until, timeout) => reached,
        () = closing.cancelled() => Err(Error::Draining),
    }
}

async fn reach(
    mut watched: Watched,
    mut task: Arc<Task>,
    until: &Until,
    timeout: Duration,
) -> Result<(Arc<Task>, bool), Error> {
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        match toward(until, &task) {
            Progress::Reached => {
                // Where what ended has made room for another one, who waited shall see how it ended.
                let latest = watched.latest(Arc::clone(&task));
                let next_runs = matches!(until, Until::SwapEnded) && toward(until, &latest) == Progress::Pending;
                return Ok((if next_runs { task } else { latest }, true));
            }
            Progress::Unreachable => return Ok((watched.latest(task), false)),
            Progress::Pending => match tokio::time::timeout_at(deadline, watched.next()).await {
                Ok(next) => task = next?,
                Err(_) => return Ok((task, false)),
            },
        }
    }
}

#[cfg(test)]
mod tests;
