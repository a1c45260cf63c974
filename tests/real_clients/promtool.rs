//! Prometheus's tool for rules, on those in `deploy/`.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use super::must;

/// Runs it there; panics with all that it said unless it succeeds.
pub(super) fn run(otherwise: &str, arguments: &[&str]) {
    let promtool = env::var_os("SWITCHYARD_TEST_PROMTOOL").unwrap_or_else(|| OsString::from("promtool"));
    let mut command = Command::new(promtool);
    command.args(arguments).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy"));
    must(otherwise, command);
}
