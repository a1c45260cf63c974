//! `start`.

use std::time::Duration;

use clap::Args;

use super::change::Audit;
use super::output::{Output, OutputArgs, note};
use super::remote::{Namespace, Remote};
use super::task_source::TaskSource;
use super::wait::Target;
use super::{Failure, json, wait, words};
use crate::pb::v1;

/// Start a task, from flags, a file, or both.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard start api --http http://127.0.0.1:8080/health --interval 5s --wait
  switchyard start db --tcp 127.0.0.1:5432 --label team=core
  switchyard start disk --exec /usr/lib/nagios/plugins/check_disk --arg -w --arg 10% --arg -p --arg /
  switchyard start ignorer --kind drill --config '{\"behaviour\": \"ignore_cancel\"}'
  switchyard start -f task.yaml
  switchyard start api-2 -f task.yaml --interval 1m30s     a flag replaces the file's field
  switchyard get api -o json | switchyard start copy -f -

A file holds one task as YAML or JSON, by protobuf's JSON mapping, with durations as 5s or 1m30s:

  name: namespaces/default/tasks/api      # or NAME
  labels: {team: core}
  spec:
    http: {url: 'http://127.0.0.1:8080/health', expectedStatus: ['200-299']}
    schedule: {interval: 5s, timeout: 2s}

What only the server can say (state, uid, …) is ignored, so what `get` wrote can be started.")]
pub(super) struct Start {
    /// The task's name; may be left out where the file has one.
    name: Option<String>,
    #[command(flatten)]
    source: TaskSource,
    /// Check everything, start nothing: answers the task as it would be.
    #[arg(long, visible_alias = "dry-run", conflicts_with = "wait")]
    validate_only: bool,
    /// Wait until the task is RUNNING; exit code 1 where it is not in time (1m).
    #[arg(long, value_name = "TIMEOUT", num_args = 0..=1, require_equals = true, value_parser = wait::positive,
          default_missing_value = "1m")]
    wait: Option<Duration>,
    #[command(flatten)]
    audit: Audit,
    #[command(flatten)]
    namespace: Namespace,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: OutputArgs,
}

impl Start {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { name, source, validate_only, wait, audit, namespace, remote, output } = self;
        let output = Output::new(&output);
        let (name, task) = source.task(name)?;
        let (parent, task_id) = namespace.split(&name);
        let Audit { reason, request_id } = audit;
        let request = v1::StartTaskRequest { parent, task_id, task: Some(task), validate_only, reason, request_id };
        let client = remote.connect().await?;
        let mut answer = client.start(request).await?;
        let mut reached = Ok(());
        if let Some(timeout) = wait {
            let started = namespace.task(&name);
            let waited = wait::until(&client, &started, Target::States(&[v1::State::Running]), timeout).await?;
            if !waited.reached {
                reached = Err(Failure::Negative(wait::not_reached(&waited, timeout)));
            }
            answer.task = waited.task;
        }
        output.message(&answer, |answer| summary(answer, validate_only, output))?;
        reached
    }
}

fn summary(answer: &v1::StartTaskResponse, validate_only: bool, output: Output) -> String {
    let task = answer.task.clone().unwrap_or_default();
    let id = words::id(&task.name);
    if validate_only {
        note("valid; nothing was started");
        // The defaults that the server filled in are what one asks for.
        return task.spec.as_ref().and_then(|spec| json::yaml(spec).ok()).unwrap_or_default();
    }
    format!("{id}  {}\n", output.paint.text(words::state_tone(task.state), &words::state(task.state)))
}
