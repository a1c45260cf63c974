//! Switchyard.

pub mod cli;
pub mod client;
pub mod config;
pub mod http;
pub mod journal;
pub mod lifecycle;
pub mod manager;
pub mod model;
pub mod monitor;
pub mod pb;
pub mod probe;
pub mod rpc;
pub mod telemetry;
