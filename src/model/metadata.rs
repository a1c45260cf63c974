//! Labels and annotations.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Violations;

const LABELS: usize = 64;
const LABEL_BYTES: usize = 63;
const ANNOTATION_BYTES: usize = 16 * 1024;

type Map = Arc<BTreeMap<String, String>>;

/// A task's labels: at most 64, keys of 1 to 63 and values of 0 to 63 bytes. Fixed for a uid. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Map);

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
        violations.finish(Some(Self(Arc::new(map))))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Every label, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }
}

/// A task's annotations: at most 16 KiB of keys and values. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations(Map);

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
    pub fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }
}
