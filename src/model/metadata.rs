//! Labels and annotations.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Violations;

const LABELS: usize = 64;
const LABEL_BYTES: usize = 63;
const ANNOTATION_BYTES: usize = 16 * 1024;

/// A task's labels: at most 64, keys of 1 to 63 and values of 0 to 63 bytes. Fixed for a uid. Cheap to clone.
///
/// All of them are one text, sorted by key, each key and value behind its length in bytes, which is one ASCII character. A list
/// whose filter names a label asks every task for it: that is one look into memory here, and several in a map of strings.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Labels(Arc<str>);

impl Labels {
    /// Checks the labels; violations are relative to the map's own path.
    pub fn try_new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, Violations> {
        let map: BTreeMap<_, _> = pairs.into_iter().collect();
        let mut violations = Violations::new();
        if map.len() > LABELS {
            violations.add("", format!("at most {LABELS} labels, got {}", map.len()));
        }
        for (key, value) in map.iter().take(LABELS) {
            if key.is_empty() || key.len() > LABEL_BYTES {
                violations.add("", format!("a label's key must be 1 to {LABEL_BYTES} bytes, got {}", key.len()));
            } else if value.len() > LABEL_BYTES {
                violations
                    .add(key, format!("a label's value must be at most {LABEL_BYTES} bytes, got {}", value.len()));
            }
        }
        violations.finish(Some(()))?;
        let mut packed = String::new();
        for text in map.iter().flat_map(|(key, value)| [key, value]) {
            packed.push(char::from(u8::try_from(text.len()).unwrap_or_default()));
            packed.push_str(text);
        }
        Ok(Self(packed.into()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    /// Every label, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        let mut next = move || {
            let length = usize::from(*rest.as_bytes().first()?);
            let text;
            (text, rest) = rest[1..].split_at_checked(length)?;
            Some(text)
        };
        std::iter::from_fn(move || Some((next()?, next()?)))
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A task's annotations: at most 16 KiB of keys and values. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations(Arc<BTreeMap<String, String>>);

impl Annotations {
    /// Checks the annotations; violations are relative to the map's own path.
    pub fn try_new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, Violations> {
        let map: BTreeMap<_, _> = pairs.into_iter().collect();
        let mut violations = Violations::new();
        let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > ANNOTATION_BYTES {
            violations.add("", format!("at most {ANNOTATION_BYTES} bytes of keys and values, got {bytes}"));
        }
        if map.contains_key("") {
            violations.add("", "an annotation's key must not be empty");
        }
        violations.finish(Some(Self(Arc::new(map))))
    }

    /// Every annotation, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Result<Labels, Violations> {
        Labels::try_new(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn labels_are_found_and_listed_by_key_whatever_their_texts() {
        let (key, value) = ("k".repeat(63), "ä".repeat(31));
        let pairs = [("zone", "7"), ("a", ""), (&key, &value), ("?", "\u{3}abc"), ("\u{1}", "zone")];
        let found = labels(&pairs).expect("valid");
        let mut sorted = pairs;
        sorted.sort_unstable();
        assert_eq!(found.iter().collect::<Vec<_>>(), sorted);
        for (key, value) in pairs {
            assert_eq!(found.get(key), Some(value));
        }
        assert_eq!((found.get("abc"), found.get("7"), found.get("")), (None, None, None), "a value, a part of one");
        assert_eq!(found, labels(&sorted).expect("valid"));
        assert!(!found.is_empty() && Labels::default().is_empty() && Labels::default().get("a").is_none());
    }

    #[test]
    fn labels_that_are_too_many_or_too_long_are_refused() {
        let long = "x".repeat(64);
        for pair in [("", "x"), (long.as_str(), "x"), ("x", long.as_str())] {
            assert!(labels(&[pair]).is_err(), "{pair:?}");
        }
        let many = |count: usize| Labels::try_new((0..count).map(|n| (n.to_string(), String::new())));
        assert!(many(64).is_ok() && many(65).is_err());
    }
}
