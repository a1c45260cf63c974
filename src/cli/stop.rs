//! `cancel`, `delete`.

use clap::Args;

use super::change::{AT_ONCE, Change, each, one_only};
use super::output::Output;
use super::{Failure, words};
use crate::client::Client;
use crate::pb::v1;

/// How many requests a batch may have.
const BATCH: usize = 1_000;

/// Stop tasks for good, and say what came of it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard cancel api
  switchyard cancel api db cache --reason 'moving to the new rack'
  switchyard cancel api --force       abort at once
  switchyard cancel api --no-wait     answer when the cancel is on record

A task is asked to stop, then aborted; the outcome is proven: it ended, or it is STUCK (exit
code 1). Several tasks stop side by side, within the bound of the slowest.")]
pub(super) struct Cancel {
    /// The tasks' names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Skip what is left of the graceful phase: abort at once.
    #[arg(long)]
    force: bool,
    /// Wait for the proven outcome; the default.
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Only put the cancel on record.
    #[arg(long, overrides_with = "wait")]
    no_wait: bool,
    #[command(flatten)]
    change: Change,
}

impl Cancel {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Change { namespace, remote, output, .. } = &self.change;
        one_only(&self.names, &self.change)?;
        let output = Output::new(output);
        let client = remote.connect().await?;
        if !self.no_wait && self.names.len() > AT_ONCE {
            // All are asked before any is waited for, so that they stop within the bound of one. Asking again changes nothing.
            for names in self.names.chunks(BATCH) {
                let requests = names.iter().map(|name| self.request(namespace.task(name), false)).collect();
                // What fails here fails there, too, and is told there.
                let _ = client.batch_cancel(v1::BatchCancelTasksRequest { parent: String::new(), requests }).await;
            }
        }
        let cancel = async |name| Ok(client.cancel(self.request(name, !self.no_wait)).await?);
        each(&self.names, namespace, cancel, |name, answer: v1::CancelTaskResponse| {
            output.message(&answer, |answer| {
                let task = answer.task.clone().unwrap_or_default();
                let state = output.paint.text(words::state_tone(task.state), &words::state(task.state));
                format!("{}  {state}{}\n", words::id(name), super::output::clean(&course(&task)))
            })?;
            let stuck = answer.task.is_some_and(|task| task.state == i32::from(v1::State::Stuck));
            if stuck { Err(Failure::Negative(String::new())) } else { Ok(()) }
        })
        .await
    }

    fn request(&self, name: String, wait: bool) -> v1::CancelTaskRequest {
        v1::CancelTaskRequest {
            name,
            force: self.force,
            wait,
            etag: self.change.etag.clone(),
            reason: self.change.audit.reason.clone(),
            request_id: self.change.audit.request_id.clone(),
        }
    }
}

/// How the shutdown went, as far as it is known.
fn course(task: &v1::Task) -> String {
    let mut text = String::new();
    if words::is_ended(task.state) {
        let outcome = task.outcome.as_ref().map(words::outcome);
        text += &outcome.map_or_else(String::new, |outcome| format!("  {outcome}"));
    }
    let shutdown = task.instance.as_ref().and_then(|instance| words::shutdown(instance.shutdown.as_ref()?));
    text += &shutdown.map_or_else(String::new, |shutdown| format!("  ({shutdown})"));
    if task.state == i32::from(v1::State::Stuck) {
        text += &format!("  {}", words::STUCK);
    }
    text
}

/// Delete ended tasks.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard delete api
  switchyard delete api db

Only ended tasks can be deleted; cancel live ones first. Ended tasks are also deleted by the
server, when their terminal_ttl is over.")]
pub(super) struct Delete {
    /// The tasks' names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    change: Change,
}

impl Delete {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Change { namespace, remote, output, .. } = &self.change;
        one_only(&self.names, &self.change)?;
        let output = Output::new(output);
        let client = remote.connect().await?;
        let delete = |name: String| self.delete(&client, name);
        each(&self.names, namespace, delete, |name, answer| {
            output.message(&answer, |_| format!("{}  deleted\n", words::id(name)))
        })
        .await
    }

    async fn delete(&self, client: &Client, name: String) -> Result<v1::DeleteTaskResponse, Failure> {
        let request = v1::DeleteTaskRequest {
            name,
            etag: self.change.etag.clone(),
            reason: self.change.audit.reason.clone(),
            request_id: self.change.audit.request_id.clone(),
        };
        Ok(client.delete(request).await?)
    }
}
