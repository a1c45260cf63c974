//! How a command ends, and its exit code.

use std::io;

use crate::client::{self, Code};
use crate::config;

use super::duration;
use super::output::clean;

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command, a file or the configuration is wrong; each line says what.
    Usage(String),
    /// The server refused, or cannot be reached.
    Server(client::Error),
    /// All was understood and done, and the outcome is not the one hoped for. Empty: it has been told.
    Negative(String),
    /// What happened has been told already; the exit code is left.
    Told(u8),
    /// Something on this side broke.
    Local(String),
    /// Whoever read the output has gone, and wants no more.
    ReaderGone,
}

impl Failure {
    /// The exit codes of the design: 1 a negative outcome, 2 usage and INVALID_ARGUMENT, 3 NOT_FOUND, 4 UNAVAILABLE and
    /// DEADLINE_EXCEEDED, 5 every other status.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::ReaderGone => 0,
            Self::Negative(_) => 1,
            Self::Usage(_) => 2,
            Self::Server(error) => match error.code {
                Code::InvalidArgument => 2,
                Code::NotFound => 3,
                Code::Unavailable | Code::DeadlineExceeded => 4,
                _ => 5,
            },
            Self::Told(code) => *code,
            Self::Local(_) => 5,
        }
    }

    /// What to tell; `None` where nothing is left to tell.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::ReaderGone | Self::Told(_) => None,
            Self::Negative(text) if text.is_empty() => None,
            Self::Negative(text) => Some(text.clone()),
            Self::Usage(text) | Self::Local(text) => Some(format!("error: {text}")),
            Self::Server(error) => Some(describe(error)),
        }
    }

    pub(super) fn from_stdout(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Local(format!("cannot write to the standard output: {error}")),
        }
    }
}

/// The error with every violated field on a line of its own.
fn describe(error: &client::Error) -> String {
    let mut text = format!("error: {} ({}", clean(headline(error)), error.code_name());
    if !error.reason.is_empty() {
        text += &format!(", {}", clean(&error.reason));
    }
    text.push(')');
    for violation in &error.violations {
        text += &format!("\n  {}: {}", clean(&violation.field), clean(&violation.description));
    }
    for (name, value) in &error.metadata {
        text += &format!("\n  {}: {}", clean(name), clean(value));
    }
    if let Some(after) = error.retry_after {
        text += &format!("\n  try again after {}", duration::print(after));
    }
    text
}

/// The message, without the violations that stand below it field by field.
fn headline(error: &client::Error) -> &str {
    let first = error.violations.first().map(|violation| format!("{}: ", violation.field));
    let cut = first.and_then(|first| error.message.find(&first)).unwrap_or(error.message.len());
    match error.message[..cut].trim_end_matches([':', ' ']) {
        "" => "the request is invalid",
        headline => headline,
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        Self::Server(error)
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        match std::error::Error::source(&error) {
            Some(source) => Self::Usage(format!("{error}: {source}")),
            None => Self::Usage(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    fn error(code: Code) -> client::Error {
        client::Error {
            code,
            reason: "INVALID_FIELD".to_owned(),
            message: "the request is invalid: task_id: required; task.spec: bad".to_owned(),
            violations: vec![
                client::FieldViolation { field: "task_id".to_owned(), description: "required".to_owned() },
                client::FieldViolation { field: "task.spec".to_owned(), description: "bad\nand worse".to_owned() },
            ],
            metadata: BTreeMap::from([("oldest".to_owned(), "c1".to_owned())]),
            retry_after: Some(Duration::from_millis(1_500)),
        }
    }

    #[test]
    fn every_outcome_has_its_exit_code() {
        let codes = [
            (Failure::ReaderGone, 0),
            (Failure::Negative(String::new()), 1),
            (Failure::Usage(String::new()), 2),
            (Failure::Server(error(Code::InvalidArgument)), 2),
            (Failure::Server(error(Code::NotFound)), 3),
            (Failure::Server(error(Code::Unavailable)), 4),
            (Failure::Server(error(Code::DeadlineExceeded)), 4),
            (Failure::Server(error(Code::AlreadyExists)), 5),
            (Failure::Server(error(Code::OutOfRange)), 5),
            (Failure::Server(error(Code::Internal)), 5),
            (Failure::Local(String::new()), 5),
        ];
        for (failure, code) in codes {
            assert_eq!(failure.code(), code, "{failure:?}");
        }
    }

    #[test]
    fn every_violated_field_has_its_line() {
        let text = Failure::Server(error(Code::InvalidArgument)).text().expect("something to tell");
        let expected = "error: the request is invalid (INVALID_ARGUMENT, INVALID_FIELD)\n  task_id: required\n  \
                        task.spec: bad and worse\n  oldest: c1\n  try again after 1.5s";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_message_that_speaks_of_its_field_is_told_whole() {
        let description = "this is not a cursor".to_owned();
        let violations = vec![client::FieldViolation { field: "cursor".to_owned(), description: description.clone() }];
        let error = client::Error { message: description, violations, ..error(Code::InvalidArgument) };
        let text = Failure::Server(error).text().expect("something to tell");
        assert!(text.starts_with("error: this is not a cursor (INVALID_ARGUMENT"), "{text}");
    }
}
