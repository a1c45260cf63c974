//! Checks, and what is sampled of a live task.

use super::time::{duration, timestamp};
use crate::model::{Check, CheckRecord, Live, PassiveCounts, Phases, WindowCounts};
use crate::pb::v1;

pub(super) fn live(live: &Live) -> v1::Live {
    let Live { last_check, last_progress_time, next_check_time, missed_checks, circuit } = live;
    v1::Live {
        last_check: last_check.as_ref().map(check),
        last_progress_time: last_progress_time.map(timestamp),
        next_check_time: next_check_time.map(timestamp),
        missed_checks: *missed_checks,
        circuit: Some(circuit_counts(*circuit)),
    }
}

fn circuit_counts(counts: WindowCounts) -> v1::CircuitCounts {
    let WindowCounts { results, failed, slow, consecutive, passive } = counts;
    let PassiveCounts { results: calls, failed: calls_failed, slow: calls_slow, leases } = passive;
    let passive = v1::PassiveCounts { results: calls, failed: calls_failed, slow: calls_slow, leases };
    v1::CircuitCounts { results, failed, slow, consecutive, passive: Some(passive) }
}

/// A check.
pub fn check(check: &Check) -> v1::Check {
    let Check { time, duration: took, phases, verdict, reason, message, attempt } = check;
    v1::Check {
        time: Some(timestamp(*time)),
        duration: Some(duration(*took)),
        phases: phases.map(check_phases),
        verdict: v1::Verdict::from(*verdict).into(),
        reason: (*reason).to_owned(),
        message: message.clone(),
        attempt: attempt.get(),
    }
}

/// Renders a check with whose it was.
pub fn check_record(record: &CheckRecord) -> v1::CheckRecord {
    let CheckRecord { name, uid, generation, shadow, check: found } = record;
    v1::CheckRecord {
        name: name.to_string(),
        uid: uid.to_string(),
        generation: generation.get(),
        shadow: *shadow,
        check: Some(check(found)),
    }
}

fn check_phases(phases: Phases) -> v1::CheckPhases {
    let Phases { resolve, connect, tls, first_byte, transfer } = phases;
    v1::CheckPhases {
        resolve: resolve.map(duration),
        connect: connect.map(duration),
        tls: tls.map(duration),
        first_byte: first_byte.map(duration),
        transfer: transfer.map(duration),
    }
}
