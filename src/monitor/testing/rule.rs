//! The rules that a monitor can be seen to break.

use std::fmt;

/// A rule of the document that Switchyard was made for ("Circuit Breaker Monitoring Task Patterns"): an item of its checklist, of
/// those that a trial can find broken. Prints as [`text`](Self::text).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// The token is waited for beside the work.
    Select,
    /// And that on every iteration.
    EveryIteration,
    /// Nothing blocks the thread.
    NoBlocking,
    /// Nothing computes on and on.
    Chunks,
    /// Clean-up has an end.
    BoundedCleanup,
}

impl Rule {
    /// The rule in the document's own words, without their markup.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Select => "Task uses tokio::select! with cancel_token.cancelled() in the loop",
            Self::EveryIteration => "Cancellation is checked on every iteration, not just occasionally",
            Self::NoBlocking => "No blocking syscalls or std::thread::sleep calls",
            Self::Chunks => "Long-running operations are split into cancellable chunks",
            Self::BoundedCleanup => "Cleanup code has timeout to prevent blocking shutdown",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
