//! The log of the real binary, as a file, a pipe or a log collector gets it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A server that writes its log into a pipe; killed when dropped.
struct Logging {
    child: Child,
    address: String,
}

impl Logging {
    fn start(format: &str) -> (Self, ChildStderr) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--http-listen",
                "127.0.0.1:0",
                "--enable-drills",
                "--store",
                "memory",
            ])
            // Monitors' panics are logged too, and by their own threads.
            .args(["--log", "info,switchyard::panic=debug", "--log-format", format])
            .env("RUST_BACKTRACE", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let log = child.stderr.take().expect("piped");
        let mut banner = BufReader::new(child.stdout.take().expect("piped")).lines().map(|line| line.expect("reads"));
        let line = banner.find(|line| line.contains("gRPC")).expect("the banner says where");
        let address = line.split_whitespace().nth(1).expect("an address").to_owned();
        (Self { child, address }, log)
    }

    /// Runs a task that panics, and waits until it has.
    fn panic(&self, name: &str) {
        let config = r#"{"behaviour": "panic", "duration": "1ms"}"#;
        // Back-off, in which nothing runs: it has panicked.
        for arguments in
            [&["start", name, "--kind", "drill", "--config", config][..], &["wait", name, "--for", "pending"]]
        {
            let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
            let output = command.args(arguments).args(["--server", &self.address]).output().expect("runs");
            assert!(output.status.success(), "{arguments:?}: {output:?}");
        }
    }

    /// Sends SIGTERM; the exit code.
    fn terminate(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("delivers");
        self.child.wait().expect("ends").code()
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_line_of_the_json_log_is_json_even_a_panics() {
    let (server, mut log) = Logging::start("json");
    server.panic("falls");
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
    let (server, mut log) = Logging::start("json");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command.args(arguments).args(["--server", &server.address]).output().expect("runs").status.code()
    };
    let target = server.address.trim_start_matches("http://");
    assert_eq!(run(&["start", "api", "--tcp", target, "--interval", "24h", "--wait"]), Some(0));
    let config = r#"{"behaviour": "cooperative", "duration": "1h"}"#;
    assert_eq!(run(&["start", "none", "--kind", "drill", "--config", config, "--wait"]), Some(0));
    assert_eq!(run(&["run", "api", "--reason", "just to see"]), Some(0));
    assert_eq!(run(&["run", "none", "--reason", "in vain"]), Some(5));
    assert_eq!(run(&["run", "api", "--etag", "stale", "--reason", "in vain"]), Some(5));
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
    let (server, log) = Logging::start("text");
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.child.id())).expect("lists");
        tasks.filter(|task| name(task.as_ref().expect("lists").path()) == "event-log").count()
    };
    assert_eq!(threads(), 1);
    drop(log);
    server.panic("first");
    server.panic("second");
    assert_eq!(threads(), 1, "the thread that logs the events is still there");
    assert_eq!(server.terminate(), Some(0));
}

/// A thread's name; empty when it has just ended.
#[expect(clippy::disallowed_methods, reason = "a synchronous test blocks nobody")]
fn name(task: std::path::PathBuf) -> String {
    std::fs::read_to_string(task.join("comm")).unwrap_or_default().trim().to_owned()
}
