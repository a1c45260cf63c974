//! Switchyard.

pub mod journal;
pub mod lifecycle;
pub mod model;
pub mod pb;
pub mod telemetry;
