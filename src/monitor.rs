//! Monitors: the code that watches something. This is what an embedder implements.
//!
//! A [`Kind`] checks a task's configuration and builds a [`Monitor`] from it; the monitor's [`run`](Monitor::run) is one
//! *instance*: a cooperative future that works until its [`Context`]'s token tells it to stop. Kinds are made known to the server
//! by a [`Registry`].
//!
//! A monitor that needs nothing but the token is a function: [`from_fn`]. One that is a check made again and again is a loop of
//! [`Context::every`]. Everything else implements the traits:
//!
//! ```
//! use std::time::Duration;
//!
//! use switchyard::model::Violations;
//! use switchyard::monitor::{Config, Context, Finding, Kind, Monitor, MonitorError, MonitorFuture};
//!
//! /// Watches a queue; configured by `{"queue": "orders", "limit": 1000}`.
//! struct QueueDepthKind;
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct QueueDepth {
//!     queue: String,
//!     limit: usize,
//! }
//!
//! impl Kind for QueueDepthKind {
//!     fn name(&self) -> &str {
//!         "queue-depth"
//!     }
//!
//!     fn validate(&self, config: &Config) -> Result<(), Violations> {
//!         config.parse::<QueueDepth>().map(drop)
//!     }
//!
//!     fn build(&self, config: &Config) -> Result<Box<dyn Monitor>, MonitorError> {
//!         Ok(Box::new(config.parse::<QueueDepth>()?))
//!     }
//! }
//!
//! impl Monitor for QueueDepth {
//!     fn run(self: Box<Self>, context: Context) -> MonitorFuture {
//!         Box::pin(async move {
//!             let connection = connect(&self.queue).await?;
//!             context.every(context.schedule().interval(), || self.check(&connection)).await;
//!             // Told to stop, or all runs are made: an end that can hang needs a bound.
//!             context.cleanup(Duration::from_secs(2), connection.close()).await;
//!             Ok(())
//!         })
//!     }
//! }
//!
//! impl QueueDepth {
//!     async fn check(&self, connection: &Connection) -> Finding {
//!         match connection.depth().await {
//!             Ok(depth) if depth > self.limit => Finding::fail("QUEUE_FULL", format!("{depth} messages wait")),
//!             Ok(_) => Finding::pass(),
//!             Err(error) => Finding::fail("UNREACHABLE", error.to_string()),
//!         }
//!     }
//! }
//! # struct Connection;
//! # async fn connect(_: &str) -> std::io::Result<Connection> { Ok(Connection) }
//! # impl Connection {
//! #     async fn depth(&self) -> std::io::Result<usize> { Ok(0) }
//! #     async fn close(&self) {}
//! # }
//! ```
//!
//! Whether a monitor is cooperative can be tested: [`testing::assert_cooperative`]; and whether it gives up a clean-up that hangs:
//! [`testing::assert_cleanup_bounded`].

mod children;
mod clock;
mod config;
mod context;
pub mod drill;
mod error;
mod every;
mod finding;
mod from_fn;
mod grid;
mod live;
mod orders;
mod registry;
mod slot;
pub mod testing;

use std::sync::Arc;

use futures_util::future::BoxFuture;

/// Tells a monitor to stop. A monitor **must** watch it:
///
/// - `tokio::select!` with `token.cancelled()` in the loop, or what does it for you: [`Context::every`],
///   [`Context::run_until_cancelled`];
/// - on **every** iteration, not just occasionally;
/// - no blocking calls: no `std::thread::sleep`, no blocking I/O or FFI, no long computation without an `.await`. Wrapping them in
///   `async {}` does not make them asynchronous. Use tokio's own, or `tokio::task::spawn_blocking`;
/// - long work is split into chunks that can be cancelled: [`Context::checkpoint`];
/// - clean-up has a timeout: [`Context::cleanup`], tested by [`testing::assert_cleanup_bounded`];
/// - what it spawns ends with it: [`Context::spawn`], and a clone of the token for the child;
/// - it logs what an operator will want to know;
/// - its cancellation is tested: [`testing::assert_cooperative`].
///
/// A monitor that does not return within the grace period (5 s unless the spec says otherwise) is aborted at its next `.await`;
/// one that never gets there is STUCK: reported, counted, and left behind.
#[doc(inline)]
pub use tokio_util::sync::CancellationToken;

pub use children::Children;
pub use clock::Clock;
pub use config::Config;
pub use context::{Assignment, Context, Fact, Report};
pub use error::{Cancelled, IntoOutcome, MonitorError};
pub use finding::{CANCELLED, Finding, PANICKED, SUPERSEDED, TIMEOUT};
pub use from_fn::{FnKind, from_fn};
pub use live::LiveCell;
pub use orders::{Orders, Wanted};
pub use registry::{DuplicateKind, Registry};
pub use slot::{CoarseClock, Occupant, Polled, Running, SLOW, Slot, occupy};

use crate::model::{MonitorSpec, TaskSpec, Violations};

/// One run of a monitor. `Ok` before the token was cancelled means that its work is done; an error then means that it has failed,
/// and the restart policy decides. After that `Ok` and [`Cancelled`] are a graceful exit, and any other error is told as one.
pub type MonitorFuture = BoxFuture<'static, Result<(), MonitorError>>;

/// What watches: built by a [`Kind`] for one instance, and spent by it.
pub trait Monitor: Send + 'static {
    /// Runs until `context.token()` is cancelled or the work is done. Called on the runtime that will poll the future.
    ///
    /// The future may be dropped at any `.await`: that is what an abort is. It shares its thread with other monitors, so that a
    /// poll which blocks keeps them waiting too. A panic ends the instance and nothing else.
    fn run(self: Box<Self>, context: Context) -> MonitorFuture;
}

/// What builds monitors from specs. `validate`, `target_key` and `build` are called while a client waits: they must be quick
/// (they are given 1 s), and must have no side effects.
pub trait Kind: Send + Sync + 'static {
    /// The name by which specs ask for it: 1 to 63 bytes, better lower-case letters, digits and hyphens, since it stands in filters
    /// and in metric labels.
    fn name(&self) -> &str;

    /// Whether its monitors say themselves when they are ready, by [`Context::ready`] or by the first check of [`Context::every`].
    /// Otherwise an instance counts as ready at its first pending poll.
    fn declares_readiness(&self) -> bool {
        false
    }

    /// Checks a configuration. The paths of violations are relative to the configuration: `limit`, `endpoints[2].url`.
    fn validate(&self, config: &Config) -> Result<(), Violations>;

    /// What a valid configuration watches, as a key. A swap that keeps the key keeps what the circuit knows; one that changes it
    /// begins anew. Unless a kind says otherwise, that is the whole configuration.
    fn target_key(&self, config: &Config) -> String {
        config.to_json().to_string()
    }

    /// Makes a monitor of a configuration that was found valid. Called for every instance.
    fn build(&self, config: &Config) -> Result<Box<dyn Monitor>, MonitorError>;
}

/// The kinds that come with the server. Their specs are typed and were validated with the rest of the task's, so that nothing is
/// left that could fail, but for what this server does not allow.
pub trait BuiltIn: Send + Sync + 'static {
    /// The names of these kinds.
    fn names(&self) -> &'static [&'static str];

    /// Checks what depends on the server and not on the spec alone. The paths of violations are relative to the task's spec.
    fn validate(&self, _spec: &MonitorSpec) -> Result<(), Violations> {
        Ok(())
    }

    /// The spec's monitor; `None` where the spec names a custom kind, or is not allowed.
    fn build(&self, spec: &Arc<TaskSpec>) -> Option<Box<dyn Monitor>>;
}
