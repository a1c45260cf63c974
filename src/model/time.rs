//! Times as the pure rooms know them: arguments, never read from a clock.

use std::fmt;
use std::ops::Add;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// A point of the monotonic clock: nanoseconds since an origin of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(u64);

impl Mono {
    /// The origin.
    pub const ZERO: Self = Self(0);

    /// The point `nanos` after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `span` earlier, or the origin.
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }
}

impl Add<Duration> for Mono {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }
}

/// A point of the wall clock: nanoseconds since the Unix epoch. For people and for records; no decision depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The point `nanos` after the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `span` earlier, or the epoch.
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Now {
    /// What decisions are made by.
    pub mono: Mono,
    /// What records show.
    pub wall: Timestamp,
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// A duration for people: `1h30m`, `5s`, `1.5s`, `250ms`, `0s`. What it prints, the CLI can read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pretty(pub Duration);

impl Pretty {
    /// A measured duration, to the millisecond where it is longer than that: what a person wants to read of it.
    pub fn about(measured: Duration) -> Self {
        let millis = u64::try_from((measured + Duration::from_micros(500)).as_millis()).unwrap_or(u64::MAX);
        Self(if millis > 0 { Duration::from_millis(millis) } else { measured })
    }
}

impl fmt::Display for Pretty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (total, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        if total == 0 && nanos > 0 {
            return match nanos {
                n if n >= 1_000_000 => write!(f, "{}ms", decimal(u64::from(n / 1_000_000), n % 1_000_000, 6)),
                n if n >= 1_000 => write!(f, "{}us", decimal(u64::from(n / 1_000), n % 1_000, 3)),
                n => write!(f, "{n}ns"),
            };
        }
        let (days, hours, minutes, seconds) = (total / 86_400, total / 3_600 % 24, total / 60 % 60, total % 60);
        for (value, unit) in [(days, "d"), (hours, "h"), (minutes, "m")] {
            if value > 0 {
                write!(f, "{value}{unit}")?;
            }
        }
        if seconds > 0 || nanos > 0 || total == 0 {
            write!(f, "{}s", decimal(seconds, nanos, 9))?;
        }
        Ok(())
    }
}

/// A text that is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Hash)]
#[error("must be a duration, as 30s, 500ms or 1m30s")]
pub struct InvalidDuration;

impl FromStr for Pretty {
    type Err = InvalidDuration;

    /// Reads numbers with units, the larger unit first and each at most once: `1h30m`, `1.5s`, `250ms`. There is no default unit.
    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        const UNITS: [(&str, u64); 7] = [
            ("d", 86_400_000_000_000),
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
            ("ms", 1_000_000),
            ("us", 1_000),
            ("ns", 1),
        ];
        if text.is_empty() {
            return Err(InvalidDuration);
        }
        let (mut rest, mut units, mut total) = (text, UNITS.as_slice(), 0_u64);
        while !rest.is_empty() {
            let (number, after) = split_where(rest, |c| !c.is_ascii_digit() && c != '.');
            let (unit, after) = split_where(after, |c| !c.is_ascii_alphabetic());
            let place = units.iter().position(|(name, _)| *name == unit).ok_or(InvalidDuration)?;
            let value = scaled(number, units[place].1).ok_or(InvalidDuration)?;
            total = total.checked_add(value).ok_or(InvalidDuration)?;
            (rest, units) = (after, &units[place + 1..]);
        }
        Ok(Self(Duration::from_nanos(total)))
    }
}

fn split_where(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}

/// A decimal `number` of units of so many `nanos`; what is finer than a nanosecond is cut.
fn scaled(number: &str, nanos: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() {
        return None;
    }
    let mut total = whole.parse::<u64>().ok()?.checked_mul(nanos)?;
    let mut place = nanos;
    for digit in fraction.chars() {
        place /= 10;
        total = total.checked_add(place * u64::from(digit.to_digit(10)?))?;
    }
    Some(total)
}

/// `whole` and a `fraction` of `digits` digits, without trailing zeros.
fn decimal(whole: u64, fraction: u32, digits: usize) -> String {
    let text = format!("{whole}.{fraction:0digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        let cases = [
            (Duration::ZERO, "0s"),
            (Duration::from_millis(250), "250ms"),
            (Duration::from_micros(1_500), "1.5ms"),
            (Duration::from_nanos(7), "7ns"),
            (Duration::from_millis(1_500), "1.5s"),
            (Duration::from_secs(5), "5s"),
            (Duration::from_secs(5_400), "1h30m"),
            (Duration::from_secs(86_400), "1d"),
        ];
        for (span, text) in cases {
            assert_eq!(Pretty(span).to_string(), text);
            assert_eq!(text.parse(), Ok(Pretty(span)));
        }
    }

    #[test]
    fn durations_are_read_strictly() {
        for text in [
            "", "5", "s", "-5s", "+5s", "5 s", " 5s", "1s1m", "1s1s", "1.s", ".5s", "1.2.3s", "5S", "5s.", "5y",
            "1e3s", "∞s",
        ] {
            assert_eq!(text.parse::<Pretty>(), Err(InvalidDuration), "{text:?}");
        }
        assert_eq!("99999999999d".parse::<Pretty>(), Err(InvalidDuration));
        assert_eq!("1m30s".parse(), Ok(Pretty(Duration::from_secs(90))));
        assert_eq!("0.25s10us".parse(), Ok(Pretty(Duration::from_micros(250_010))));
    }

    #[test]
    fn measured_durations_are_rounded() {
        assert_eq!(Pretty::about(Duration::from_nanos(5_000_734_205)).to_string(), "5.001s");
        assert_eq!(Pretty::about(Duration::from_nanos(1_999_734_205)).to_string(), "2s");
        assert_eq!(Pretty::about(Duration::from_micros(42)).to_string(), "42us");
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Mono::from_nanos(5) + Duration::MAX, Mono::from_nanos(u64::MAX));
        assert_eq!(Mono::from_nanos(5).since(Mono::from_nanos(9)), Duration::ZERO);
        assert_eq!(Mono::from_nanos(5).before(Duration::from_secs(1)), Mono::ZERO);
    }
}
