//! Where the journal is kept, and how much of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::{Config, Key, Layer};
use crate::model::Pretty;

/// What the journal is kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreKind {
    /// Files in the data directory: tasks and events survive the process, and the machine's crash too.
    #[default]
    Embedded,
    /// The process's memory: gone with it.
    Memory,
}

/// The text names no store.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("must be `embedded` or `memory`, got {0:?}")]
pub struct InvalidStoreKind(String);

impl FromStr for StoreKind {
    type Err = InvalidStoreKind;

    fn from_str(text: &str) -> Result<Self, InvalidStoreKind> {
        match text {
            "embedded" => Ok(Self::Embedded),
            "memory" => Ok(Self::Memory),
            _ => Err(InvalidStoreKind(text.to_owned())),
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Memory => "memory",
        })
    }
}

const DATA_DIR: &str = "./switchyard-data";
const DAY: Duration = Duration::from_secs(86_400);
const MIB: u64 = 1 << 20;
const MEMORY_EVENTS: u64 = 100_000;
const MOST_EVENTS: u64 = 1_000_000_000;
const AGES: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3_650 * 86_400));
const BYTES: (u64, u64) = (MIB, MIB << 20);

/// What the configuration says of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storage {
    kind: StoreKind,
    data_dir: PathBuf,
    events: Option<u64>,
    age: Duration,
    bytes: u64,
}

impl Storage {
    /// Fills in the defaults, and notes what is out of range.
    pub(super) fn check(layer: &Layer, note: &mut impl FnMut(Key, String)) -> Self {
        let kind = layer.store.unwrap_or_default();
        let events = layer.event_retention.or((kind == StoreKind::Memory).then_some(MEMORY_EVENTS));
        if let Some(events) = events.filter(|events| !(1..=MOST_EVENTS).contains(events)) {
            note(Key::EventRetention, format!("must be 1 to {MOST_EVENTS}, not {events}"));
        }
        let age = layer.event_retention_age.unwrap_or(7 * DAY);
        if !(AGES.0..=AGES.1).contains(&age) {
            let (least, most, age) = (Pretty(AGES.0), Pretty(AGES.1), Pretty(age));
            note(Key::EventRetentionAge, format!("must be {least} to {most}, not {age}"));
        }
        let bytes = layer.event_retention_bytes.unwrap_or(1_024 * MIB);
        if !(BYTES.0..=BYTES.1).contains(&bytes) {
            note(Key::EventRetentionBytes, format!("must be 1MiB to 1TiB, not {bytes} bytes"));
        }
        let data_dir = layer.data_dir.clone().unwrap_or_else(|| PathBuf::from(DATA_DIR));
        if data_dir.as_os_str().is_empty() || data_dir.to_string_lossy().contains('\0') {
            note(Key::DataDir, "must be the path of a directory".to_owned());
        }
        Self { kind, data_dir, events, age, bytes }
    }
}

impl Config {
    /// What the journal is kept in.
    pub fn store(&self) -> StoreKind {
        self.storage.kind
    }

    /// The embedded store's directory.
    pub fn data_dir(&self) -> &Path {
        &self.storage.data_dir
    }

    /// The events that are kept; `None` leaves it to the embedded store, which goes by its tasks.
    pub fn event_retention(&self) -> Option<u64> {
        self.storage.events
    }

    /// How old events may grow in the embedded store.
    pub fn event_retention_age(&self) -> Duration {
        self.storage.age
    }

    /// The bytes that events may take in the embedded store.
    pub fn event_retention_bytes(&self) -> u64 {
        self.storage.bytes
    }
}

/// Reads a number of bytes: `1073741824`, `1GiB`, `500MB`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => MIB,
        "GiB" => MIB << 10,
        "TiB" => MIB << 20,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Error;

    #[test]
    fn how_many_events_are_kept_depends_on_the_store() {
        let kept = |store, event_retention| {
            let layer = Layer { store, event_retention, ..Layer::default() };
            Config::try_new(layer).expect("valid").event_retention()
        };
        assert_eq!(kept(None, None), None);
        assert_eq!(kept(Some(StoreKind::Memory), None), Some(100_000));
        assert_eq!(kept(Some(StoreKind::Embedded), Some(7)), Some(7));
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let layer = Layer {
            data_dir: Some(PathBuf::new()),
            event_retention: Some(0),
            event_retention_age: Some(Duration::from_secs(59)),
            event_retention_bytes: Some(1),
            ..Layer::default()
        };
        let Err(Error::Invalid(problems)) = Config::try_new(layer) else { panic!("must be refused") };
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let expected = [
            "event_retention: must be 1 to 1000000000, not 0",
            "event_retention_age: must be 1m to 3650d, not 59s",
            "event_retention_bytes: must be 1MiB to 1TiB, not 1 bytes",
            "data_dir: must be the path of a directory",
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn bytes_are_a_number_or_have_a_unit() {
        for (text, expected) in [
            ("1073741824", Some(1 << 30)),
            ("1GiB", Some(1 << 30)),
            ("500 MB", Some(500_000_000)),
            ("64KiB", Some(65_536)),
            ("", None),
            ("GiB", None),
            ("1.5GiB", None),
            ("-1", None),
            ("1g", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
