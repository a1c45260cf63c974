//! What the commands that change a task have in common.

use std::future::{Future, ready};

use clap::Args;
use futures_util::{StreamExt, stream};

use super::output::{OutputArgs, note};
use super::remote::{Namespace, Remote};
use super::{Failure, words};

/// How many calls are under way at once: below what a connection carries.
pub(super) const AT_ONCE: usize = 64;

/// What every change of a task takes beside its name.
#[derive(Args, Clone, Debug)]
pub(super) struct Audit {
    /// Why, for the audit trail.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) reason: String,
    /// A UUID that makes the call idempotent; that of an apply only marks its events.
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

/// An etag and a request id belong to one request.
pub(super) fn one_only(names: &[String], change: &Change) -> Result<(), Failure> {
    for (flag, value) in [("--etag", &change.etag), ("--request-id", &change.audit.request_id)] {
        if names.len() > 1 && !value.is_empty() {
            return Err(Failure::Usage(format!("{flag} is for one task; {} are given", names.len())));
        }
    }
    Ok(())
}

/// Does something with each task, side by side, and tells of each in the order given. The worst failure decides.
pub(super) async fn each<A, F: Future<Output = Result<A, Failure>>>(
    names: &[String],
    namespace: &Namespace,
    act: impl Fn(String) -> F,
    tell: impl Fn(&str, A) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let calls = names.iter().map(|name| {
        let call = act(namespace.task(name));
        async move { (name, call.await) }
    });
    let mut answers = stream::iter(calls).buffered(AT_ONCE);
    let mut worst = 0;
    while let Some((name, answer)) = answers.next().await {
        match answer.and_then(|answer| tell(name, answer)) {
            Ok(()) => {}
            Err(Failure::ReaderGone) => return Err(Failure::ReaderGone),
            Err(failure) => {
                let several = names.len() > 1;
                let whose = if several { format!("{}: ", words::id(name)) } else { String::new() };
                failure.text().into_iter().for_each(|text| note(&format!("{whose}{text}")));
                worst = worst.max(failure.code());
            }
        }
    }
    if worst == 0 { Ok(()) } else { Err(Failure::Told(worst)) }
}

/// Does something with each task, some of them at a time, and cares for no answer.
pub(super) async fn all<A, F: Future<Output = Result<A, Failure>>>(
    names: &[String],
    namespace: &Namespace,
    act: impl Fn(String) -> F,
) {
    let calls = names.iter().map(|name| act(namespace.task(name)));
    stream::iter(calls).buffer_unordered(AT_ONCE).for_each(|_| ready(())).await;
}
