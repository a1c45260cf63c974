//! Switchyard.

pub mod http;
pub mod journal;
pub mod lifecycle;
pub mod model;
pub mod pb;
pub mod rpc;
pub mod telemetry;
