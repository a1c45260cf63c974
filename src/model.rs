//! Validated domain types. Pure: no I/O, no clock, no runtime, no wire or disk form.
//!
//! Everything here is either a value that cannot be invalid once it exists (names, labels, specs, filters) or a record of what
//! is (tasks, events). `pb` parses the wire form into these types and renders them; nothing else in the package knows both.

mod admission;
mod apply;
mod brief;
mod call;
mod check;
mod circuit;
mod event;
mod evidence;
mod filter;
mod history;
mod ids;
mod metadata;
mod name;
mod refusal;
mod request;
mod spec;
mod swap;
mod task;
mod time;
mod violation;

pub use admission::Admission;
pub use apply::{
    Action, Applied, Apply, ApplyCounts, ApplyFailure, ApplyOutcome, Desired, NotApplied, OnFailure, PlanItem, Rollout,
};
pub use brief::{Brief, BriefActor, BriefCause, BriefTask};
pub use call::{CallOutcome, Denial, Disposition, Lease, Permission, Permit, Report, ReportedOutcome, Sample, Source};
pub use check::{Check, CheckRecord, Live, Phases, Verdict};
pub use circuit::{
    CircuitOverride, CircuitReason, CircuitState, CircuitStatus, EvidenceSource, Override, PassiveCounts, WindowCounts,
};
pub use event::{Actor, Cause, Detail, Event, EventType};
pub use evidence::{Evidence, Regime};
pub use filter::{ListFilter, WatchFilter};
pub use history::{Chapter, History, KeptGeneration, Origin, Standing, Story, chapters};
pub use ids::{Attempt, Epoch, Etag, Generation, InstanceId, Sequence, Target, Uid};
pub use metadata::{Annotations, Labels};
pub use name::{InvalidName, Namespace, Parent, TaskName};
pub use refusal::Refusal;
pub(crate) use request::cut;
pub use request::{
    CancelTask, DeleteTask, Former, Idempotency, Method, OverrideCircuit, PauseTask, Reason, Remembered, ResetCircuit,
    ResumeTask, RollbackTask, RunTask, StartTask, SwapTask,
};
pub use spec::{
    BodyMatch, BodyMatchDraft, CircuitDraft, CircuitPolicy, ConfigValue, CustomSpec, ExecDraft, ExecSpec, HttpDraft,
    HttpSpec, Isolation, MonitorDraft, MonitorSpec, PassiveDraft, PassivePolicy, RestartDraft, RestartPolicy, Schedule,
    ScheduleDraft, ShutdownDraft, ShutdownPolicy, SpecDraft, StatusRange, SwapDraft, SwapPolicy, SwapStrategy,
    TaskSpec, TcpDraft, TcpSpec, TcpStep, WatchdogDraft, WatchdogPolicy,
};
pub use swap::{Observation, StatePolicy, Swap, SwapPhase};
pub use task::{
    Alert, AlertKind, Asked, End, Exit, Instance, InstanceState, Intent, Outcome, Pause, Restart, Shutdown, State, Task,
};
pub use time::{InvalidDuration, Mono, Now, Pretty, Timestamp};
pub use violation::{Violation, Violations};

/// The server's limits that are part of the contract, in one place.
pub mod limits {
    use std::time::Duration;

    /// The size of a request on the wire, in bytes.
    pub const REQUEST_BYTES: usize = 4 * 1024 * 1024;
    /// The size of an encoded spec, in bytes.
    pub const SPEC_BYTES: usize = 64 * 1024;
    /// The tasks on a page of a list, and what a larger `page_size` counts as.
    pub const PAGE_SIZE: u32 = 1_000;
    /// The page size where none is asked for.
    pub const DEFAULT_PAGE_SIZE: u32 = 50;
    /// The requests of a batch.
    pub const BATCH_REQUESTS: usize = 1_000;
    /// The newest generations of a task that are kept whether or not anything refers to them.
    pub const KEPT_GENERATIONS: usize = 10;
    /// The bytes of an audit reason.
    pub const REASON_BYTES: usize = 1024;
    /// The bytes of a reporter's name.
    pub const REPORTER_BYTES: usize = 128;
    /// The outcomes of one message of `ReportOutcomes`, and of one call.
    pub const REPORTED_AT_ONCE: usize = 1_000;
    /// See there.
    pub const REPORTED_IN_A_CALL: usize = 10_000;
    /// The bytes of an outcome's or a check's message; longer ones are cut.
    pub const MESSAGE_BYTES: usize = 1024;
    /// The longest wait of one `WaitTask`.
    pub const WAIT_MAX: Duration = Duration::from_secs(600);
    /// The wait where none is asked for.
    pub const WAIT_DEFAULT: Duration = Duration::from_secs(60);
}
