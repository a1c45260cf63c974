//! Points of time as people write them: a time with its offset, or how long ago it was.

use std::time::SystemTime;

use prost_types::Timestamp;

use super::duration;

/// Parses a point of time that means the same everywhere: a time of day without an offset is somebody's local one.
pub(super) fn parse(text: &str) -> Result<Timestamp, String> {
    let (_, clock) = text.split_once(['T', 't']).unwrap_or_default();
    let has_offset = clock.ends_with(['Z', 'z']) || clock.contains(['+', '-']);
    let time = text.parse().ok().filter(|_| has_offset);
    time.ok_or_else(|| "it must be a time with its offset, as 2026-12-01T06:00:00Z or …+02:00".to_owned())
}

/// Parses a point of time, or a duration back from now by this machine's clock.
pub(super) fn back(text: &str) -> Result<Timestamp, String> {
    if let Ok(span) = duration::parse(text) {
        let then = SystemTime::now().checked_sub(span);
        return then.map(Timestamp::from).ok_or_else(|| format!("there was no time {text} ago"));
    }
    parse(text).map_err(|_| {
        "it must be a duration back from now, as 10m or 1h30m, or a time with its offset, as 2026-12-01T06:00:00Z"
            .to_owned()
    })
}

/// Whether it lies before the other.
pub(super) fn is_before(time: &Timestamp, other: &Timestamp) -> bool {
    (time.seconds, time.nanos) < (other.seconds, other.nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_offsets_and_durations_reach_back() {
        let six = Timestamp { seconds: 1_796_104_800, nanos: 0 };
        for text in ["2026-12-01T06:00:00Z", "2026-12-01T08:00:00+02:00", "2026-12-01T01:00:00-05:00"] {
            assert_eq!((parse(text), back(text)), (Ok(six), Ok(six)), "{text}");
        }
        for text in ["", "10", "2026-12-01", "2026-12-01T06:00:00", "06:00:00Z", "tomorrow", "2026-12-01 06:00:00"] {
            assert!(parse(text).is_err() && back(text).is_err(), "{text}");
        }
        let hour_ago = back("1h").expect("a duration");
        let now = Timestamp::from(SystemTime::now());
        assert!((3_600..3_605).contains(&(now.seconds - hour_ago.seconds)) && is_before(&hour_ago, &now));
        assert!(!is_before(&now, &now));
    }
}
