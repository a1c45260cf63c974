//! Batches: many requests in one call, each of which fares as it would alone.
//!
//! All are handed to the manager before any answer is waited for, so that they share its turns and the journal's commits. What a batch
//! takes is bounded on the way in by the size of a request, and on the way out by [`Results`].

use futures_util::future::join_all;
use prost::Message;
use tonic::{Request, Status};

use super::error::Error;
use super::peer;
use super::task_service::TaskRpc;
use crate::manager::Accepted;
use crate::model::Sequence;
use crate::pb::v1::batch_result::Result as Outcome;
use crate::pb::{parse, render, v1};

/// What results may take in full. In brief, none takes more than 1 KiB: so that all of them stay below the 4 MiB that a client takes
/// where nobody has told it otherwise. By then the batch has been done, and must not be lost on its way back.
const FULL_BYTES: usize = 3 * 1024 * 1024;

impl TaskRpc {
    pub(super) async fn batch_start(
        &self,
        request: Request<v1::BatchStartTasksRequest>,
    ) -> Result<v1::BatchStartTasksResponse, Error> {
        let actor = peer::actor(&request)?;
        let v1::BatchStartTasksRequest { parent, requests } = request.into_inner();
        let place = parse::batch(&parent, requests.len())?;
        let start = async |request| {
            let request = place.start_task(request, actor.clone())?;
            Ok(self.manager.start(request).await?)
        };
        let (results, cursor) = self.results(join_all(requests.into_iter().map(start)).await);
        Ok(v1::BatchStartTasksResponse { results, cursor })
    }

    pub(super) async fn batch_cancel(
        &self,
        request: Request<v1::BatchCancelTasksRequest>,
    ) -> Result<v1::BatchCancelTasksResponse, Error> {
        let actor = peer::actor(&request)?;
        let v1::BatchCancelTasksRequest { parent, requests } = request.into_inner();
        let place = parse::batch(&parent, requests.len())?;
        let cancel = async |request| {
            let (request, waits) = place.cancel_task(request, actor.clone())?;
            self.cancelled(request, waits).await
        };
        let (results, cursor) = self.results(join_all(requests.into_iter().map(cancel)).await);
        Ok(v1::BatchCancelTasksResponse { results, cursor })
    }

    pub(super) async fn batch_swap(
        &self,
        request: Request<v1::BatchSwapTasksRequest>,
    ) -> Result<v1::BatchSwapTasksResponse, Error> {
        let actor = peer::actor(&request)?;
        let v1::BatchSwapTasksRequest { parent, requests } = request.into_inner();
        let place = parse::batch(&parent, requests.len())?;
        let swap = async |request| {
            let (request, waits) = place.swap_task(request, actor.clone())?;
            self.swapped(request, waits).await
        };
        let (results, cursor) = self.results(join_all(requests.into_iter().map(swap)).await);
        Ok(v1::BatchSwapTasksResponse { results, cursor })
    }

    /// What came of the requests, and the place right after the last that succeeded; the head where none did.
    fn results(&self, outcomes: Vec<Result<Accepted, Error>>) -> (Vec<v1::BatchResult>, String) {
        let last: Option<Sequence> = outcomes.iter().flatten().map(|accepted| accepted.sequence).max();
        let mut results = Results { shown: Vec::with_capacity(outcomes.len()), room: FULL_BYTES };
        for outcome in outcomes {
            results.push(match outcome {
                Ok(Accepted { task, sequence: _ }) => Outcome::Task(Box::new(render::task(&task, None))),
                Err(error) => Outcome::Status(wire_status(&Status::from(error))),
            });
        }
        (results.shown, self.journal.cursor(last.unwrap_or_else(|| self.journal.bounds().head)))
    }
}

/// Results, in full as long as there is room.
struct Results {
    shown: Vec<v1::BatchResult>,
    room: usize,
}

impl Results {
    fn push(&mut self, outcome: Outcome) {
        let full = v1::BatchResult { result: Some(outcome) };
        match self.room.checked_sub(full.encoded_len()) {
            Some(left) => {
                self.room = left;
                self.shown.push(full);
            }
            None => {
                // Nothing that comes later is shown in full, so that clients need not wonder about each.
                self.room = 0;
                self.shown.push(v1::BatchResult { result: full.result.map(in_brief) });
            }
        }
    }
}

/// The outcome without all that can be large.
fn in_brief(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Task(task) => {
            let v1::Task { name, uid, generation, etag, state, intent, .. } = *task;
            Outcome::Task(Box::new(v1::Task { name, uid, generation, etag, state, intent, ..v1::Task::default() }))
        }
        Outcome::Status(mut status) => {
            status.details.retain(|detail| !detail.type_url.ends_with("/google.rpc.BadRequest"));
            Outcome::Status(status)
        }
    }
}

/// The status as a message. Its details already are one, as gRPC sends them.
pub(super) fn wire_status(status: &Status) -> tonic_types::Status {
    tonic_types::Status::decode(status.details()).unwrap_or_else(|_| tonic_types::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
