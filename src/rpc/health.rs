//! Standard health, `grpc.health.v1`: of the services, and of circuits.

mod circuits;

use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use self::circuits::WithCircuits;
use super::circuit_service::CircuitRpc;
use super::server_service::ServerRpc;
use super::task_service::TaskRpc;
use super::watch::Slots;
use crate::journal::Journal;
use crate::pb::v1::circuit_service_server::CircuitServiceServer;
use crate::pb::v1::server_service_server::ServerServiceServer;
use crate::pb::v1::task_service_server::TaskServiceServer;

/// The names that health is known of: the server as a whole, and each service of ours.
const NAMES: [&str; 4] = [
    "",
    TaskServiceServer::<TaskRpc>::NAME,
    CircuitServiceServer::<CircuitRpc>::NAME,
    ServerServiceServer::<ServerRpc>::NAME,
];

/// The services' health: SERVING until told otherwise. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health(HealthReporter);

impl Health {
    pub(super) async fn new(
        journal: Journal,
        slots: Slots,
        closing: CancellationToken,
    ) -> (Self, HealthServer<WithCircuits>) {
        let health = Self(HealthReporter::new());
        health.set(ServingStatus::Serving).await;
        let services = HealthService::from_health_reporter(health.0.clone());
        (health, HealthServer::new(WithCircuits { services, journal, slots, closing }))
    }

    /// Tells that the server drains: NOT_SERVING, under every name.
    pub async fn drain(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    /// Tells whether TaskService can do what it is for: if not, NOT_SERVING under its name alone, so that whoever is to help gets in.
    pub async fn set_capable(&self, capable: bool) {
        let status = if capable { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.0.set_service_status(TaskServiceServer::<TaskRpc>::NAME, status).await;
    }

    /// Ends the streams of those who watch health, which would outlive the drain.
    pub async fn close(mut self) {
        for name in NAMES {
            self.0.clear_service_status(name).await;
        }
    }

    async fn set(&self, status: ServingStatus) {
        for name in NAMES {
            self.0.set_service_status(name, status).await;
        }
    }
}
