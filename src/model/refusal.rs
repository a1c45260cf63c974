//! Why a request was refused: the errors of the contract, without their wire form.

use std::time::Duration;

use thiserror::Error;

use super::{Generation, Pretty, State, TaskName, Violations};

/// Why a request was refused. `rpc` gives each its code and reason (contract.md, "Errors").
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The request breaks the contract's rules.
    #[error("the request is invalid: {0}")]
    Invalid(Violations),
    /// No kind of that name is registered.
    #[error("no kind {kind:?} is registered here{hint}")]
    UnknownKind {
        /// The field that names it.
        field: &'static str,
        /// The kind's name.
        kind: String,
        /// What would help, or nothing.
        hint: &'static str,
    },
    /// The kind's own code did not answer in time.
    #[error("the kind {kind:?} did not {step} within {}", Pretty(*.within))]
    KindUnresponsive {
        /// The kind's name.
        kind: String,
        /// What it was to do: `validate` or `build`.
        step: &'static str,
        /// How long it had.
        within: Duration,
    },
    /// The same `request_id` came with another body.
    #[error("this request_id was used before, with another request")]
    RequestIdReused,
    /// No such task.
    #[error("no task {0}")]
    TaskNotFound(TaskName),
    /// The name is taken.
    #[error("the task {0} exists")]
    TaskExists(TaskName),
    /// The etag given is not the task's.
    #[error("the etag given is not that of {name}, which is {actual}")]
    EtagMismatch {
        /// The task.
        name: TaskName,
        /// Its etag.
        actual: String,
    },
    /// Only ended tasks can be deleted.
    #[error("the task {0} has not ended; cancel it first")]
    TaskLive(TaskName),
    /// A swap does not change labels.
    #[error("the labels of {0} are fixed: a swap gives none, or the same")]
    LabelsImmutable(TaskName),
    /// The task is another owner's, or nobody's.
    #[error("{name} {}", owned(.owner.as_deref()))]
    OwnedByOther {
        /// The task.
        name: TaskName,
        /// Its owner, if it has one.
        owner: Option<String>,
    },
    /// One apply of an owner at a time.
    #[error("another apply for the owner {0:?} is under way; wait for its end")]
    ApplyInProgress(String),
    /// As many applies are under way as may be.
    #[error("{0} applies are under way, which is the server's limit; try again when one has ended")]
    ApplyLimit(usize),
    /// The set to be applied has more tasks than the server may hold.
    #[error("the set has more than {0} tasks, which is what the server may hold")]
    SetTasks(usize),
    /// The set to be applied is too large.
    #[error("the set is larger than {0} bytes, encoded; apply it in parts, each under an owner of its own")]
    SetBytes(usize),
    /// One swap at a time.
    #[error("a swap of {0} is running; wait for it, or swap with preempt to end it")]
    SwapInProgress(TaskName),
    /// As that, but past the point where it could be ended.
    #[error("a swap of {0} has taken over, and the instance before it still stops; ask again once that has ended")]
    SwapTakenOver(TaskName),
    /// The task has no instance that could do what was asked for, or is about to have none.
    #[error("the task {name} is {}; that is for one that runs", .state.name())]
    TaskNotRunning {
        /// The task.
        name: TaskName,
        /// What it is doing.
        state: State,
    },
    /// The instance that would make the check asked for does not come to it.
    #[error("the instance of {0} blocks its thread, so that it can make no check now")]
    InstanceBlocks(TaskName),
    /// The instance that was to make the check asked for has not, and will not.
    #[error("the check of {name} was not made: its instance stops or has ended, or makes none; the task is {}", .state.name())]
    CheckNotMade {
        /// The task.
        name: TaskName,
        /// What it is doing now.
        state: State,
    },
    /// An instance that does not end is in the way.
    #[error("an earlier instance of {0} is stuck; it can be swapped once that has ended")]
    PredecessorStuck(TaskName),
    /// No generation of that number is kept; or where none was named, none that was active before the present one, with another
    /// spec, and was not reverted.
    #[error("{}", no_generation(.name, *.generation))]
    GenerationNotFound {
        /// The task.
        name: TaskName,
        /// The number, if one was given.
        generation: Option<Generation>,
    },
    /// The generation cannot be gone back to: it was never the task's, as far as is known.
    #[error(
        "generation {generation} of {name} was never active, as far as is known; only to one that was can be rolled back"
    )]
    GenerationNeverActive {
        /// The task.
        name: TaskName,
        /// Its generation.
        generation: Generation,
    },
    /// Another swap came between a look at the generations and what was to come of it.
    #[error("{0} was swapped while its generations were looked at; ask again")]
    GenerationsMoved(TaskName),
    /// The store does not say what it holds of the generations.
    #[error("the generations of {0} cannot be read; the server's log says more")]
    GenerationsUnreadable(TaskName),
    /// The task's monitor marks no checks of its own.
    #[error("the monitor of {0} marks no checks, so that none can be asked for")]
    NoChecks(TaskName),
    /// As many threads are lost to instances of custom kinds as may be.
    #[error(
        "the limit of {0} stuck or blocking instances is reached; none of a custom kind is started until one has ended"
    )]
    StuckLimit(usize),
    /// The server holds as many tasks as it may.
    #[error("the server holds {0} tasks, which is its limit; delete ended ones, or raise the limit")]
    TaskLimit(usize),
    /// The journal does not commit what it is given, and takes in nothing new.
    #[error("the journal is stalled: its store does not write. Nothing was changed; try again")]
    JournalStalled,
    /// The journal does not commit what it is given, and that may include what was asked for.
    #[error(
        "{0}, not yet durable: the journal is stalled. Ask again, with the same request_id, to know what came of it"
    )]
    NotYetDurable(&'static str),
    /// There is no space left for the journal.
    #[error("the journal's store is full: nothing was changed. Free some space, and it goes on by itself")]
    StoreFull,
    /// The server drains and starts nothing any more.
    #[error("the server is draining")]
    ServerDraining,
}

fn no_generation(name: &TaskName, generation: Option<Generation>) -> String {
    match generation {
        Some(generation) => format!("no generation {generation} of {name} is kept"),
        None => format!(
            "no generation of {name} is kept that was active before the present one, has another spec, and was not reverted"
        ),
    }
}

fn owned(owner: Option<&str>) -> String {
    match owner {
        Some(owner) => format!("belongs to the owner {owner:?}"),
        None => "has no owner; labels are fixed, so it cannot be taken over: cancel and delete it first".to_owned(),
    }
}

impl Refusal {
    /// Whether every command would be refused so now, whatever it is about: to go on with others is in vain.
    pub const fn is_of_the_server(&self) -> bool {
        matches!(self, Self::JournalStalled | Self::NotYetDurable(_) | Self::StoreFull | Self::ServerDraining)
    }
}
