//! The log of the real binary, as a file, a pipe or a log collector gets it.

use std::io::Read;
use std::process::ChildStderr;

use serde_json::Value;

use crate::cli::process::Served;

/// A server, and its log. Monitors' panics are logged too, and by their own threads.
fn logging(format: &str) -> (Served, ChildStderr) {
    Served::begin_with_log(&[
        "--enable-drills",
        "--log",
        "info,switchyard::panic=debug,switchyard::event=debug",
        "--log-format",
        format,
    ])
}

/// Runs a task that panics, and waits until it has.
fn panic(server: &Served, name: &str) {
    let config = r#"{"behaviour": "panic", "duration": "1ms"}"#;
    // Back-off, in which nothing runs: it has panicked.
    for arguments in [&["start", name, "--kind", "drill", "--config", config][..], &["wait", name, "--for", "pending"]]
    {
        let said = server.run(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
    }
}

#[test]
fn every_line_of_the_json_log_is_json_even_a_panics() {
    let (server, mut log) = logging("json");
    panic(&server, "falls");
    assert_eq!(server.terminate(), Some(0));
    let mut text = String::new();
    log.read_to_string(&mut text).expect("reads");
    let lines: Vec<Value> = text.lines().map(parse).collect();
    let panicked = lines.iter().find(|line| line["target"] == "switchyard::panic").expect("the panic is logged");
    assert_eq!((&panicked["level"], &panicked["fields"]["message"]), (&"DEBUG".into(), &"panicked".into()));
    assert_eq!(panicked["fields"]["detail"], "the drill panics, as it was told to");
    assert!(panicked["fields"]["location"].as_str().is_some_and(|location| location.contains("drill.rs")));
    assert!(panicked["fields"]["thread"].is_string(), "{panicked}");
    assert_eq!(panicked["fields"].get("backtrace"), None);
    let ended = lines.iter().find(|line| line["fields"]["event"] == "INSTANCE_ENDED").expect("the end is logged");
    assert_eq!((&ended["level"], &ended["fields"]["exit"]), (&"WARN".into(), &"panic".into()));
    assert_eq!(ended["fields"]["detail"], "the drill panics, as it was told to");
    assert_eq!(ended["span"]["task"], "namespaces/default/tasks/falls");
    assert!(lines.iter().all(|line| line["level"] != "ERROR"), "{text}");
    assert!(lines.iter().any(|line| line["fields"]["event"] == "RESTART_SCHEDULED"), "{text}");
}

#[test]
fn a_check_on_demand_is_logged_with_who_asked_and_why_once_it_was_accepted() {
    let (server, mut log) = logging("json");
    let run = |arguments: &[&str]| server.run(arguments).code;
    assert_eq!(run(&["start", "api", "--tcp", &server.address, "--interval", "24h", "--wait"]), 0);
    let config = r#"{"behaviour": "cooperative", "duration": "1h"}"#;
    assert_eq!(run(&["start", "none", "--kind", "drill", "--config", config, "--wait"]), 0);
    assert_eq!(run(&["run", "api", "--reason", "just to see"]), 0);
    assert_eq!(run(&["run", "none", "--reason", "in vain"]), 5);
    assert_eq!(run(&["run", "api", "--etag", "stale", "--reason", "in vain"]), 5);
    assert_eq!(server.terminate(), Some(0));
    let mut text = String::new();
    log.read_to_string(&mut text).expect("reads");
    let told: Vec<Value> = text.lines().filter(|line| line.contains("a check was asked for")).map(parse).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let fields = &told[0]["fields"];
    assert_eq!((&told[0]["level"], &fields["task"]), (&"INFO".into(), &"namespaces/default/tasks/api".into()));
    assert_eq!((&fields["actor"], &fields["reason"]), (&"anonymous@127.0.0.1".into(), &"just to see".into()));
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_log_that_nobody_reads_any_more_harms_no_thread() {
    let (server, log) = logging("text");
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).expect("lists");
        tasks.filter(|task| name(task.as_ref().expect("lists").path()) == "event-log").count()
    };
    // The server listens before the thread has its name.
    while threads() != 1 {
        std::thread::yield_now();
    }
    drop(log);
    panic(&server, "first");
    panic(&server, "second");
    assert_eq!(threads(), 1, "the thread that logs the events is still there");
    assert_eq!(server.terminate(), Some(0));
}

/// A thread's name; empty when it has just ended.
#[expect(clippy::disallowed_methods, reason = "a synchronous test blocks nobody")]
fn name(task: std::path::PathBuf) -> String {
    std::fs::read_to_string(task.join("comm")).unwrap_or_default().trim().to_owned()
}
