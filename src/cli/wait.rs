//! `wait`.

use std::time::{Duration, Instant};

use clap::Args;

use super::output::{Output, OutputArgs, clean};
use super::remote::{Namespace, Remote};
use super::{Failure, duration, words};
use crate::client::Client;
use crate::pb::v1;

/// What one call waits at the most.
const ONE_CALL: Duration = Duration::from_secs(600);

/// Wait until a task has reached a state.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard wait api                         until it has ended
  switchyard wait api --for running --timeout 30s
  switchyard wait api --for succeeded,failed

Exit code 1 where the time ran out, or none of the states can be reached any more.")]
pub(super) struct Wait {
    /// The task's name.
    name: String,
    /// `ended`, or states as `running`, separated by commas.
    #[arg(long = "for", value_name = "STATE", value_delimiter = ',', default_value = "ended", value_parser = target)]
    until: Vec<Target>,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = positive)]
    timeout: Duration,
    #[command(flatten)]
    namespace: Namespace,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Ended,
    State(v1::State),
}

fn target(text: &str) -> Result<Target, String> {
    if text.eq_ignore_ascii_case("ended") {
        return Ok(Target::Ended);
    }
    v1::State::from_str_name(&format!("STATE_{}", text.to_ascii_uppercase()))
        .filter(|state| *state != v1::State::Unspecified)
        .map(Target::State)
        .ok_or_else(|| {
            "it must be ended, pending, starting, running, stopping, aborting, stuck, succeeded, failed or cancelled"
                .to_owned()
        })
}

/// A duration that leaves time for something.
pub(super) fn positive(text: &str) -> Result<Duration, String> {
    duration::parse(text).and_then(|span| if span.is_zero() { Err("must be more than 0".to_owned()) } else { Ok(span) })
}

impl Wait {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let output = Output::new(&self.output);
        let states = self.until.iter().flat_map(|target| match target {
            Target::Ended => vec![v1::State::Succeeded, v1::State::Failed, v1::State::Cancelled],
            Target::State(state) => vec![*state],
        });
        let client = self.remote.connect().await?;
        let name = self.namespace.task(&self.name);
        let answer = until(&client, &name, &states.collect::<Vec<_>>(), self.timeout).await?;
        output.message(&answer, |answer| {
            let task = answer.task.clone().unwrap_or_default();
            let state = output.paint.text(words::state_tone(task.state), &words::state(task.state));
            let outcome = task.outcome.as_ref().filter(|_| words::is_ended(task.state)).map(words::outcome);
            format!("{}  {state}  {}", words::id(&task.name), clean(&outcome.unwrap_or_default())).trim_end().to_owned()
                + "\n"
        })?;
        if answer.reached { Ok(()) } else { Err(Failure::Negative(not_reached(&answer, self.timeout))) }
    }
}

/// What to tell where the wait was in vain.
pub(super) fn not_reached(answer: &v1::WaitTaskResponse, timeout: Duration) -> String {
    let state = answer.task.as_ref().map_or(0, |task| task.state);
    if words::is_ended(state) {
        format!("not reached: the task has ended, {}", words::state(state))
    } else {
        format!("not reached within {}: the task is {}", duration::print(timeout), words::state(state))
    }
}

/// Waits for longer than one call may.
pub(super) async fn until(
    client: &Client,
    name: &str,
    states: &[v1::State],
    timeout: Duration,
) -> Result<v1::WaitTaskResponse, Failure> {
    let began = Instant::now();
    loop {
        let left = timeout.saturating_sub(began.elapsed());
        let (call, asked) = (Instant::now(), left.clamp(Duration::from_millis(1), ONE_CALL));
        let answer = client.wait(name, states, asked).await?;
        // An early "not reached" means never.
        if answer.reached || call.elapsed() < asked || left <= asked {
            return Ok(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_taken_as_people_write_them() {
        assert_eq!(target("ended"), Ok(Target::Ended));
        assert_eq!(target("Running"), Ok(Target::State(v1::State::Running)));
        for text in ["", "unspecified", "done", "STATE_RUNNING"] {
            assert!(target(text).expect_err(text).contains("stuck"), "{text}");
        }
    }

    #[test]
    fn a_wait_in_vain_says_why() {
        let answer = |state: v1::State| v1::WaitTaskResponse {
            task: Some(v1::Task { state: state.into(), ..v1::Task::default() }),
            reached: false,
        };
        let minute = Duration::from_secs(60);
        assert_eq!(not_reached(&answer(v1::State::Failed), minute), "not reached: the task has ended, FAILED");
        assert_eq!(not_reached(&answer(v1::State::Stopping), minute), "not reached within 1m: the task is STOPPING");
    }
}
