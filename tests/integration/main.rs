//! One binary for all integration tests, one file for each behaviour.

mod accept;
mod alert_rules;
mod alone;
mod apply;
mod bad_candidate;
mod bad_input;
mod batch;
mod blocked;
mod checks;
mod circuits;
mod cli;
mod crash;
mod demo;
mod drain;
mod drain_in_bulk;
mod drain_server;
mod embedding;
mod exec;
mod harness;
mod held_up;
mod history;
mod https;
mod kinds;
mod list;
mod logs;
mod pause;
mod relief;
mod rounds;
mod run;
mod running;
mod scratch;
mod services;
mod shutdown;
mod stall;
mod stuck_limit;
mod swap;
mod task_files;
mod unread;
mod waits;
mod walls;
mod watch;
mod wrong_patterns;

/// Counts what lives on the heap, for the test that asks.
#[global_allocator]
static ALLOCATOR: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
