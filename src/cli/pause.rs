//! `pause`, `resume`.

use std::time::{Duration, SystemTime};

use clap::Args;
use prost_types::Timestamp;

use super::change::{AT_ONCE, Change, all, each, one_only};
use super::output::{Output, Paint, clean};
use super::wait::{self, Target};
use super::{Failure, moment, words};
use crate::client::Client;
use crate::pb::v1;

/// Stop tasks until they are resumed: each keeps its name, its history and its circuit.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard pause api --reason 'the target is being moved'
  switchyard pause api db --for 2h            resumes them by itself
  switchyard pause api --until 2026-12-01T06:00:00Z
  switchyard pause api --wait                 until it is PAUSED

A task is asked to stop, then aborted, as by a cancel; it is PAUSED when its instance has ended.
Its circuit stands still meanwhile. Pausing a paused task only moves the end of its pause. With
--wait, exit code 1 where an instance is STUCK, or the time runs out.")]
pub(super) struct Pause {
    /// The tasks' names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Have the server resume them by itself after so long, by this machine's clock.
    #[arg(long = "for", value_name = "DURATION", value_parser = wait::positive, conflicts_with = "until")]
    span: Option<Duration>,
    /// Have the server resume them by itself at this time, as 2026-12-01T06:00:00Z or with an offset, +02:00.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    until: Option<Timestamp>,
    /// Wait until they are PAUSED; exit code 1 where one is not in time (2m).
    #[arg(long, value_name = "TIMEOUT", num_args = 0..=1, require_equals = true, value_parser = wait::positive,
          default_missing_value = "2m")]
    wait: Option<Duration>,
    #[command(flatten)]
    change: Change,
}

impl Pause {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Change { namespace, remote, output, .. } = &self.change;
        one_only(&self.names, &self.change)?;
        // One end for all, however many there are.
        let expire_time = self.until.or(self.span.map(|span| Timestamp::from(SystemTime::now() + span)));
        let output = Output::new(output);
        let client = remote.connect().await?;
        if self.wait.is_some() && self.names.len() > AT_ONCE {
            // All are asked before any is waited for, so that they stop within the bound of one. Asking again changes nothing,
            // and what fails here fails there, too.
            all(&self.names, namespace, |name| self.pause(&client, name, expire_time)).await;
        }
        let act = async |name: String| {
            let mut answer = self.pause(&client, name.clone(), expire_time).await?;
            let states = [v1::State::Paused, v1::State::Stuck];
            let missed = settle(&client, &name, &states, self.wait, &mut answer.task).await?;
            Ok((answer, missed))
        };
        each(&self.names, namespace, act, |name, (answer, missed): (v1::PauseTaskResponse, _)| {
            output.message(&answer, |answer| paused(name, answer.task.as_ref(), output.paint))?;
            let stuck = answer.task.is_some_and(|task| task.state() == v1::State::Stuck);
            done(missed.or((stuck && self.wait.is_some()).then(String::new)))
        })
        .await
    }

    async fn pause(
        &self,
        client: &Client,
        name: String,
        expire_time: Option<Timestamp>,
    ) -> Result<v1::PauseTaskResponse, Failure> {
        let request = v1::PauseTaskRequest {
            name,
            expire_time,
            etag: self.change.etag.clone(),
            reason: self.change.audit.reason.clone(),
            request_id: self.change.audit.request_id.clone(),
        };
        Ok(client.pause(request).await?)
    }
}

/// `api  PAUSED  until it is resumed: the target is being moved`.
fn paused(name: &str, task: Option<&v1::Task>, paint: Paint) -> String {
    let state = task.map_or(v1::State::Unspecified, v1::Task::state);
    let until = task.and_then(|task| task.pause.as_ref()).map(words::pause).unwrap_or_default();
    let then = match state {
        _ if until.is_empty() => String::new(),
        v1::State::Paused => until,
        v1::State::Stuck => words::STUCK.to_owned(),
        _ => format!("then paused {until}"),
    };
    line(name, state, &then, paint)
}

/// Have paused tasks run again.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard resume api
  switchyard resume api db --wait             until they are RUNNING

A new instance starts at once, or when the one that still stops has ended; the circuit goes on
from where it stood. Resuming a task that runs changes nothing.")]
pub(super) struct Resume {
    /// The tasks' names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Wait until they are RUNNING; exit code 1 where one is not in time (1m).
    #[arg(long, value_name = "TIMEOUT", num_args = 0..=1, require_equals = true, value_parser = wait::positive,
          default_missing_value = "1m")]
    wait: Option<Duration>,
    #[command(flatten)]
    change: Change,
}

impl Resume {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Change { namespace, remote, output, .. } = &self.change;
        one_only(&self.names, &self.change)?;
        let output = Output::new(output);
        let client = remote.connect().await?;
        if self.wait.is_some() && self.names.len() > AT_ONCE {
            all(&self.names, namespace, |name| self.resume(&client, name)).await;
        }
        let act = async |name: String| {
            let mut answer = self.resume(&client, name.clone()).await?;
            let missed = settle(&client, &name, &[v1::State::Running], self.wait, &mut answer.task).await?;
            Ok((answer, missed))
        };
        each(&self.names, namespace, act, |name, (answer, missed): (v1::ResumeTaskResponse, _)| {
            output.message(&answer, |answer| resumed(name, answer.task.as_ref(), output.paint))?;
            done(missed)
        })
        .await
    }

    async fn resume(&self, client: &Client, name: String) -> Result<v1::ResumeTaskResponse, Failure> {
        let request = v1::ResumeTaskRequest {
            name,
            etag: self.change.etag.clone(),
            reason: self.change.audit.reason.clone(),
            request_id: self.change.audit.request_id.clone(),
        };
        Ok(client.resume(request).await?)
    }
}

fn resumed(name: &str, task: Option<&v1::Task>, paint: Paint) -> String {
    let state = task.map_or(v1::State::Unspecified, v1::Task::state);
    let then = match state {
        v1::State::Stopping | v1::State::Aborting | v1::State::Stuck => "runs again when the old instance has ended",
        _ => "",
    };
    line(name, state, then, paint)
}

fn line(name: &str, state: v1::State, then: &str, paint: Paint) -> String {
    let state = paint.text(words::state_tone(state.into()), &words::state(state.into()));
    format!("{}  {state}  {}", words::id(name), clean(then)).trim_end().to_owned() + "\n"
}

/// Waits, where that is asked for, until the task is in one of the states, and shows it as it is then; what to tell where the wait
/// was in vain.
async fn settle(
    client: &Client,
    name: &str,
    states: &[v1::State],
    wait: Option<Duration>,
    task: &mut Option<v1::Task>,
) -> Result<Option<String>, Failure> {
    let Some(timeout) = wait else { return Ok(None) };
    let waited = wait::until(client, name, Target::States(states), timeout).await?;
    let missed = (!waited.reached).then(|| wait::not_reached(&waited, timeout));
    *task = waited.task;
    Ok(missed)
}

fn done(missed: Option<String>) -> Result<(), Failure> {
    missed.map_or(Ok(()), |text| Err(Failure::Negative(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(state: v1::State, reason: &str) -> v1::Task {
        let pause = v1::Pause { reason: reason.to_owned(), expire_time: None };
        v1::Task { state: state.into(), pause: Some(pause), ..v1::Task::default() }
    }

    #[test]
    fn a_pause_says_until_when_and_why_and_what_is_still_to_come() {
        let said = |task: &v1::Task| paused("namespaces/default/tasks/api", Some(task), Paint(false));
        assert_eq!(said(&task(v1::State::Paused, "moving\nhouse")), "api  PAUSED  until it is resumed: moving house\n");
        assert_eq!(said(&task(v1::State::Stopping, "")), "api  STOPPING  then paused until it is resumed\n");
        assert!(said(&task(v1::State::Stuck, "")).starts_with("api  STUCK  it outlived both phases"));
        // It was resumed meanwhile, by somebody else.
        assert_eq!(said(&v1::Task { pause: None, ..task(v1::State::Running, "") }), "api  RUNNING\n");
    }

    #[test]
    fn a_task_that_still_stops_is_resumed_later() {
        let said = |state| resumed("api", Some(&task(state, "")), Paint(false));
        assert_eq!(said(v1::State::Starting), "api  STARTING\n");
        assert_eq!(said(v1::State::Stopping), "api  STOPPING  runs again when the old instance has ended\n");
    }
}
