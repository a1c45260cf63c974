//! The error that a monitor returns.

use std::error::Error;
use std::fmt;

use thiserror::Error;

/// Why a monitor failed, or could not be built: any error. Prints its whole chain of sources, since what it prints is all that
/// the task's outcome keeps of it.
///
/// Like `anyhow::Error` it is made by `?` from every error, which is why it is none itself.
///
/// ```
/// use switchyard::monitor::MonitorError;
///
/// fn parse(text: &str) -> Result<u16, MonitorError> {
///     Ok(text.parse()?)
/// }
/// assert_eq!(parse("x").unwrap_err().to_string(), "invalid digit found in string");
/// assert_eq!(MonitorError::from("the queue is gone").to_string(), "the queue is gone");
/// ```
pub struct MonitorError(Box<dyn Error + Send + Sync>);

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for MonitorError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl MonitorError {
    /// Whether it says no more than that the instance was told to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.is::<Cancelled>()
    }
}

impl fmt::Display for MonitorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for MonitorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The instance was told to stop. Returning it after that is a clean exit like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("told to stop")]
pub struct Cancelled;

/// What a function given to [`from_fn`](super::from_fn) may return: nothing, or a result.
pub trait IntoOutcome {
    /// How the run ended.
    fn into_outcome(self) -> Result<(), MonitorError>;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Result<(), MonitorError> {
        Ok(())
    }
}

impl<E: Into<MonitorError>> IntoOutcome for Result<(), E> {
    fn into_outcome(self) -> Result<(), MonitorError> {
        self.map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Error)]
    #[error("cannot open the queue")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn an_error_prints_its_sources() {
        let inner = "x".parse::<u8>().expect_err("not a number");
        assert_eq!(
            MonitorError::from(Outer(inner)).to_string(),
            "cannot open the queue: invalid digit found in string"
        );
    }
}
