//! Switchyard.

pub mod journal;
pub mod model;
pub mod pb;
pub mod telemetry;
