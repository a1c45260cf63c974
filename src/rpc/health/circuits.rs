//! The health of what tasks watch, under `circuit/{task name}`: for clients and load balancers that know the standard alone.

use futures_util::stream::{BoxStream, StreamExt, unfold};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthService, WatchStream};

use crate::journal::{Journal, TaskChanges};
use crate::model::{CircuitState, CircuitStatus, Override, Refusal, TaskName, Uid, Violations};
use crate::rpc::error::Error;
use crate::rpc::peer;
use crate::rpc::watch::{Slot, Slots};

/// What the names of circuits begin with.
const PREFIX: &str = "circuit/";

/// Standard health, of circuits too.
pub(in crate::rpc) struct WithCircuits {
    pub(super) services: HealthService,
    pub(super) journal: Journal,
    pub(super) slots: Slots,
    pub(super) closing: CancellationToken,
}

#[tonic::async_trait]
impl Health for WithCircuits {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let Some(name) = request.get_ref().service.strip_prefix(PREFIX) else {
            return self.services.check(request).await;
        };
        let (_, status) = look(&self.journal, &parse(name)?)?;
        Ok(Response::new(answer(status)))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let Some(name) = request.get_ref().service.strip_prefix(PREFIX) else {
            let stream: WatchStream = self.services.watch(request).await?.into_inner();
            return Ok(Response::new(stream.boxed()));
        };
        if self.closing.is_cancelled() {
            return Err(Error::Draining.into());
        }
        let task = parse(name)?;
        let (uid, _) = look(&self.journal, &task)?;
        let watched = Watched {
            // First: so nothing is missed that happens after the look.
            changes: self.journal.changes(uid),
            name: task,
            uid,
            told: None,
            journal: self.journal.clone(),
            closing: self.closing.clone(),
            _slot: self.slots.take(peer::connection(&request)?)?,
        };
        let statuses = unfold(Some(watched), async |watched| {
            let mut watched = watched?;
            match watched.next().await {
                Ok(status) => Some((Ok(answer(status)), Some(watched))),
                Err(error) => Some((Err(error.into()), None)),
            }
        });
        Ok(Response::new(statuses.boxed()))
    }
}

/// A circuit whose health is watched.
struct Watched {
    name: TaskName,
    uid: Uid,
    changes: TaskChanges,
    told: Option<ServingStatus>,
    journal: Journal,
    closing: CancellationToken,
    _slot: Slot,
}

impl Watched {
    /// The next status that differs from the one before; an error once there can be none.
    async fn next(&mut self) -> Result<ServingStatus, Error> {
        loop {
            let (uid, status) = look(&self.journal, &self.name)?;
            if uid != self.uid {
                return Err(Refusal::TaskNotFound(self.name.clone()).into());
            }
            if self.told != Some(status) {
                self.told = Some(status);
                return Ok(status);
            }
            tokio::select! {
                biased;
                change = self.changes.next() => {
                    change.map_err(|_| Error::Draining)?;
                }
                () = self.closing.cancelled() => return Err(Error::Draining),
            }
        }
    }
}

fn parse(name: &str) -> Result<TaskName, Error> {
    TaskName::parse(name).map_err(|problem| Violations::one("service", problem.to_string()).into())
}

fn look(journal: &Journal, name: &TaskName) -> Result<(Uid, ServingStatus), Error> {
    let view = journal.view();
    let task = view.get(name).ok_or_else(|| Refusal::TaskNotFound(name.clone()))?;
    Ok((task.uid, status(&task.circuit)))
}

/// Contract: SERVING where callers may call, UNKNOWN where nobody looks.
fn status(circuit: &CircuitStatus) -> ServingStatus {
    match (circuit.overriding.as_ref().map(|overriding| overriding.mode), circuit.state) {
        (Some(Override::ForcedOpen), _) => ServingStatus::NotServing,
        (Some(Override::ForcedClosed | Override::Shadow), _) => ServingStatus::Serving,
        (None, _) if circuit.suspended => ServingStatus::Unknown,
        (None, CircuitState::Closed) => ServingStatus::Serving,
        (None, CircuitState::Open | CircuitState::HalfOpen) => ServingStatus::NotServing,
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    let status = tonic_health::pb::health_check_response::ServingStatus::from(status);
    HealthCheckResponse { status: status.into() }
}
