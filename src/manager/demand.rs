//! A check on demand, from the order to what comes of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::desk::Desk;
use super::handle::With;
use super::runs::Outcome;
use crate::journal::Journal;
use crate::lifecycle::{Command, Reply};
use crate::model::{Attempt, Cause, Generation, InstanceState, Refusal, RunTask, Task, TaskName};

/// How long, once an instance has let go of a check, its end is waited for: what had it let go is being committed. One that goes on
/// without checks does not end.
const ITS_END: Duration = Duration::from_secs(5);

/// Where a check is ordered, and where it shows that none can come any more.
pub(super) struct Demand {
    pub(super) desk: Desk,
    pub(super) journal: Journal,
}

impl Demand {
    /// Has the task's instance make a check, and waits for it.
    pub(super) async fn make(self, run: RunTask) -> Outcome {
        // Its thread may come back when nobody waits for the check any more: so none is ordered.
        if self.journal.view().get(&run.name).is_some_and(|task| ready(task).is_some() && blocks(task)) {
            return Err(Refusal::InstanceBlocks(run.name));
        }
        let audit = Audit { name: run.name.clone(), cause: run.cause.clone(), decided: false };
        let (wanted, check) = oneshot::channel();
        let with = With { monitor: None, wanted: Some(wanted) };
        let task = match self.desk.command(Command::Run(run), with).await {
            Ok(Reply::Checking { task }) => task,
            Ok(_) => return audit.refused(Refusal::ServerDraining),
            Err(refusal) => return audit.refused(refusal),
        };
        audit.accepted();
        let made = tokio::select! {
            biased;
            made = check => made,
            refusal = self.unready(&task) => return Err(refusal),
        };
        match made {
            Ok(check) => Ok(check),
            Err(_) => Err(match timeout(ITS_END, self.unready(&task)).await {
                Ok(refusal) => refusal,
                Err(_) => self.look(&task).map_or_else(|gone| gone, |now| not_made(&now)),
            }),
        }
    }

    /// Resolves once the instance that `task` shows can make no check any more: it blocks its thread, is told to stop, has ended, or
    /// another one has taken its place.
    async fn unready(&self, task: &Task) -> Refusal {
        // First: so nothing is missed that happens after the look.
        let mut changes = self.journal.changes(task.uid);
        loop {
            match self.look(task) {
                Err(gone) => return gone,
                Ok(now) if ready(&now).is_none() || ready(&now) != ready(task) => return not_made(&now),
                Ok(now) if blocks(&now) => return Refusal::InstanceBlocks(task.name.clone()),
                Ok(_) => {}
            }
            // The journal ends last in a drain.
            if changes.next().await.is_err() {
                return Refusal::ServerDraining;
            }
        }
    }

    /// The task as it stands; another one of the same name is not it.
    fn look(&self, task: &Task) -> Result<Arc<Task>, Refusal> {
        let now = self.journal.view().get(&task.name).filter(|now| now.uid == task.uid).cloned();
        now.ok_or_else(|| Refusal::TaskNotFound(task.name.clone()))
    }
}

/// Which instance makes the task's checks, where one is ready.
fn ready(task: &Task) -> Option<(Generation, Attempt)> {
    let instance = task.instance.as_ref().filter(|instance| instance.state == InstanceState::Ready)?;
    Some((instance.generation, instance.attempt))
}

fn blocks(task: &Task) -> bool {
    task.instance.as_ref().is_some_and(|instance| instance.blocked_since.is_some())
}

fn not_made(now: &Task) -> Refusal {
    Refusal::CheckNotMade { name: now.name.clone(), state: now.state }
}

/// The audit trail of a check on demand is the log: it is no event, unless the circuit moves.
struct Audit {
    name: TaskName,
    cause: Cause,
    decided: bool,
}

impl Audit {
    fn accepted(mut self) {
        self.decided = true;
        let Cause { actor, reason, request_id: _ } = &self.cause;
        tracing::info!(task = %self.name, %actor, reason = reason.as_str(), "a check was asked for");
    }

    fn refused(mut self, refusal: Refusal) -> Outcome {
        self.decided = true;
        Err(refusal)
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        if !self.decided {
            let Cause { actor, reason, request_id: _ } = &self.cause;
            let reason = reason.as_str();
            tracing::info!(task = %self.name, %actor, reason, "a check was asked for by who has gone before the answer");
        }
    }
}

#[cfg(test)]
mod tests;
