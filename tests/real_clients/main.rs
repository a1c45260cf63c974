//! A client in another language against the real binary, over real sockets, and Prometheus's own judgement of the alerting
//! rules: `cargo test --test real_clients`.
//!
//! `SWITCHYARD_TEST_PYTHON` is the interpreter to use (default `python3`); it needs what `requirements.txt` beside this file
//! names. `.ci/run` installs that, and promtool. Nothing is skipped where something is missing: these tests fail.

mod promtool;
mod python;
mod server;

use std::process::{Command, Output};

use server::Server;

/// Runs one of `client.py`'s scenarios against a server of its own, which must then end cleanly.
fn holds(scenario: &str) {
    let server = Server::start();
    python::run(scenario, &server);
    assert_eq!(server.terminate(), Some(0), "the server drains and ends cleanly");
}

/// Runs a command; panics with all that it said unless it succeeds.
fn must(otherwise: &str, mut command: Command) {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{otherwise}: {command:?}: {error}"));
    let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(status.success(), "{otherwise}: {command:?}: {status}\n{said}");
}

#[test]
fn one_watch_stream_tells_the_whole_life_across_a_reconnect() {
    holds("one_watch_stream_tells_the_whole_life_across_a_reconnect");
}

#[test]
fn pages_show_one_snapshot() {
    holds("pages_show_one_snapshot");
}

#[test]
fn errors_carry_their_reason_and_every_field() {
    holds("errors_carry_their_reason_and_every_field");
}

#[test]
fn a_circuit_trips_with_its_target_and_recovers_with_it() {
    holds("a_circuit_trips_with_its_target_and_recovers_with_it");
}

#[test]
fn the_example_opens_the_circuit_by_its_reports_and_closes_it_by_its_trial_calls() {
    holds("the_example_opens_the_circuit_by_its_reports_and_closes_it_by_its_trial_calls");
}

#[test]
fn a_paused_task_asks_nothing_and_a_check_on_demand_asks_once() {
    holds("a_paused_task_asks_nothing_and_a_check_on_demand_asks_once");
}

#[test]
fn a_client_has_the_server_end() {
    holds("a_client_has_the_server_end");
}

#[test]
fn a_swap_loses_no_interval() {
    holds("a_swap_loses_no_interval");
}

#[test]
fn two_hundred_swaps_lose_no_interval() {
    holds("two_hundred_swaps_lose_no_interval");
}

#[test]
fn health_and_reflection_answer() {
    holds("health_and_reflection_answer");
}

#[test]
fn promtool_complains_of_the_two_given_names_only() {
    holds("promtool_complains_of_the_two_given_names_only");
}

#[test]
fn the_alerting_rules_are_sound() {
    promtool::run("the rules are not sound", &["check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"]);
}

#[test]
fn the_alerts_fire_when_they_should_and_only_then() {
    promtool::run(
        "an alert fires when it should not, or does not when it should",
        &["test", "rules", "alerts_test.yml"],
    );
}
