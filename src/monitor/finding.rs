//! What a check found.

use crate::model::{Phases, Verdict};

/// The reason of a check that took longer than `schedule.timeout`.
pub const TIMEOUT: &str = "TIMEOUT";
/// The reason of a check that was dropped because its instance was told to stop, or was aborted.
pub const CANCELLED: &str = "CANCELLED";
/// The reason of a check that was dropped because a trial of the target began, with a check of its own.
pub const SUPERSEDED: &str = "SUPERSEDED";
/// The reason of a check that panicked, and with it its instance.
pub const PANICKED: &str = "PANICKED";

/// What one check found: its verdict, and why.
///
/// ```
/// use switchyard::monitor::Finding;
///
/// fn judge(depth: usize) -> Finding {
///     match depth {
///         0..1_000 => Finding::pass(),
///         _ => Finding::fail("QUEUE_FULL", format!("{depth} messages wait")),
///     }
/// }
/// # judge(0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it says of the target.
    pub verdict: Verdict,
    /// Why, as a word in capitals that programs can match; empty for [`Verdict::Pass`], unless there is something to warn of.
    pub reason: &'static str,
    /// Why, for people. At most 1 KiB is kept.
    pub message: String,
    /// Where the time went, for monitors that tell.
    pub phases: Option<Phases>,
}

impl Finding {
    /// The target is well.
    pub const fn pass() -> Self {
        Self { verdict: Verdict::Pass, reason: "", message: String::new(), phases: None }
    }

    /// The target is not well.
    pub fn fail(reason: &'static str, message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, reason, message: message.into(), phases: None }
    }

    /// Nothing can be said of the target, for a reason that lies on this side.
    pub fn neutral(reason: &'static str, message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Neutral, reason, message: message.into(), phases: None }
    }

    /// The same finding, telling where the time went.
    #[must_use]
    pub fn with_phases(self, phases: Phases) -> Self {
        Self { phases: Some(phases), ..self }
    }
}
