//! The health of what tasks watch, under `circuit/{task name}`: for clients and load balancers that know the standard alone.

use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt, unfold};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
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

/// How often it is looked whether there is a task of a name by now.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

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
        let name = parse(name)?;
        let view = self.journal.view();
        let task = view.get(&name).ok_or_else(|| Error::from(Refusal::TaskNotFound(name.clone())))?;
        Ok(Response::new(answer(status(&task.circuit))))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let Some(name) = request.get_ref().service.strip_prefix(PREFIX) else {
            let stream: WatchStream = self.services.watch(request).await?.into_inner();
            return Ok(Response::new(stream.boxed()));
        };
        let task = parse(name)?;
        if self.closing.is_cancelled() {
            return Err(Error::from(Refusal::ServerDraining).into());
        }
        let watched = Watched {
            name: task,
            of: None,
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
    /// The task that has the name, and what changes it; `None` while there is none.
    of: Option<(Uid, TaskChanges)>,
    told: Option<ServingStatus>,
    journal: Journal,
    closing: CancellationToken,
    _slot: Slot,
}

impl Watched {
    /// The next status that differs from the one before. As the standard wants it, a name that nobody has is no error: some task may
    /// get it.
    async fn next(&mut self) -> Result<ServingStatus, Error> {
        loop {
            let status = self.look();
            if self.told != Some(status) {
                self.told = Some(status);
                return Ok(status);
            }
            let closing = self.closing.clone();
            tokio::select! {
                biased;
                () = closing.cancelled() => return Err(Refusal::ServerDraining.into()),
                change = self.change() => change?,
            }
        }
    }

    /// What the task is like that has the name now, whose changes are what is waited for then.
    fn look(&mut self) -> ServingStatus {
        let uid = |journal: &Journal, name: &TaskName| journal.view().get(name).map(|task| task.uid);
        let present = uid(&self.journal, &self.name);
        if self.of.as_ref().map(|(uid, _)| *uid) != present {
            self.of = present.map(|uid| (uid, self.journal.changes(uid)));
        }
        // After the changes have been asked for: so nothing is missed that happens after the look.
        let view = self.journal.view();
        let task = view.get(&self.name).filter(|task| Some(task.uid) == present);
        let status = task.map(|task| status(&task.circuit));
        if status.is_none() {
            // It may have gone between the two looks, and then nothing tells of it any more.
            self.of = None;
        }
        status.unwrap_or(ServingStatus::ServiceUnknown)
    }

    async fn change(&mut self) -> Result<(), Error> {
        match &mut self.of {
            Some((_, changes)) => changes.next().await.map(drop).map_err(|_| Refusal::ServerDraining.into()),
            // No change tells of a task that is not there.
            None => {
                sleep(LOOK_AGAIN).await;
                Ok(())
            }
        }
    }
}

fn parse(name: &str) -> Result<TaskName, Error> {
    let why = |problem| format!("{PREFIX} must be followed by a task's name, which {problem}");
    TaskName::parse(name).map_err(|problem| Violations::one("service", why(problem)).into())
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
    HealthCheckResponse { status: status.into() }
}
