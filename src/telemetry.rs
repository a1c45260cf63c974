//! What operators see: metric families and logging.

mod metrics;

pub use metrics::{Checks, Instances, Loop, Metrics, Rpcs};
