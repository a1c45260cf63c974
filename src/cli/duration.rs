//! Durations as people write them: `5s`, `500ms`, `1m30s`, `1.5s`, `2h`, `1d`.

use std::time::Duration;

/// The longest that the wire form holds: about 10,000 years.
const MOST: Duration = Duration::from_secs(315_576_000_000);
/// Units, the longer first, with their nanoseconds.
const UNITS: [(&str, u128); 8] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

/// Parses a duration; each unit at most once, the longer first.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration, as 5s, 500ms, 1m30s, 1.5s, 2h, 1d");
    let too_long = || format!("{text:?} is too long");
    let (mut rest, mut total, mut below) = (text, 0_u128, u128::MAX);
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after, |c| !c.is_ascii_digit() && c != '.');
        let (_, size) = *UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        if size >= below {
            return Err(wrong());
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(wrong());
        }
        let whole: u64 = whole.parse().map_err(|_| too_long())?;
        // The fifteenth digit of a fraction of a day is below a nanosecond.
        let fraction = &fraction[..fraction.len().min(14)];
        let scale = fraction.bytes().fold(1, |scale, _| scale * 10);
        let part = fraction.bytes().fold(0, |part, c| part * 10 + u128::from(c - b'0'));
        total += u128::from(whole) * size + part * size / scale;
        (rest, below) = (after, size);
    }
    if below == u128::MAX {
        return Err(wrong());
    }
    let nanos = u32::try_from(total % 1_000_000_000).map_err(|_| too_long())?;
    let duration = Duration::new(u64::try_from(total / 1_000_000_000).map_err(|_| too_long())?, nanos);
    if duration > MOST { Err(too_long()) } else { Ok(duration) }
}

fn split(text: &str, takes: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !takes(c)).unwrap_or(text.len()))
}

/// Prints a duration so that `parse` reads it back: `1h30m`, `5s`, `1.5s`, `250ms`.
pub(super) fn print(duration: Duration) -> String {
    let below_a_second = duration < Duration::from_secs(1);
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (unit, size) in UNITS {
        // The last unit takes what remains as a fraction: seconds, or below them the largest that fits.
        let last = if below_a_second { rest >= size } else { unit == "s" };
        let (whole, fraction) = (rest / size, rest % size);
        if last {
            let digits = if size == 1 { 1 } else { size.to_string().len() - 1 };
            let number = format!("{whole}.{fraction:0digits$}");
            if rest > 0 {
                text += &format!("{}{unit}", number.trim_end_matches('0').trim_end_matches('.'));
            }
            break;
        }
        if whole > 0 {
            text += &format!("{whole}{unit}");
        }
        rest = fraction;
    }
    if text.is_empty() { "0s".to_owned() } else { text }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let cases = [
            ("5s", 5_000_000_000),
            ("500ms", 500_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5s", 1_500_000_000),
            ("2h", 7_200_000_000_000),
            ("1d", 86_400_000_000_000),
            ("0s", 0),
            ("1d2h3m4.5s", 93_784_500_000_000),
            ("0.000000001s", 1),
            ("0.1234567890123456789s", 123_456_789),
            ("1.5ms", 1_500_000),
            ("3us", 3_000),
            ("3µs", 3_000),
            ("7ns", 7),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let cases = [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5us"),
            (250_000_000, "250ms"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m"),
            (5_400_000_000_000, "1h30m"),
            (93_784_000_000_001, "1d2h3m4.000000001s"),
        ];
        for (nanos, text) in cases {
            let span = Duration::from_nanos(nanos);
            assert_eq!(print(span), text);
            assert_eq!(parse(text), Ok(span));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "", "5", "s", "-5s", "5 s", "5x", "1s1m", "1s1s", ".5s", "5.s", "1..5s", "1e3s", "+1s", "∞s", "1m30",
            "1us1µs",
        ] {
            assert!(parse(text).expect_err(text).contains("is no duration"), "{text}");
        }
        for text in ["315576000001s", "99999999999999999999s", "18446744073709551615d", "3652501d"] {
            assert!(parse(text).expect_err(text).contains("too long"), "{text}");
        }
    }
}
