//! What the rest of the process may ask of the manager.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Counts;
use super::apply::Applies;
use super::demand::Demand;
use super::desk::{Caller, Desk};
use super::reporters::Reporters;
use super::runs::Runs;
use super::vetting::{Built, Vetting};
use crate::journal::{Condition, Journal};
use crate::lifecycle::{Call, Command, Reply};
use crate::model::{
    CancelTask, Cause, Check, DeleteTask, Disposition, Live, Now, OverrideCircuit, PauseTask, Permission, Refusal,
    Report as OutcomeReport, ResetCircuit, ResumeTask, RunTask, Sequence, StartTask, SwapTask, Task, TaskName, Uid,
    WindowCounts,
};
use crate::monitor::{LiveCell, Report, Wanted};
use crate::telemetry;

/// A request to the loop.
pub(super) enum Request {
    /// A client's command.
    Command { command: Command, with: With, answer: oneshot::Sender<Result<Reply, Refusal>> },
    /// What a caller asks or tells.
    Call { call: Call, caller: Caller },
    /// Say when everything that was sent before has been decided, and answered where it can be at once; and whether the server drains.
    Sync(oneshot::Sender<bool>),
    /// Stop every task.
    Drain { bound: Duration, cause: Cause, begun: Option<oneshot::Sender<Sequence>>, done: oneshot::Sender<usize> },
}

/// What a command brings along for what it brings about.
#[derive(Default)]
pub(super) struct With {
    /// For a start: the monitor, built and found good.
    pub(super) monitor: Option<Built>,
    /// For a check: who waits for it.
    pub(super) wanted: Option<Wanted>,
}

/// A command's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The task, as it stands after the command.
    pub task: Arc<Task>,
    /// The place in the log right after the command.
    pub sequence: Sequence,
}

/// Commands the manager. Cheap to clone. Every answer waits until what it shows is committed; giving up waiting does not undo
/// the command.
#[derive(Clone)]
pub struct Handle {
    pub(super) desk: Desk,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) vetting: Vetting,
    pub(super) lives: Arc<Lives>,
    pub(super) counts: Arc<Counts>,
    pub(super) journal: Journal,
    pub(super) runs: Arc<Runs>,
    pub(super) applies: Arc<Applies>,
    pub(super) reporters: Arc<Reporters>,
    /// Counts what callers ask and tell.
    pub(super) circuits: telemetry::Circuits,
}

impl Handle {
    /// Starts a task, or says why not.
    pub async fn start(&self, start: StartTask) -> Result<Accepted, Refusal> {
        let (target, monitor) = self.vetting.vet(start.spec.monitor()).await?;
        let with = With { monitor, wanted: None };
        self.command(Command::Start(Box::new(start), target), with).await.and_then(accepted)
    }

    /// Replaces a task's spec while it runs, or says why not. Answers when the swap has begun; what comes of it, the task shows.
    pub async fn swap(&self, swap: SwapTask) -> Result<Accepted, Refusal> {
        let target = self.vetting.validate(swap.spec.monitor()).await?;
        self.command(Command::Swap(Box::new(swap), target), With::default()).await.and_then(accepted)
    }

    /// Stops a task for good, or says why not. Answers when the stop has been asked for.
    pub async fn cancel(&self, cancel: CancelTask) -> Result<Accepted, Refusal> {
        self.command(Command::Cancel(cancel), With::default()).await.and_then(accepted)
    }

    /// Stops a task until it is resumed, or says why not. Answers when the stop has been asked for.
    pub async fn pause(&self, pause: PauseTask) -> Result<Accepted, Refusal> {
        self.command(Command::Pause(pause), With::default()).await.and_then(accepted)
    }

    /// Has a paused task run again, or says why not.
    pub async fn resume(&self, resume: ResumeTask) -> Result<Accepted, Refusal> {
        self.command(Command::Resume(resume), With::default()).await.and_then(accepted)
    }

    /// Has a task make a check now, and answers with it; or says why not. The same request is answered with the same check.
    pub async fn run(&self, mut run: RunTask) -> Result<Check, Refusal> {
        let demand = Demand { desk: self.desk.clone(), journal: self.journal.clone() };
        // The machine's answer comes before the check, so it cannot know what a replay is to be answered with.
        match run.idempotency.take() {
            Some(idempotency) => {
                let actor = run.cause.actor.clone();
                self.runs.once(&actor, idempotency, demand.make(run)).await
            }
            None => demand.make(run).await,
        }
    }

    /// Lays an override over a task's circuit or takes it away, or says why not.
    pub async fn override_circuit(&self, wanted: OverrideCircuit) -> Result<Accepted, Refusal> {
        self.command(Command::Override(wanted), With::default()).await.and_then(accepted)
    }

    /// Has a task's circuit begin anew, or says why not.
    pub async fn reset_circuit(&self, reset: ResetCircuit) -> Result<Accepted, Refusal> {
        self.command(Command::ResetCircuit(reset), With::default()).await.and_then(accepted)
    }

    /// Asks whether the task's target may be called; answers with the task's uid, and the time by the clock that leases go by.
    pub async fn acquire(&self, name: TaskName) -> Result<(Uid, Permission, Now), Refusal> {
        match self.desk.call(Call::Acquire(name)).await? {
            Reply::Permission { uid, permission, now } => {
                self.circuits.asked(permission);
                Ok((uid, permission, now))
            }
            _ => Err(Refusal::ServerDraining),
        }
    }

    /// Tells what has come of calls, and is told what becomes of each.
    pub async fn report(&self, report: OutcomeReport) -> Result<Vec<Disposition>, Refusal> {
        self.reporters.report(report, self.desk.clone(), self.journal.clone(), self.circuits.clone()).await
    }

    /// Deletes an ended task, or says why not; answers with the place in the log right after.
    pub async fn delete(&self, delete: DeleteTask) -> Result<Sequence, Refusal> {
        match self.command(Command::Delete(delete), With::default()).await? {
            Reply::Deleted { sequence } | Reply::Accepted { sequence, .. } => Ok(sequence),
            Reply::Checking { .. } | Reply::Permission { .. } | Reply::Dispositions(_) => Err(Refusal::ServerDraining),
        }
    }

    /// What is known of a task at this moment; `None` for tasks that never ran here.
    pub fn live(&self, uid: Uid) -> Option<Live> {
        self.lives.get(uid)
    }

    /// Live instances, stuck ones included.
    pub fn live_instances(&self) -> usize {
        self.counts.live()
    }

    /// How many commands and reports wait for the loop.
    pub fn queued(&self) -> usize {
        waiting(&self.desk.requests) + waiting(&self.reports)
    }

    /// How the journal does, as far as the loop has been told.
    pub fn condition(&self) -> Condition {
        *self.desk.condition.borrow()
    }

    /// Waits until the journal counts as stalled: then nobody hears of anything new for a while.
    pub async fn stalled(&self) {
        self.desk.stalled().await;
    }

    pub(super) async fn command(&self, command: Command, with: With) -> Result<Reply, Refusal> {
        self.desk.command(command, with).await
    }
}

fn waiting<T>(channel: &mpsc::Sender<T>) -> usize {
    channel.max_capacity() - channel.capacity()
}

pub(super) fn accepted(reply: Reply) -> Result<Accepted, Refusal> {
    match reply {
        Reply::Accepted { task, sequence } => Ok(Accepted { task, sequence }),
        // What is answered so is never asked for here.
        Reply::Deleted { .. } | Reply::Checking { .. } | Reply::Permission { .. } | Reply::Dispositions(_) => {
            Err(Refusal::ServerDraining)
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("queued", &self.queued()).finish_non_exhaustive()
    }
}

/// What is sampled of each task. Written by monitors through their cell and by the loop, read by whoever reads a task.
#[derive(Debug, Default)]
pub(super) struct Lives(RwLock<HashMap<Uid, Sampled>>);

#[derive(Debug, Default)]
struct Sampled {
    /// The active instance's.
    cell: Arc<LiveCell>,
    circuit: WindowCounts,
}

impl Lives {
    fn get(&self, uid: Uid) -> Option<Live> {
        let (cell, circuit) = {
            let sampled = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let Sampled { cell, circuit } = sampled.get(&uid)?;
            (Arc::clone(cell), *circuit)
        };
        Some(Live { circuit, ..cell.snapshot() })
    }

    /// Shows the cell of the task's active instance.
    pub(super) fn show(&self, uid: Uid, cell: Arc<LiveCell>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).entry(uid).or_default().cell = cell;
    }

    /// Shows what the window of the task's circuit holds.
    pub(super) fn count(&self, uid: Uid, circuit: WindowCounts) {
        if let Some(sampled) = self.0.write().unwrap_or_else(PoisonError::into_inner).get_mut(&uid) {
            sampled.circuit = circuit;
        }
    }

    pub(super) fn forget(&self, uid: Uid) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&uid);
    }
}
