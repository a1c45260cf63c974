//! What clients ask for, validated.

use uuid::Uuid;

use super::{
    Actor, Annotations, Cause, Etag, Generation, Labels, Override, Sequence, StatePolicy, SwapStrategy, TaskName,
    TaskSpec, Timestamp, Uid, limits,
};

/// The free text of an audit trail: at most 1 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reason(String);

impl Reason {
    /// Takes a client's words; `Err` says what is wrong with them.
    pub fn try_new(text: String) -> Result<Self, String> {
        if text.len() > limits::REASON_BYTES {
            return Err(format!("at most {} bytes, got {}", limits::REASON_BYTES, text.len()));
        }
        Ok(Self(text))
    }

    /// Takes words of our own, cut to the limit.
    pub fn cut(text: String) -> Self {
        Self(cut(text, limits::REASON_BYTES))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Cuts `text` to at most `bytes` bytes, at a character's edge.
pub(crate) fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let edge = (0..=bytes).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
        text.truncate(edge);
    }
    text
}

/// The mutations that a `request_id` makes idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// `StartTask`.
    Start,
    /// `SwapTask`.
    Swap,
    /// `CancelTask`.
    Cancel,
    /// `DeleteTask`.
    Delete,
    /// `PauseTask`.
    Pause,
    /// `ResumeTask`.
    Resume,
    /// `RunTask`.
    Run,
    /// `RollbackTask`.
    Rollback,
    /// `OverrideCircuit`.
    Override,
    /// `ResetCircuit`.
    ResetCircuit,
}

/// What makes a mutation idempotent: with the actor and the method, the client's id; and a fingerprint of all else it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's `request_id`.
    pub request_id: Uuid,
    /// A hash of the request without its id: another body under the same id is a client's mistake.
    pub fingerprint: Uuid,
}

impl Idempotency {
    /// The idempotency of a request whose encoded form without its id is `body`.
    pub fn new(request_id: Uuid, body: &[u8]) -> Self {
        Self { request_id, fingerprint: Uuid::new_v5(&request_id, body) }
    }
}

/// A mutation that succeeded under a `request_id`: it is not done again, but answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Who asked.
    pub actor: Actor,
    /// For what.
    pub method: Method,
    /// The client's id, and the fingerprint of its request.
    pub idempotency: Idempotency,
    /// The task that it was about.
    pub uid: Uid,
    /// The place in the log right after it.
    pub sequence: Sequence,
    /// When.
    pub time: Timestamp,
}

/// Asks for a task to be started.
#[derive(Clone, Debug)]
pub struct StartTask {
    /// Its name.
    pub name: TaskName,
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Annotations,
    /// What it is to do.
    pub spec: TaskSpec,
    /// Check everything, change nothing.
    pub validate_only: bool,
    /// Who asks, and why.
    pub cause: Cause,
    /// If the client gave a `request_id`.
    pub idempotency: Option<Idempotency>,
}

/// Asks for a task's spec and annotations to be replaced while it runs.
#[derive(Clone, Debug)]
pub struct SwapTask {
    /// Its name.
    pub name: TaskName,
    /// The labels that the client believes it has; if any are given, all must match: labels are fixed.
    pub labels: Labels,
    /// Its new annotations.
    pub annotations: Annotations,
    /// Its new spec.
    pub spec: TaskSpec,
    /// Where spec and annotations are those of a former generation, for a RollbackTask: which.
    pub former: Option<Former>,
    /// In which order to stop and start; the spec's own where none is given.
    pub strategy: Option<SwapStrategy>,
    /// What becomes of the circuit; where none is given, it is kept for the same target, and begins anew for another one.
    pub state_policy: Option<StatePolicy>,
    /// A swap that is under way and has not been committed gives way.
    pub preempt: bool,
    /// Check everything, change nothing.
    pub validate_only: bool,
    /// If given, must match.
    pub etag: Option<Etag>,
    /// Who asks, and why.
    pub cause: Cause,
    /// If the client gave a `request_id`.
    pub idempotency: Option<Idempotency>,
}

/// A former generation, as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Former {
    /// Of which task.
    pub uid: Uid,
    /// Its number.
    pub generation: Generation,
    /// Where it was not asked for by its number, but as the one before: which generation was the active one then.
    pub before: Option<Generation>,
}

/// Asks for a task's spec and annotations to be those of a former generation again.
#[derive(Clone, Debug)]
pub struct RollbackTask {
    /// The task's name.
    pub name: TaskName,
    /// Which generation; where none is given, the newest before the active one that has been active, has another spec, and was not
    /// reverted.
    pub to_generation: Option<Generation>,
    /// In which order to stop and start; the spec's own where none is given.
    pub strategy: Option<SwapStrategy>,
    /// What becomes of the circuit; where none is given, it is kept for the same target, and begins anew for another one.
    pub state_policy: Option<StatePolicy>,
    /// A swap that is under way and has not been committed gives way.
    pub preempt: bool,
    /// Check everything, change nothing.
    pub validate_only: bool,
    /// If given, must match.
    pub etag: Option<Etag>,
    /// Who asks, and why.
    pub cause: Cause,
    /// If the client gave a `request_id`.
    pub idempotency: Option<Idempotency>,
}

/// Asks for a task to be stopped for good.
#[derive(Clone, Debug)]
pub struct CancelTask {
    /// Its name.
    pub name: TaskName,
    /// Abort at once.
    pub force: bool,
    /// If given, must match.
    pub etag: Option<Etag>,
    /// Who asks, and why.
    pub cause: Cause,
    /// If the client gave a `request_id`.
    pub idempotency: Option<Idempotency>,
}

/// Asks for a task to be stopped for a while.
#[derive(Clone, Debug)]
pub struct PauseTask {
    /// Its name.
    pub name: TaskName,
    /// When the server is to resume it.
    pub expire_time: Option<Timestamp>,
    /// If given, must match.
    pub etag: Option<Etag>,
    /// Who asks, and why.
    pub cause: Cause,
    /// If the client gave a `request_id`.
    pub idempotency: Option<Idempotency>,
}

/// Asks for an override over a task's circuit, or for none any more.
#[derive(Clone, Debug)]
pub struct OverrideCircuit {
    /// The task's name.
    pub name: TaskName,
    /// What to lay over it; `None` takes away what lies there.
    pub mode: Option<Override>,
    /// When that ends by itself.
    pub expire_time: Option<Timestamp>,
    /// If given, must match.
    pub etag: Option<Etag>,
    /// Who asks, and why.
    pub cause: Cause,
    /// If the client gave a `request_id`.
    pub idempotency: Option<Idempotency>,
}

/// Asks for a task's circuit to begin anew.
#[derive(Clone, Debug)]
pub struct ResetCircuit {
    /// The task's name.
    pub name: TaskName,
    /// If given, must match.
    pub etag: Option<Etag>,
    /// Who asks, and why.
    pub cause: Cause,
    /// If the client gave a `request_id`.
    pub idempotency: Option<Idempotency>,
}

/// Asks for a paused task to run again.
#[derive(Clone, Debug)]
pub struct ResumeTask {
    /// Its name.
    pub name: TaskName,
    /// If given, must match.
    pub etag: Option<Etag>,
    /// Who asks, and why.
    pub cause: Cause,
    /// If the client gave a `request_id`.
    pub idempotency: Option<Idempotency>,
}

/// Asks for one check, now.
#[derive(Clone, Debug)]
pub struct RunTask {
    /// The task's name.
    pub name: TaskName,
    /// If given, must match.
    pub etag: Option<Etag>,
    /// Who asks, and why.
    pub cause: Cause,
    /// If the client gave a `request_id`.
    pub idempotency: Option<Idempotency>,
}

/// Asks for an ended task to be deleted.
#[derive(Clone, Debug)]
pub struct DeleteTask {
    /// Its name.
    pub name: TaskName,
    /// If given, must match.
    pub etag: Option<Etag>,
    /// Who asks, and why.
    pub cause: Cause,
    /// If the client gave a `request_id`.
    pub idempotency: Option<Idempotency>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_a_characters_edge() {
        assert_eq!(cut("aäb".to_owned(), 2), "a");
        assert_eq!(cut("aäb".to_owned(), 3), "aä");
        assert_eq!(cut("ab".to_owned(), 9), "ab");
    }
}
