//! One binary for all integration tests, one file for each behaviour.

mod cli;
mod harness;
mod shutdown;
mod walls;
