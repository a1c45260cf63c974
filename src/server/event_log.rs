//! One log line for each event: a follower of the journal like any other, on a thread of its own, since logging blocks where
//! standard error does.

use std::io;

use tokio::sync::oneshot;

use crate::journal::{FollowError, Journal};
use crate::model::Sequence;
use crate::telemetry::{RateLimiter, log_event};

/// What is read from the journal at once.
const BATCH: usize = 256;

/// Logs every event from now on, until the journal ends. The receiver resolves when the thread has ended, by a panic too; nothing
/// is ever sent.
pub(super) fn start(journal: &Journal) -> io::Result<oneshot::Receiver<()>> {
    let journal = journal.clone();
    let after = journal.view().head();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (alive, ended) = oneshot::channel();
    let run = move || {
        let _alive: oneshot::Sender<()> = alive;
        runtime.block_on(log(journal, after));
        // Its reads from the store wait for nobody.
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name("event-log".to_owned()).spawn(run)?;
    Ok(ended)
}

async fn log(journal: Journal, mut after: Sequence) {
    let mut limiter = RateLimiter::default();
    loop {
        let Ok(mut follower) = journal.follow(after) else {
            after = skip(&journal, after);
            continue;
        };
        loop {
            match follower.next(BATCH).await {
                Ok(Some(batch)) => {
                    for event in &batch.events {
                        log_event(event, &mut limiter);
                    }
                    after = batch.through;
                }
                Ok(None) => return,
                Err(FollowError::Trimmed(_)) => break,
                Err(FollowError::Store(error)) => {
                    tracing::error!(%error, "the journal cannot be read");
                    break;
                }
            }
        }
        after = skip(&journal, after);
    }
}

/// The log was too slow, and what it did not reach is no longer kept.
fn skip(journal: &Journal, after: Sequence) -> Sequence {
    let head = journal.bounds().head;
    tracing::warn!(events = head.get().saturating_sub(after.get()), "events were not logged: the log is too slow");
    head
}
