//! Switchyard.

pub mod model;
pub mod pb;
pub mod telemetry;
