//! ServerService: what the server is, and what it allows.

use tonic::{Request, Response, Status};

use super::Limits;
use crate::journal::Journal;
use crate::model::{Timestamp, limits};
use crate::pb::v1::server_service_server::ServerService;
use crate::pb::{render, v1};

/// The service.
pub(super) struct ServerRpc {
    pub(super) journal: Journal,
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
            }),
        }))
    }
}

fn number(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}
