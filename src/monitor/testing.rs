//! A testing kit for monitors: does this one keep the [rules](Rule)?
//!
//! Every kind should have the first of these tests, and each whose monitor cleans up the second:
//!
//! ```no_run
//! use switchyard::monitor::testing::{CLEANUP_BOUND, assert_cleanup_bounded, assert_cooperative};
//! use switchyard::monitor::{Config, from_fn};
//!
//! #[tokio::test]
//! async fn the_monitor_is_cooperative() {
//!     let kind = from_fn("endpoint-health", |token| async move { token.cancelled().await });
//!     assert_cooperative(kind, Config::default()).await;
//! }
//!
//! #[tokio::test]
//! async fn a_clean_up_that_hangs_is_given_up() {
//!     let kind = from_fn("lease", |token| async move {
//!         token.cancelled().await;
//!         // What gives a lease back, where nobody answers.
//!         let give_back = std::future::pending::<()>();
//!         let _given_up = tokio::time::timeout(std::time::Duration::from_secs(2), give_back).await;
//!     });
//!     assert_cleanup_bounded(kind, Config::default(), CLEANUP_BOUND).await;
//! }
//! ```

mod ear;
mod fault;
mod pulse;
mod rule;
mod trial;

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::{Config, Kind};
pub use fault::Uncooperative;
use pulse::Pulse;
pub use rule::Rule;
use trial::{Question, conduct};

/// How long a monitor has to end after its token was cancelled. As in the test of the seed document, "Testing Your Tasks".
pub const BOUND: Duration = Duration::from_secs(1);
/// How long a monitor whose clean-up hangs has to end after its token was cancelled, unless the test has its own idea: the 2 s that
/// the seed document gives a clean-up ("Graceful Cleanup with Timeout"), and [`BOUND`] for what is around it.
pub const CLEANUP_BOUND: Duration = Duration::from_secs(3);
/// How long a monitor that declares readiness has to become ready.
pub const READY_WITHIN: Duration = Duration::from_secs(10);
/// The grace period of a spec that says nothing of it. A clean-up that takes longer is aborted.
const GRACE: Duration = Duration::from_secs(5);
/// For how long a monitor that is late is watched, to tell one that finds out by itself from one that never does: so long as the
/// seed document waits for a task after it has waited in vain. Only a test that fails takes that much longer.
const WATCHED: Duration = Duration::from_secs(2);
/// For how long its thread may be silent until it counts as blocked. Where the system does not tell for how long a busy machine
/// keeps a thread waiting, it is rarely as long as this.
const SILENCE: Duration = Duration::from_secs(2);

/// Asserts that the kind's monitor is cooperative: it is built and run, and when it is ready (at its first pending poll, if its
/// kind does not declare readiness) its token is cancelled; it and its children must end within [`BOUND`]. For how long a busy machine
/// keeps its thread waiting does not count, where the system tells that (Linux).
///
/// The monitor runs on a runtime and a thread of its own and in real time, whatever clock the test's runtime has, so that one which
/// blocks its thread fails the test instead of hanging it. (Its thread is then left to itself: safe Rust cannot end it.) The
/// test's runtime stays free, so a server which the monitor is to talk to may run there.
///
/// # Panics
///
/// Where the monitor breaks a rule; the message says which one, and what to do. Outside of a tokio runtime.
pub async fn assert_cooperative(kind: impl Kind, config: Config) {
    let name = kind.name().to_owned();
    if let Err(fault) = check_cooperative(kind, config).await {
        panic!("the monitor {name:?} is not cooperative: {fault}");
    }
}

/// As [`assert_cooperative`], for those who want to know instead of to panic.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub async fn check_cooperative(kind: impl Kind, config: Config) -> Result<(), Uncooperative> {
    try_out(kind, config, Question::Cooperative).await
}

/// Asserts that the kind's monitor gives up a clean-up that hangs: as [`assert_cooperative`], but it and its children have `bound`
/// to end. That the clean-up cannot finish is for the test to arrange; what then ends within `bound` has ended by itself, since the
/// trial aborts nothing. `bound` is longer than the monitor's own timeout, by as much as a busy machine may take, and shorter than
/// the default grace period, 5 s: [`CLEANUP_BOUND`] where nothing speaks against it.
///
/// ```
/// use std::time::Duration;
///
/// use switchyard::model::Violations;
/// use switchyard::monitor::testing::{CLEANUP_BOUND, assert_cleanup_bounded};
/// use switchyard::monitor::{Config, Context, Kind, Monitor, MonitorError, MonitorFuture};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tokio::net::{TcpListener, TcpStream};
///
/// /// Holds a lease; configured by `{"address": "127.0.0.1:7000"}`.
/// #[derive(serde::Deserialize)]
/// struct Lease {
///     address: String,
/// }
///
/// impl Monitor for Lease {
///     fn run(self: Box<Self>, context: Context) -> MonitorFuture {
///         Box::pin(async move {
///             let mut server = TcpStream::connect(&self.address).await?;
///             context.token().cancelled().await;
///             let give_back = async {
///                 // Lost or not, the server lets the lease run out.
///                 let _ = server.write_all(b"RELEASE\n").await;
///                 let _ = server.read_u8().await;
///             };
///             context.cleanup(Duration::from_millis(500), give_back).await;
///             Ok(())
///         })
///     }
/// }
/// # struct LeaseKind;
/// # impl Kind for LeaseKind {
/// #     fn name(&self) -> &str { "lease" }
/// #     fn validate(&self, config: &Config) -> Result<(), Violations> { config.parse::<Lease>().map(drop) }
/// #     fn build(&self, config: &Config) -> Result<Box<dyn Monitor>, MonitorError> {
/// #         Ok(Box::new(config.parse::<Lease>()?))
/// #     }
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// // The system accepts for it, and it never answers.
/// let silent = TcpListener::bind("127.0.0.1:0").await?;
/// let config = serde_json::json!({"address": silent.local_addr()?.to_string()});
/// assert_cleanup_bounded(LeaseKind, config.into(), CLEANUP_BOUND).await;
/// # Ok(()) }
/// ```
///
/// # Panics
///
/// Where the clean-up has not ended within `bound`, or the monitor breaks another rule before; the message says which one, and what
/// to do. Where nothing is proven: `bound` is zero or not shorter than the grace period; or the monitor ends at its first poll after
/// the cancel, with nothing that hangs. Outside of a tokio runtime.
pub async fn assert_cleanup_bounded(kind: impl Kind, config: Config, bound: Duration) {
    let name = kind.name().to_owned();
    if let Err(fault) = check_cleanup_bounded(kind, config, bound).await {
        panic!("the clean-up of the monitor {name:?} is not known to be bounded: {fault}");
    }
}

/// As [`assert_cleanup_bounded`], for those who want to know instead of to panic.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub async fn check_cleanup_bounded(kind: impl Kind, config: Config, bound: Duration) -> Result<(), Uncooperative> {
    if bound.is_zero() || bound >= GRACE {
        return Err(Uncooperative::Bound(bound));
    }
    try_out(kind, config, Question::CleanupBounded(bound)).await
}

async fn try_out(kind: impl Kind, config: Config, question: Question) -> Result<(), Uncooperative> {
    // The blocking pool, and not a timer: a paused clock stands still meanwhile, where it would run ahead of the monitor.
    let supervised = tokio::task::spawn_blocking(move || supervise(kind, config, question));
    supervised.await.unwrap_or_else(|error| Err(Uncooperative::Panics(error.to_string())))
}

/// Has the trial conducted on a thread of its own, and gives it up when that thread is silent for too long.
fn supervise(kind: impl Kind, config: Config, question: Question) -> Result<(), Uncooperative> {
    let pulse = Pulse::new();
    let (verdict, ended) = sync_channel(1);
    let body = {
        let pulse = pulse.clone();
        move || {
            // Nobody listens any more where the trial was given up.
            let _ = verdict.send(conduct(&kind, &config, question, &pulse));
        }
    };
    let spawned = thread::Builder::new().name("cooperation-trial".to_owned()).spawn(body);
    spawned.map_err(|error| Uncooperative::Build(format!("no thread to run it on: {error}")))?;
    loop {
        match ended.recv_timeout(Duration::from_millis(50)) {
            Ok(verdict) => return verdict,
            Err(RecvTimeoutError::Disconnected) => return Err(Uncooperative::Panics("while it was built".to_owned())),
            Err(RecvTimeoutError::Timeout) => {
                let silence = pulse.silence();
                if silence.length > SILENCE {
                    return Err(silence.fault());
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) use trial::assignment;

#[cfg(test)]
mod tests;
