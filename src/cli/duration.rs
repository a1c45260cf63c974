//! Durations as people write them: `5s`, `500ms`, `1m30s`, `1.5s`, `2h`, `1d`.

use std::time::Duration;

use crate::model::Pretty;

/// Parses a duration; each unit at most once, the longer first.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let parsed: Result<Pretty, _> = text.parse();
    parsed
        .map(|Pretty(duration)| duration)
        .map_err(|_| format!("{text:?} is no duration, as 5s, 500ms, 1m30s, 1.5s, 2h, 1d"))
}

/// Prints a duration so that `parse` reads it back: `1h30m`, `5s`, `1.5s`, `250ms`.
pub(super) fn print(duration: Duration) -> String {
    Pretty(duration).to_string()
}

/// The wire form.
pub(super) fn wire(duration: Duration) -> prost_types::Duration {
    // `parse` keeps within what the wire form holds.
    prost_types::Duration::try_from(duration).unwrap_or_default()
}

/// From the wire form; nothing for a negative one, which no server sends.
pub(super) fn unwire(duration: &prost_types::Duration) -> Option<Duration> {
    Duration::try_from(*duration).ok()
}
