//! Keeps the copy alive.

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use super::shared::Shared;
use super::trouble::{Complaint, Trouble};
use crate::client::backoff::Backoff;
use crate::client::patience::Patience;
use crate::client::{DEADLINE, Error};
use crate::pb::v1;
use v1::circuit_service_client::CircuitServiceClient;
use v1::watch_circuits_request::Start;

/// How long a live watch has something to tell at the latest, which the server does every ten seconds.
const SILENCE: Duration = Duration::from_secs(15);

/// Follows the circuits for as long as the mirror lives, across whatever happens to the connection.
pub(super) struct Follower {
    shared: Arc<Shared>,
    client: CircuitServiceClient<Channel>,
    request: v1::WatchCircuitsRequest,
    /// Where to resume; none: from the state as it is.
    cursor: Option<String>,
    backoff: Backoff,
    complaint: Complaint,
    /// Whether the watch has stood before.
    opened: bool,
    /// Who waits for the copy to be complete, or for why it cannot be.
    tell: Option<oneshot::Sender<Result<(), Error>>>,
}

impl Follower {
    pub(super) fn new(
        shared: Arc<Shared>,
        client: CircuitServiceClient<Channel>,
        request: v1::WatchCircuitsRequest,
        tell: Option<oneshot::Sender<Result<(), Error>>>,
    ) -> Self {
        let (backoff, complaint) = (Backoff::new(), Complaint::default());
        Self { shared, client, request, cursor: None, backoff, complaint, opened: false, tell }
    }

    /// What tells of trouble, for as long as anybody wants to know.
    pub(super) fn trouble(&self) -> Trouble {
        self.complaint.trouble()
    }

    pub(super) async fn run(mut self) {
        loop {
            let error = match self.open().await {
                Ok(stream) => self.receive(stream).await,
                Err(error) => error,
            };
            if let Some(tell) = self.tell.take() {
                // The mirror is not there yet, and never will be.
                let _ = tell.send(Err(error));
                return;
            }
            if is_of_cursor(&error) {
                // What was seen meanwhile holds until the state is complete.
                self.cursor = None;
            }
            let wait = self.backoff.wait(error.retry_after);
            self.log(&error, wait);
            self.complaint.meet(error);
            sleep(wait).await;
        }
    }

    fn log(&mut self, error: &Error, wait: Duration) {
        // A cursor is forgotten, and not tried again.
        if !is_of_cursor(error) && self.complaint.is_news(error) {
            let code = error.code_name();
            tracing::warn!(%error, code, "the server refuses the mirror's watch of circuits, which is tried again and again");
        } else {
            tracing::debug!(%error, ?wait, "the mirror has lost its watch of circuits");
        }
    }

    async fn open(&mut self) -> Result<Streaming<v1::WatchCircuitsResponse>, Error> {
        if !self.is_fresh() {
            self.cursor = None;
        }
        let start = self.cursor.clone().map_or(Start::SendInitialState(true), Start::Cursor);
        let request = v1::WatchCircuitsRequest { start: Some(start), ..self.request.clone() };
        // The deadline is for the answer's head only, so the server is not told of it: it would end the stream.
        let answer = timeout(DEADLINE, self.client.watch_circuits(request)).await;
        Ok(answer.map_err(|_| Error::deadline(DEADLINE))??.into_inner())
    }

    /// Whether the copy can be relied on. If not, what comes after its cursor cannot either: it is as old at first, and nothing says where
    /// it has caught up. Then only the state as it is makes a good copy.
    fn is_fresh(&self) -> bool {
        self.shared.freshness.is_fresh(self.shared.freshness.at(Instant::now()))
    }

    /// Takes over what comes, until no more does.
    async fn receive(&mut self, mut stream: Streaming<v1::WatchCircuitsResponse>) -> Error {
        let again = std::mem::replace(&mut self.opened, true);
        self.shared.counters.reconnects.fetch_add(u64::from(again), Ordering::Relaxed);
        self.shared.back.notify_one();
        let resumed = self.cursor.is_some();
        let mut initial = (!resumed).then(HashSet::new);
        let (mut last, mut patience) = (Instant::now(), Patience::default());
        loop {
            let frame = match patience.wait_for(stream.message()).await {
                Ok(Some(frame)) => frame,
                // The contract ends it with a status.
                Ok(None) => return Error::new(Code::Unavailable, "the stream was cut"),
                Err(error) => return error,
            };
            self.backoff = Backoff::new();
            self.complaint.end();
            // A live watch is never silent for so long. Where this process was, what comes first has waited, and nothing says how much of it.
            let silent = last.elapsed() > SILENCE.max(self.shared.freshness.bound());
            if silent || resumed && !self.is_fresh() {
                self.cursor = None;
                return Error::new(Code::Unavailable, "what the watch shows is too old");
            }
            last = Instant::now();
            self.take_over(frame, &mut initial);
        }
    }

    /// `initial`: which circuits have been shown of a state that is not complete yet.
    fn take_over(&mut self, frame: v1::WatchCircuitsResponse, initial: &mut Option<HashSet<u32>>) {
        let v1::WatchCircuitsResponse { events, circuits, initial_complete, cursor } = frame;
        for circuit in &circuits {
            let local = self.shared.show(circuit);
            if let Some(initial) = initial {
                initial.insert(local.id);
            }
        }
        for event in events.iter().filter(|event| event.r#type() == v1::EventType::TaskDeleted) {
            if let Some(local) = self.shared.directory.find(&event.name) {
                local.delete(&event.uid);
            }
        }
        if !cursor.is_empty() {
            self.cursor = Some(cursor);
        }
        if initial_complete && let Some(shown) = initial.take() {
            // What is not there any more was deleted while nobody looked.
            self.shared
                .directory
                .all()
                .iter()
                .filter(|local| !shown.contains(&local.id))
                .for_each(|gone| gone.forget());
        }
        if initial.is_none() {
            self.shared.freshness.hear();
            if let Some(tell) = self.tell.take() {
                let _ = tell.send(Ok(()));
            }
        }
    }
}

/// Whether the cursor leads nowhere: it is of another log, or what follows it is gone.
fn is_of_cursor(error: &Error) -> bool {
    error.code == Code::OutOfRange || error.reason == "CURSOR_INVALID"
}
