//! Who waits for the answer to a call, and may have stopped to.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Request;
use crate::lifecycle::{Call, Reply};
use crate::model::{CallOutcome, Permission, Permit, Refusal, Sample, Source, Verdict};

/// Whom to answer.
pub(in crate::manager) struct Caller {
    answer: oneshot::Sender<Handed>,
    requests: mpsc::WeakSender<Request>,
}

/// An answer, on its way to whoever takes it. If nobody does, because they have stopped waiting, the lease in it is given back: nobody
/// else would, and others had to wait for it to expire.
pub(super) struct Handed {
    reply: Option<Result<Reply, Refusal>>,
    requests: mpsc::WeakSender<Request>,
}

impl Caller {
    pub(super) fn new(requests: &mpsc::Sender<Request>) -> (Self, oneshot::Receiver<Handed>) {
        let (answer, answered) = oneshot::channel();
        (Self { answer, requests: requests.downgrade() }, answered)
    }

    /// Hands the answer over.
    pub(in crate::manager) fn tell(self, reply: Result<Reply, Refusal>) {
        // What nobody takes is dropped, here or there.
        drop(self.answer.send(Handed { reply: Some(reply), requests: self.requests }));
    }
}

impl From<Handed> for Result<Reply, Refusal> {
    fn from(mut handed: Handed) -> Self {
        handed.reply.take().unwrap_or(Err(Refusal::ServerDraining))
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        let Some(Ok(Reply::Permission { uid, permission: Permission::Granted(permit), .. })) = self.reply.take() else {
            return;
        };
        let (Permit { epoch, lease: lease @ Some(_) }, Some(requests)) = (permit, self.requests.upgrade()) else {
            return;
        };
        let source = Source::Passive { reporter: 0, lease };
        let sample = Sample { epoch, verdict: Verdict::Neutral, latency: Duration::ZERO, source };
        let (caller, _) = Caller::new(&requests);
        // Where there is no room for it, the lease expires by itself.
        drop(requests.try_send(Request::Call { call: Call::Report(vec![CallOutcome { uid, sample }]), caller }));
    }
}
