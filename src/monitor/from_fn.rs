//! Kinds made of a function.

use std::future::Future;
use std::sync::Arc;

use super::{CancellationToken, Config, Context, IntoOutcome, Kind, Monitor, MonitorError, MonitorFuture};
use crate::model::Violations;

/// A kind whose monitor is a function of the cancellation token: the form of a monitoring task that needs nothing else. Its
/// future returns nothing, or a `Result` whose error ends the instance as failed. The kind takes no configuration, and is ready
/// at its first pending poll.
///
/// ```
/// use std::time::Duration;
/// use switchyard::monitor::{self, CancellationToken};
///
/// async fn monitoring_task(cancel_token: CancellationToken) {
///     loop {
///         tokio::select! {
///             // On every iteration, and first.
///             biased;
///             () = cancel_token.cancelled() => break,
///             () = tokio::time::sleep(Duration::from_secs(10)) => check_endpoint_health().await,
///         }
///     }
/// }
/// # async fn check_endpoint_health() {}
///
/// let kind = monitor::from_fn("endpoint-health", monitoring_task);
/// # let _: &dyn monitor::Kind = &kind;
///
/// // Errors of any type end the instance as failed; the restart policy decides what follows.
/// let kind = monitor::from_fn("feed", |token| async move {
///     match token.run_until_cancelled(read_feed()).await {
///         Some(result) => result,
///         None => Ok(()),
///     }
/// });
/// # async fn read_feed() -> std::io::Result<()> { Ok(()) }
/// # let _: &dyn monitor::Kind = &kind;
/// ```
pub fn from_fn<F, Fut>(name: impl Into<String>, run: F) -> impl Kind
where
    F: Fn(CancellationToken) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoOutcome> + Send + 'static,
{
    FnKind { name: name.into(), run: Arc::new(run) }
}

struct FnKind<F> {
    name: String,
    run: Arc<F>,
}

impl<F, Fut> Kind for FnKind<F>
where
    F: Fn(CancellationToken) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoOutcome> + Send + 'static,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn validate(&self, config: &Config) -> Result<(), Violations> {
        config.refuse_any()
    }

    fn build(&self, _config: &Config) -> Result<Box<dyn Monitor>, MonitorError> {
        Ok(Box::new(FnMonitor { run: Arc::clone(&self.run) }))
    }
}

struct FnMonitor<F> {
    run: Arc<F>,
}

impl<F, Fut> Monitor for FnMonitor<F>
where
    F: Fn(CancellationToken) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoOutcome> + Send + 'static,
{
    fn run(self: Box<Self>, context: Context) -> MonitorFuture {
        // The function is called by the first poll, so that what it does before its future exists is the instance's doing too.
        Box::pin(async move { (self.run)(context.token().clone()).await.into_outcome() })
    }
}
