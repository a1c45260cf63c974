//! Filters of lists and watches: `field (= | != | :) value`, joined by `AND`.

use super::{AlertKind, BriefTask, CircuitState, EventType, Labels, Override, State, Task, TaskName};

/// The longest filter, in bytes, and the most terms; so that no filter costs more than a request may.
const MOST_BYTES: usize = 4 * 1024;
const MOST_TERMS: usize = 32;

/// What lies over a circuit, as a filter asks for it.
const OVERRIDES: [Option<Override>; 4] = {
    let [open, closed, shadow] = Override::ALL;
    [None, Some(open), Some(closed), Some(shadow)]
};

/// Which tasks a list shows: `name`, `labels.KEY`, `state`, `monitor`, `alert`, `circuit.state`, `circuit.override`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter(Vec<(ListTerm, bool)>);

/// Which events a watch shows: `name`, `labels.KEY`, `type`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchFilter {
    /// About the task; an event without a task passes these.
    task: Vec<(TaskTerm, bool)>,
    /// About the event.
    kind: Vec<(EventType, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TaskTerm {
    Name(NamePattern),
    Label(String, String),
    HasLabel(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ListTerm {
    Task(TaskTerm),
    State(State),
    Monitor(String),
    Alert(AlertKind),
    AnyAlert,
    Circuit(CircuitState),
    Override(Option<Override>),
}

/// A full name or a task's id, or a prefix of either.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NamePattern {
    text: String,
    prefix: bool,
}

impl NamePattern {
    fn parse(value: &str) -> Self {
        match value.strip_suffix('*') {
            Some(text) => Self { text: text.to_owned(), prefix: true },
            None => Self { text: value.to_owned(), prefix: false },
        }
    }

    fn matches(&self, name: &TaskName) -> bool {
        let name = if self.text.contains('/') { name.as_str() } else { name.id() };
        if self.prefix { name.starts_with(&self.text) } else { name == self.text }
    }

    /// The same, where the full name is not in one piece.
    fn matches_brief(&self, task: &BriefTask<'_>) -> bool {
        let full = task.name();
        let parts = if self.text.contains('/') { &full[..] } else { &full[3..] };
        let mut text = self.text.as_str();
        for part in parts {
            match text.strip_prefix(part) {
                Some(rest) => text = rest,
                None => return self.prefix && part.starts_with(text),
            }
        }
        text.is_empty()
    }
}

impl TaskTerm {
    fn matches(&self, name: &TaskName, labels: &Labels) -> bool {
        match self {
            Self::Name(pattern) => pattern.matches(name),
            Self::Label(key, value) => labels.get(key) == Some(value.as_str()),
            Self::HasLabel(key) => labels.get(key).is_some(),
        }
    }
}

impl ListFilter {
    /// Parses a filter; `Err` says what is wrong and at which column.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FIELDS: &str = "name, labels.KEY, state, monitor, alert, circuit.state, circuit.override";
        let mut terms = Vec::new();
        for term in Terms::new(text)? {
            let term = term?;
            let parsed = match term.field {
                "state" => ListTerm::State(term.one_of(&State::ALL, State::name)?),
                "monitor" => ListTerm::Monitor(term.exact()?.to_owned()),
                "alert" if term.operator == Operator::Has && term.value == "*" => ListTerm::AnyAlert,
                "alert" => ListTerm::Alert(term.one_of(&AlertKind::ALL, AlertKind::name)?),
                "circuit.state" => ListTerm::Circuit(term.one_of(&CircuitState::ALL, CircuitState::name)?),
                "circuit.override" => ListTerm::Override(term.one_of(&OVERRIDES, override_name)?),
                _ => ListTerm::Task(term.about_task()?.ok_or_else(|| term.unknown_field(FIELDS))?),
            };
            terms.push((parsed, term.wanted()));
        }
        Ok(Self(terms))
    }

    /// Whether the list shows the task.
    pub fn matches(&self, task: &Task) -> bool {
        self.0.iter().all(|(term, wanted)| {
            *wanted
                == match term {
                    ListTerm::Task(term) => term.matches(&task.name, &task.labels),
                    ListTerm::State(state) => task.state == *state,
                    ListTerm::Monitor(kind) => task.spec.monitor().kind() == kind,
                    ListTerm::Alert(kind) => task.alerts.iter().any(|alert| alert.kind == *kind),
                    ListTerm::Circuit(state) => task.circuit.state == *state,
                    ListTerm::Override(mode) => {
                        task.circuit.overriding.as_ref().map(|overriding| overriding.mode) == *mode
                    }
                    ListTerm::AnyAlert => !task.alerts.is_empty(),
                }
        })
    }
}

fn override_name(mode: Option<Override>) -> &'static str {
    mode.map_or("NONE", Override::name)
}

impl WatchFilter {
    /// Parses a filter; `Err` says what is wrong and at which column.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FIELDS: &str = "name, labels.KEY, type";
        let mut filter = Self::default();
        for term in Terms::new(text)? {
            let term = term?;
            if term.field == "type" {
                filter.kind.push((term.one_of(&EventType::ALL, EventType::name)?, term.wanted()));
            } else {
                let about = term.about_task()?.ok_or_else(|| term.unknown_field(FIELDS))?;
                filter.task.push((about, term.wanted()));
            }
        }
        Ok(filter)
    }

    /// Whether the watch shows events of the task at all; the initial state is filtered by this.
    pub fn matches_task(&self, task: &Task) -> bool {
        self.task.iter().all(|(term, wanted)| term.matches(&task.name, &task.labels) == *wanted)
    }

    /// Whether it asks no more of a task than its name.
    pub fn asks_names_alone(&self) -> bool {
        self.task.iter().all(|(term, _)| matches!(term, TaskTerm::Name(_)))
    }

    /// Whether the watch shows events of the task at all, as far as its name tells.
    pub fn matches_name(&self, task: &BriefTask<'_>) -> bool {
        self.task.iter().all(|(term, wanted)| match term {
            TaskTerm::Name(pattern) => pattern.matches_brief(task) == *wanted,
            TaskTerm::Label(..) | TaskTerm::HasLabel(_) => true,
        })
    }

    /// Whether the watch shows events of the type at all.
    pub fn matches_type(&self, kind: EventType) -> bool {
        self.kind.iter().all(|(wanted_kind, wanted)| (kind == *wanted_kind) == *wanted)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Has,
}

struct Term<'a> {
    column: usize,
    field: &'a str,
    operator: Operator,
    value: &'a str,
}

impl Term<'_> {
    const fn wanted(&self) -> bool {
        !matches!(self.operator, Operator::NotEqual)
    }

    fn error(&self, problem: impl std::fmt::Display) -> String {
        format!("column {}: {problem}", self.column)
    }

    fn unknown_field(&self, fields: &str) -> String {
        self.error(format_args!("no field {:?} here; there are {fields}", self.field))
    }

    /// The value, which `:` has no meaning for.
    fn exact(&self) -> Result<&str, String> {
        match self.operator {
            Operator::Has => Err(self.error(format_args!("{} takes = and !=", self.field))),
            _ => Ok(self.value),
        }
    }

    /// For `alert`, which is repeated, `:` means the same as `=` (AIP-160).
    fn one_of<T: Copy>(&self, all: &[T], name: fn(T) -> &'static str) -> Result<T, String> {
        if self.field != "alert" {
            self.exact()?;
        }
        all.iter().copied().find(|value| name(*value) == self.value).ok_or_else(|| {
            let all: Vec<_> = all.iter().map(|value| name(*value)).collect();
            self.error(format_args!("{:?} is no {}; there are {}", self.value, self.field, all.join(", ")))
        })
    }

    fn about_task(&self) -> Result<Option<TaskTerm>, String> {
        if self.field == "name" {
            return Ok(Some(TaskTerm::Name(NamePattern::parse(self.exact()?))));
        }
        let Some(key) = self.field.strip_prefix("labels.").filter(|key| !key.is_empty()) else { return Ok(None) };
        Ok(Some(match self.operator {
            Operator::Has if self.value == "*" => TaskTerm::HasLabel(key.to_owned()),
            _ => TaskTerm::Label(key.to_owned(), self.value.to_owned()),
        }))
    }
}

/// Splits a filter into its terms. Values are bare words, or quoted with `"` where they hold spaces.
struct Terms<'a> {
    text: &'a str,
    at: usize,
    first: bool,
    count: usize,
}

impl<'a> Terms<'a> {
    fn new(text: &'a str) -> Result<Self, String> {
        if text.len() > MOST_BYTES {
            return Err(format!("at most {MOST_BYTES} bytes, got {}", text.len()));
        }
        Ok(Self { text, at: 0, first: true, count: 0 })
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Columns count characters, from 1.
    fn column(&self) -> usize {
        self.text[..self.at].chars().count() + 1
    }

    fn error<T>(&self, problem: impl std::fmt::Display) -> Result<T, String> {
        Err(format!("column {}: {problem}", self.column()))
    }

    fn term(&mut self) -> Result<Term<'a>, String> {
        self.count += 1;
        if self.count > MOST_TERMS {
            return self.error(format_args!("at most {MOST_TERMS} terms"));
        }
        if !self.first {
            let after = self.rest().strip_prefix("AND").filter(|rest| rest.starts_with(char::is_whitespace));
            if after.is_none() {
                return self.error("expected AND");
            }
            self.at += "AND".len();
            self.skip_spaces();
        }
        self.first = false;
        let column = self.column();
        let field = self.take(|c| !c.is_whitespace() && !"=!:\"".contains(c));
        if field.is_empty() {
            return self.error("expected a field");
        }
        self.skip_spaces();
        let operators = [("!=", Operator::NotEqual), ("=", Operator::Equal), (":", Operator::Has)];
        let Some((sign, operator)) = operators.into_iter().find(|(sign, _)| self.rest().starts_with(sign)) else {
            return self.error("expected =, != or :");
        };
        self.at += sign.len();
        self.skip_spaces();
        let value = self.value()?;
        self.skip_spaces();
        Ok(Term { column, field, operator, value })
    }

    fn value(&mut self) -> Result<&'a str, String> {
        if let Some(quoted) = self.rest().strip_prefix('"') {
            let Some(end) = quoted.find('"') else { return self.error("the quote is not closed") };
            self.at += end + 2;
            if self.rest().starts_with(|c: char| !c.is_whitespace()) {
                return self.error("expected a space after the closing quote");
            }
            return Ok(&quoted[..end]);
        }
        let value = self.take(|c| !c.is_whitespace() && !"=!\"()".contains(c));
        if value.is_empty() || self.rest().starts_with(|c: char| !c.is_whitespace()) {
            return self.error("expected a value: a word, or text in double quotes");
        }
        Ok(value)
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !wanted(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }
}

impl<'a> Iterator for Terms<'a> {
    type Item = Result<Term<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_spaces();
        if self.rest().is_empty() {
            return None;
        }
        let term = self.term();
        if term.is_err() {
            self.at = self.text.len();
        }
        Some(term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_its_column() {
        let cases = [
            ("state", "column 6: expected =, != or :"),
            ("state = BAD", "column 1: \"BAD\" is no state"),
            ("state = RUNNING OR state = PENDING", "column 17: expected AND"),
            ("state = RUNNING AND", "column 17: expected AND"),
            ("state = RUNNING AND colour = red", "column 21: no field \"colour\""),
            ("name = \"a", "column 8: the quote is not closed"),
            ("= a", "column 1: expected a field"),
            ("state : RUNNING", "column 1: state takes = and !="),
            ("circuit.state = BROKEN", "column 1: \"BROKEN\" is no circuit.state; there are CLOSED, OPEN, HALF_OPEN"),
            ("circuit.override : SHADOW", "column 1: circuit.override takes = and !="),
            (
                "circuit.override = OPEN",
                "column 1: \"OPEN\" is no circuit.override; there are NONE, FORCED_OPEN, FORCED_CLOSED, SHADOW",
            ),
            ("circuit = OPEN", "column 1: no field \"circuit\""),
            ("labels. = x", "column 1: no field \"labels.\""),
            ("name = a(b)", "column 9: expected a value"),
        ];
        for (text, problem) in cases {
            let error = ListFilter::parse(text).expect_err(text);
            assert!(error.starts_with(problem), "{text}: {error}");
        }
        assert!(WatchFilter::parse("state = RUNNING").expect_err("not for watches").contains("type"));
        assert!(ListFilter::parse("").is_ok());
        assert!(ListFilter::parse(&"name=a AND ".repeat(40)).is_err());
    }

    #[test]
    fn labels_and_names_match_exactly_by_prefix_and_by_presence() {
        let name = TaskName::parse("namespaces/default/tasks/api-1").expect("valid");
        let labels = Labels::try_new([("team".to_owned(), "core db".to_owned())]).expect("valid");
        let cases = [
            ("name = api-1", true),
            ("name = api-*", true),
            ("name = api", false),
            ("name != api", true),
            ("name = namespaces/default/tasks/api-*", true),
            ("labels.team:*", true),
            ("labels.team = \"core db\"", true),
            ("labels.team != \"core db\"", false),
            ("labels.zone:*", false),
            ("labels.zone != a", true),
        ];
        for (text, expected) in cases {
            let filter = WatchFilter::parse(text).expect(text);
            let matched = filter.task.iter().all(|(term, wanted)| term.matches(&name, &labels) == *wanted);
            assert_eq!(matched, expected, "{text}");
        }
    }

    #[test]
    fn a_name_in_parts_matches_as_the_whole_does() {
        let name = TaskName::parse("namespaces/default/tasks/api-1").expect("valid");
        let uid = crate::model::Uid::new(uuid::Uuid::nil());
        let task = BriefTask { namespace: name.namespace(), id: name.id(), uid };
        let full = name.as_str();
        let starts = (0..=full.len()).map(|end| full[..end].to_owned());
        let others = ["a/", "namespaces/other/tasks/api-1", "namespaces/default/tasks/api-12", "api-12", "b"];
        let ids = ["", "a", "api-", "api-1"].into_iter().chain(others).map(str::to_owned);
        let mut matched = 0;
        for text in starts.chain(ids) {
            for prefix in [false, true] {
                let pattern = NamePattern { text: text.clone(), prefix };
                assert_eq!(pattern.matches_brief(&task), pattern.matches(&name), "{pattern:?}");
                matched += usize::from(pattern.matches(&name));
            }
        }
        assert!(matched > full.len() / 2, "most of its beginnings are prefixes: {matched}");
        assert!(WatchFilter::parse("name = a").expect("valid").asks_names_alone());
        assert!(!WatchFilter::parse("name = a AND labels.b:*").expect("valid").asks_names_alone());
    }
}
