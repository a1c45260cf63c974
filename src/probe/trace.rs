//! Where the time of a check goes.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::fault::{Fault, Reason};
use crate::model::{Phases, Pretty};

/// What a check is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Waiting for its turn to dial.
    Queue,
    /// Waiting for the certificates that are trusted, which the first check by TLS has read.
    Roots,
    /// Looking up the host's addresses.
    Resolve,
    /// Connecting.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The request, until the first byte of the answer; for TCP, all steps.
    FirstByte,
    /// The rest of the answer.
    Transfer,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queue => "waiting for its turn among the checks that connect",
            Self::Roots => "waiting for the trusted root certificates to be read",
            Self::Resolve => "resolving the host's name",
            Self::Connect => "connecting",
            Self::Tls => "in the TLS handshake",
            Self::FirstByte => "waiting for the answer",
            Self::Transfer => "reading the answer",
        })
    }
}

/// Follows a check through its stages, so that one which is cut short can still tell how far it came.
#[derive(Debug)]
pub(super) struct Trace {
    stage: Stage,
    since: Instant,
    phases: Phases,
}

impl Trace {
    pub(super) fn begin() -> Self {
        Self { stage: Stage::Queue, since: Instant::now(), phases: Phases::default() }
    }

    /// Ends one stage and begins the next.
    pub(super) fn enter(&mut self, stage: Stage) {
        let now = Instant::now();
        let phase = match self.stage {
            Stage::Queue | Stage::Roots => None,
            Stage::Resolve => Some(&mut self.phases.resolve),
            Stage::Connect => Some(&mut self.phases.connect),
            Stage::Tls => Some(&mut self.phases.tls),
            Stage::FirstByte => Some(&mut self.phases.first_byte),
            Stage::Transfer => Some(&mut self.phases.transfer),
        };
        if let Some(phase) = phase {
            // A host may have several addresses to connect to.
            *phase = Some(phase.unwrap_or_default() + (now - self.since));
        }
        (self.stage, self.since) = (stage, now);
    }

    /// Ends the last stage: where the time went.
    pub(super) fn finish(mut self) -> Phases {
        self.enter(Stage::Queue);
        self.phases
    }

    /// The check ran out of time where it stands.
    pub(super) fn timed_out(&self, limit: Duration) -> Fault {
        let reason = match self.stage {
            Stage::Queue | Stage::Roots => Reason::LocalFault,
            _ => Reason::Timeout,
        };
        Fault::new(reason, format!("not done within {}: was {}", Pretty(limit), self.stage))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_check_that_is_cut_short_tells_how_far_it_came() {
        let mut trace = Trace::begin();
        assert_eq!(trace.timed_out(MS).reason, Reason::LocalFault, "its turn did not come");
        advance(MS).await;
        trace.enter(Stage::Connect);
        advance(2 * MS).await;
        trace.enter(Stage::Queue);
        advance(4 * MS).await;
        trace.enter(Stage::Connect);
        advance(8 * MS).await;
        trace.enter(Stage::Tls);
        assert_eq!(trace.timed_out(15 * MS).message, "not done within 15ms: was in the TLS handshake");
        advance(32 * MS).await;
        trace.enter(Stage::FirstByte);
        advance(16 * MS).await;
        let fault = trace.timed_out(63 * MS);
        assert_eq!(
            (fault.reason, fault.message.as_str()),
            (Reason::Timeout, "not done within 63ms: was waiting for the answer")
        );
        let phases =
            Phases { connect: Some(10 * MS), tls: Some(32 * MS), first_byte: Some(16 * MS), ..Phases::default() };
        assert_eq!(trace.finish(), phases);
    }
}
