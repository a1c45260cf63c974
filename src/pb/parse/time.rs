//! Points of the wall clock, which the wire has from the year 1 on and the model from 1970.

use std::time::Duration;

use crate::model::{Timestamp, Violations};

/// The point of time, where one was given and is one.
pub(super) fn timestamp(v: &mut Violations, field: &str, wire: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let prost_types::Timestamp { seconds, nanos } = wire?;
    let parsed = match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 && seconds <= MOST_SECONDS => {
            Some(Timestamp::default() + Duration::new(seconds, nanos))
        }
        _ => None,
    };
    if parsed.is_none() {
        v.add(field, "must be a time between 1970 and 9999, its nanos from 0 to 999,999,999");
    }
    parsed
}

/// The end of the year 9999, where `google.protobuf.Timestamp` ends. (The model goes on until 2554, which is as good as for ever.)
const MOST_SECONDS: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_time_is_taken() {
        let cases = [
            (0, 0, true),
            (1_795_341_600, 999_999_999, true),
            (253_402_300_799, 0, true),
            (253_402_300_800, 0, false),
            (-1, 0, false),
            (0, -1, false),
            (0, 1_000_000_000, false),
            (i64::MIN, i32::MIN, false),
        ];
        for (seconds, nanos, good) in cases {
            let mut violations = Violations::new();
            let parsed = timestamp(&mut violations, "expire_time", Some(prost_types::Timestamp { seconds, nanos }));
            assert_eq!((parsed.is_some(), violations.is_empty()), (good, good), "{seconds} {nanos}");
        }
        assert_eq!(timestamp(&mut Violations::new(), "expire_time", None), None);
    }
}
