//! What lies around the services, the outermost first: calls are counted, panics caught, deadlines kept, statuses of tonic's own
//! brought in line with the contract, and reflection's streams ended by a drain.
//!
//! They are one layer of axum's: each of those costs a call a copy of the service and three boxes.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tokio_util::sync::CancellationToken;

use super::metrics::Calls;
use super::{deadline, metrics, oversize, panics, reflection};

/// What the layers are made of.
#[derive(Clone)]
pub(super) struct Layers {
    pub(super) calls: Calls,
    pub(super) closing: CancellationToken,
}

impl Layers {
    /// Puts them around what serves.
    pub(super) fn around(self, services: Router) -> Router {
        services.layer(from_fn_with_state(self, call))
    }
}

async fn call(State(Layers { calls, closing }): State<Layers>, request: Request, next: Next) -> Response {
    let answer = async |request| oversize::rename(next.run(reflection::close(&closing, request)).await);
    let in_time = |request| deadline::keep(request, answer);
    let caught = |request| panics::catch(request, in_time);
    metrics::count(&calls, request, caught).await
}
