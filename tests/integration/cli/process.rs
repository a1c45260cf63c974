//! Processes of the real binary.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process_group};

/// Serves on ports of the system's choosing.
const SERVE: [&str; 5] = ["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
/// Leaves nothing behind.
const IN_MEMORY: [&str; 2] = ["--store", "memory"];

/// What a command said, and its exit code.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    isolate(&mut command);
    command.args(arguments);
    command
}

/// What is to run gets nothing of this process's surroundings that would change it.
fn isolate(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SWITCHYARD_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
}

/// Runs a command to its end.
pub(crate) fn switchyard(arguments: &[&str], input: &str) -> Said {
    let mut child = command(arguments).spawn().expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    // A command that reads nothing may have ended already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Said { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A command in a process group and a directory of its own, which is also its home and its place for temporary files.
pub(crate) struct Alone {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Alone {
    pub(crate) fn begin(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        command.current_dir(directory).env("HOME", directory).env("TMPDIR", directory).process_group(0);
        let mut child = command.spawn().expect("starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, stdout }
    }

    /// Reads lines until one has the text; all that was read.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut read = String::new();
        while !read.contains(text) {
            assert!(self.stdout.read_line(&mut read).expect("reads") > 0, "the command ended: {read}");
        }
        read
    }

    /// Sends SIGINT.
    pub(crate) fn interrupt(&self) {
        send(&self.child, Signal::INT);
    }

    /// Reads to the end; what was said since, and whether any process of the group is left.
    pub(crate) fn end(mut self) -> (Said, bool) {
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).expect("UTF-8");
        let mut stderr = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("UTF-8");
        let group = pid(&self.child);
        let code = self.child.wait().expect("ends").code().unwrap_or(-1);
        (Said { code, stdout, stderr }, test_kill_process_group(group).is_ok())
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that may be on its way up; killed when dropped.
pub(crate) struct Starting(Child);

impl Starting {
    pub(crate) fn begin_in(data_dir: &Path, flags: &[&str]) -> Self {
        let mut command = command(&[&SERVE, flags].concat());
        command.arg("--data-dir").arg(data_dir);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts"))
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server process; killed when dropped.
pub(crate) struct Served {
    child: Child,
    pub(crate) address: String,
    pub(crate) http: SocketAddr,
}

impl Served {
    pub(crate) fn begin(flags: &[&str]) -> Self {
        Self::spawn(command(&[SERVE.as_slice(), &IN_MEMORY, flags].concat()))
    }

    /// A server whose store is in that directory.
    pub(crate) fn begin_in(data_dir: &Path, flags: &[&str]) -> Self {
        let data_dir = ["--data-dir", data_dir.to_str().expect("UTF-8")];
        Self::spawn(command(&[SERVE.as_slice(), &data_dir, flags].concat()))
    }

    /// A server whose environment has this, too.
    pub(crate) fn begin_with(name: &str, value: impl AsRef<OsStr>) -> Self {
        let mut command = command(&[SERVE.as_slice(), &IN_MEMORY].concat());
        command.env(name, value);
        Self::spawn(command)
    }

    /// A server that may have so many descriptors.
    pub(crate) fn begin_with_descriptors(most: usize, flags: &[&str]) -> Self {
        let mut command = Command::new("sh");
        isolate(&mut command);
        let script = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_switchyard")]).args(SERVE).args(IN_MEMORY).args(flags);
        Self::spawn(command)
    }

    /// A server whose log is the caller's to read or not; panics have their backtraces.
    pub(crate) fn begin_with_log(flags: &[&str]) -> (Self, ChildStderr) {
        let mut command = command(&[SERVE.as_slice(), &IN_MEMORY, flags].concat());
        let mut child = command.env("RUST_BACKTRACE", "1").spawn().expect("starts");
        let log = child.stderr.take().expect("piped");
        (Self::listening(child), log)
    }

    fn spawn(mut command: Command) -> Self {
        Self::listening(command.stderr(Stdio::null()).spawn().expect("starts"))
    }

    /// Waits until it says where it listens.
    fn listening(mut child: Child) -> Self {
        let mut banner = BufReader::new(child.stdout.take().expect("piped")).lines().map(|line| line.expect("reads"));
        let mut listens = |what: &str| {
            let line = banner.find(|line| line.trim_start().starts_with(what)).expect("the banner says where");
            line.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address").to_owned()
        };
        let (address, http) = (listens("gRPC"), listens("HTTP").parse().expect("an address"));
        Self { child, address, http }
    }

    /// The process's number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, "")
    }

    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Said {
        switchyard(&[arguments, &["--server", &self.address]].concat(), input)
    }

    /// Starts a command that goes on, and writes JSON lines.
    pub(crate) fn follow(&self, arguments: &[&str]) -> Following {
        let arguments = [arguments, &["--server", &self.address]].concat();
        let mut child = command(&arguments).stderr(Stdio::inherit()).spawn().expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Following { child, lines }
    }

    /// Runs a command whose output nobody reads; its exit code.
    pub(crate) fn without_reader(&self, arguments: &[&str]) -> Option<i32> {
        let mut child = command(&[arguments, &["--server", &self.address]].concat()).spawn().expect("starts");
        drop(child.stdout.take());
        child.wait().expect("ends").code()
    }

    pub(crate) fn signal(&self) {
        send(&self.child, Signal::TERM);
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        send(&self.child, Signal::HUP);
    }

    /// Sends SIGKILL, and waits for the end.
    pub(crate) fn kill(self) {
        send(&self.child, Signal::KILL);
        assert_eq!(self.ended(), None);
    }

    /// Sends SIGTERM; the exit code.
    pub(crate) fn terminate(self) -> Option<i32> {
        self.signal();
        self.ended()
    }

    /// Waits for the end of what was told to end; the exit code.
    pub(crate) fn ended(mut self) -> Option<i32> {
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
pub(crate) struct Following {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Following {
    /// Reads lines until one is as wanted.
    pub(crate) fn until(&mut self, mut wanted: impl FnMut(&serde_json::Value) -> bool) -> serde_json::Value {
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
    pub(crate) fn interrupt(self) -> Option<i32> {
        self.end(Signal::INT).0
    }

    /// Sends a signal; the exit code, and what was not read yet.
    pub(crate) fn end(mut self, signal: Signal) -> (Option<i32>, Vec<serde_json::Value>) {
        send(&self.child, signal);
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("reads");
        let rest = rest.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
        (self.child.wait().expect("ends").code(), rest)
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
    kill_process(pid(child), signal).expect("delivers");
}

fn pid(child: &Child) -> Pid {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process")
}
