//! Long-running operations with periodic checks: the work is split into chunks, and between two of them the token has its turn.

use std::time::Duration;

use switchyard::monitor::CancellationToken;
use tokio::task::yield_now;
use tokio::time::sleep;

const CHUNKS: u32 = 100;
const PAUSE: Duration = Duration::from_secs(10);

/// A monitor with a [`Context`](switchyard::monitor::Context) writes `context.checkpoint().await?` between its chunks.
pub(crate) async fn monitoring_task_with_long_work(cancel_token: CancellationToken, process_chunk: impl Fn(u32)) {
    loop {
        tokio::select! {
            biased;
            () = cancel_token.cancelled() => {
                tracing::info!("cancellation received");
                break;
            }
            () = async {
                for chunk in 0..CHUNKS {
                    process_chunk(chunk);
                    // Without it all chunks were one: nothing else on this thread would run before the last of them.
                    yield_now().await;
                }
                tracing::info!("long work completed");
                sleep(PAUSE).await;
            } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use switchyard::monitor::testing::assert_cooperative;
    use switchyard::monitor::{Config, from_fn};

    use super::*;

    #[tokio::test]
    async fn it_is_cooperative() {
        let kind = from_fn("long-work", |token| monitoring_task_with_long_work(token, |_chunk| {}));
        assert_cooperative(kind, Config::default()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancel_is_seen_between_two_chunks() {
        let (cancel_token, processed) = (CancellationToken::new(), RefCell::new(Vec::new()));
        let process_chunk = |chunk| {
            processed.borrow_mut().push(chunk);
            if chunk == 3 {
                cancel_token.cancel();
            }
        };
        monitoring_task_with_long_work(cancel_token.clone(), process_chunk).await;
        assert_eq!(*processed.borrow(), [0, 1, 2, 3]);
    }
}
