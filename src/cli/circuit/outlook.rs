//! What a circuit is, why, and what will become of it, in words.

use std::time::SystemTime;

use prost_types::Timestamp;

use crate::cli::words;
use crate::pb::v1;

/// What callers go by: the override, or else the state.
pub(in crate::cli) fn state(circuit: &v1::Circuit) -> String {
    if is_overridden(circuit) {
        words::circuit_override(circuit.r#override)
    } else {
        words::circuit_state(circuit.state)
    }
}

/// Since when callers have gone by that.
pub(super) fn since(circuit: &v1::Circuit) -> Option<&Timestamp> {
    if is_overridden(circuit) { circuit.override_time.as_ref() } else { circuit.since_time.as_ref() }
}

pub(super) fn is_overridden(circuit: &v1::Circuit) -> bool {
    ![v1::Override::Unspecified, v1::Override::None].contains(&circuit.r#override())
}

/// What comes next: `half-open in 12s`, `trial ends in 40s`, `OPEN again in 5m`; nothing where nothing will by itself.
pub(super) fn next(circuit: &v1::Circuit, now: SystemTime) -> String {
    if !is_overridden(circuit) {
        return next_by_itself(circuit, now);
    }
    match left(circuit.override_expire_time.as_ref(), now) {
        Some(left) => format!("{} again in {left}", words::circuit_state(circuit.state)),
        None => "until it is forced off".to_owned(),
    }
}

/// The same of the circuit beneath an override.
pub(super) fn next_by_itself(circuit: &v1::Circuit, now: SystemTime) -> String {
    if circuit.suspended {
        return "suspended until an instance is ready".to_owned();
    }
    match circuit.state() {
        v1::CircuitState::Open => {
            left(circuit.open_until.as_ref(), now).map_or_else(String::new, |left| format!("half-open in {left}"))
        }
        v1::CircuitState::HalfOpen => left(circuit.half_open_until.as_ref(), now)
            .map_or_else(|| "on trial".to_owned(), |left| format!("trial ends in {left}")),
        v1::CircuitState::Closed | v1::CircuitState::Unspecified => String::new(),
    }
}

fn left(until: Option<&Timestamp>, now: SystemTime) -> Option<String> {
    words::between(Some(&now.into()), until).map(words::rough_seconds)
}

/// Why it is so: what an operator has said; or what opened or closed it, and how often it has opened.
pub(super) fn why(circuit: &v1::Circuit) -> String {
    if is_overridden(circuit) { circuit.override_reason.clone() } else { why_by_itself(circuit) }
}

/// The same of the circuit beneath an override.
pub(super) fn why_by_itself(circuit: &v1::Circuit) -> String {
    use v1::{CircuitReason as R, CircuitState as S, EvidenceSource as E};
    let evidence = match circuit.trip_source() {
        E::Active => "checks failed or were slow",
        E::Passive => "calls failed or were slow",
        E::Unspecified => "it failed",
    };
    let told = match (circuit.state(), circuit.reason()) {
        (S::Closed, R::Recovered) => "it has recovered".to_owned(),
        (S::Closed, R::Waived) => "checks passed, and too few calls were tried in time".to_owned(),
        (S::Closed, R::Reset) => "it was reset".to_owned(),
        (_, R::Failure) => evidence.to_owned(),
        (_, R::Inconclusive) => "the trial came to nothing in time".to_owned(),
        (_, R::Unspecified | R::Override) => String::new(),
        (_, R::Recovered | R::Waived | R::Reset) => words::circuit_reason(circuit.reason),
    };
    // As of the task's last event, so it is no news of a circuit that has been closed for long.
    let streak = (circuit.streak > 1 && circuit.state() != S::Closed).then(|| format!("streak {}", circuit.streak));
    let flapping = circuit.flapping.then(|| "flapping".to_owned());
    let parts: Vec<_> = Some(told).filter(|told| !told.is_empty()).into_iter().chain(streak).chain(flapping).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: u64 = 1_000;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn in_state(state: v1::CircuitState) -> v1::Circuit {
        v1::Circuit { state: state.into(), since_time: at(980), ..v1::Circuit::default() }
    }

    #[test]
    fn what_comes_next_is_told_for_as_long_as_time_runs() {
        let open = v1::Circuit { open_until: at(1_012), ..in_state(v1::CircuitState::Open) };
        let trial = v1::Circuit { half_open_until: at(1_040), ..in_state(v1::CircuitState::HalfOpen) };
        assert_eq!(next(&open, now()), "half-open in 12s");
        assert_eq!(next(&trial, now()), "trial ends in 40s");
        assert_eq!(next(&in_state(v1::CircuitState::HalfOpen), now()), "on trial");
        assert_eq!(next(&in_state(v1::CircuitState::Closed), now()), "");
        let suspended = v1::Circuit { suspended: true, open_until: None, ..open };
        assert_eq!(next(&suspended, now()), "suspended until an instance is ready");
    }

    #[test]
    fn an_override_comes_first_and_says_how_it_ends() {
        let forced = v1::Circuit {
            r#override: v1::Override::ForcedOpen.into(),
            override_reason: "maintenance".to_owned(),
            override_time: at(990),
            ..in_state(v1::CircuitState::Closed)
        };
        assert_eq!((state(&forced).as_str(), since(&forced)), ("FORCED_OPEN", at(990).as_ref()));
        assert_eq!(next(&forced, now()), "until it is forced off");
        let until = v1::Circuit { override_expire_time: at(1_300), ..forced };
        assert_eq!((next(&until, now()), why(&until)), ("CLOSED again in 5m".into(), "maintenance".into()));
        assert_eq!(next_by_itself(&until, now()), "");
    }

    #[test]
    fn why_it_opened_or_closed_is_said_with_whose_evidence_it_was() {
        let tripped = v1::Circuit {
            reason: v1::CircuitReason::Failure.into(),
            trip_source: v1::EvidenceSource::Passive.into(),
            streak: 3,
            flapping: true,
            ..in_state(v1::CircuitState::Open)
        };
        assert_eq!(why(&tripped), "calls failed or were slow, streak 3, flapping");
        let closed = v1::Circuit { reason: v1::CircuitReason::Recovered.into(), ..in_state(v1::CircuitState::Closed) };
        assert_eq!(why(&closed), "it has recovered");
        assert_eq!(why(&in_state(v1::CircuitState::Closed)), "");
    }
}
