//! `wait`.

use std::time::{Duration, Instant};

use clap::Args;

use super::output::{Output, OutputArgs, clean};
use super::remote::{Namespace, Remote};
use super::{Failure, duration, swap, words};
use crate::client::Client;
use crate::pb::v1;

/// What one call waits at the most.
const ONE_CALL: Duration = Duration::from_secs(600);

/// Wait until a task has reached a state, or its swap has ended.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard wait api                         until it has ended
  switchyard wait api --for running --timeout 30s
  switchyard wait api --for succeeded,failed
  switchyard wait api --swap                  until its newest swap has ended

Exit code 1 where the time ran out, or none of the states can be reached any more; with --swap,
also where the swap was rolled back or cancelled, and where there was none.")]
pub(super) struct Wait {
    /// The task's name.
    name: String,
    /// `ended`, or states as `running`, separated by commas.
    #[arg(long = "for", value_name = "STATE", value_delimiter = ',', default_value = "ended", value_parser = goal)]
    until: Vec<Goal>,
    /// Wait until the newest swap has ended, instead of for a state.
    #[arg(long, conflicts_with = "until")]
    swap: bool,
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

/// A state to wait for, or several under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Ended,
    State(v1::State),
}

/// What one wait is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    /// One of these states.
    States(&'a [v1::State]),
    /// The end of the newest swap.
    SwapEnded,
}

fn goal(text: &str) -> Result<Goal, String> {
    if text.eq_ignore_ascii_case("ended") {
        return Ok(Goal::Ended);
    }
    v1::State::from_str_name(&format!("STATE_{}", text.to_ascii_uppercase()))
        .filter(|state| *state != v1::State::Unspecified)
        .map(Goal::State)
        .ok_or_else(|| {
            "it must be ended, pending, starting, running, stopping, aborting, stuck, paused, succeeded, failed or \
             cancelled"
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
        let states = self.until.iter().flat_map(|goal| match goal {
            Goal::Ended => vec![v1::State::Succeeded, v1::State::Failed, v1::State::Cancelled],
            Goal::State(state) => vec![*state],
        });
        let states: Vec<_> = states.collect();
        let target = if self.swap { Target::SwapEnded } else { Target::States(&states) };
        let client = self.remote.connect().await?;
        let name = self.namespace.task(&self.name);
        let answer = until(&client, &name, target, self.timeout).await?;
        output.message(&answer, |answer| {
            let task = answer.task.clone().unwrap_or_default();
            let state = output.paint.text(words::state_tone(task.state), &words::state(task.state));
            if let Some(swap) = task.swap.as_ref().filter(|_| self.swap) {
                return swap::summary(&task, swap, output.paint);
            }
            let outcome = task.outcome.as_ref().filter(|_| words::is_ended(task.state)).map(words::outcome);
            format!("{}  {state}  {}", words::id(&task.name), clean(&outcome.unwrap_or_default())).trim_end().to_owned()
                + "\n"
        })?;
        match answer.task.as_ref().and_then(|task| task.swap.as_ref()).filter(|_| self.swap) {
            None if self.swap => Err(Failure::Negative("not reached: the task was never swapped".to_owned())),
            Some(swap) if answer.reached => swap::verdict(swap),
            _ if answer.reached => Ok(()),
            _ => Err(Failure::Negative(not_reached(&answer, self.timeout))),
        }
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
    target: Target<'_>,
    timeout: Duration,
) -> Result<v1::WaitTaskResponse, Failure> {
    let began = Instant::now();
    loop {
        let left = timeout.saturating_sub(began.elapsed());
        let (call, asked) = (Instant::now(), left.clamp(Duration::from_millis(1), ONE_CALL));
        let answer = match target {
            Target::States(states) => client.wait(name, states, asked).await?,
            Target::SwapEnded => client.wait_swap(name, asked).await?,
        };
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
        assert_eq!(goal("ended"), Ok(Goal::Ended));
        assert_eq!(goal("Running"), Ok(Goal::State(v1::State::Running)));
        assert_eq!(goal("paused"), Ok(Goal::State(v1::State::Paused)));
        for text in ["", "unspecified", "done", "STATE_RUNNING"] {
            assert!(goal(text).expect_err(text).contains("stuck, paused"), "{text}");
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
