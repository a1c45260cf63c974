//! Processes of the real binary.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// What a command said, and its exit code.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Said {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SWITCHYARD_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end.
pub(super) fn switchyard(arguments: &[&str], input: &str) -> Said {
    let mut child = command(arguments).spawn().expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    // A command that reads nothing may have ended already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Said { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A server process; killed when dropped.
pub(super) struct Served {
    child: Child,
    address: String,
    pub(super) http: SocketAddr,
}

impl Served {
    pub(super) fn begin(flags: &[&str]) -> Self {
        let arguments = [&["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"], flags].concat();
        let mut child = command(&arguments).stderr(Stdio::null()).spawn().expect("starts");
        let mut banner = BufReader::new(child.stdout.take().expect("piped")).lines().map(|line| line.expect("reads"));
        let mut listens = |what: &str| {
            let line = banner.find(|line| line.trim_start().starts_with(what)).expect("the banner says where");
            line.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address").to_owned()
        };
        let (address, http) = (listens("gRPC"), listens("HTTP").parse().expect("an address"));
        Self { child, address, http }
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, "")
    }

    pub(super) fn run_with(&self, arguments: &[&str], input: &str) -> Said {
        switchyard(&[arguments, &["--server", &self.address]].concat(), input)
    }

    /// Starts a command that goes on, and writes JSON lines.
    pub(super) fn follow(&self, arguments: &[&str]) -> Following {
        let arguments = [arguments, &["--server", &self.address]].concat();
        let mut child = command(&arguments).stderr(Stdio::inherit()).spawn().expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Following { child, lines }
    }

    /// Runs a command whose output nobody reads; its exit code.
    pub(super) fn without_reader(&self, arguments: &[&str]) -> Option<i32> {
        let mut child = command(&[arguments, &["--server", &self.address]].concat()).spawn().expect("starts");
        drop(child.stdout.take());
        child.wait().expect("ends").code()
    }

    pub(super) fn signal(&self) {
        send(&self.child, Signal::TERM);
    }

    /// Sends SIGTERM; the exit code.
    pub(super) fn terminate(mut self) -> Option<i32> {
        self.signal();
        self.child.wait().expect("ends").code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that goes on; killed when dropped.
pub(super) struct Following {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Following {
    /// Reads lines until one is as wanted.
    pub(super) fn until(&mut self, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).expect("reads") > 0, "the command ended");
            let line = serde_json::from_str(&line).expect("JSON");
            if wanted(&line) {
                return line;
            }
        }
    }

    /// Sends SIGINT; the exit code.
    pub(super) fn interrupt(mut self) -> Option<i32> {
        send(&self.child, Signal::INT);
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("reads");
        self.child.wait().expect("ends").code()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, signal).expect("delivers");
}
