//! ServerService: what the server is, and what it allows.

use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};

use super::error::Error;
use super::{Limits, peer};
use crate::journal::Journal;
use crate::model::{Cause, Sequence, Timestamp, limits};
use crate::pb::v1::server_service_server::ServerService;
use crate::pb::{parse, render, v1};

/// A client wants the server to drain.
#[derive(Debug)]
pub struct DrainRequest {
    /// Who, and why.
    pub cause: Cause,
    /// Takes the place in the log right after the drain began, once that is committed.
    pub begun: oneshot::Sender<Sequence>,
}

/// The service.
pub(super) struct ServerRpc {
    pub(super) journal: Journal,
    pub(super) drain: mpsc::Sender<DrainRequest>,
    pub(super) limits: Limits,
    pub(super) start_time: Timestamp,
    pub(super) version: &'static str,
}

#[tonic::async_trait]
impl ServerService for ServerRpc {
    async fn get_server_info(
        &self,
        request: Request<v1::GetServerInfoRequest>,
    ) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        let v1::GetServerInfoRequest {} = request.into_inner();
        let bounds = self.journal.bounds();
        Ok(Response::new(v1::GetServerInfoResponse {
            version: self.version.to_owned(),
            store_id: self.journal.store_id().to_string(),
            oldest_cursor: self.journal.cursor(bounds.oldest),
            head_cursor: self.journal.cursor(bounds.head),
            start_time: Some(render::timestamp(self.start_time)),
            limits: Some(v1::ServerLimits {
                max_tasks: number(self.limits.max_tasks),
                max_streams_per_connection: number(self.limits.max_streams_per_connection),
                max_streams: number(self.limits.max_streams),
                max_request_bytes: number(limits::REQUEST_BYTES),
                max_spec_bytes: number(limits::SPEC_BYTES),
                max_page_size: limits::PAGE_SIZE,
                max_stuck: number(self.limits.max_stuck),
                max_batch_requests: number(limits::BATCH_REQUESTS),
            }),
        }))
    }

    async fn drain_server(
        &self,
        request: Request<v1::DrainServerRequest>,
    ) -> Result<Response<v1::DrainServerResponse>, Status> {
        Ok(Response::new(self.drain(request).await?))
    }
}

impl ServerRpc {
    async fn drain(&self, request: Request<v1::DrainServerRequest>) -> Result<v1::DrainServerResponse, Error> {
        let actor = peer::actor(&request)?;
        let cause = parse::drain_server(request.into_inner(), actor)?;
        let (begun, since) = oneshot::channel();
        // Whoever takes these goes at the end of the drain.
        let _ = self.drain.send(DrainRequest { cause, begun }).await;
        let since = since.await.unwrap_or_else(|_| self.journal.bounds().head);
        Ok(v1::DrainServerResponse { cursor: self.journal.cursor(since) })
    }
}

fn number(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}
