//! `circuit force`, `circuit reset`.

use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use prost_types::Timestamp;

use crate::cli::change::Change;
use crate::cli::output::{Output, Paint, clean};
use crate::cli::{Failure, moment, wait, words};
use crate::pb::v1;

/// Lay an override over a circuit, or take it away.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard circuit force api open --for 30m --reason maintenance      no calls
  switchyard circuit force api closed                                   calls, whatever is known
  switchyard circuit force api shadow --until 2026-12-01T06:00:00Z      calls, and it shows what it would do
  switchyard circuit force api off                                      the circuit decides again

What the circuit does by itself goes on beneath, and counts again once the override ends. The task
is checked all the while.")]
pub(super) struct Force {
    /// The task's name.
    name: String,
    /// What to lay over it.
    #[arg(value_enum)]
    mode: Mode,
    /// Have the override end by itself after so long, by this machine's clock.
    #[arg(long = "for", value_name = "DURATION", value_parser = wait::positive, conflicts_with = "until")]
    span: Option<Duration>,
    /// Have the override end by itself at this time, as 2026-12-01T06:00:00Z or with an offset, +02:00.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    until: Option<Timestamp>,
    #[command(flatten)]
    change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// No calls.
    Open,
    /// Calls, whatever is known of the target.
    Closed,
    /// Calls, and the circuit shows what it would have done.
    Shadow,
    /// No override.
    Off,
}

impl Force {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { name, mode, span, until, change: Change { etag, audit, namespace, remote, output } } = self;
        let output = Output::new(&output);
        let expire_time = until.or(span.map(|span| Timestamp::from(SystemTime::now() + span)));
        if mode == Mode::Off && expire_time.is_some() {
            return Err(Failure::Usage("off takes the override away, so there is nothing to end later".to_owned()));
        }
        let mode = match mode {
            Mode::Open => v1::Override::ForcedOpen,
            Mode::Closed => v1::Override::ForcedClosed,
            Mode::Shadow => v1::Override::Shadow,
            Mode::Off => v1::Override::None,
        };
        let request = v1::OverrideCircuitRequest {
            name: namespace.task(&name),
            r#override: mode.into(),
            expire_time,
            etag,
            reason: audit.reason,
            request_id: audit.request_id,
        };
        let answer = remote.connect().await?.override_circuit(request).await?;
        output.message(&answer, |answer| told(answer.circuit.as_ref(), output.paint))
    }
}

/// Have a circuit begin anew, closed and with nothing counted.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard circuit reset api --reason 'the target was replaced'

An override stays where it lies. Tokens and leases of before prove nothing any more.")]
pub(super) struct Reset {
    /// The task's name.
    name: String,
    #[command(flatten)]
    change: Change,
}

impl Reset {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { name, change: Change { etag, audit, namespace, remote, output } } = self;
        let output = Output::new(&output);
        let request = v1::ResetCircuitRequest {
            name: namespace.task(&name),
            etag,
            reason: audit.reason,
            request_id: audit.request_id,
        };
        let answer = remote.connect().await?.reset_circuit(request).await?;
        output.message(&answer, |answer| told(answer.circuit.as_ref(), output.paint))
    }
}

/// `api  forced open until 2026-11-22T10:05:00.000Z: maintenance; beneath it closed`.
fn told(circuit: Option<&v1::Circuit>, paint: Paint) -> String {
    let Some(circuit) = circuit else { return String::new() };
    let stands = clean(&words::circuit(circuit, Some(&SystemTime::now().into())));
    format!("{}  {}\n", words::id(&circuit.name), paint.text(words::circuit_tone(circuit), &stands))
}
