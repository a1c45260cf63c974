//! Tells the server what has come of calls.

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;

use std::array;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

use super::Verdict;
use super::outbox::{Record, Run, SHARDS, Trial};
use super::shared::Shared;
use super::trouble::{Complaint, Trouble};
use crate::client::backoff::Backoff;
use crate::client::{DEADLINE, Error, Outlook, call};
use crate::pb::v1;
use v1::circuit_service_client::CircuitServiceClient;

/// What one call may report.
const IN_A_CALL: usize = 10_000;

/// Somebody waits until everything so far was told.
pub(super) type Flush = oneshot::Sender<()>;

/// Tells of outcomes, one call after another: so their numbers arrive in order, and what is not known to have arrived is told again with
/// the same ones.
pub(super) struct Reporter {
    shared: Arc<Shared>,
    client: CircuitServiceClient<Channel>,
    name: String,
    /// The last number that was given to an outcome.
    sequence: u64,
    batch: usize,
    interval: Duration,
    flushes: mpsc::Receiver<Flush>,
    complaint: Complaint,
}

impl Reporter {
    pub(super) fn new(
        shared: Arc<Shared>,
        client: CircuitServiceClient<Channel>,
        name: String,
        batch: usize,
        interval: Duration,
        flushes: mpsc::Receiver<Flush>,
    ) -> Self {
        Self { shared, client, name, sequence: 0, batch, interval, flushes, complaint: Complaint::default() }
    }

    /// What tells of trouble, for as long as anybody wants to know.
    pub(super) fn trouble(&self) -> Trouble {
        self.complaint.trouble()
    }

    pub(super) async fn run(mut self) {
        let mut runs: [Vec<Run>; SHARDS] = array::from_fn(|_| Vec::new());
        let shared = Arc::clone(&self.shared);
        loop {
            let mut flush = tokio::select! {
                () = shared.outbox.begun.notified() => None,
                flush = self.flushes.recv() => match flush {
                    Some(flush) => Some(flush),
                    None => return,
                },
            };
            if flush.is_none() {
                flush = tokio::select! {
                    () = sleep(self.interval) => None,
                    () = shared.outbox.urgent.notified() => None,
                    flush = self.flushes.recv() => flush,
                };
            }
            self.tell_all(&mut runs).await;
            if let Some(flush) = flush {
                // Who does not wait any more need not know.
                let _ = flush.send(());
            }
        }
    }

    /// Tells of everything that waits now.
    async fn tell_all(&mut self, runs: &mut [Vec<Run>; SHARDS]) {
        let shared = Arc::clone(&self.shared);
        let trials = shared.outbox.drain(runs);
        // They come first, and all go in the first call.
        let leased = trials.iter().filter(|trial| trial.leased);
        let mut tried: Vec<_> = leased.map(|trial| Arc::clone(&trial.circuit)).collect();
        let trials = trials.into_iter().map(|Trial { circuit, token, leased: _, verdict, latency }| {
            outcome(circuit.name.to_string(), token, verdict, latency)
        });
        let others = runs.iter_mut().flat_map(|runs| runs.drain(..));
        let others = others.flat_map(|Run { record, calls }| (0..calls).map(move |_| record));
        let mut outcomes = trials.chain(others.filter_map(|record| resolve(&shared, record)));
        loop {
            let mut some: Vec<_> = outcomes.by_ref().take(IN_A_CALL).collect();
            if some.is_empty() {
                return;
            }
            for outcome in &mut some {
                self.sequence += 1;
                outcome.sequence = self.sequence;
            }
            self.tell(some).await;
            tried.drain(..).for_each(|circuit| circuit.ask_at_once());
        }
    }

    /// Tells of so many, for as long as that takes.
    async fn tell(&mut self, outcomes: Vec<v1::CallOutcome>) {
        let requests = outcomes.chunks(self.batch).map(|outcomes| {
            let (reporter, outcomes) = (self.name.clone(), outcomes.to_vec());
            v1::ReportOutcomesRequest { reporter, outcomes }
        });
        let requests: Vec<_> = requests.collect();
        drop(outcomes);
        let error = match self.tell_in_one(&requests).await {
            Ok(()) => return self.complaint.end(),
            Err(error) => error,
        };
        if requests.len() == 1 {
            return self.give_up(&requests, error);
        }
        // Nobody says which message it was. Those before it have counted, and are duplicates now; those after it may count yet.
        for request in requests {
            let request = [request];
            if let Err(error) = self.tell_in_one(&request).await {
                self.give_up(&request, error);
            }
        }
    }

    /// Tells of messages in one call, which is made again until it is answered, or refused for good.
    async fn tell_in_one(&mut self, requests: &[v1::ReportOutcomesRequest]) -> Result<(), Error> {
        let mut backoff = Backoff::new();
        loop {
            let (mut client, requests) = (self.client.clone(), stream::iter(requests.to_vec()));
            let answer = call(DEADLINE, requests, |requests| async move { client.report_outcomes(requests).await });
            match answer.await {
                Ok(answer) => {
                    self.shared.counters.count(&answer.dispositions);
                    return Ok(());
                }
                Err(error) if error.outlook() == Outlook::ForGood => return Err(error),
                Err(error) => {
                    let wait = backoff.wait(error.retry_after);
                    if self.complaint.is_news(&error) {
                        let code = error.code_name();
                        tracing::warn!(%error, code, "the server takes in no outcomes, which are told again and again");
                    } else {
                        tracing::debug!(%error, ?wait, "outcomes could not be told, and will be again");
                    }
                    self.complaint.meet(error);
                    // It is over early where the watch finds the server again: an error then only means that nobody did.
                    let _ = timeout(wait, self.shared.back.notified()).await;
                }
            }
        }
    }

    /// The server would never take them in, so that others go on.
    fn give_up(&mut self, requests: &[v1::ReportOutcomesRequest], error: Error) {
        let told = requests.iter().map(|request| request.outcomes.len() as u64).sum();
        self.shared.counters.refused.fetch_add(told, Ordering::Relaxed);
        if self.complaint.is_news(&error) {
            tracing::warn!(%error, code = error.code_name(), told, "the server takes in no such outcomes");
        } else {
            tracing::debug!(%error, code = error.code_name(), told, "the server takes in no such outcomes");
        }
        self.complaint.meet(error);
    }
}

/// The outcome with its token; `None`, and counted, where its circuit has moved on too far.
fn resolve(shared: &Shared, record: Record) -> Option<v1::CallOutcome> {
    let Record { circuit, version, verdict, latency } = record;
    let found = shared.directory.get(circuit).and_then(|local| Some((local.name.to_string(), local.token(version)?)));
    if found.is_none() {
        shared.counters.refused.fetch_add(1, Ordering::Relaxed);
    }
    found.map(|(name, token)| outcome(name, token, verdict, latency))
}

fn outcome(name: String, token: String, verdict: Verdict, latency: u64) -> v1::CallOutcome {
    let latency = (latency > 0).then(|| Duration::from_nanos(latency).try_into().ok()).flatten();
    v1::CallOutcome { name, token, sequence: 0, outcome: v1::CallVerdict::from(verdict).into(), latency }
}
