//! The real binary, in a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A server that runs; killed if it is dropped before it was terminated.
pub(super) struct Server {
    process: Child,
    grpc: String,
    http: String,
    /// Held open: a closed pipe would fail whatever the server says later.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts one on ports of its own, and waits until it says which.
    pub(super) fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--http-listen",
                "127.0.0.1:0",
                "--log",
                "warn",
                "--store",
                "memory",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut stdout = BufReader::new(process.stdout.take().expect("piped"));
        let mut banner = String::new();
        let mut address = |word: &str| loop {
            if let Some(line) = banner.lines().find(|line| line.contains(word)) {
                let at = line.find("127.0.0.1:").expect("an address");
                let address = &line[at..];
                let end = address.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c))).unwrap_or(address.len());
                break address[..end].to_owned();
            }
            assert!(stdout.read_line(&mut banner).expect("reads") > 0, "the server ended; it had said: {banner}");
        };
        let (grpc, http) = (address("gRPC"), address("HTTP"));
        Self { process, grpc, http, _stdout: stdout }
    }

    /// Where gRPC is served.
    pub(super) fn grpc(&self) -> &str {
        &self.grpc
    }

    /// Where `/metrics` is served.
    pub(super) fn http(&self) -> &str {
        &self.http
    }

    /// Sends SIGTERM and waits for the end; the exit code, unless a signal ended it.
    pub(super) fn terminate(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.process), Signal::TERM).expect("is there");
        self.process.wait().expect("ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `terminate` there is nothing left to kill, which is as well.
        let _already_gone = self.process.kill();
        let _already_waited_for = self.process.wait();
    }
}
