//! CircuitService, thin: parse, ask, render.

use std::time::Duration;

use futures_util::stream::BoxStream;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::error::Error;
use super::list::Listed;
use super::streams::Streams;
use super::watch::Shows;
use super::{list, peer};
use crate::journal::Journal;
use crate::manager::{Accepted, Handle};
use crate::model::{Refusal, limits};
use crate::pb::v1::circuit_service_server::CircuitService;
use crate::pb::{WatchFrame, parse, render, v1};

/// How long a report may be silent.
const IDLE: Duration = Duration::from_secs(30);

/// The service.
pub(super) struct CircuitRpc {
    pub(super) manager: Handle,
    pub(super) journal: Journal,
    pub(super) streams: Streams,
}

#[tonic::async_trait]
impl CircuitService for CircuitRpc {
    async fn get_circuit(
        &self,
        request: Request<v1::GetCircuitRequest>,
    ) -> Result<Response<v1::GetCircuitResponse>, Status> {
        Ok(Response::new(self.get(request)?))
    }

    async fn list_circuits(
        &self,
        request: Request<v1::ListCircuitsRequest>,
    ) -> Result<Response<v1::ListCircuitsResponse>, Status> {
        Ok(Response::new(self.list(request).await?))
    }

    type WatchCircuitsStream = BoxStream<'static, Result<WatchFrame, Status>>;

    async fn watch_circuits(
        &self,
        request: Request<v1::WatchCircuitsRequest>,
    ) -> Result<Response<Self::WatchCircuitsStream>, Status> {
        Ok(Response::new(self.watch(request)?))
    }

    async fn acquire_permit(
        &self,
        request: Request<v1::AcquirePermitRequest>,
    ) -> Result<Response<v1::AcquirePermitResponse>, Status> {
        Ok(Response::new(self.acquire(request).await?))
    }

    async fn report_outcomes(
        &self,
        request: Request<Streaming<v1::ReportOutcomesRequest>>,
    ) -> Result<Response<v1::ReportOutcomesResponse>, Status> {
        let mut requests = request.into_inner();
        let (mut dispositions, mut taken) = (Vec::new(), 0);
        while let Some(request) = self.next_report(&mut requests).await? {
            // An empty message counts, too: a call is to end.
            let outcomes = request.outcomes.len().max(1);
            dispositions.extend(self.report(request, taken).await?);
            taken += outcomes;
        }
        Ok(Response::new(v1::ReportOutcomesResponse { dispositions }))
    }

    async fn override_circuit(
        &self,
        request: Request<v1::OverrideCircuitRequest>,
    ) -> Result<Response<v1::OverrideCircuitResponse>, Status> {
        Ok(Response::new(self.overridden(request).await?))
    }

    async fn reset_circuit(
        &self,
        request: Request<v1::ResetCircuitRequest>,
    ) -> Result<Response<v1::ResetCircuitResponse>, Status> {
        Ok(Response::new(self.reset(request).await?))
    }
}

impl CircuitRpc {
    fn get(&self, request: Request<v1::GetCircuitRequest>) -> Result<v1::GetCircuitResponse, Error> {
        let name = parse::get_circuit(request.into_inner())?;
        match self.journal.view().get(&name) {
            Some(task) => Ok(v1::GetCircuitResponse { circuit: Some(render::callers_circuit(task)) }),
            None => Err(Refusal::TaskNotFound(name).into()),
        }
    }

    async fn list(&self, request: Request<v1::ListCircuitsRequest>) -> Result<v1::ListCircuitsResponse, Error> {
        let request = parse::list_circuits(request.into_inner())?;
        let Listed { items: circuits, next_page_token, cursor } =
            list::list(&self.journal, request, "circuits", render::callers_circuit).await?;
        Ok(v1::ListCircuitsResponse { circuits, next_page_token, cursor })
    }

    fn watch(
        &self,
        request: Request<v1::WatchCircuitsRequest>,
    ) -> Result<BoxStream<'static, Result<WatchFrame, Status>>, Error> {
        let connection = peer::connection(&request)?;
        self.streams.watch(connection, parse::watch_circuits(request.into_inner())?, Shows::Circuits)
    }

    async fn acquire(&self, request: Request<v1::AcquirePermitRequest>) -> Result<v1::AcquirePermitResponse, Error> {
        let name = parse::acquire_permit(request.into_inner())?;
        let (uid, permission, now) = self.manager.acquire(name).await?;
        Ok(render::permission(uid, permission, now))
    }

    /// The next message of a call; nobody holds one open without end.
    async fn next_report(
        &self,
        requests: &mut Streaming<v1::ReportOutcomesRequest>,
    ) -> Result<Option<v1::ReportOutcomesRequest>, Status> {
        tokio::select! {
            biased;
            () = self.streams.closing.cancelled() => Err(Error::ReportEnds.into()),
            next = timeout(IDLE, requests.message()) => next.unwrap_or_else(|_| Err(Error::ReportIdle(IDLE).into())),
        }
    }

    /// Reports a message of a call in which `before` outcomes were taken in.
    async fn report(&self, request: v1::ReportOutcomesRequest, before: usize) -> Result<Vec<i32>, Error> {
        let outcomes = request.outcomes.len();
        if outcomes > limits::REPORTED_AT_ONCE {
            return Err(Error::ReportedAtOnce(outcomes));
        }
        if before + outcomes > limits::REPORTED_IN_A_CALL {
            return Err(Error::ReportedInACall(before));
        }
        let dispositions = self.manager.report(parse::report_outcomes(request)?).await?;
        Ok(dispositions.into_iter().map(render::disposition).collect())
    }

    async fn overridden(
        &self,
        request: Request<v1::OverrideCircuitRequest>,
    ) -> Result<v1::OverrideCircuitResponse, Error> {
        let actor = peer::actor(&request)?;
        let request = parse::override_circuit(request.into_inner(), actor)?;
        let Accepted { task, sequence } = self.manager.override_circuit(request).await?;
        let (circuit, cursor) = (Some(render::callers_circuit(&task)), self.journal.cursor(sequence));
        Ok(v1::OverrideCircuitResponse { circuit, cursor, task: Some(render::task(&task, None)) })
    }

    async fn reset(&self, request: Request<v1::ResetCircuitRequest>) -> Result<v1::ResetCircuitResponse, Error> {
        let actor = peer::actor(&request)?;
        let request = parse::reset_circuit(request.into_inner(), actor)?;
        let Accepted { task, sequence } = self.manager.reset_circuit(request).await?;
        let (circuit, cursor) = (Some(render::callers_circuit(&task)), self.journal.cursor(sequence));
        Ok(v1::ResetCircuitResponse { circuit, cursor, task: Some(render::task(&task, None)) })
    }
}
