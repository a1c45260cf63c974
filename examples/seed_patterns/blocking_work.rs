//! What the document says to do instead of blocking: `tokio::time::sleep` for a blocking sleep, tokio's own I/O for blocking I/O.
//! For calls that have no such counterpart, FFI or a long computation, there is the blocking pool.

use std::time::Duration;

use switchyard::monitor::CancellationToken;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::sleep;

const INTERVAL: Duration = Duration::from_secs(10);

/// `blocking_call` is made on the blocking pool. What is under way there when the task is told to stop runs to its end, and nobody
/// waits for it: so a call must end by itself some day, and must own all that it uses.
pub(crate) async fn monitoring_task_with_blocking_work(
    cancel_token: CancellationToken,
    blocking_call: impl Fn() -> u64 + Clone + Send + 'static,
) -> Result<(), JoinError> {
    loop {
        tokio::select! {
            biased;
            () = cancel_token.cancelled() => return Ok(()),
            // A panic in the call is an error here, and ends the instance as failed.
            answer = spawn_blocking(blocking_call.clone()) => tracing::info!(answer = answer?, "the call has returned"),
        }
        tokio::select! {
            biased;
            () = cancel_token.cancelled() => return Ok(()),
            () = sleep(INTERVAL) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};

    use switchyard::monitor::testing::assert_cooperative;
    use switchyard::monitor::{Config, from_fn};

    use super::*;

    #[tokio::test]
    async fn it_is_cooperative() {
        let kind = from_fn("blocking-work", |token| monitoring_task_with_blocking_work(token, || 7));
        assert_cooperative(kind, Config::default()).await;
    }

    #[tokio::test]
    async fn it_is_cooperative_while_the_call_hangs() {
        let (release, held) = mpsc::sync_channel::<()>(0);
        let held = Arc::new(Mutex::new(held));
        let hang = move || held.lock().map_or(0, |held| held.recv().map_or(1, |()| 2));
        let kind = from_fn("blocking-work", move |token| monitoring_task_with_blocking_work(token, hang.clone()));
        assert_cooperative(kind, Config::default()).await;
        drop(release);
    }
}
