//! Times and durations.

use std::time::Duration;

use crate::model::Timestamp;

/// A point of the wall clock.
pub fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let duration = duration(Duration::from_nanos(time.as_nanos()));
    prost_types::Timestamp { seconds: duration.seconds, nanos: duration.nanos }
}

/// A duration; what the wire cannot hold (292 thousand million years) is as long as can be.
pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}
