//! A custom kind's configuration: JSON's data model.

use std::collections::BTreeMap;

/// A value as JSON has them.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigValue {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A finite number.
    Number(f64),
    /// Text.
    String(String),
    /// An array.
    List(Vec<ConfigValue>),
    /// An object.
    Object(BTreeMap<String, ConfigValue>),
}

impl Default for ConfigValue {
    fn default() -> Self {
        Self::Object(BTreeMap::new())
    }
}

impl ConfigValue {
    /// How deep a configuration may be nested, the outermost object included.
    pub const MAX_DEPTH: usize = 32;

    /// What is wrong with a configuration, if anything: its outside must be an object, its numbers finite (JSON has no
    /// others), and its depth bounded.
    pub(super) fn problem(&self) -> Option<String> {
        match self {
            Self::Object(_) => self.problem_below(1),
            _ => Some("must be an object".to_owned()),
        }
    }

    fn problem_below(&self, depth: usize) -> Option<String> {
        if depth > Self::MAX_DEPTH {
            return Some(format!("must not be nested deeper than {}", Self::MAX_DEPTH));
        }
        match self {
            Self::Number(number) if !number.is_finite() => Some(format!("numbers must be finite, got {number}")),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => None,
            Self::List(values) => values.iter().find_map(|value| value.problem_below(depth + 1)),
            Self::Object(fields) => fields.values().find_map(|value| value.problem_below(depth + 1)),
        }
    }
}
