//! What operators see: metric families and logs.

mod check_tail;
mod lifecycle_log;
mod logging;
mod metrics;
mod process;

pub use check_tail::{CheckResults, CheckShown, CheckTail};
pub use lifecycle_log::{RateLimiter, log_event};
pub use logging::{InvalidLogFormat, LogFormat, LoggingError, check_filter, init_logging};
pub use metrics::{
    Checks, CircuitSeries, Circuits, Commits, Instances, Journal, Loop, Metrics, Perfdata, PerfdataValue,
    PerfdataWriter, Polls, Rpcs, Swaps, Threads,
};
