//! `run`.

use clap::Args;

use super::change::Change;
use super::output::{Output, Paint, clean};
use super::{Failure, words};
use crate::pb::v1;

/// Make one check of a task now, and say what it has found.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard run api
  switchyard run api -o json | jq .check.phases

The check is made by the task's running instance, right after the one that may be under way. It
drives the task's circuit as every other, and counts for max_runs. Exit code 1 where the verdict
is not PASS.")]
pub(super) struct Run {
    /// The task's name.
    name: String,
    #[command(flatten)]
    change: Change,
}

impl Run {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { name, change: Change { etag, audit, namespace, remote, output } } = self;
        let output = Output::new(&output);
        let request = v1::RunTaskRequest {
            name: namespace.task(&name),
            etag,
            reason: audit.reason,
            request_id: audit.request_id,
        };
        let answer = remote.connect().await?.run(request).await?;
        let check = answer.check.clone().unwrap_or_default();
        output.message(&answer, |_| told(&name, &check, output.paint))?;
        if check.verdict() == v1::Verdict::Pass { Ok(()) } else { Err(Failure::Negative(String::new())) }
    }
}

/// `api  FAIL STATUS in 3.2ms: 503 Service Unavailable`, with the phases below.
fn told(name: &str, check: &v1::Check, paint: Paint) -> String {
    let message = if check.message.is_empty() { String::new() } else { format!(": {}", check.message) };
    let found = paint.text(words::verdict_tone(check.verdict), &clean(&words::check(check)));
    let mut text = format!("{}  {found}{}\n", words::id(name), clean(&message));
    let phases = check.phases.as_ref().map(words::phases).filter(|phases| !phases.is_empty());
    if let Some(phases) = phases {
        text += &format!("  {phases}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_told_with_its_reason_its_message_and_its_phases() {
        let micros = |micros: i32| Some(prost_types::Duration { seconds: 0, nanos: micros * 1_000 });
        let mut check = v1::Check {
            duration: micros(3_200),
            verdict: v1::Verdict::Fail.into(),
            reason: "STATUS".to_owned(),
            message: "503\nService Unavailable".to_owned(),
            phases: Some(v1::CheckPhases { connect: micros(200), first_byte: micros(2_900), ..Default::default() }),
            ..v1::Check::default()
        };
        let expected = "api  FAIL STATUS in 3.2ms: 503 Service Unavailable\n  connect 200us, first byte 2.9ms\n";
        assert_eq!(told("namespaces/default/tasks/api", &check, Paint(false)), expected);
        check = v1::Check { verdict: v1::Verdict::Pass.into(), duration: micros(200), ..v1::Check::default() };
        assert_eq!(told("api", &check, Paint(false)), "api  PASS in 200us\n");
    }
}
