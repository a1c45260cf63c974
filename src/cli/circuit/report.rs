//! `circuit report`.

use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use uuid::Uuid;

use crate::cli::duration::{self, wire};
use crate::cli::output::{Output, OutputArgs, note};
use crate::cli::remote::{Namespace, Remote};
use crate::cli::{Failure, words};
use crate::pb::v1;

/// Outcomes in a message, at the most.
const IN_A_MESSAGE: usize = 1_000;
/// Outcomes in a call, at the most.
const IN_A_CALL: i64 = 10_000;

/// Tell a circuit what has come of calls to its target, and say what became of that.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard circuit report api --outcome success --latency 12ms
  switchyard circuit report api --outcome failure --count 20
  switchyard circuit report api --outcome success --token TOKEN --reporter maintenance-script

Without a token the calls count as begun now. While the circuit is half-open only calls that were
given a lease count (AcquirePermit), and the lease is the token: all others are IGNORED.
Exit code 1 where one counted for nothing (STALE, EXPIRED, DUPLICATE, IGNORED).")]
pub(super) struct Report {
    /// The task's name.
    name: String,
    /// What has come of the calls.
    #[arg(long, value_enum)]
    outcome: Outcome,
    /// How long each of them took.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    latency: Option<Duration>,
    /// How many there were.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=IN_A_CALL))]
    count: u32,
    /// Who tells, by default a name of this run alone. Not the name of a service that reports, too: its outcomes would be taken for
    /// duplicates of these, whose numbers are higher.
    #[arg(long, value_name = "NAME")]
    reporter: Option<String>,
    /// The token of the permit; by default that of the circuit as it is now.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    #[command(flatten)]
    namespace: Namespace,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Outcome {
    /// They went well.
    Success,
    /// They failed for reasons that are the target's.
    Failure,
    /// They say nothing, by the caller's own rules.
    Ignored,
    /// The caller gave them up.
    Cancelled,
    /// They failed for reasons that are the caller's own.
    LocalFault,
}

impl From<Outcome> for v1::CallVerdict {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Failure => Self::Failure,
            Outcome::Ignored => Self::Ignored,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::LocalFault => Self::LocalFault,
        }
    }
}

impl Report {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { name, outcome, latency, count, reporter, token, namespace, remote, output } = self;
        let output = Output::new(&output);
        let name = namespace.task(&name);
        let client = remote.connect().await?;
        let token = match token {
            Some(token) => token,
            None => {
                let request = v1::GetCircuitRequest { name: name.clone() };
                client.circuit(request).await?.circuit.unwrap_or_default().token
            }
        };
        let reporter = reporter.unwrap_or_else(|| format!("cli-{}", Uuid::new_v4()));
        // A later run with the same name is to have higher numbers.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let first = u64::try_from(now.as_micros()).unwrap_or(0) + 1;
        let told = (first..first + u64::from(count)).map(|sequence| v1::CallOutcome {
            name: name.clone(),
            token: token.clone(),
            sequence,
            outcome: v1::CallVerdict::from(outcome).into(),
            latency: latency.map(wire),
        });
        let told: Vec<_> = told.collect();
        let message = |part: &[_]| v1::ReportOutcomesRequest { reporter: reporter.clone(), outcomes: part.to_vec() };
        let answer = client.report(told.chunks(IN_A_MESSAGE).map(message).collect()).await?;
        output.message(&answer, |answer| format!("{}  {}\n", words::id(&name), tally(&answer.dispositions)))?;
        verdict(&answer.dispositions)
    }
}

/// `19 ACCEPTED, 1 STALE`, in the order in which they came.
fn tally(dispositions: &[i32]) -> String {
    let mut counts: Vec<(i32, usize)> = Vec::new();
    for told in dispositions {
        match counts.iter_mut().find(|(disposition, _)| disposition == told) {
            Some((_, count)) => *count += 1,
            None => counts.push((*told, 1)),
        }
    }
    let said = counts.into_iter().map(|(told, count)| format!("{count} {}", words::disposition(told)));
    said.collect::<Vec<_>>().join(", ")
}

fn verdict(dispositions: &[i32]) -> Result<(), Failure> {
    use v1::Disposition as D;
    let has = |disposition: D| dispositions.contains(&disposition.into());
    let why = [
        (D::Stale, "the token is of an earlier epoch or of another circuit, or the circuit is suspended or gone"),
        (D::Expired, "the lease had expired"),
        (D::Duplicate, "the lease, or the reporter's number, was used before"),
        (D::Ignored, "the circuit is half-open, and the token is no lease"),
    ];
    let mut in_vain = false;
    for (disposition, why) in why.into_iter().filter(|(disposition, _)| has(*disposition)) {
        note(&format!("{}: {why}", words::disposition(disposition.into())));
        in_vain = true;
    }
    if in_vain { Err(Failure::Negative(String::new())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dispositions_are_counted_and_one_in_vain_is_a_negative_outcome() {
        use v1::Disposition as D;
        let told = |all: &[D]| all.iter().map(|told| i32::from(*told)).collect::<Vec<_>>();
        assert_eq!(tally(&told(&[D::Accepted, D::Stale, D::Accepted])), "2 ACCEPTED, 1 STALE");
        assert!(verdict(&told(&[D::Accepted, D::Neutral])).is_ok());
        for in_vain in [D::Stale, D::Expired, D::Duplicate, D::Ignored] {
            assert_eq!(verdict(&told(&[D::Accepted, in_vain])).expect_err("negative").code(), 1);
        }
    }
}
