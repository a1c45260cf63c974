//! Why a probe did not pass.

use std::io;

use rustix::io::Errno;

use crate::model::{Phases, Verdict};
use crate::monitor::{Finding, TIMEOUT};

/// The reason of a failed check, in a word that programs can match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The host's name has no address, or none could be learnt.
    ResolveFailed,
    /// Nobody listens there.
    ConnectionRefused,
    /// The connection failed in another way.
    ConnectFailed,
    /// The handshake of TLS, or TLS itself later on, failed: what came is no TLS, or there is no version in common, and such.
    TlsFailed,
    /// The other side's certificate does not prove that it is who it should be.
    CertificateInvalid,
    /// The other side closed or reset the connection before the exchange was over.
    ConnectionClosed,
    /// The check ran out of time.
    Timeout,
    /// The response's status was not among the expected ones.
    Status,
    /// The response's body was not as expected.
    BodyMismatch,
    /// The input was not as expected.
    ExpectMismatch,
    /// What came does not follow the protocol.
    ProtocolError,
    /// We ran out of descriptors, ports or memory, or the check's turn did not come in time: nothing is known of the target.
    LocalFault,
}

impl Reason {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::ResolveFailed => "RESOLVE_FAILED",
            Self::ConnectionRefused => "CONNECTION_REFUSED",
            Self::ConnectFailed => "CONNECT_FAILED",
            Self::TlsFailed => "TLS_FAILED",
            Self::CertificateInvalid => "CERTIFICATE_INVALID",
            Self::ConnectionClosed => "CONNECTION_CLOSED",
            Self::Timeout => TIMEOUT,
            Self::Status => "STATUS",
            Self::BodyMismatch => "BODY_MISMATCH",
            Self::ExpectMismatch => "EXPECT_MISMATCH",
            Self::ProtocolError => "PROTOCOL_ERROR",
            Self::LocalFault => "LOCAL_FAULT",
        }
    }

    const fn verdict(self) -> Verdict {
        match self {
            Self::LocalFault => Verdict::Neutral,
            _ => Verdict::Fail,
        }
    }
}

/// Why a probe did not pass.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// An I/O error whose reason is `otherwise`, unless it is our own exhaustion.
    pub(super) fn io(error: &io::Error, otherwise: Reason, doing: impl std::fmt::Display) -> Self {
        let reason = if is_local(error) { Reason::LocalFault } else { otherwise };
        Self::new(reason, format!("{doing}: {error}"))
    }

    pub(super) fn finding(self, phases: Phases) -> Finding {
        let (verdict, reason) = (self.reason.verdict(), self.reason.word());
        Finding { verdict, reason, message: self.message, phases: Some(phases) }
    }
}

/// Whether an error speaks of this machine and not of the target. No port is left: that is EADDRNOTAVAIL, or EAGAIN.
fn is_local(error: &io::Error) -> bool {
    let exhaustion =
        [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL, Errno::ADDRINUSE, Errno::AGAIN];
    Errno::from_io_error(error).is_some_and(|errno| exhaustion.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_exhaustion_says_nothing_of_the_target() {
        let fault = |errno: Errno| Fault::io(&errno.into(), Reason::ConnectFailed, "cannot connect");
        let finding = fault(Errno::MFILE).finding(Phases::default());
        assert_eq!((finding.verdict, finding.reason), (Verdict::Neutral, "LOCAL_FAULT"));
        let finding = fault(Errno::HOSTUNREACH).finding(Phases::default());
        assert_eq!((finding.verdict, finding.reason), (Verdict::Fail, "CONNECT_FAILED"));
    }
}
