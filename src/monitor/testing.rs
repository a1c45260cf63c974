//! A testing kit for monitors: is this one cooperative?
//!
//! ```no_run
//! use switchyard::monitor::testing::assert_cooperative;
//! use switchyard::monitor::{Config, from_fn};
//!
//! #[tokio::test]
//! async fn the_monitor_is_cooperative() {
//!     let kind = from_fn("endpoint-health", |token| async move { token.cancelled().await });
//!     assert_cooperative(kind, Config::default()).await;
//! }
//! ```

mod trial;

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use thiserror::Error;

use super::{Config, Kind};
use crate::model::{Pretty, Violations};
use trial::{Pulse, conduct};

/// How long a monitor has to end after its token was cancelled.
pub const BOUND: Duration = Duration::from_secs(1);
/// How long a monitor that declares readiness has to become ready.
pub const READY_WITHIN: Duration = Duration::from_secs(10);
/// For how long its thread may be silent until it counts as blocked. Longer than a busy machine keeps a thread waiting.
const SILENCE: Duration = Duration::from_secs(2);

/// Which rule a monitor breaks, and what to do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Uncooperative {
    /// Its kind refuses the configuration.
    #[error("the kind does not accept this configuration: {0}")]
    Configuration(#[source] Violations),
    /// Its kind cannot build it.
    #[error("the kind cannot build a monitor of this configuration: {0}")]
    Build(String),
    /// It was never ready.
    #[error(
        "its kind declares readiness, but it was not ready within {}. Call `context.ready()` once it is, or make its checks by \
         `context.every(…)`, or let the kind not declare readiness",
        Pretty(READY_WITHIN)
    )]
    NotReady,
    /// It ended before it was told to.
    #[error(
        "it ended before it was told to stop ({0}), so that its cancellation was not tested. Give it work that lasts"
    )]
    EndedBefore(String),
    /// It did not end in time.
    #[error(
        "it had not ended {} after its token was cancelled. Look at the token on every iteration: `tokio::select!` with \
         `token.cancelled()`, or `context.run_until_cancelled(…)`; split long work by `context.checkpoint()`; bound its clean-up by \
         `context.cleanup(…)`",
        Pretty(BOUND)
    )]
    IgnoresToken,
    /// It kept its thread from polling anything else.
    #[error(
        "it blocks its thread, so that nothing can cancel it, and every monitor beside it stands still. No `std::thread::sleep`, no \
         blocking I/O or FFI, no long computation between two awaits: use tokio's own, or `tokio::task::spawn_blocking`, or split \
         the work by `context.checkpoint()`"
    )]
    BlocksThread,
    /// Something that it spawned lived on.
    #[error(
        "it ended, but children it had spawned had not {} after its token was cancelled. Give each of them a clone of the token to \
         watch, and await them or leave them to `context.spawn(…)`",
        Pretty(BOUND)
    )]
    LeavesChildren,
    /// It panicked.
    #[error("it panicked: {0}. A monitor returns its errors, in its clean-up too")]
    Panics(String),
}

/// Asserts that the kind's monitor is cooperative: it is built and run, and when it is ready (at its first pending poll, if its
/// kind does not declare readiness) its token is cancelled; it and its children must end within [`BOUND`].
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
    // The blocking pool, and not a timer: a paused clock stands still meanwhile, where it would run ahead of the monitor.
    let supervised = tokio::task::spawn_blocking(move || supervise(kind, config));
    supervised.await.unwrap_or_else(|error| Err(Uncooperative::Panics(error.to_string())))
}

/// Has the trial conducted on a thread of its own, and gives it up when that thread is silent for too long.
fn supervise(kind: impl Kind, config: Config) -> Result<(), Uncooperative> {
    let pulse = Pulse::new();
    let (verdict, ended) = sync_channel(1);
    let body = {
        let pulse = pulse.clone();
        move || {
            // Nobody listens any more where the trial was given up.
            let _ = verdict.send(conduct(&kind, &config, &pulse));
        }
    };
    let spawned = thread::Builder::new().name("cooperation-trial".to_owned()).spawn(body);
    spawned.map_err(|error| Uncooperative::Build(format!("no thread to run it on: {error}")))?;
    loop {
        match ended.recv_timeout(Duration::from_millis(50)) {
            Ok(verdict) => return verdict,
            Err(RecvTimeoutError::Disconnected) => return Err(Uncooperative::Panics("while it was built".to_owned())),
            Err(RecvTimeoutError::Timeout) if pulse.silence() > SILENCE => return Err(Uncooperative::BlocksThread),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

#[cfg(test)]
pub(crate) use trial::assignment;

#[cfg(test)]
mod tests;
