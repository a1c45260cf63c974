//! The gRPC services: they parse, ask the manager or look at the journal, and render. They decide nothing.
//!
//! Commands go down through the manager's handle and are answered after their commit; everything read comes from the journal's
//! view and log, so no answer shows what is not durable. Around the services lie five layers (`layers`).

mod apply;
mod batch;
mod checks;
mod circuit_service;
mod deadline;
mod error;
mod health;
mod layers;
mod linger;
mod list;
mod metrics;
mod mutate;
mod oversize;
mod page;
mod panics;
mod peer;
mod reflection;
mod serve;
mod server_service;
mod streams;
mod task_service;
#[cfg(test)]
mod testing;
mod wait;
mod watch;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
/// The compiled-in descriptors cannot be served: a bug of the build.
pub use tonic_reflection::server::Error as ReflectionError;

use self::circuit_service::CircuitRpc;
pub use self::health::Health;
use self::layers::Layers;
use self::metrics::Calls;
pub use self::serve::serve;
pub use self::server_service::DrainRequest;
use self::server_service::ServerRpc;
use self::streams::Streams;
use self::task_service::TaskRpc;
use self::watch::Slots;
use crate::journal::Journal;
use crate::manager;
use crate::model::{Timestamp, limits};
use crate::pb;
use crate::pb::v1::circuit_service_server::CircuitServiceServer;
use crate::pb::v1::server_service_server::ServerServiceServer;
use crate::pb::v1::task_service_server::TaskServiceServer;
use crate::telemetry;

/// What the services are made of.
///
/// Whoever accepts connections inserts [`TcpConnectInfo`](tonic::transport::server::TcpConnectInfo) into each request's
/// extensions: the remote address names the actor, and the connection that streams are counted by.
pub struct Rpc {
    /// Takes the commands.
    pub manager: manager::Handle,
    /// Shows what has come of them.
    pub journal: Journal,
    /// Counts calls.
    pub metrics: telemetry::Rpcs,
    /// Shows what checks find, as they end.
    pub checks: telemetry::CheckTail,
    /// What the server allows.
    pub limits: Limits,
    /// Whom to tell that a client wants the server to drain.
    pub drain: mpsc::Sender<DrainRequest>,
    /// When the server was started.
    pub start_time: Timestamp,
    /// The server's version, `MAJOR.MINOR.PATCH`.
    pub version: &'static str,
    /// Cancelled when the drain has come to the streams: tasks have stopped and everything is committed. Watches then send what
    /// is left, a bookmark and SERVER_DRAINING; whoever waits for a task is told the same; reflection's streams end.
    pub closing: CancellationToken,
}

/// What the server allows, as its configuration says.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tasks, ended ones included.
    pub max_tasks: usize,
    /// Threads that may be lost to instances of custom kinds.
    pub max_stuck: usize,
    /// Watch streams in all.
    pub max_streams: usize,
    /// Watch streams of one connection.
    pub max_streams_per_connection: usize,
}

impl Rpc {
    /// The services and their layers, to be served; and their health, which the drain turns.
    pub async fn into_routes(self) -> Result<(Routes, Health), ReflectionError> {
        let descriptors = [
            pb::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let calls = Calls::new(self.metrics.clone(), &descriptors)?;
        let reflected = || {
            let builder = tonic_reflection::server::Builder::configure();
            builder
                .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let Limits { max_tasks: _, max_stuck: _, max_streams, max_streams_per_connection } = self.limits;
        let slots = Slots::new(max_streams, max_streams_per_connection, self.metrics.watch_streams.clone());
        let (health, health_service) = Health::new(self.journal.clone(), slots.clone(), self.closing.clone()).await;
        let server = ServerRpc {
            journal: self.journal.clone(),
            drain: self.drain,
            limits: self.limits,
            start_time: self.start_time,
            version: self.version,
        };
        let layers = Layers { calls, closing: self.closing.clone() };
        let streams = Streams {
            journal: self.journal.clone(),
            metrics: self.metrics,
            checks: self.checks,
            slots,
            encodings: Arc::default(),
            closing: self.closing,
        };
        let circuits =
            CircuitRpc { manager: self.manager.clone(), journal: self.journal.clone(), streams: streams.clone() };
        let tasks = TaskRpc { manager: self.manager, journal: self.journal, streams };
        let routes = Routes::new(TaskServiceServer::new(tasks).max_decoding_message_size(limits::REQUEST_BYTES))
            .add_service(CircuitServiceServer::new(circuits).max_decoding_message_size(limits::REQUEST_BYTES))
            .add_service(ServerServiceServer::new(server).max_decoding_message_size(limits::REQUEST_BYTES))
            .add_service(health_service)
            .add_service(reflected().build_v1()?)
            .add_service(reflected().build_v1alpha()?);
        Ok((layers.around(routes.into_axum_router()).into(), health))
    }
}
