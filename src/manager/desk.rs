//! Where commands are handed in, and their answers waited for: for as long as the journal commits.

mod caller;

use tokio::sync::{mpsc, oneshot, watch};

use super::handle::{Request, With};
use crate::journal::Condition;
use crate::lifecycle::{Call, Command, Reply};
use crate::model::Refusal;
pub(super) use caller::Caller;

/// The way to the loop.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) requests: mpsc::Sender<Request>,
    /// How the journal does, as the loop knows it.
    pub(super) condition: watch::Receiver<Condition>,
}

impl Desk {
    /// Has the loop execute a command, and waits for its answer. A command that has been taken in, and whose answer still waits for a
    /// commit when the journal counts as stalled, goes on; but its caller is told that it is not yet durable.
    pub(super) async fn command(&self, command: Command, with: With) -> Result<Reply, Refusal> {
        let (answer, answered) = oneshot::channel();
        let unanswered = command.unanswered();
        self.send(Request::Command { command, with, answer }).await?;
        self.answer(answered, unanswered).await
    }

    /// Has the loop answer a caller, as it answers commands.
    pub(super) async fn call(&self, call: Call) -> Result<Reply, Refusal> {
        let (caller, answered) = Caller::new(&self.requests);
        self.send(Request::Call { call, caller }).await?;
        self.answer(answered, Refusal::JournalStalled).await
    }

    async fn answer(
        &self,
        mut answered: oneshot::Receiver<impl Into<Result<Reply, Refusal>>>,
        unanswered: Refusal,
    ) -> Result<Reply, Refusal> {
        tokio::select! {
            biased;
            reply = &mut answered => return reply.map_or(Err(Refusal::ServerDraining), Into::into),
            () = self.stalled() => {}
        }
        // The loop may not have come to it. What it answers at once it will have answered then: a refusal, or what is durable.
        self.sync().await?;
        match answered.try_recv() {
            Ok(reply) => reply.into(),
            Err(oneshot::error::TryRecvError::Empty) => Err(unanswered),
            Err(oneshot::error::TryRecvError::Closed) => Err(Refusal::ServerDraining),
        }
    }

    /// Waits until the journal counts as stalled.
    pub(super) async fn stalled(&self) {
        let mut condition = self.condition.clone();
        if condition.wait_for(|condition| condition.stalled).await.is_err() {
            // The loop has ended, and whoever waits for it hears of that.
            std::future::pending::<()>().await;
        }
    }

    /// Whether the server drains, which the journal may not tell while it is stalled.
    pub(super) async fn drains(&self) -> bool {
        self.sync().await != Ok(false)
    }

    /// Waits until the loop has decided everything that was sent before; says whether the server drains.
    async fn sync(&self) -> Result<bool, Refusal> {
        let (tell, decided) = oneshot::channel();
        self.send(Request::Sync(tell)).await?;
        // It ends only with the process.
        Ok(decided.await.unwrap_or(true))
    }

    async fn send(&self, request: Request) -> Result<(), Refusal> {
        // The loop ends only with the process, after a drain.
        self.requests.send(request).await.map_err(|_| Refusal::ServerDraining)
    }
}

#[cfg(test)]
mod tests;
