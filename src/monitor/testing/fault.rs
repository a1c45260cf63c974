//! What a trial finds, and how it says so.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::{BOUND, CLEANUP_BOUND, GRACE, READY_WITHIN, Rule, WATCHED};
use crate::model::{Pretty, Violations};

/// What a trial found: what was seen, which [rule](Self::rule) that breaks, and what to do about it. It prints as all three.
#[derive(Debug)]
#[non_exhaustive]
pub enum Uncooperative {
    /// Its kind refuses the configuration.
    Configuration(Violations),
    /// Its kind cannot build it.
    Build(String),
    /// The trial was asked for a bound that proves nothing.
    Bound(Duration),
    /// It was never ready.
    NotReady,
    /// It ended before it was told to.
    EndedBefore(String),
    /// It did not end in time, nor while it was watched after that, and was not waiting for its token when that was cancelled. One
    /// that looks at it too seldom for the trial to see is told so too; and one that leaves the waiting to a task of its own.
    IgnoresToken,
    /// It did not end in time, and did not wait for its token when that was cancelled; but it found out by itself.
    LooksSeldom {
        /// From the cancel to its end.
        after: Duration,
    },
    /// It kept its thread from polling anything else, waiting for something.
    BlocksThread,
    /// It kept its thread from polling anything else, computing. Told from [`BlocksThread`](Self::BlocksThread) on Linux only.
    Computes,
    /// Something that it spawned lived on.
    LeavesChildren,
    /// It was waiting for its token when that was cancelled, and did not end in time: what it does then takes too long. Where the
    /// trial is of the clean-up, whatever is late is told so; whether it looks at its token at all is for the other trial to say.
    CleansUpTooLong {
        /// What it was given.
        bound: Duration,
        /// From the cancel to its end, where that was seen.
        after: Option<Duration>,
    },
    /// It ended at its first poll after the cancel: nothing that it cleaned up with hung, so that no bound was tried.
    NothingHangs,
    /// It panicked.
    Panics(String),
}

impl Uncooperative {
    /// The rule that is broken. `None` where the trial came to no verdict, and for a panic, of which the document says nothing.
    pub const fn rule(&self) -> Option<Rule> {
        match self {
            Self::IgnoresToken | Self::LeavesChildren => Some(Rule::Select),
            Self::LooksSeldom { .. } => Some(Rule::EveryIteration),
            Self::BlocksThread => Some(Rule::NoBlocking),
            Self::Computes => Some(Rule::Chunks),
            Self::CleansUpTooLong { .. } => Some(Rule::BoundedCleanup),
            Self::Configuration(_)
            | Self::Build(_)
            | Self::Bound(_)
            | Self::NotReady
            | Self::EndedBefore(_)
            | Self::NothingHangs
            | Self::Panics(_) => None,
        }
    }

    /// What was seen.
    fn finding(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BLOCKS: &str = "so that nothing can cancel it, and every monitor beside it stands still";
        match self {
            Self::Configuration(violations) => write!(f, "the kind does not accept this configuration: {violations}"),
            Self::Build(error) => write!(f, "the kind cannot build a monitor of this configuration: {error}"),
            Self::Bound(bound) => write!(
                f,
                "a bound of {} proves nothing: it must be longer than 0s and shorter than the default grace period, {}, after which \
                 the server aborts what still cleans up",
                Pretty(*bound),
                Pretty(GRACE)
            ),
            Self::NotReady => {
                write!(f, "its kind declares readiness, but it was not ready within {}", Pretty(READY_WITHIN))
            }
            Self::EndedBefore(how) => {
                write!(f, "it ended before it was told to stop ({how}), so that its cancellation was not tested")
            }
            Self::IgnoresToken => write!(
                f,
                "it had not ended {} after its token was cancelled, nor {} later, and was not waiting for the token",
                Pretty(BOUND),
                Pretty(WATCHED)
            ),
            Self::LooksSeldom { after } => write!(
                f,
                "it had not ended {} after its token was cancelled: it ended only {} after, and had not been waiting for the token",
                Pretty(BOUND),
                Pretty::about(*after)
            ),
            Self::BlocksThread => write!(f, "it blocks its thread, {BLOCKS}"),
            Self::Computes => write!(f, "it blocks its thread by computing without a pause, {BLOCKS}"),
            Self::LeavesChildren => write!(
                f,
                "it ended, but children it had spawned had not {} after its token was cancelled",
                Pretty(BOUND)
            ),
            Self::CleansUpTooLong { bound, after } => {
                write!(f, "its clean-up had not ended {} after the cancel", Pretty(*bound))?;
                match after {
                    Some(after) => write!(f, ": it ended only {} after", Pretty::about(*after)),
                    None => write!(f, ", nor {} later", Pretty(WATCHED)),
                }
            }
            Self::NothingHangs => f.write_str(
                "it ended at once, without having waited for anything, so that its clean-up's bound was not tested",
            ),
            Self::Panics(message) => write!(f, "it panicked: {message}"),
        }
    }

    /// What to do about it.
    fn advice(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The violations say what they want; what a kind says of its own failure, it knows best.
            Self::Configuration(_) | Self::Build(_) => Ok(()),
            Self::Bound(_) => write!(f, ". Give it `CLEANUP_BOUND` ({}), for example", Pretty(CLEANUP_BOUND)),
            Self::NotReady => f.write_str(
                ". Call `context.ready()` once it is, or make its checks by `context.every(…)`, or let the kind not declare \
                 readiness",
            ),
            Self::EndedBefore(_) => f.write_str(". Give it work that lasts"),
            Self::IgnoresToken | Self::LooksSeldom { .. } => f.write_str(
                ". Look at the token on every iteration: `tokio::select!` with `token.cancelled()`, or `context.every(…)`, or \
                 `context.run_until_cancelled(…)`; split long work by `context.checkpoint()`",
            ),
            Self::BlocksThread => f.write_str(
                ". No `std::thread::sleep`, no blocking I/O or FFI: use tokio's own, or `tokio::task::spawn_blocking`; and split \
                 long computations by `context.checkpoint()`",
            ),
            Self::Computes => f.write_str(
                ". Split the work by `context.checkpoint()`, or leave it to `tokio::task::spawn_blocking`",
            ),
            Self::LeavesChildren => f.write_str(
                ". Give each of them a clone of the token to watch, and await them or leave them to `context.spawn(…)`",
            ),
            Self::CleansUpTooLong { .. } => write!(
                f,
                ". Bound it by `context.cleanup(timeout, …)`: after the grace period ({} by default) the server aborts what still \
                 cleans up",
                Pretty(GRACE)
            ),
            Self::NothingHangs => f.write_str(
                ". Let what it cleans up with hang: point it at a server that accepts and never answers, for example",
            ),
            Self::Panics(_) => f.write_str(". A monitor returns its errors, in its clean-up too"),
        }
    }
}

impl fmt::Display for Uncooperative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.finding(f)?;
        if let Some(rule) = self.rule() {
            write!(f, ". Rule broken: \"{rule}\"")?;
        }
        self.advice(f)
    }
}

impl Error for Uncooperative {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Configuration(violations) => Some(violations),
            _ => None,
        }
    }
}
