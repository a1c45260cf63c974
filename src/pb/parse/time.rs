//! Points of the wall clock, which the wire has from the year 1 to 9999, and the model from 1970 to 2554.

use std::time::Duration;

use crate::model::{Timestamp, Violations};

/// The point of time, where one was given and is one.
pub(super) fn timestamp(v: &mut Violations, field: &str, wire: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let prost_types::Timestamp { seconds, nanos } = wire?;
    let parsed = match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => {
            u64::try_from(Duration::new(seconds, nanos).as_nanos()).ok().map(Timestamp::from_nanos)
        }
        _ => None,
    };
    if parsed.is_none() {
        v.add(field, "must be a time from 1970-01-01 to 2554-07-21, its nanos from 0 to 999,999,999");
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_time_is_taken() {
        let cases = [
            (0, 0, true),
            (1_795_341_600, 999_999_999, true),
            (18_446_744_073, 709_551_615, true),
            (18_446_744_073, 709_551_616, false),
            (18_446_744_074, 0, false),
            (253_402_300_799, 0, false),
            (i64::MAX, 999_999_999, false),
            (-1, 0, false),
            (0, -1, false),
            (0, 1_000_000_000, false),
            (i64::MIN, i32::MIN, false),
        ];
        for (seconds, nanos, good) in cases {
            let mut violations = Violations::new();
            let parsed = timestamp(&mut violations, "expire_time", Some(prost_types::Timestamp { seconds, nanos }));
            let asked = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
            assert_eq!(parsed.map(|time| i128::from(time.as_nanos())), good.then_some(asked), "{seconds} {nanos}");
            assert_eq!(violations.is_empty(), good, "{seconds} {nanos}");
        }
        assert_eq!(timestamp(&mut Violations::new(), "expire_time", None), None);
    }
}
