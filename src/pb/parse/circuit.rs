//! Requests about circuits.

use super::mutation::{cause, given, idempotency};
use super::time::timestamp;
use super::{duration::duration, task_name};
use crate::model::{
    Actor, CallOutcome, OverrideCircuit, Report, ReportedOutcome, ResetCircuit, Sample, Source, TaskName, Verdict,
    Violations, limits,
};
use crate::pb::token::Token;
use crate::pb::{names, v1};

/// Parses a GetCircuit.
pub fn get_circuit(request: v1::GetCircuitRequest) -> Result<TaskName, Violations> {
    let v1::GetCircuitRequest { name } = request;
    named(&name)
}

/// Parses an AcquirePermit.
pub fn acquire_permit(request: v1::AcquirePermitRequest) -> Result<TaskName, Violations> {
    let v1::AcquirePermitRequest { name } = request;
    named(&name)
}

fn named(name: &str) -> Result<TaskName, Violations> {
    let mut v = Violations::new();
    let name = task_name(&mut v, name);
    v.finish(name)
}

/// Parses an OverrideCircuit.
pub fn override_circuit(mut request: v1::OverrideCircuitRequest, actor: Actor) -> Result<OverrideCircuit, Violations> {
    let mut v = Violations::new();
    let idempotency = idempotency(&mut v, &mut request, |request| &mut request.request_id);
    let v1::OverrideCircuitRequest { name, r#override: mode, expire_time, etag, reason, request_id: _ } = request;
    let name = task_name(&mut v, &name);
    let mode = names::circuit_override(mode).map_err(|problem| v.add("override", problem.to_string()));
    let expire_time = timestamp(&mut v, "expire_time", expire_time);
    if mode == Ok(None) && expire_time.is_some() {
        v.add("expire_time", "there is nothing to expire without an override");
    }
    let cause = cause(&mut v, actor, reason, idempotency);
    let request = name.zip(mode.ok());
    v.finish(request.map(|(name, mode)| OverrideCircuit {
        name,
        mode,
        expire_time,
        etag: given(etag),
        cause,
        idempotency,
    }))
}

/// Parses a ResetCircuit.
pub fn reset_circuit(mut request: v1::ResetCircuitRequest, actor: Actor) -> Result<ResetCircuit, Violations> {
    let mut v = Violations::new();
    let idempotency = idempotency(&mut v, &mut request, |request| &mut request.request_id);
    let v1::ResetCircuitRequest { name, etag, reason, request_id: _ } = request;
    let name = task_name(&mut v, &name);
    let cause = cause(&mut v, actor, reason, idempotency);
    v.finish(name.map(|name| ResetCircuit { name, etag: given(etag), cause, idempotency }))
}

/// Parses a message of ReportOutcomes.
pub fn report_outcomes(request: v1::ReportOutcomesRequest) -> Result<Report, Violations> {
    let mut v = Violations::new();
    let v1::ReportOutcomesRequest { reporter, outcomes } = request;
    if reporter.is_empty() || reporter.len() > limits::REPORTER_BYTES {
        v.add("reporter", format!("must have 1 to {} bytes, got {}", limits::REPORTER_BYTES, reporter.len()));
    }
    let number = number_of(&reporter);
    let mut parsed = Vec::with_capacity(outcomes.len());
    let mut last = 0;
    for (n, outcome) in outcomes.into_iter().enumerate() {
        let outcome = v.within(&format!("outcomes[{n}]"), |v| {
            if outcome.sequence <= last {
                v.add(
                    "sequence",
                    format!("must be more than {last}, that of the one before, got {}", outcome.sequence),
                );
            }
            last = outcome.sequence;
            call_outcome(v, outcome, number)
        });
        parsed.extend(outcome);
    }
    v.finish(Some(Report { reporter, outcomes: parsed }))
}

fn call_outcome(v: &mut Violations, wire: v1::CallOutcome, reporter: u64) -> Option<ReportedOutcome> {
    let v1::CallOutcome { name, token, sequence, outcome, latency } = wire;
    let name = task_name(v, &name);
    let token: Option<Token> =
        token.parse().map_err(|_| v.add("token", "must be one that was given by this server")).ok();
    let verdict = match v1::CallVerdict::try_from(outcome) {
        Ok(v1::CallVerdict::Success) => Some(Verdict::Pass),
        Ok(v1::CallVerdict::Failure) => Some(Verdict::Fail),
        Ok(v1::CallVerdict::Ignored | v1::CallVerdict::Cancelled | v1::CallVerdict::LocalFault) => {
            Some(Verdict::Neutral)
        }
        Ok(v1::CallVerdict::Unspecified) | Err(_) => {
            v.add("outcome", format!("must be one of the values of CallVerdict, got {outcome}"));
            None
        }
    };
    let latency = duration(v, "latency", latency).unwrap_or_default();
    let Token { uid, epoch, lease } = token?;
    let sample = Sample { epoch, verdict: verdict?, latency, source: Source::Passive { reporter, lease } };
    Some(ReportedOutcome { name: name?, sequence, outcome: CallOutcome { uid, sample } })
}

/// Different reporters are to have different numbers, whatever they call themselves.
fn number_of(reporter: &str) -> u64 {
    let uuid = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, reporter.as_bytes());
    uuid.as_u64_pair().0 ^ uuid.as_u64_pair().1
}
