//! Switchyard.

pub mod cli;
pub mod client;
pub mod config;
pub mod model;
pub mod pb;
pub mod telemetry;
