//! Where log lines go: standard error, as text or JSON.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::env;
use std::fmt;
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::str::FromStr;
use std::thread;

use thiserror::Error;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people; coloured on a terminal, unless `NO_COLOR` is set.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}

/// A log format has another name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("must be `text` or `json`, got {0:?}")]
pub struct InvalidLogFormat(String);

impl FromStr for LogFormat {
    type Err = InvalidLogFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(InvalidLogFormat(text.to_owned())),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The filter does not parse.
    #[error("the log filter {filter:?} is invalid: {source}; write `info`, or `warn,switchyard=debug`")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// A part of the filter is one word, but no level. It would be taken for a target, and silence all others.
    #[error(
        "the log filter has {word:?}, which is no level (off, error, warn, info, debug, trace) and no `target=level`"
    )]
    Word {
        /// The word.
        word: String,
    },
    /// This process logs already.
    #[error("logging has been set up before")]
    Again(#[source] TryInitError),
}

/// Makes the process log to standard error what `filter` lets through: a level, or `target=level` parts, joined by commas.
/// Panics are logged too, under the target `switchyard::panic`: as errors, but for those of monitors, which only DEBUG shows.
pub fn init_logging(filter: &str, format: LogFormat) -> Result<(), LoggingError> {
    let filter = parse_filter(filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // It would tell on standard error that standard error cannot be written to, and panic in whatever thread has logged.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => builder.with_ansi(wants_colour()).finish().try_init(),
        // The list would repeat the one span there is.
        LogFormat::Json => builder.json().with_span_list(false).finish().try_init(),
    }
    .map_err(LoggingError::Again)?;
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// The standard hook's lines are not in the log's format, and a monitor's text could forge others in them.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let current = thread::current();
    let thread = current.name();
    // A macro's level is part of its call site, so each level needs its own.
    macro_rules! log {
        ($level:expr, $backtrace:expr) => {
            tracing::event!(
                target: "switchyard::panic",
                $level,
                detail = panic.payload_as_str(),
                location = panic.location().map(display),
                thread,
                backtrace = $backtrace,
                "panicked"
            )
        };
    }
    if is_shard(thread) {
        log!(Level::DEBUG, None::<&str>);
    } else {
        let backtrace = Backtrace::capture();
        log!(Level::ERROR, (backtrace.status() == BacktraceStatus::Captured).then(|| display(backtrace)));
    }
}

/// Whether monitors run on the thread of this name, one of `manager::shards`. A panic there is no fault of ours, and the event
/// of the instance's end tells it, with its message, in a line that is limited for each task and that no shard waits for.
/// Only what a monitor spawns past its context, and never joins, panics without an event.
///
/// Kinds' code also runs on tokio's blocking pools, `validate` and `build` above all, whose panics are answered to the client.
/// Nothing in those threads' names tells them from our own blocking calls, so their panics stay errors.
fn is_shard(thread: Option<&str>) -> bool {
    thread.is_some_and(|name| name.starts_with("shard-") || name.starts_with("custom-"))
}

/// Whether `init_logging` would take the filter.
pub fn check_filter(filter: &str) -> Result<(), LoggingError> {
    parse_filter(filter).map(drop)
}

fn parse_filter(filter: &str) -> Result<EnvFilter, LoggingError> {
    // Commas within `[span{field}]` separate no parts.
    if !filter.contains('[') {
        let lone = filter.split(',').find(|part| !part.is_empty() && !part.contains('=') && !is_level(part));
        if let Some(word) = lone {
            return Err(LoggingError::Word { word: word.to_owned() });
        }
    }
    EnvFilter::builder().parse(filter).map_err(|source| LoggingError::Filter { filter: filter.to_owned(), source })
}

fn is_level(word: &str) -> bool {
    word.parse::<LevelFilter>().is_ok()
}

fn wants_colour() -> bool {
    // https://no-color.org: set and not empty.
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_levels_and_targets() {
        for filter in
            ["", "info", "WARN", "off", "warn,switchyard=debug", "info,h2=off", "[lifecycle{task}]=trace,info"]
        {
            assert!(parse_filter(filter).is_ok(), "{filter}");
        }
    }

    #[test]
    fn a_filter_that_would_silence_everything_by_mistake_is_refused() {
        for (filter, wrong) in [("verbose", "verbose"), ("info,inof", "inof"), ("switchyard=loud", "switchyard=loud")] {
            let error = parse_filter(filter).expect_err(filter).to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn only_the_panics_of_shards_are_monitors() {
        for name in ["shard-0", "shard-12", "custom-0", "custom-3"] {
            assert!(is_shard(Some(name)), "{name}");
        }
        for name in
            ["main", "manager", "journal", "event-log", "control", "tokio-rt-worker", "sharding", "my-shard-0", ""]
        {
            assert!(!is_shard(Some(name)), "{name}");
        }
        assert!(!is_shard(None));
    }

    #[test]
    fn formats_read_back_as_they_print() {
        for format in [LogFormat::Text, LogFormat::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!(
            "xml".parse::<LogFormat>().expect_err("unknown").to_string(),
            "must be `text` or `json`, got \"xml\""
        );
    }
}
