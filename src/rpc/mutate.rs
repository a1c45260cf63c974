//! Commands, and what those who asked for more than the command wait for: a call does that, and so does each request of a batch.

use std::sync::Arc;

use super::error::Error;
use super::task_service::TaskRpc;
use super::wait::Watched;
use crate::manager::Accepted;
use crate::model::{CancelTask, Refusal, RollbackTask, Sequence, SwapTask, Task, TaskName};

impl TaskRpc {
    /// Swaps; where the client `waits`, answers with the task as it stood when the swap had ended.
    pub(super) async fn swapped(&self, request: SwapTask, waits: bool) -> Result<Accepted, Error> {
        // Nothing happens, so there is nothing to wait for.
        let waits = waits && !request.validate_only;
        let listening = self.listen(&request.name, waits);
        let accepted = self.manager.swap(request).await?;
        self.until_swapped(listening, accepted, waits).await
    }

    async fn until_swapped(
        &self,
        listening: Option<Watched>,
        accepted: Accepted,
        waits: bool,
    ) -> Result<Accepted, Error> {
        let Accepted { mut task, sequence } = accepted;
        if waits {
            let (watched, then) = self.listened(listening, task, sequence)?;
            task = self.unless_stalled(watched.swapped(then, &self.streams.closing), "the swap is under way").await?;
        }
        Ok(Accepted { task, sequence })
    }

    /// Swaps back; where the client `waits`, answers with the task as it stood when that had ended.
    pub(super) async fn rolled_back(&self, request: RollbackTask, waits: bool) -> Result<Accepted, Error> {
        let waits = waits && !request.validate_only;
        let listening = self.listen(&request.name, waits);
        let accepted = self.manager.rollback(request).await?;
        self.until_swapped(listening, accepted, waits).await
    }

    /// Cancels; where the client `waits`, answers with the task as it stood when the outcome was proven.
    pub(super) async fn cancelled(&self, request: CancelTask, waits: bool) -> Result<Accepted, Error> {
        let listening = self.listen(&request.name, waits);
        let Accepted { mut task, sequence } = self.manager.cancel(request).await?;
        if waits {
            let (watched, then) = self.listened(listening, task, sequence)?;
            task = self.unless_stalled(watched.proven(then, &self.streams.closing), "stopping").await?;
        }
        Ok(Accepted { task, sequence })
    }

    /// Who waits must listen before the command: a task may end, and be deleted, faster than its answer arrives.
    fn listen(&self, name: &TaskName, waits: bool) -> Option<Watched> {
        if waits { Watched::find(&self.journal, name.clone()).ok().map(|(watched, _)| watched) } else { None }
    }

    /// What listens to the task that a command was about, which was answered with it at `sequence`; and the task as it stands by
    /// then.
    fn listened(
        &self,
        listening: Option<Watched>,
        task: Arc<Task>,
        sequence: Sequence,
    ) -> Result<(Watched, Arc<Task>), Error> {
        match listening {
            Some(watched) if watched.uid() == task.uid => Ok((watched.after(sequence), task)),
            _ => {
                // It was started, or started anew, in between: what has followed since has not been heard.
                let watched = Watched::subscribe(&self.journal, task.name.clone(), task.uid);
                let task = watched.look()?;
                Ok((watched, task))
            }
        }
    }

    /// What has been asked for goes on; but while the journal is stalled nobody hears of it.
    async fn unless_stalled(
        &self,
        wait: impl Future<Output = Result<Arc<Task>, Error>>,
        under_way: &'static str,
    ) -> Result<Arc<Task>, Error> {
        tokio::select! {
            biased;
            task = wait => task,
            () = self.manager.stalled() => Err(Refusal::NotYetDurable(under_way).into()),
        }
    }
}
