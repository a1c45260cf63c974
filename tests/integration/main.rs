//! One binary for all integration tests, one file for each behaviour.

mod accept;
mod alert_rules;
mod bad_candidate;
mod bad_input;
mod cli;
mod demo;
mod drain;
mod embedding;
mod exec;
mod harness;
mod https;
mod list;
mod logs;
mod running;
mod services;
mod shutdown;
mod swap;
mod walls;
mod watch;
