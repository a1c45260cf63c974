//! Switchyard.

pub mod cli;
pub mod client;
pub mod config;
pub mod http;
pub mod journal;
pub mod lifecycle;
pub mod model;
pub mod pb;
pub mod telemetry;
