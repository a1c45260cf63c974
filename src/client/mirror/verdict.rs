//! What calls say of their targets.

use crate::pb::v1;

/// What a call says of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It went well.
    Success,
    /// It failed for reasons that are the target's.
    Failure,
    /// It says nothing, such as an error that is the request's own.
    Ignored,
    /// The caller gave it up.
    Cancelled,
    /// It failed for reasons that are the caller's own, such as a lack of descriptors.
    LocalFault,
}

impl From<Verdict> for v1::CallVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Success => Self::Success,
            Verdict::Failure => Self::Failure,
            Verdict::Ignored => Self::Ignored,
            Verdict::Cancelled => Self::Cancelled,
            Verdict::LocalFault => Self::LocalFault,
        }
    }
}
