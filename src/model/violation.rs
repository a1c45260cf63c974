//! Collecting everything that is wrong with a request, with field paths.

use std::fmt;

/// The most violations one request is answered with; a client that breaks more rules than that learns of the first ones.
const MOST: usize = 100;

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field's path in the request, as `task.spec.schedule.interval`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub description: String,
}

/// Gathers violations while a request is parsed; knows the path of the message that is being parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    path: String,
    found: Vec<Violation>,
}

impl Violations {
    /// None yet, at the root of the request.
    pub fn new() -> Self {
        Self::default()
    }

    /// A single violation, for what is found out after parsing.
    pub fn one(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { path: String::new(), found: vec![Violation { field: field.into(), description: description.into() }] }
    }

    /// Runs `parse` with `segment` (a field name, or `field[3]`) appended to the path.
    pub fn within<T>(&mut self, segment: &str, parse: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        // In place: a request has a dozen segments, and hardly ever a violation.
        if length > 0 && !segment.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(segment);
        let parsed = parse(self);
        self.path.truncate(length);
        parsed
    }

    /// Notes a violation of `field`, relative to the current path; an empty `field` means the message itself.
    pub fn add(&mut self, field: &str, description: impl Into<String>) {
        if self.found.len() < MOST {
            let field = self.join(field);
            self.found.push(Violation { field, description: description.into() });
        }
    }

    /// Takes over what was found relative to the current path.
    pub fn extend(&mut self, found: Self) {
        for Violation { field, description } in found.found {
            self.add(&field, description);
        }
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What was found, in the order of the fields.
    pub fn as_slice(&self) -> &[Violation] {
        &self.found
    }

    /// `Ok(value)` where nothing was found.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => Err(self),
        }
    }

    fn join(&self, segment: &str) -> String {
        match (self.path.is_empty(), segment.is_empty()) {
            (true, _) => segment.to_owned(),
            (_, true) => self.path.clone(),
            _ => format!("{}.{segment}", self.path),
        }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Violation { field, description }) in self.found.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}{field}: {description}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_nest_and_unwind() {
        let mut violations = Violations::new();
        violations.within("task", |v| {
            v.within("spec", |v| v.add("timeout", "too long"));
            v.add("", "required");
            v.extend(Violations::one("labels", "too many"));
        });
        violations.add("name", "bad");
        let fields: Vec<_> = violations.as_slice().iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["task.spec.timeout", "task", "task.labels", "name"]);
    }
}
