//! What a call failed with: the status, its standard details decoded.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt;

use super::chain;
use crate::pb::code_name;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The status code; UNAVAILABLE and DEADLINE_EXCEEDED also where the client found out by itself.
    pub code: Code,
    /// The reason that programs match, as `TASK_NOT_FOUND`; empty where the server gave none.
    pub reason: String,
    /// What happened, for people.
    pub message: String,
    /// Every field that broke a rule.
    pub violations: Vec<FieldViolation>,
    /// Further facts, by name, as `oldest` and `head` of CURSOR_EXPIRED.
    pub metadata: BTreeMap<String, String>,
    /// How long the server asks to wait before trying again.
    pub retry_after: Option<Duration>,
}

/// A field that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field's path in the request, as `task.spec.schedule.interval`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub description: String,
}

/// What may come of making the same call again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Nobody has answered, or only somebody on the way there: whether the call was carried out is not known, and another one may be
    /// answered.
    Unanswered,
    /// The server has refused what it may take in later.
    ForNow,
    /// It would be refused again, until somebody mends the request, the rights to it, what it is about, or the server.
    ForGood,
}

impl Error {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: String::new(),
            message: message.into(),
            violations: Vec::new(),
            metadata: BTreeMap::new(),
            retry_after: None,
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    pub(super) fn unreachable(server: &str, error: &tonic::transport::Error) -> Self {
        let why = error.source().map_or_else(|| error.to_string(), chain);
        Self::new(Code::Unavailable, format!("cannot reach the server at {server}: {why}"))
    }

    pub(super) fn deadline(after: Duration) -> Self {
        Self::new(Code::DeadlineExceeded, format!("the server did not answer within {after:?}"))
    }

    /// What may come of making the same call again.
    pub fn outlook(&self) -> Outlook {
        let reason = self.reason.as_str();
        match self.code {
            // Proxies, too, say these of a server that they do not reach or wait for, but never why.
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => match reason {
                "" => Outlook::Unanswered,
                _ => Outlook::ForNow,
            },
            Code::ResourceExhausted if reason != "BATCH_LIMIT" => Outlook::ForNow,
            // Others are at it. An etag that differs, and what a swap has come to, will not be otherwise.
            Code::Aborted if matches!(reason, "SWAP_IN_PROGRESS" | "APPLY_IN_PROGRESS" | "CONTENDED") => {
                Outlook::ForNow
            }
            // The server says why; so does not what a proxy makes of a request that it takes for broken.
            Code::Internal if reason.is_empty() => Outlook::Unanswered,
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => Outlook::ForGood,
        }
    }

    /// The code's name, as `NOT_FOUND`.
    pub fn code_name(&self) -> &'static str {
        code_name(self.code)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        // Only a status that tonic made itself, of a broken transport, has a source; the codes it picks for these vary with
        // the way the connection broke.
        if let Some(source) = status.source() {
            return match timed_out(source) {
                true => Self::new(Code::DeadlineExceeded, "the server did not answer in time"),
                false => Self::new(Code::Unavailable, format!("the connection to the server broke: {}", chain(source))),
            };
        }
        let details = status.get_error_details();
        let info = details.error_info();
        Self {
            code: status.code(),
            reason: info.map_or_else(String::new, |info| info.reason.clone()),
            message: status.message().to_owned(),
            violations: details.bad_request().map_or_else(Vec::new, |bad| {
                let violation = |v: &tonic_types::FieldViolation| FieldViolation {
                    field: v.field.clone(),
                    description: v.description.clone(),
                };
                bad.field_violations.iter().map(violation).collect()
            }),
            metadata: info.map_or_else(BTreeMap::new, |info| info.metadata.clone().into_iter().collect()),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        }
    }
}

/// Why one request of a batch failed, as the call alone would have.
impl From<tonic_types::Status> for Error {
    fn from(status: tonic_types::Status) -> Self {
        let details = status.encode_to_vec().into();
        Status::with_details(Code::from(status.code), status.message, details).into()
    }
}

fn timed_out(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<TimeoutExpired>() || error.source().is_some_and(timed_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_come_of_the_same_call_is_known_by_code_and_reason() {
        use Code::*;
        use Outlook::{ForGood, ForNow, Unanswered};
        for (code, reason, outlook) in [
            (Unavailable, "", Unanswered),
            (Unavailable, "SERVER_DRAINING", ForNow),
            (Unavailable, "STREAM_AGED", ForNow),
            (Unavailable, "JOURNAL_STALLED", ForNow),
            (DeadlineExceeded, "", Unanswered),
            (DeadlineExceeded, "REPORT_IDLE", ForNow),
            (Cancelled, "", Unanswered),
            (Unknown, "", Unanswered),
            (ResourceExhausted, "", ForNow),
            (ResourceExhausted, "STREAM_LIMIT", ForNow),
            (ResourceExhausted, "STORE_FULL", ForNow),
            (ResourceExhausted, "TASK_LIMIT", ForNow),
            (ResourceExhausted, "BATCH_LIMIT", ForGood),
            (Aborted, "SWAP_IN_PROGRESS", ForNow),
            (Aborted, "ETAG_MISMATCH", ForGood),
            (Aborted, "", ForGood),
            (InvalidArgument, "INVALID_FIELD", ForGood),
            (InvalidArgument, "CURSOR_INVALID", ForGood),
            (OutOfRange, "CURSOR_EXPIRED", ForGood),
            (NotFound, "TASK_NOT_FOUND", ForGood),
            (AlreadyExists, "TASK_EXISTS", ForGood),
            (FailedPrecondition, "TASK_NOT_RUNNING", ForGood),
            (PermissionDenied, "", ForGood),
            (Unauthenticated, "", ForGood),
            (Unimplemented, "", ForGood),
            (Internal, "BUG", ForGood),
            (Internal, "", Unanswered),
            (DataLoss, "", ForGood),
        ] {
            let error = Error { reason: reason.to_owned(), ..Error::new(code, "") };
            assert_eq!(error.outlook(), outlook, "{code:?} {reason}");
        }
    }
}
