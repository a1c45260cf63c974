//! Which kinds there are.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::{BuiltIn, Kind, Monitor};
use crate::model::{MonitorSpec, TaskSpec, Violations};

/// A kind of that name is there already, built in or registered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is a kind named {0:?} already")]
pub struct DuplicateKind(
    /// The name.
    pub String,
);

/// The kinds that specs may name: the built-in ones, and those the embedder registers.
pub struct Registry {
    built_in: Box<dyn BuiltIn>,
    kinds: BTreeMap<String, Arc<dyn Kind>>,
}

impl Registry {
    /// Only the built-in kinds.
    pub fn new(built_in: impl BuiltIn) -> Self {
        Self { built_in: Box::new(built_in), kinds: BTreeMap::new() }
    }

    /// Adds a custom kind. The built-in names are taken: filters and metrics could not tell the two apart.
    pub fn register(&mut self, kind: impl Kind) -> Result<(), DuplicateKind> {
        let name = kind.name().to_owned();
        if self.built_in.names().contains(&name.as_str()) {
            return Err(DuplicateKind(name));
        }
        match self.kinds.entry(name) {
            Entry::Occupied(entry) => Err(DuplicateKind(entry.key().clone())),
            Entry::Vacant(entry) => {
                entry.insert(Arc::new(kind));
                Ok(())
            }
        }
    }

    /// The custom kind of that name.
    pub fn get(&self, name: &str) -> Option<Arc<dyn Kind>> {
        self.kinds.get(name).cloned()
    }

    /// Whether there is a kind of that name, built in or not.
    pub fn knows(&self, name: &str) -> bool {
        self.kinds.contains_key(name) || self.built_in.names().contains(&name)
    }

    /// The custom kinds' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }

    /// Whether this server allows the spec of a built-in kind; paths are relative to the task's spec.
    pub fn validate_built_in(&self, spec: &MonitorSpec) -> Result<(), Violations> {
        self.built_in.validate(spec)
    }

    /// The monitor of a built-in kind's spec; `None` where the spec names a custom kind, or is not allowed.
    pub fn build_built_in(&self, spec: &Arc<TaskSpec>) -> Option<Box<dyn Monitor>> {
        self.built_in.build(spec)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("kinds", &self.kinds.keys()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::from_fn;

    struct Http;

    impl BuiltIn for Http {
        fn names(&self) -> &'static [&'static str] {
            &["http"]
        }

        fn build(&self, _spec: &Arc<TaskSpec>) -> Option<Box<dyn Monitor>> {
            None
        }
    }

    #[test]
    fn a_name_is_taken_once() {
        let mut registry = Registry::new(Http);
        let kind = |name: &'static str| from_fn(name, |_token| async {});
        assert_eq!(registry.register(kind("b")), Ok(()));
        assert_eq!(registry.register(kind("a")), Ok(()));
        assert_eq!(registry.register(kind("a")), Err(DuplicateKind("a".into())));
        assert_eq!(registry.register(kind("http")), Err(DuplicateKind("http".into())));
        assert_eq!(registry.names().collect::<Vec<_>>(), ["a", "b"]);
        assert!(registry.get("a").is_some() && registry.get("c").is_none());
        assert_eq!(["a", "c", "http"].map(|name| registry.knows(name)), [true, false, true]);
    }
}
