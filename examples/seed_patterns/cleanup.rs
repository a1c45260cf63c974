//! Graceful clean-up with a timeout: what the task does on its way out must not hold up the shutdown.

use std::time::Duration;

use switchyard::monitor::CancellationToken;
use tokio::time::{sleep, timeout};

/// Well below the grace period, 5 s: a clean-up that is still at it then would be aborted, and the task be reported for it.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(2);

/// A monitor with a [`Context`](switchyard::monitor::Context) has `context.cleanup(timeout, …)` for the first arm.
pub(crate) async fn monitoring_task_with_cleanup(
    cancel_token: CancellationToken,
    cleanup_resources: impl Future<Output = ()>,
) {
    loop {
        tokio::select! {
            biased;
            () = cancel_token.cancelled() => {
                tracing::info!("performing graceful cleanup");
                match timeout(CLEANUP_TIMEOUT, cleanup_resources).await {
                    Ok(()) => tracing::info!("cleanup completed successfully"),
                    Err(_elapsed) => tracing::warn!("cleanup timed out, forcing exit"),
                }
                break;
            }
            () = do_work() => {}
        }
    }
}

async fn do_work() {
    sleep(Duration::from_secs(10)).await;
}

#[cfg(test)]
mod tests {
    use switchyard::monitor::testing::{CLEANUP_BOUND, assert_cleanup_bounded, assert_cooperative};
    use switchyard::monitor::{Config, from_fn};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn it_is_cooperative() {
        let brief = || sleep(Duration::from_millis(50));
        let kind = from_fn("cleanup", move |token| monitoring_task_with_cleanup(token, brief()));
        assert_cooperative(kind, Config::default()).await;
    }

    #[tokio::test]
    async fn it_ends_in_time_although_its_clean_up_hangs() {
        let kind = from_fn("cleanup", |token| monitoring_task_with_cleanup(token, std::future::pending()));
        assert_cleanup_bounded(kind, Config::default(), CLEANUP_BOUND).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_clean_up_that_hangs_is_cut_short() {
        let cancel_token = CancellationToken::new();
        cancel_token.cancel();
        let asked = Instant::now();
        monitoring_task_with_cleanup(cancel_token, std::future::pending()).await;
        assert_eq!(asked.elapsed(), CLEANUP_TIMEOUT);
    }
}
