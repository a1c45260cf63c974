//! Permits, which only calls of half-open circuits need.

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

use super::Verdict;
use super::local::Local;
use super::outbox::Trial;
use super::shared::Shared;
use crate::client::{Error, call};
use crate::pb::v1;
use v1::acquire_permit_response::Answer;
use v1::circuit_service_client::CircuitServiceClient;

/// Somebody asks for a permit.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) circuit: Arc<Local>,
    pub(super) answer: oneshot::Sender<Asked>,
}

/// What the server says.
#[derive(Debug)]
pub(super) enum Asked {
    Permitted(Lease),
    /// And when it is worth asking again, if anybody knows. Whatever the reason: such as that the server cannot decide just now.
    Denied(Option<Duration>),
    /// There is no such task any more.
    Unknown,
    Unanswered,
}

/// A permit that waits for its outcome. Dropped, wherever that is, it is given back: so no caller that goes away takes it along.
#[derive(Debug)]
pub(super) struct Lease {
    shared: Arc<Shared>,
    circuit: Arc<Local>,
    /// Empty once it was told.
    token: String,
    /// Whether it expires: the circuit may have closed while it was asked about, and then there is no lease to it.
    trial: bool,
}

impl Lease {
    pub(super) fn new(shared: Arc<Shared>, circuit: Arc<Local>, token: String, trial: bool) -> Self {
        Self { shared, circuit, token, trial }
    }

    pub(super) fn is_trial(&self) -> bool {
        self.trial
    }

    pub(super) fn tell(mut self, verdict: Verdict, latency: u64) {
        self.push(verdict, latency);
    }

    fn push(&mut self, verdict: Verdict, latency: u64) {
        let token = std::mem::take(&mut self.token);
        if !token.is_empty() {
            self.shared.outbox.push_trial(Trial { circuit: Arc::clone(&self.circuit), token, verdict, latency });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.push(Verdict::Cancelled, 0);
    }
}

/// Asks for permits; apart from those who want them, since the answer must be given back where they have gone.
pub(super) struct Asker {
    shared: Arc<Shared>,
    client: CircuitServiceClient<Channel>,
    timeout: Duration,
    asks: mpsc::Receiver<Ask>,
}

impl Asker {
    pub(super) fn new(
        shared: Arc<Shared>,
        client: CircuitServiceClient<Channel>,
        timeout: Duration,
        asks: mpsc::Receiver<Ask>,
    ) -> Self {
        Self { shared, client, timeout, asks }
    }

    pub(super) async fn run(mut self) {
        // Each circuit has one ask under way, as its callers take turns, and each takes no longer than the timeout.
        let mut calls = JoinSet::new();
        loop {
            tokio::select! {
                ask = self.asks.recv() => match ask {
                    Some(ask) => {
                        calls.spawn(ask_one(Arc::clone(&self.shared), self.client.clone(), self.timeout, ask));
                    }
                    None => return,
                },
                Some(_) = calls.join_next() => {}
            }
        }
    }
}

async fn ask_one(
    shared: Arc<Shared>,
    mut client: CircuitServiceClient<Channel>,
    timeout: Duration,
    Ask { circuit, answer }: Ask,
) {
    let seen = circuit.word();
    let request = v1::AcquirePermitRequest { name: circuit.name.to_string() };
    let response = call(timeout, request, |request| async move { client.acquire_permit(request).await }).await;
    let asked = match response.map(|response| response.answer) {
        Ok(Some(Answer::Permit(v1::Permit { token, lease_expire_time }))) => {
            let trial = lease_expire_time.is_some();
            shared.counters.trials.fetch_add(u64::from(trial), Ordering::Relaxed);
            Asked::Permitted(Lease::new(shared, circuit, token, trial))
        }
        Ok(Some(Answer::Denied(v1::Denied { retry_after }))) => {
            Asked::Denied(retry_after.and_then(|wait| wait.try_into().ok()))
        }
        // What a later version of the server says and this one does not know.
        Ok(None) => Asked::Denied(None),
        Err(error) if error.reason == "TASK_NOT_FOUND" => {
            // The watch will say so, too.
            circuit.forget_if(seen);
            Asked::Unknown
        }
        Err(error) if is_answer(&error) => {
            tracing::debug!(%error, circuit = %circuit.name, "the server grants no permit");
            Asked::Denied(error.retry_after)
        }
        Err(_) => Asked::Unanswered,
    };
    // Where nobody waits any more, what comes back is dropped: a lease gives itself back.
    let _ = answer.send(asked);
}

/// Whether the server said it, and not somebody on the way there, or nobody.
fn is_answer(error: &Error) -> bool {
    match error.code {
        Code::DeadlineExceeded | Code::Cancelled => false,
        // Proxies, too, say these of a server that they do not reach, but never why.
        Code::Unavailable | Code::Unknown => !error.reason.is_empty(),
        _ => true,
    }
}
