//! Permits, which only calls of half-open circuits need.

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::Verdict;
use super::local::{Asking, Local, Said, nanos};
use super::outbox::Trial;
use super::shared::Shared;
use super::word::Word;
use crate::client::backoff::LONGEST_ASKED;
use crate::client::{DEADLINE, Outlook, call};
use crate::pb::v1;
use v1::acquire_permit_response::Answer;
use v1::circuit_service_client::CircuitServiceClient;

/// How long it holds what was said of a circuit, where the server did not say, or did not answer: then it is asked again.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Somebody asks for a permit. Until that is done nobody else asks about the circuit, whether or not anybody still waits for the answer.
#[derive(Debug)]
pub(super) struct Ask {
    asking: Asking,
    /// As what the circuit was shown when somebody began to ask.
    seen: Word,
    answer: oneshot::Sender<Asked>,
}

impl Ask {
    pub(super) fn new(asking: Asking) -> (Self, oneshot::Receiver<Asked>) {
        let (answer, asked) = oneshot::channel();
        (Self { seen: asking.circuit().word(), asking, answer }, asked)
    }

    /// Ends it. What was said is remembered before the next one may ask, also where those have gone who wanted to know.
    pub(super) fn answer(self, shared: &Shared, asked: Asked) {
        let Self { asking, seen, answer } = self;
        let (circuit, now) = (asking.circuit(), shared.freshness.at(Instant::now()));
        let until = |wait: Duration| now.saturating_add(nanos(wait));
        match &asked {
            Asked::Permitted(permit) if permit.trial => circuit.remember(seen, None),
            Asked::Permitted(permit) => {
                circuit.remember_free(seen, &permit.token, || shared.next_version(), until(ASK_AGAIN));
            }
            Asked::Denied(wait) => {
                let wait = wait.map_or(ASK_AGAIN, |wait| wait.min(LONGEST_ASKED));
                circuit.remember(seen, Some((Said::Denied, until(wait))));
            }
            Asked::Unanswered => circuit.remember(seen, Some((Said::Nothing, until(ASK_AGAIN)))),
            // Nobody asks about such a circuit.
            Asked::Unknown => {}
        }
        drop(asking);
        // Where nobody waits any more, what comes back is dropped: a permit gives itself back.
        let _ = answer.send(asked);
    }
}

/// What the server says.
#[derive(Debug)]
pub(super) enum Asked {
    Permitted(Permit),
    /// And when it is worth asking again, if anybody knows. Whatever the reason: such as that the server cannot decide just now.
    Denied(Option<Duration>),
    /// There is no such task any more.
    Unknown,
    Unanswered,
}

/// A permit that waits for its outcome. Dropped, wherever that is, it is given back: so no caller that goes away takes a lease along.
#[derive(Debug)]
pub(super) struct Permit {
    shared: Arc<Shared>,
    circuit: Arc<Local>,
    /// Empty once it was told.
    token: String,
    /// Whether there is a lease to it, which expires: not where the circuit is closed, as it may be by the time it is asked about.
    trial: bool,
}

impl Permit {
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
            let (circuit, leased) = (Arc::clone(&self.circuit), self.trial);
            self.shared.outbox.push_trial(Trial { circuit, token, leased, verdict, latency });
        }
    }
}

impl Drop for Permit {
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
        Self { shared, client, timeout: timeout.min(DEADLINE), asks }
    }

    pub(super) async fn run(mut self) {
        // Each circuit has one ask under way at the most, which takes no longer than the timeout, whoever has gone meanwhile.
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

async fn ask_one(shared: Arc<Shared>, mut client: CircuitServiceClient<Channel>, timeout: Duration, ask: Ask) {
    let circuit = Arc::clone(ask.asking.circuit());
    let request = v1::AcquirePermitRequest { name: circuit.name.to_string() };
    let response = call(timeout, request, |request| async move { client.acquire_permit(request).await }).await;
    let asked = match response.map(|response| response.answer) {
        Ok(Some(Answer::Permit(v1::Permit { token, lease_expire_time }))) => {
            let trial = lease_expire_time.is_some();
            shared.counters.trials.fetch_add(u64::from(trial), Ordering::Relaxed);
            Asked::Permitted(Permit::new(Arc::clone(&shared), circuit, token, trial))
        }
        Ok(Some(Answer::Denied(v1::Denied { retry_after }))) => {
            Asked::Denied(retry_after.and_then(|wait| wait.try_into().ok()))
        }
        // What a later version of the server says and this one does not know.
        Ok(None) => Asked::Denied(None),
        Err(error) if error.reason == "TASK_NOT_FOUND" => {
            // The watch will say so, too.
            circuit.forget_if(ask.seen);
            Asked::Unknown
        }
        Err(error) if error.outlook() == Outlook::Unanswered => Asked::Unanswered,
        Err(error) => {
            tracing::debug!(%error, circuit = %circuit.name, "the server grants no permit");
            Asked::Denied(error.retry_after)
        }
    };
    // A call that was given up is not ended: the server may have granted a lease by then, which only its answer gives back.
    ask.answer(&shared, asked);
}
