//! Parts of messages in words: names of enum values, times, targets, outcomes.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

use super::duration::{self, unwire};
use super::output::Tone;
use crate::pb::v1;

/// What becomes of a task that is STUCK.
pub(super) const STUCK: &str = "it outlived both phases; it is fenced, still counted, and reaped when it ends";

macro_rules! unprefixed {
    ($($function:ident: $enum:ident, $prefix:literal;)*) => {
        $(pub(super) fn $function(value: i32) -> String {
            match v1::$enum::try_from(value) {
                Ok(value) => value.as_str_name().trim_start_matches($prefix).to_owned(),
                // A newer server knows more than this client.
                Err(_) => value.to_string(),
            }
        })*
    };
}

unprefixed! {
    state: State, "STATE_";
    intent: Intent, "INTENT_";
    instance_state: InstanceState, "INSTANCE_STATE_";
    exit: Exit, "EXIT_";
    asked: Asked, "ASKED_";
    alert_kind: AlertKind, "ALERT_KIND_";
    swap_phase: SwapPhase, "SWAP_PHASE_";
    swap_strategy: SwapStrategy, "SWAP_STRATEGY_";
    circuit_state: CircuitState, "CIRCUIT_STATE_";
    circuit_reason: CircuitReason, "CIRCUIT_REASON_";
    generation_state: GenerationState, "GENERATION_STATE_";
    verdict: Verdict, "VERDICT_";
    event_type: EventType, "EVENT_TYPE_";
    circuit_override: Override, "OVERRIDE_";
    disposition: Disposition, "DISPOSITION_";
    apply_outcome: ApplyOutcome, "APPLY_OUTCOME_";
}

/// Whether the task has ended for good.
pub(super) fn is_ended(value: i32) -> bool {
    matches!(v1::State::try_from(value), Ok(v1::State::Succeeded | v1::State::Failed | v1::State::Cancelled))
}

pub(super) fn state_tone(value: i32) -> Tone {
    match v1::State::try_from(value) {
        Ok(v1::State::Running | v1::State::Succeeded) => Tone::Good,
        Ok(v1::State::Failed | v1::State::Stuck | v1::State::Aborting) => Tone::Bad,
        Ok(v1::State::Pending | v1::State::Starting | v1::State::Stopping) => Tone::Changing,
        Ok(v1::State::Cancelled | v1::State::Paused) => Tone::Faint,
        Ok(v1::State::Unspecified) | Err(_) => Tone::Plain,
    }
}

pub(super) fn circuit_tone(circuit: &v1::Circuit) -> Tone {
    match circuit.state() {
        _ if circuit.r#override() == v1::Override::ForcedOpen => Tone::Bad,
        _ if [v1::Override::ForcedClosed, v1::Override::Shadow].contains(&circuit.r#override()) => Tone::Changing,
        _ if circuit.suspended => Tone::Faint,
        v1::CircuitState::Closed => Tone::Good,
        v1::CircuitState::Open => Tone::Bad,
        v1::CircuitState::HalfOpen => Tone::Changing,
        v1::CircuitState::Unspecified => Tone::Plain,
    }
}

pub(super) fn verdict_tone(value: i32) -> Tone {
    match v1::Verdict::try_from(value) {
        Ok(v1::Verdict::Pass) => Tone::Good,
        Ok(v1::Verdict::Fail) => Tone::Bad,
        Ok(v1::Verdict::Neutral | v1::Verdict::Unspecified) | Err(_) => Tone::Plain,
    }
}

/// The last part of a task's name.
pub(super) fn id(name: &str) -> &str {
    name.rsplit_once("/tasks/").map_or(name, |(_, id)| id)
}

/// The namespace of a task's name.
pub(super) fn namespace(name: &str) -> &str {
    name.strip_prefix("namespaces/").and_then(|rest| rest.split_once('/')).map_or("", |(namespace, _)| namespace)
}

/// The kind of what is watched, and what that is.
pub(super) fn target(spec: Option<&v1::TaskSpec>) -> (&str, String) {
    use v1::task_spec::Monitor;
    match spec.and_then(|spec| spec.monitor.as_ref()) {
        Some(Monitor::Http(http)) if http.method.is_empty() || http.method == "GET" => ("http", http.url.clone()),
        Some(Monitor::Http(http)) => ("http", format!("{} {}", http.method, http.url)),
        Some(Monitor::Tcp(tcp)) => ("tcp", tcp.address.clone()),
        Some(Monitor::Exec(exec)) => ("exec", command_line(exec)),
        Some(Monitor::Custom(custom)) => (&custom.kind, String::new()),
        None => ("", String::new()),
    }
}

/// A command and its arguments, as a shell would take them.
fn command_line(exec: &v1::ExecMonitor) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_".contains(c);
    let quoted = |text: &String| match text {
        text if !text.is_empty() && text.chars().all(plain) => text.clone(),
        text => format!("'{}'", text.replace('\'', r"'\''")),
    };
    let words: Vec<_> = std::iter::once(&exec.command).chain(&exec.args).map(quoted).collect();
    words.join(" ")
}

/// A span of time, to two significant parts: `3.2ms`, `1m5s`, `2d3h`.
pub(super) fn rough(span: Duration) -> String {
    let step = match span {
        span if span < Duration::from_millis(1) => Duration::from_micros(1),
        span if span < Duration::from_secs(1) => Duration::from_micros(100),
        span if span < Duration::from_secs(10) => Duration::from_millis(10),
        span if span < Duration::from_secs(3_600) => Duration::from_secs(1),
        span if span < Duration::from_secs(86_400) => Duration::from_secs(60),
        _ => Duration::from_secs(3_600),
    };
    let kept = span.as_nanos() / step.as_nanos() * step.as_nanos();
    let nanos = u32::try_from(kept % 1_000_000_000).unwrap_or(0);
    duration::print(Duration::new(u64::try_from(kept / 1_000_000_000).unwrap_or(u64::MAX), nanos))
}

/// A number of bytes, to a tenth of its unit: `512 B`, `1.5 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let Some((power, unit)) = (1..).zip(units).take_while(|(power, _)| bytes >> (10 * power) > 0).last() else {
        return format!("{bytes} B");
    };
    // In tenths, in integers: what is shown is never more than there is.
    let tenths = (u128::from(bytes) * 10) >> (10 * power);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// A duration of the wire, roughly; nothing where it is unset.
pub(super) fn span(duration: Option<&prost_types::Duration>) -> Option<String> {
    duration.and_then(unwire).map(rough)
}

/// From one time to another; zero where clocks disagree, nothing where one is unset.
pub(super) fn between(earlier: Option<&Timestamp>, later: Option<&Timestamp>) -> Option<Duration> {
    let (earlier, later) = (system(earlier?)?, system(later?)?);
    Some(later.duration_since(earlier).unwrap_or(Duration::ZERO))
}

/// How long ago, in whole seconds.
pub(super) fn age(then: Option<&Timestamp>, now: SystemTime) -> Option<String> {
    Some(rough_seconds(now.duration_since(system(then?)?).unwrap_or(Duration::ZERO)))
}

/// A span of time in whole seconds, to two significant parts.
pub(super) fn rough_seconds(span: Duration) -> String {
    rough(Duration::from_secs(span.as_secs()))
}

/// `2026-11-22T10:00:00.123Z`.
pub(super) fn time(time: &Timestamp) -> String {
    let millis = time.nanos - time.nanos.rem_euclid(1_000_000);
    let seconds = Timestamp { seconds: time.seconds, nanos: 0 }.to_string();
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), millis / 1_000_000)
}

/// The time of the day: `10:00:00.123Z`.
fn clock(when: &Timestamp) -> String {
    let text = time(when);
    text.split_once('T').map_or(text.clone(), |(_, clock)| clock.to_owned())
}

fn system(time: &Timestamp) -> Option<SystemTime> {
    SystemTime::try_from(*time).ok()
}

/// `PASS in 3.2ms`, `FAIL STATUS in 3.2ms`.
pub(super) fn check(check: &v1::Check) -> String {
    let mut text = verdict(check.verdict);
    if !check.reason.is_empty() {
        text += &format!(" {}", check.reason);
    }
    if let Some(span) = span(check.duration.as_ref()) {
        text += &format!(" in {span}");
    }
    text
}

/// How long the parts of a check took: `connect 210us, first byte 2.1ms`.
pub(super) fn phases(phases: &v1::CheckPhases) -> String {
    let v1::CheckPhases { resolve, connect, tls, first_byte, transfer } = phases;
    let phases =
        [("resolve", resolve), ("connect", connect), ("TLS", tls), ("first byte", first_byte), ("transfer", transfer)];
    let told = phases.iter().filter_map(|(name, took)| Some(format!("{name} {}", span(took.as_ref())?)));
    told.collect::<Vec<_>>().join(", ")
}

/// `GRACEFUL, asked to by CANCEL`, with the message where there is one.
pub(super) fn outcome(outcome: &v1::Outcome) -> String {
    let v1::Outcome { exit: how, asked: why, message, time: _ } = outcome;
    let mut text = exit(*how);
    if *why != i32::from(v1::Asked::None) && *why != i32::from(v1::Asked::Unspecified) {
        text += &format!(" after {}", asked(*why));
    }
    if !message.is_empty() {
        text += &format!(": {message}");
    }
    text
}

/// Until when the task is paused, and why: `until 2026-11-22T10:00:00.000Z: night shift`.
pub(super) fn pause(pause: &v1::Pause) -> String {
    let v1::Pause { reason, expire_time } = pause;
    let until =
        expire_time.as_ref().map_or_else(|| "until it is resumed".to_owned(), |at| format!("until {}", time(at)));
    if reason.is_empty() { until } else { format!("{until}: {reason}") }
}

/// How the two-phase shutdown went so far: `phase 1 took 12ms`.
pub(super) fn shutdown(shutdown: &v1::Shutdown) -> Option<String> {
    let v1::Shutdown { asked_time: _, graceful_duration, abort_duration } = shutdown;
    let phases = [("phase 1", graceful_duration), ("phase 2", abort_duration)];
    let told: Vec<_> =
        phases.iter().filter_map(|(phase, took)| Some(format!("{phase} took {}", span(took.as_ref())?))).collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// `1 → 2`, with the error where it came to one: `1 → 2: not ready within 30s`; of a roll-back `2 → 3, back to 1`; or with why the
/// server has begun it: `2 → 3 (reverts: generation 2 has failed)`. Annotations alone make no new generation.
pub(super) fn swap(swap: &v1::Swap) -> String {
    let back = if swap.rollback_to == 0 { String::new() } else { format!(", back to {}", swap.rollback_to) };
    let error = if swap.error.is_empty() { String::new() } else { format!(": {}", swap.error) };
    if swap.from_generation == swap.to_generation {
        return format!("annotations{back}{error}");
    }
    let reverts = match swap.revert_reason.as_str() {
        "" => String::new(),
        reason => format!(" (reverts: {reason})"),
    };
    format!("{} → {}{back}{reverts}{error}", swap.from_generation, swap.to_generation)
}

/// What the circuit does, as of `now`, and why: `open for 5s, until 10:00:05.000Z (FAILURE, streak 2)`; under an override that comes
/// first: `forced open until 2026-11-22T10:05:00.000Z: maintenance; beneath it closed`.
pub(super) fn circuit(circuit: &v1::Circuit, now: Option<&Timestamp>) -> String {
    let by_itself = circuit_itself(circuit, now);
    let mode = match circuit.r#override() {
        v1::Override::Unspecified | v1::Override::None => return by_itself,
        v1::Override::ForcedOpen => "forced open",
        v1::Override::ForcedClosed => "forced closed",
        v1::Override::Shadow => "shadowed",
    };
    let until = circuit.override_expire_time.as_ref().map(|until| format!(" until {}", time(until)));
    let why = Some(format!(": {}", circuit.override_reason)).filter(|_| !circuit.override_reason.is_empty());
    format!("{mode}{}{}; beneath it {by_itself}", until.unwrap_or_default(), why.unwrap_or_default())
}

fn circuit_itself(circuit: &v1::Circuit, now: Option<&Timestamp>) -> String {
    let mut text = match circuit.state() {
        v1::CircuitState::Closed => "closed".to_owned(),
        v1::CircuitState::Open => match (circuit.open_until.as_ref(), between(now, circuit.open_until.as_ref())) {
            (Some(until), Some(left)) => format!("open for {}, until {}", rough(left), clock(until)),
            _ => "open".to_owned(),
        },
        v1::CircuitState::HalfOpen => "on trial".to_owned(),
        v1::CircuitState::Unspecified => circuit_state(circuit.state),
    };
    if circuit.suspended {
        text += ", suspended";
    }
    let said = ![v1::CircuitReason::Unspecified, v1::CircuitReason::Override].contains(&circuit.reason());
    let reason = Some(circuit_reason(circuit.reason)).filter(|_| said);
    let streak = Some(format!("streak {}", circuit.streak)).filter(|_| circuit.streak > 0);
    let why: Vec<_> = reason.into_iter().chain(streak).collect();
    if why.is_empty() { text } else { format!("{text} ({})", why.join(", ")) }
}

/// `9,950`.
pub(super) fn thousands(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
