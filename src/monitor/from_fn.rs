//! Kinds made of a function.

use std::fmt;
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
pub fn from_fn<F, Fut>(name: impl Into<String>, run: F) -> FnKind<F>
where
    F: Fn(CancellationToken) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoOutcome> + Send + 'static,
{
    FnKind { name: name.into(), run: Arc::new(run) }
}

/// A kind whose monitor is a function; see [`from_fn`].
pub struct FnKind<F> {
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

impl<F> fmt::Debug for FnKind<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnKind").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::model::ScheduleDraft;
    use crate::monitor::Children;
    use crate::monitor::testing::assignment;

    async fn outcome(kind: impl Kind) -> Result<(), String> {
        let (reports, _inbox) = mpsc::channel(1);
        let assignment = assignment(kind.name(), ScheduleDraft::default(), reports).expect("valid");
        let token = CancellationToken::new();
        token.cancel();
        let monitor = kind.build(&Config::default()).expect("built");
        let ran = monitor.run(Context::new(assignment, token, Children::new())).await;
        ran.map_err(|error| error.to_string())
    }

    async fn of_the_seed(cancel_token: CancellationToken) {
        cancel_token.cancelled().await;
    }

    #[tokio::test(start_paused = true)]
    async fn functions_return_nothing_or_a_result_of_any_error() {
        assert_eq!(outcome(from_fn("a", of_the_seed)).await, Ok(()));
        assert_eq!(outcome(from_fn("b", |token| async move { token.cancelled().await })).await, Ok(()));
        assert_eq!(outcome(from_fn("c", |_| async { Ok::<_, std::io::Error>(()) })).await, Ok(()));
        assert_eq!(outcome(from_fn("d", |_| async { Err::<(), _>("no feed") })).await, Err("no feed".into()));
        assert_eq!(outcome(from_fn("e", |_| async { Err::<(), _>(anyhow::anyhow!("x")) })).await, Err("x".into()));
        assert_eq!(outcome(from_fn("f", |_| async { Err::<(), _>(MonitorError::from("y")) })).await, Err("y".into()));
    }

    #[test]
    fn they_take_no_configuration_and_declare_no_readiness() {
        let kind = from_fn("a", of_the_seed);
        assert!(kind.validate(&Config::default()).is_ok());
        assert!(kind.validate(&Config::from(serde_json::json!({"limit": 1}))).is_err());
        assert!(!kind.declares_readiness());
    }
}
