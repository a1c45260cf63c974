//! Checks and what is sampled of a live task.

use std::time::Duration;

use super::{Attempt, Generation, TaskName, Timestamp, Uid, WindowCounts};

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The target is well.
    Pass,
    /// The target is not.
    Fail,
    /// Nothing can be said of the target: the check was cancelled, or failed for a reason of ours.
    Neutral,
}

/// Where the time of a check went; a phase that was not reached is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Looking up the host's addresses.
    pub resolve: Option<Duration>,
    /// Connecting.
    pub connect: Option<Duration>,
    /// The TLS handshake, the verification of the certificate included.
    pub tls: Option<Duration>,
    /// From the request's first byte sent to the response's first byte received; for TCP, all steps.
    pub first_byte: Option<Duration>,
    /// From there to the response's last byte read.
    pub transfer: Option<Duration>,
}

/// One measurement and its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// When it began.
    pub time: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// Where the time went, for kinds that tell.
    pub phases: Option<Phases>,
    /// What it found.
    pub verdict: Verdict,
    /// Why, as a word that programs can match; empty for `Pass`, unless it is one with a warning.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
    /// The instance's attempt.
    pub attempt: Attempt,
}

#[cfg(test)]
impl Check {
    /// One that has passed; what is told apart by its message.
    pub(crate) fn passed(message: impl Into<String>) -> Self {
        Self {
            time: Timestamp::default(),
            duration: Duration::ZERO,
            phases: None,
            verdict: Verdict::Pass,
            reason: "",
            message: message.into(),
            attempt: Attempt::new(1),
        }
    }
}

/// A check that has ended, and whose it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRecord {
    /// The task.
    pub name: TaskName,
    /// Which task of that name.
    pub uid: Uid,
    /// The spec that was run.
    pub generation: Generation,
    /// Whether it drives nothing: of a swap's candidate, or of what was replaced by one.
    pub shadow: bool,
    /// What it found.
    pub check: Check,
}

/// What is known of a task at the moment it is read; in no event and no snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// The newest finished check of the newest instance.
    pub last_check: Option<Check>,
    /// When the monitor last finished a check or marked progress.
    pub last_progress_time: Option<Timestamp>,
    /// When the next check is due.
    pub next_check_time: Option<Timestamp>,
    /// How many grid points of the newest instance passed during a running check.
    pub missed_checks: u32,
    /// What the circuit has counted under its present epoch.
    pub circuit: WindowCounts,
}
