//! TaskService, thin: parse, ask, render.

use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::apply::Apply;
use super::error::Error;
use super::list::Listed;
use super::streams::Streams;
use super::watch::Shows;
use super::{list, peer, wait};
use crate::journal::Journal;
use crate::manager::{Accepted, Handle};
use crate::model::{Refusal, Task};
use crate::pb::v1::task_service_server::TaskService;
use crate::pb::{WatchFrame, parse, render, v1};

/// The service.
pub(super) struct TaskRpc {
    pub(super) manager: Handle,
    pub(super) journal: Journal,
    pub(super) streams: Streams,
}

#[tonic::async_trait]
impl TaskService for TaskRpc {
    async fn start_task(
        &self,
        request: Request<v1::StartTaskRequest>,
    ) -> Result<Response<v1::StartTaskResponse>, Status> {
        Ok(Response::new(self.start(request).await?))
    }

    async fn get_task(&self, request: Request<v1::GetTaskRequest>) -> Result<Response<v1::GetTaskResponse>, Status> {
        Ok(Response::new(self.get(request)?))
    }

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }

    async fn swap_task(&self, request: Request<v1::SwapTaskRequest>) -> Result<Response<v1::SwapTaskResponse>, Status> {
        Ok(Response::new(self.swap(request).await?))
    }

    async fn cancel_task(
        &self,
        request: Request<v1::CancelTaskRequest>,
    ) -> Result<Response<v1::CancelTaskResponse>, Status> {
        Ok(Response::new(self.cancel(request).await?))
    }

    async fn delete_task(
        &self,
        request: Request<v1::DeleteTaskRequest>,
    ) -> Result<Response<v1::DeleteTaskResponse>, Status> {
        Ok(Response::new(self.delete(request).await?))
    }

    async fn wait_task(&self, request: Request<v1::WaitTaskRequest>) -> Result<Response<v1::WaitTaskResponse>, Status> {
        Ok(Response::new(self.wait(request).await?))
    }

    async fn pause_task(
        &self,
        request: Request<v1::PauseTaskRequest>,
    ) -> Result<Response<v1::PauseTaskResponse>, Status> {
        Ok(Response::new(self.pause(request).await?))
    }

    async fn resume_task(
        &self,
        request: Request<v1::ResumeTaskRequest>,
    ) -> Result<Response<v1::ResumeTaskResponse>, Status> {
        Ok(Response::new(self.resume(request).await?))
    }

    async fn run_task(&self, request: Request<v1::RunTaskRequest>) -> Result<Response<v1::RunTaskResponse>, Status> {
        Ok(Response::new(self.run(request).await?))
    }

    async fn list_generations(
        &self,
        request: Request<v1::ListGenerationsRequest>,
    ) -> Result<Response<v1::ListGenerationsResponse>, Status> {
        Ok(Response::new(self.generations(request).await?))
    }

    async fn rollback_task(
        &self,
        request: Request<v1::RollbackTaskRequest>,
    ) -> Result<Response<v1::RollbackTaskResponse>, Status> {
        Ok(Response::new(self.rollback(request).await?))
    }

    async fn batch_start_tasks(
        &self,
        request: Request<v1::BatchStartTasksRequest>,
    ) -> Result<Response<v1::BatchStartTasksResponse>, Status> {
        Ok(Response::new(self.batch_start(request).await?))
    }

    async fn batch_cancel_tasks(
        &self,
        request: Request<v1::BatchCancelTasksRequest>,
    ) -> Result<Response<v1::BatchCancelTasksResponse>, Status> {
        Ok(Response::new(self.batch_cancel(request).await?))
    }

    async fn batch_swap_tasks(
        &self,
        request: Request<v1::BatchSwapTasksRequest>,
    ) -> Result<Response<v1::BatchSwapTasksResponse>, Status> {
        Ok(Response::new(self.batch_swap(request).await?))
    }

    type ApplyTasksStream = BoxStream<'static, Result<v1::ApplyTasksResponse, Status>>;

    async fn apply_tasks(
        &self,
        request: Request<Streaming<v1::ApplyTasksRequest>>,
    ) -> Result<Response<Self::ApplyTasksStream>, Status> {
        let actor = peer::actor(&request)?;
        let (manager, journal) = (self.manager.clone(), self.journal.clone());
        let apply =
            Apply { manager, journal, closing: self.streams.closing.clone(), actor, requests: request.into_inner() };
        Ok(Response::new(Box::pin(apply.answers())))
    }

    type WatchTasksStream = BoxStream<'static, Result<WatchFrame, Status>>;

    async fn watch_tasks(
        &self,
        request: Request<v1::WatchTasksRequest>,
    ) -> Result<Response<Self::WatchTasksStream>, Status> {
        Ok(Response::new(self.watch(request)?))
    }

    type WatchChecksStream = BoxStream<'static, Result<v1::WatchChecksResponse, Status>>;

    async fn watch_checks(
        &self,
        request: Request<v1::WatchChecksRequest>,
    ) -> Result<Response<Self::WatchChecksStream>, Status> {
        Ok(Response::new(self.checks(request)?))
    }
}

impl TaskRpc {
    async fn start(&self, request: Request<v1::StartTaskRequest>) -> Result<v1::StartTaskResponse, Error> {
        let actor = peer::actor(&request)?;
        let request = parse::start_task(request.into_inner(), actor)?;
        let Accepted { task, sequence } = self.manager.start(request).await?;
        Ok(v1::StartTaskResponse { task: Some(render::task(&task, None)), cursor: self.journal.cursor(sequence) })
    }

    fn get(&self, request: Request<v1::GetTaskRequest>) -> Result<v1::GetTaskResponse, Error> {
        let name = parse::get_task(request.into_inner())?;
        match self.journal.view().get(&name) {
            Some(task) => Ok(v1::GetTaskResponse { task: Some(self.read(task)) }),
            None => Err(Refusal::TaskNotFound(name).into()),
        }
    }

    async fn list(&self, request: Request<v1::ListTasksRequest>) -> Result<v1::ListTasksResponse, Error> {
        let request = parse::list_tasks(request.into_inner())?;
        let Listed { items: tasks, next_page_token, cursor } =
            list::list(&self.journal, request, "tasks", |task| self.read(task)).await?;
        Ok(v1::ListTasksResponse { tasks, next_page_token, cursor })
    }

    async fn swap(&self, request: Request<v1::SwapTaskRequest>) -> Result<v1::SwapTaskResponse, Error> {
        let actor = peer::actor(&request)?;
        let (request, waits) = parse::swap_task(request.into_inner(), actor)?;
        let Accepted { task, sequence } = self.swapped(request, waits).await?;
        Ok(v1::SwapTaskResponse { task: Some(render::task(&task, None)), cursor: self.journal.cursor(sequence) })
    }

    async fn rollback(&self, request: Request<v1::RollbackTaskRequest>) -> Result<v1::RollbackTaskResponse, Error> {
        let actor = peer::actor(&request)?;
        let (request, waits) = parse::rollback_task(request.into_inner(), actor)?;
        let Accepted { task, sequence } = self.rolled_back(request, waits).await?;
        Ok(v1::RollbackTaskResponse { task: Some(render::task(&task, None)), cursor: self.journal.cursor(sequence) })
    }

    async fn generations(
        &self,
        request: Request<v1::ListGenerationsRequest>,
    ) -> Result<v1::ListGenerationsResponse, Error> {
        let name = parse::list_generations(request.into_inner())?;
        let task = self.journal.view().get(&name).cloned();
        let task = task.ok_or_else(|| Refusal::TaskNotFound(name.clone()))?;
        let kept = self.journal.generations(&task).await?;
        if kept.is_empty() {
            // Deleted since.
            return Err(Refusal::TaskNotFound(name).into());
        }
        let mut generations: Vec<_> = kept.iter().rev().map(render::generation).collect();
        // With its task it has ended, too.
        if let Some(end) = &task.end {
            let active = generations.iter_mut().find(|shown| shown.generation == task.generation.get());
            if let Some(active) = active.filter(|active| active.end_time.is_none()) {
                active.end_time = Some(render::timestamp(end.time));
            }
        }
        Ok(v1::ListGenerationsResponse { generations })
    }

    async fn cancel(&self, request: Request<v1::CancelTaskRequest>) -> Result<v1::CancelTaskResponse, Error> {
        let actor = peer::actor(&request)?;
        let (request, waits) = parse::cancel_task(request.into_inner(), actor)?;
        let Accepted { task, sequence } = self.cancelled(request, waits).await?;
        Ok(v1::CancelTaskResponse { task: Some(render::task(&task, None)), cursor: self.journal.cursor(sequence) })
    }

    async fn pause(&self, request: Request<v1::PauseTaskRequest>) -> Result<v1::PauseTaskResponse, Error> {
        let actor = peer::actor(&request)?;
        let request = parse::pause_task(request.into_inner(), actor)?;
        let Accepted { task, sequence } = self.manager.pause(request).await?;
        Ok(v1::PauseTaskResponse { task: Some(render::task(&task, None)), cursor: self.journal.cursor(sequence) })
    }

    async fn resume(&self, request: Request<v1::ResumeTaskRequest>) -> Result<v1::ResumeTaskResponse, Error> {
        let actor = peer::actor(&request)?;
        let request = parse::resume_task(request.into_inner(), actor)?;
        let Accepted { task, sequence } = self.manager.resume(request).await?;
        Ok(v1::ResumeTaskResponse { task: Some(render::task(&task, None)), cursor: self.journal.cursor(sequence) })
    }

    async fn run(&self, request: Request<v1::RunTaskRequest>) -> Result<v1::RunTaskResponse, Error> {
        let actor = peer::actor(&request)?;
        let request = parse::run_task(request.into_inner(), actor)?;
        let check = self.manager.run(request).await?;
        Ok(v1::RunTaskResponse { check: Some(render::check(&check)) })
    }

    async fn delete(&self, request: Request<v1::DeleteTaskRequest>) -> Result<v1::DeleteTaskResponse, Error> {
        let actor = peer::actor(&request)?;
        let request = parse::delete_task(request.into_inner(), actor)?;
        let sequence = self.manager.delete(request).await?;
        Ok(v1::DeleteTaskResponse { cursor: self.journal.cursor(sequence) })
    }

    async fn wait(&self, request: Request<v1::WaitTaskRequest>) -> Result<v1::WaitTaskResponse, Error> {
        let request = parse::wait_task(request.into_inner())?;
        let (task, reached) = wait::wait(&self.journal, request, &self.streams.closing).await?;
        Ok(v1::WaitTaskResponse { task: Some(self.read(&task)), reached })
    }

    fn watch(
        &self,
        request: Request<v1::WatchTasksRequest>,
    ) -> Result<BoxStream<'static, Result<WatchFrame, Status>>, Error> {
        let connection = peer::connection(&request)?;
        let request = parse::watch_tasks(request.into_inner())?;
        let shows = Shows::Tasks(request.view);
        self.streams.watch(connection, request, shows)
    }

    fn checks(
        &self,
        request: Request<v1::WatchChecksRequest>,
    ) -> Result<BoxStream<'static, Result<v1::WatchChecksResponse, Status>>, Error> {
        let connection = peer::connection(&request)?;
        self.streams.checks(connection, parse::watch_checks(request.into_inner())?)
    }

    /// A task as it is read, with what is known of it at this moment.
    fn read(&self, task: &Task) -> v1::Task {
        render::task(task, self.manager.live(task.uid).as_ref())
    }
}
