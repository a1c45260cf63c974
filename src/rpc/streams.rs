//! Opening what clients follow: the drain refuses new streams, and each takes a place of those that there are.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::checks;
use super::error::Error;
use super::watch::{self, Encodings, Shows, Slot, Slots};
use crate::journal::Journal;
use crate::pb::parse::{WatchChecks, WatchTasks};
use crate::pb::{WatchFrame, v1};
use crate::telemetry;

/// What all streams share.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) journal: Journal,
    pub(super) metrics: telemetry::Rpcs,
    pub(super) checks: telemetry::CheckTail,
    pub(super) slots: Slots,
    /// Of events, each for all who watch.
    pub(super) encodings: Arc<Encodings>,
    pub(super) closing: CancellationToken,
}

impl Streams {
    /// A watch of events.
    pub(super) fn watch(
        &self,
        connection: SocketAddr,
        request: WatchTasks,
        shows: Shows,
    ) -> Result<BoxStream<'static, Result<WatchFrame, Status>>, Error> {
        let resources = watch::Resources {
            _slot: self.admit(connection)?,
            journal: self.journal.clone(),
            metrics: self.metrics.clone(),
            encodings: Arc::clone(&self.encodings),
            closing: self.closing.clone(),
        };
        Ok(Box::pin(watch::open(request, shows, resources)?))
    }

    /// A watch of checks.
    pub(super) fn checks(
        &self,
        connection: SocketAddr,
        selection: WatchChecks,
    ) -> Result<BoxStream<'static, Result<v1::WatchChecksResponse, Status>>, Error> {
        let resources = checks::Resources {
            _slot: self.admit(connection)?,
            journal: self.journal.clone(),
            tail: self.checks.clone(),
            closing: self.closing.clone(),
        };
        Ok(Box::pin(checks::open(selection, resources)?))
    }

    fn admit(&self, connection: SocketAddr) -> Result<Slot, Error> {
        if self.closing.is_cancelled() {
            return Err(Error::Draining);
        }
        self.slots.take(connection)
    }
}
