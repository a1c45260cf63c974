//! Switchyard.

pub mod model;
pub mod monitor;
pub mod pb;
pub mod probe;
pub mod telemetry;
