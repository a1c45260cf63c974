//! Durations, which are signed on the wire and unsigned here.

use std::time::Duration;

use crate::model::Violations;

/// What `google.protobuf.Duration` allows: about 10,000 years.
const MOST_SECONDS: i64 = 315_576_000_000;
const MOST_NANOS: i32 = 999_999_999;

/// The duration, where one was given and is one; its range is for the model to judge.
pub(super) fn duration(v: &mut Violations, field: &str, wire: Option<prost_types::Duration>) -> Option<Duration> {
    match parse(wire?) {
        Ok(duration) => Some(duration),
        Err(problem) => {
            v.add(field, problem);
            None
        }
    }
}

fn parse(wire: prost_types::Duration) -> Result<Duration, &'static str> {
    let prost_types::Duration { seconds, nanos } = wire;
    if !(-MOST_NANOS..=MOST_NANOS).contains(&nanos) {
        return Err("not a duration: nanos must be between -999,999,999 and 999,999,999");
    }
    if !(-MOST_SECONDS..=MOST_SECONDS).contains(&seconds) {
        return Err("not a duration: seconds must be between -315,576,000,000 and 315,576,000,000");
    }
    if seconds.signum() * i64::from(nanos.signum()) < 0 {
        return Err("not a duration: seconds and nanos must have the same sign");
    }
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(nanos)) => Ok(Duration::new(seconds, nanos)),
        _ => Err("must not be negative"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_duration_is_taken() {
        let cases = [
            (0, 0, Ok(Duration::ZERO)),
            (1, 500_000_000, Ok(Duration::from_millis(1_500))),
            (MOST_SECONDS, MOST_NANOS, Ok(Duration::new(315_576_000_000, 999_999_999))),
            (-1, 0, Err("must not be negative")),
            (0, -1, Err("must not be negative")),
            (1, -1, Err("same sign")),
            (-1, 1, Err("same sign")),
            (0, 1_000_000_000, Err("nanos")),
            (0, i32::MIN, Err("nanos")),
            (i64::MAX, 0, Err("seconds")),
            (i64::MIN, i32::MIN, Err("nanos")),
        ];
        for (seconds, nanos, expected) in cases {
            let parsed = parse(prost_types::Duration { seconds, nanos });
            match (parsed, expected) {
                (Ok(parsed), Ok(expected)) => assert_eq!(parsed, expected, "{seconds} {nanos}"),
                (Err(problem), Err(part)) => assert!(problem.contains(part), "{seconds} {nanos}: {problem}"),
                (parsed, expected) => panic!("{seconds} {nanos}: {parsed:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn unset_is_no_violation() {
        let mut violations = Violations::new();
        assert_eq!(duration(&mut violations, "timeout", None), None);
        assert!(violations.is_empty());
    }
}
