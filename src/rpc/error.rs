//! Errors, as the contract's table gives them: a code, an ErrorInfo with a reason, and what helps the client to go on.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::time::Duration;

use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::journal::{Ended, FollowError, Journal, PageError, StoreError, Trimmed};
use crate::model::{ApplyCounts, NotApplied, Pretty, Refusal, SwapPhase, Violation, Violations, limits};
use crate::pb::parse::InvalidBatch;

const DOMAIN: &str = "switchyard";
/// When a client should come again: after a drain or a stall has had some time; at once where only this stream has ended.
const LATER: Duration = Duration::from_secs(1);
const AT_ONCE: Duration = Duration::ZERO;

/// What a status may take. Clients bound the headers they accept, commonly at 8 KiB; the message is percent-encoded there (three
/// bytes for one at the worst) and repeated in the details, and those are base64 (four for three).
const MESSAGE_BYTES: usize = 512;
const VIOLATIONS_BYTES: usize = 3 * 1024;
const FIELD_BYTES: usize = 256;
const DESCRIPTION_BYTES: usize = 512;

/// Why an RPC is answered with an error.
#[derive(Debug, Error)]
pub(super) enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Page(#[from] PageError),
    /// With the field that it stood in.
    #[error("this is not a cursor")]
    CursorInvalid(&'static str),
    /// With the cursors that can be resumed from.
    #[error(
        "the events after this cursor are not here; begin anew, from the initial state or from one of the cursors given"
    )]
    CursorExpired { oldest: String, head: String },
    #[error("{holder} has {limit} watch streams open, which is its limit")]
    StreamLimit { holder: &'static str, limit: usize },
    #[error("a batch has at most {most} requests, got {0}", most = limits::BATCH_REQUESTS)]
    BatchLimit(usize),
    #[error("a message reports at most {most} outcomes, got {0}", most = limits::REPORTED_AT_ONCE)]
    ReportedAtOnce(usize),
    /// With those that have been taken in.
    #[error("a call reports at most {most} outcomes; the first {0} were taken in", most = limits::REPORTED_IN_A_CALL)]
    ReportedInACall(usize),
    /// Of one task of an apply.
    #[error(transparent)]
    NotApplied(NotApplied),
    /// Of an apply that had begun: what every command would meet now, and how far it has come.
    #[error("{}: the apply goes no further. {}. Apply the set again to go on from there", short(.0), so_far(.1))]
    ApplyEnds(Refusal, Box<ApplyCounts>),
    #[error("nothing was sent for {} while the set was awaited", Pretty(*.0))]
    ApplyIdle(Duration),
    #[error("nothing was sent for {}; what came before has counted", Pretty(*.0))]
    ReportIdle(Duration),
    #[error("the server is draining; what came before has counted")]
    ReportEnds,
    #[error("the server is draining; resume from the last cursor on another, or on this one when it is back")]
    Draining,
    #[error("this stream has reached its age; resume from the last cursor")]
    StreamAged,
    #[error("the journal cannot be read now")]
    Stalled(#[source] StoreError),
    /// Ours. What it was is logged, and kept from the client.
    #[error("an error of the server's own; its log says more")]
    Bug(#[source] Box<dyn StdError + Send + Sync>),
}

impl Error {
    pub(super) fn expired(journal: &Journal) -> Self {
        let bounds = journal.bounds();
        Self::CursorExpired { oldest: journal.cursor(bounds.oldest), head: journal.cursor(bounds.head) }
    }

    pub(super) fn follow(error: FollowError, journal: &Journal) -> Self {
        match error {
            FollowError::Trimmed(Trimmed { oldest, head }) => {
                Self::CursorExpired { oldest: journal.cursor(oldest), head: journal.cursor(head) }
            }
            FollowError::Store(error) => error.into(),
        }
    }

    const fn answer(&self) -> (Code, &'static str) {
        match self {
            Self::Refused(refusal) | Self::ApplyEnds(refusal, _) => match refusal {
                Refusal::Invalid(_) => (Code::InvalidArgument, "INVALID_FIELD"),
                Refusal::UnknownKind { .. } => (Code::InvalidArgument, "UNKNOWN_KIND"),
                Refusal::KindUnresponsive { .. } => (Code::FailedPrecondition, "KIND_UNRESPONSIVE"),
                Refusal::RequestIdReused => (Code::InvalidArgument, "REQUEST_ID_REUSED"),
                Refusal::TaskNotFound(_) => (Code::NotFound, "TASK_NOT_FOUND"),
                Refusal::TaskExists(_) => (Code::AlreadyExists, "TASK_EXISTS"),
                Refusal::EtagMismatch { .. } => (Code::Aborted, "ETAG_MISMATCH"),
                Refusal::TaskLive(_) => (Code::FailedPrecondition, "TASK_LIVE"),
                Refusal::LabelsImmutable(_) => (Code::InvalidArgument, "LABELS_IMMUTABLE"),
                Refusal::OwnedByOther { .. } => (Code::FailedPrecondition, "OWNED_BY_OTHER"),
                Refusal::ApplyInProgress(_) => (Code::Aborted, "APPLY_IN_PROGRESS"),
                Refusal::ApplyLimit(_) => (Code::ResourceExhausted, "STREAM_LIMIT"),
                Refusal::SetTasks(_) => (Code::ResourceExhausted, "TASK_LIMIT"),
                Refusal::SetBytes(_) => (Code::ResourceExhausted, "BATCH_LIMIT"),
                Refusal::SwapInProgress(_) | Refusal::SwapTakenOver(_) | Refusal::GenerationsMoved(_) => {
                    (Code::Aborted, "SWAP_IN_PROGRESS")
                }
                Refusal::GenerationNotFound { .. } => (Code::NotFound, "GENERATION_NOT_FOUND"),
                Refusal::GenerationNeverActive { .. } => (Code::FailedPrecondition, "GENERATION_NEVER_ACTIVE"),
                Refusal::GenerationsUnreadable(_) => (Code::Internal, "BUG"),
                Refusal::TaskNotRunning { .. } | Refusal::InstanceBlocks(_) | Refusal::CheckNotMade { .. } => {
                    (Code::FailedPrecondition, "TASK_NOT_RUNNING")
                }
                Refusal::NoChecks(_) => (Code::FailedPrecondition, "NO_CHECKS"),
                Refusal::StuckLimit(_) => (Code::ResourceExhausted, "STUCK_LIMIT"),
                Refusal::PredecessorStuck(_) => (Code::FailedPrecondition, "PREDECESSOR_STUCK"),
                Refusal::TaskLimit(_) => (Code::ResourceExhausted, "TASK_LIMIT"),
                Refusal::JournalStalled | Refusal::NotYetDurable(_) => (Code::Unavailable, "JOURNAL_STALLED"),
                Refusal::StoreFull => (Code::ResourceExhausted, "STORE_FULL"),
                Refusal::ServerDraining => (Code::Unavailable, "SERVER_DRAINING"),
            },
            Self::Page(PageError::Invalid) => (Code::InvalidArgument, "PAGE_TOKEN_INVALID"),
            Self::Page(PageError::Expired) => (Code::InvalidArgument, "PAGE_TOKEN_EXPIRED"),
            Self::CursorInvalid(_) => (Code::InvalidArgument, "CURSOR_INVALID"),
            Self::CursorExpired { .. } => (Code::OutOfRange, "CURSOR_EXPIRED"),
            Self::StreamLimit { .. } => (Code::ResourceExhausted, "STREAM_LIMIT"),
            Self::BatchLimit(_) | Self::ReportedAtOnce(_) | Self::ReportedInACall(_) => {
                (Code::ResourceExhausted, "BATCH_LIMIT")
            }
            Self::Draining | Self::ReportEnds => (Code::Unavailable, "SERVER_DRAINING"),
            Self::NotApplied(why) => match why {
                NotApplied::Swap(SwapPhase::Cancelled, _) => (Code::Aborted, "SWAP_CANCELLED"),
                NotApplied::Swap(..) => (Code::Aborted, "SWAP_ROLLED_BACK"),
                NotApplied::Reverted(_) => (Code::Aborted, "SWAP_REVERTED"),
                NotApplied::NotRolledBack(..) => (Code::Aborted, "ROLL_BACK_FAILED"),
                // A refusal is told as itself.
                NotApplied::TakenOver | NotApplied::Contended | NotApplied::Refused(_) => (Code::Aborted, "CONTENDED"),
                NotApplied::Stuck => (Code::FailedPrecondition, "TASK_STUCK"),
            },
            Self::ApplyIdle(_) => (Code::DeadlineExceeded, "APPLY_IDLE"),
            Self::ReportIdle(_) => (Code::DeadlineExceeded, "REPORT_IDLE"),
            Self::StreamAged => (Code::Unavailable, "STREAM_AGED"),
            Self::Stalled(_) => (Code::Unavailable, "JOURNAL_STALLED"),
            Self::Bug(_) => (Code::Internal, "BUG"),
        }
    }

    /// The fields that are to blame.
    fn violations(&self) -> Violations {
        match self {
            Self::Refused(Refusal::Invalid(violations)) => violations.clone(),
            Self::Refused(Refusal::UnknownKind { field, .. }) => Violations::one(*field, self.to_string()),
            Self::Refused(Refusal::RequestIdReused) => Violations::one("request_id", self.to_string()),
            Self::Refused(Refusal::LabelsImmutable(_)) => Violations::one("task.labels", self.to_string()),
            Self::Page(_) => Violations::one("page_token", self.to_string()),
            Self::CursorInvalid(field) => Violations::one(*field, self.to_string()),
            _ => Violations::new(),
        }
    }

    const fn retry(&self) -> Option<Duration> {
        match self {
            Self::Refused(Refusal::ServerDraining | Refusal::JournalStalled | Refusal::NotYetDurable(_))
            | Self::ApplyEnds(Refusal::ServerDraining | Refusal::JournalStalled | Refusal::NotYetDurable(_), _)
            | Self::Draining
            | Self::ReportEnds
            | Self::Stalled(_) => Some(LATER),
            Self::StreamAged => Some(AT_ONCE),
            _ => None,
        }
    }

    fn metadata(&self) -> HashMap<String, String> {
        match self {
            Self::CursorExpired { oldest, head } => {
                [("oldest", oldest), ("head", head)].map(|(key, cursor)| (key.to_owned(), cursor.clone())).into()
            }
            _ => HashMap::new(),
        }
    }

    /// Logs what only the log may say; this is where errors end.
    fn log(&self) {
        match self {
            Self::Bug(cause) => tracing::error!(%cause, "a bug ended an RPC"),
            Self::Stalled(cause) => tracing::error!(%cause, "the journal's store failed a reader"),
            _ => {}
        }
    }
}

/// The refusal without what it says of a command of its own: that nothing was changed is not so of an apply.
fn short(refusal: &Refusal) -> String {
    match refusal {
        Refusal::JournalStalled | Refusal::NotYetDurable(_) => "the journal is stalled".to_owned(),
        Refusal::StoreFull => "the journal's store is full".to_owned(),
        refusal => refusal.to_string(),
    }
}

fn so_far(counts: &ApplyCounts) -> String {
    let ApplyCounts { created, swapped, cancelled, left, failed, rolled_back, in_flight, waiting } = counts;
    format!(
        "{created} created, {swapped} swapped, {cancelled} cancelled, {rolled_back} swapped back, {left} as they were, \
         {failed} failed; {in_flight} under way, {waiting} not begun"
    )
}

impl From<Violations> for Error {
    fn from(violations: Violations) -> Self {
        Self::Refused(Refusal::Invalid(violations))
    }
}

impl From<NotApplied> for Error {
    fn from(why: NotApplied) -> Self {
        match why {
            NotApplied::Refused(refusal) => refusal.into(),
            why => Self::NotApplied(why),
        }
    }
}

impl From<InvalidBatch> for Error {
    fn from(invalid: InvalidBatch) -> Self {
        match invalid {
            InvalidBatch::Violations(violations) => violations.into(),
            InvalidBatch::TooMany(requests) => Self::BatchLimit(requests),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        // What is damaged will not be whole when the client comes again.
        if error.is_final() { Self::Bug(error.into()) } else { Self::Stalled(error) }
    }
}

/// The journal ends last in a drain.
impl From<Ended> for Error {
    fn from(Ended: Ended) -> Self {
        Self::Draining
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        error.log();
        let (code, reason) = error.answer();
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, error.metadata());
        if let Some(delay) = error.retry() {
            details.set_retry_info(Some(delay));
        }
        let violations = error.violations();
        let (shown, hidden) = bounded(violations.as_slice());
        if !shown.is_empty() {
            details.set_bad_request(shown);
        }
        let rest = if hidden == 0 { String::new() } else { format!("; {hidden} more violations are not shown") };
        let message = cut(&error.to_string(), MESSAGE_BYTES - rest.len()) + &rest;
        Self::with_error_details(code, message, details)
    }
}

/// As many violations as a status has room for, and the number of those left out.
fn bounded(violations: &[Violation]) -> (Vec<FieldViolation>, usize) {
    let mut room = VIOLATIONS_BYTES;
    let mut shown = Vec::new();
    for Violation { field, description } in violations {
        let (field, description) = (cut(field, FIELD_BYTES), cut(description, DESCRIPTION_BYTES));
        // Three tags and lengths of one or two bytes come with it.
        let bytes = field.len() + description.len() + 9;
        if bytes > room {
            break;
        }
        room -= bytes;
        shown.push(FieldViolation::new(field, description));
    }
    let hidden = violations.len() - shown.len();
    (shown, hidden)
}

/// `text`, or its beginning with an ellipsis.
fn cut(text: &str, bytes: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= bytes {
        return text.to_owned();
    }
    let most = bytes.saturating_sub(ELLIPSIS.len());
    text[..text.floor_char_boundary(most)].to_owned() + ELLIPSIS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Failure;
    use crate::journal::testing::in_memory;

    fn header_bytes(status: &Status) -> usize {
        let headers = status.clone().into_http::<()>().into_parts().0.headers;
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
    }

    #[test]
    fn every_error_bears_a_reason_of_the_domain() {
        let status = Status::from(Error::StreamLimit { holder: "this connection", limit: 16 });
        let info = status.get_error_details().error_info().cloned().expect("always there");
        assert_eq!((status.code(), info.reason.as_str()), (Code::ResourceExhausted, "STREAM_LIMIT"));
        assert_eq!(info.domain, DOMAIN);
    }

    #[test]
    fn violations_name_their_fields() {
        let mut violations = Violations::one("task_id", "bad");
        violations.add("task.spec", "worse");
        let details = Status::from(Error::from(violations)).get_error_details();
        let fields: Vec<_> = details.bad_request().expect("set").field_violations.iter().map(|v| &v.field).collect();
        assert_eq!(fields, ["task_id", "task.spec"]);
    }

    #[test]
    fn an_expired_cursor_says_what_can_be_resumed_from() {
        let error = Error::CursorExpired { oldest: "1-a-5".to_owned(), head: "1-a-9".to_owned() };
        let status = Status::from(error);
        let info = status.get_error_details().error_info().cloned().expect("always there");
        assert_eq!(status.code(), Code::OutOfRange);
        assert_eq!((info.metadata["oldest"].as_str(), info.metadata["head"].as_str()), ("1-a-5", "1-a-9"));
    }

    #[test]
    fn what_may_be_retried_says_when() {
        for (error, delay) in [(Error::Draining, LATER), (Error::StreamAged, AT_ONCE)] {
            let details = Status::from(error).get_error_details();
            assert_eq!(details.retry_info().expect("set").retry_delay, Some(delay));
        }
    }

    #[test]
    fn only_a_store_that_may_work_again_is_worth_coming_again() {
        let (journal, _writer) = in_memory();
        let expected = [
            (Failure::Passing, Code::Unavailable, "JOURNAL_STALLED", Some(LATER)),
            (Failure::Full, Code::Unavailable, "JOURNAL_STALLED", Some(LATER)),
            (Failure::Final, Code::Internal, "BUG", None),
        ];
        for (failure, code, reason, delay) in expected {
            let error = FollowError::Store(StoreError::of(failure, "as the test says"));
            let status = Status::from(Error::follow(error, &journal));
            let details = status.get_error_details();
            assert_eq!(status.code(), code);
            assert_eq!(details.error_info().expect("always there").reason, reason);
            assert_eq!(details.retry_info().and_then(|retry| retry.retry_delay), delay);
        }
    }

    #[test]
    fn the_cause_of_a_bug_is_kept_from_the_client() {
        let status = Status::from(Error::Bug("the secret".into()));
        assert_eq!(status.code(), Code::Internal);
        assert!(!format!("{status:?}").contains("secret"));
    }

    #[test]
    fn no_request_blows_up_the_headers_of_its_answer() {
        let mut violations = Violations::new();
        for n in 0..100 {
            violations.add(&format!("field{n}.{}", "ä".repeat(40_000)), "%".repeat(40_000));
        }
        let status = Status::from(Error::from(violations));
        assert!(header_bytes(&status) < 8 * 1024, "{}", header_bytes(&status));
        assert!(status.message().ends_with("more violations are not shown"));
        let shown = status.get_error_details().bad_request().expect("set").field_violations.len();
        assert!(shown > 0 && status.message().contains(&format!("{} more", 100 - shown)));
    }
}
