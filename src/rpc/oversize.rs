//! A request over the limit is RESOURCE_EXHAUSTED, as gRPC has it elsewhere; tonic says OUT_OF_RANGE, which is our word for a
//! cursor that cannot be resumed from.

use axum::response::Response;
use tonic::{Code, Status};

use crate::model::limits;

/// Renames the status.
pub(super) fn rename(response: Response) -> Response {
    let headers = response.headers();
    let out_of_range =
        headers.get(Status::GRPC_STATUS).is_some_and(|code| Code::from_bytes(code.as_bytes()) == Code::OutOfRange);
    // Ours always carries details; tonic's own never does.
    if out_of_range && !headers.contains_key(Status::GRPC_STATUS_DETAILS) {
        let problem = format!("the request is larger than {} bytes", limits::REQUEST_BYTES);
        return Status::resource_exhausted(problem).into_http();
    }
    response
}
