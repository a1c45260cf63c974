//! Switchyard.

pub mod http;
pub mod model;
pub mod pb;
pub mod telemetry;
