//! Resource names: `namespaces/{namespace}/tasks/{task}`.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidName {
    /// The name has not the form of its resource.
    #[error("must be of the form `{0}`")]
    Form(&'static str),
    /// A part of the name is empty, too long, or has characters that names do not have.
    #[error(
        "{0:?} must be 1 to 63 characters: lower-case letters, digits and hyphens, beginning with a letter, not ending with a hyphen"
    )]
    Part(String),
}

const TASK_FORM: &str = "namespaces/{namespace}/tasks/{task}";
const NAMESPACE_FORM: &str = "namespaces/{namespace}";

/// Checks one part of a name: `[a-z]([a-z0-9-]{0,61}[a-z0-9])?`.
fn check_part(part: &str) -> Result<(), InvalidName> {
    let lower_or_digit = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let valid = match part.as_bytes() {
        [] => false,
        [first, rest @ ..] => {
            first.is_ascii_lowercase()
                && rest.len() <= 62
                && rest.iter().all(|c| lower_or_digit(c) || *c == b'-')
                && rest.last().is_none_or(lower_or_digit)
        }
    };
    if valid { Ok(()) } else { Err(InvalidName::Part(part.chars().take(64).collect())) }
}

/// A namespace's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// Parses the last part of `namespaces/{namespace}`.
    pub fn try_new(id: &str) -> Result<Self, InvalidName> {
        check_part(id)?;
        Ok(Self(id.into()))
    }

    /// Parses `namespaces/{namespace}`; the empty string is the default namespace.
    pub fn parse(parent: &str) -> Result<Self, InvalidName> {
        match parent {
            "" => Ok(Self::default()),
            _ => Self::try_new(parent.strip_prefix("namespaces/").ok_or(InvalidName::Form(NAMESPACE_FORM))?),
        }
    }

    /// The last part of the name.
    pub fn id(&self) -> &str {
        &self.0
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespaces/{}", self.0)
    }
}

/// What a list or a watch looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Parent {
    /// `namespaces/-`.
    All,
    /// `namespaces/{namespace}`.
    One(Namespace),
}

impl Parent {
    /// Parses `namespaces/{namespace}` or `namespaces/-`; the empty string is the default namespace.
    pub fn parse(parent: &str) -> Result<Self, InvalidName> {
        match parent {
            "namespaces/-" => Ok(Self::All),
            _ => Namespace::parse(parent).map(Self::One),
        }
    }

    /// Whether the task lies below it.
    pub fn contains(&self, name: &TaskName) -> bool {
        self.has_namespace(name.namespace())
    }

    /// Whether the namespace of that id is one that it looks at.
    pub fn has_namespace(&self, id: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(namespace) => id == namespace.id(),
        }
    }

    /// What the names of all tasks below it begin with.
    pub fn prefix(&self) -> String {
        match self {
            Self::All => "namespaces/".to_owned(),
            Self::One(namespace) => format!("{namespace}/tasks/"),
        }
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("namespaces/-"),
            Self::One(namespace) => namespace.fmt(f),
        }
    }
}

/// A task's full name; cheap to clone, ordered as its text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskName(Arc<str>);

impl TaskName {
    /// The name of the task `id` in `namespace`.
    pub fn try_new(namespace: &Namespace, id: &str) -> Result<Self, InvalidName> {
        check_part(id)?;
        Ok(Self(format!("{namespace}/tasks/{id}").into()))
    }

    /// Parses `namespaces/{namespace}/tasks/{task}`.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        let form = || InvalidName::Form(TASK_FORM);
        let rest = name.strip_prefix("namespaces/").ok_or_else(form)?;
        let (namespace, task) = rest.split_once("/tasks/").ok_or_else(form)?;
        check_part(namespace)?;
        check_part(task)?;
        Ok(Self(name.into()))
    }

    /// The full name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The namespace's part.
    pub fn namespace(&self) -> &str {
        self.parts().0
    }

    /// The task's part.
    pub fn id(&self) -> &str {
        self.parts().1
    }

    /// The namespace's part and the task's.
    pub(super) fn parts(&self) -> (&str, &str) {
        let rest = &self.0["namespaces/".len()..];
        // No part has a slash; and a character is found much faster than a text, which every event of every watch is asked.
        let (namespace, task) = rest.split_once('/').unwrap_or((rest, ""));
        (namespace, task.strip_prefix("tasks/").unwrap_or_default())
    }
}

impl std::borrow::Borrow<str> for TaskName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        let name = TaskName::parse("namespaces/default/tasks/api-1").expect("valid");
        assert_eq!((name.namespace(), name.id()), ("default", "api-1"));
        let long = "a".repeat(64);
        for part in ["", "-", "A", "1a", "a-", "a_b", "a/b", "ä", "-a", long.as_str()] {
            assert!(TaskName::try_new(&Namespace::default(), part).is_err(), "{part}");
        }
        for name in [
            "",
            "x",
            "namespaces/a",
            "namespaces/a/tasks/",
            "tasks/a",
            "namespaces/-/tasks/a",
            "namespaces/a/tasks/b/c",
        ] {
            assert!(TaskName::parse(name).is_err(), "{name}");
        }
        assert!(TaskName::try_new(&Namespace::default(), &"a".repeat(63)).is_ok());
    }

    #[test]
    fn a_parent_contains_its_own_tasks_only() {
        let name = TaskName::parse("namespaces/a/tasks/b").expect("valid");
        assert!(Parent::All.contains(&name));
        assert!(Parent::parse("namespaces/a").expect("valid").contains(&name));
        assert!(!Parent::parse("").expect("valid").contains(&name));
        assert!(name.as_str().starts_with(&Parent::parse("namespaces/a").expect("valid").prefix()));
        assert!(Parent::parse("namespaces/").is_err());
    }
}
