//! A client in another language against the real binary, over real sockets: `cargo test --test real_clients`.
//!
//! `SWITCHYARD_TEST_PYTHON` is the interpreter to use (default `python3`); it needs what `requirements.txt` beside this file
//! names. `.ci/run` installs that, and promtool. Nothing is skipped where something is missing: these tests fail.

mod python;
mod server;

use server::Server;

/// Runs one of `client.py`'s scenarios against a server of its own, which must then end cleanly.
fn holds(scenario: &str) {
    let server = Server::start();
    python::run(scenario, &server);
    assert_eq!(server.terminate(), Some(0), "the server drains and ends cleanly");
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
fn health_and_reflection_answer() {
    holds("health_and_reflection_answer");
}

#[test]
fn promtool_complains_of_the_two_given_names_only() {
    holds("promtool_complains_of_the_two_given_names_only");
}
