//! What the commands that change a task have in common.

use clap::Args;

use super::output::OutputArgs;
use super::remote::{Namespace, Remote};

/// What every change of a task takes beside its name.
#[derive(Args, Clone, Debug)]
pub(super) struct Audit {
    /// Why, for the audit trail.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) reason: String,
    /// A UUID that makes the call idempotent.
    #[arg(long, value_name = "UUID", default_value = "", hide_default_value = true)]
    pub(super) request_id: String,
}

/// What every change of a task that exists takes beside its name.
#[derive(Args, Clone, Debug)]
pub(super) struct Change {
    /// Only if the task's etag is this; for one task.
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    pub(super) etag: String,
    #[command(flatten)]
    pub(super) audit: Audit,
    #[command(flatten)]
    pub(super) namespace: Namespace,
    #[command(flatten)]
    pub(super) remote: Remote,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}
