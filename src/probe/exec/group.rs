//! A command's process group, of which nothing is left behind.
//!
//! The group's id is its leader's pid, which nobody else can be given until the leader has been reaped. So whatever is to reach the
//! group is sent before that, and that the leader has exited is learnt without reaping it, from its pidfd (Linux 5.3).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, waitpid};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe::Receiver;
use tokio::time::sleep;

use super::leaders::{Leaders, signal};
use crate::model::ExecSpec;

/// How much of the output is kept.
const KEPT: usize = 8 * 1024;
/// How much is read at once.
const CHUNK: usize = 4 * 1024;
/// How much is read at once of what is not kept: all that a pipe holds.
const FLOOD: usize = 64 * 1024;
/// How long the pipe is left alone before each such read. A command that writes without end costs next to nothing so, and one that
/// writes much still gets rid of 6 MiB in a second.
const PAUSE: Duration = Duration::from_millis(10);
/// Where commands are looked for by those that we run.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A group as it was spawned: plain, so that it can come from the blocking pool, and end there where nobody waits for it any more.
#[derive(Debug)]
pub(super) struct Spawned {
    leader: Leader,
    exit: OwnedFd,
    output: OwnedFd,
}

/// A group that is watched.
#[derive(Debug)]
pub(super) struct Group {
    leader: Leader,
    exit: AsyncFd<OwnedFd>,
    output: Option<Receiver>,
    chunk: Vec<u8>,
    kept: Vec<u8>,
    /// Whether there was more than is kept.
    cut_off: bool,
}

/// How a command has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) output: Vec<u8>,
    pub(super) cut_off: bool,
}

/// Starts a command in a group of its own, whose leader enters. Blocks until the program has been loaded.
pub(super) fn spawn(spec: &ExecSpec, leaders: &Arc<Leaders>) -> io::Result<Spawned> {
    if leaders.are_closed() {
        return Err(closed());
    }
    let mut child = Command::new(spec.command())
        .args(spec.args())
        .env_clear()
        .envs([("PATH", PATH), ("LC_ALL", "C")])
        .envs(spec.env().iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    let output = child.stdout.take();
    let leader = Leader::of(child, leaders)?;
    // From here on an error ends the group.
    let exit = pidfd_open(leader.pid, PidfdFlags::empty())?;
    Ok(Spawned { leader, exit, output: output.ok_or(Errno::BADF)?.into() })
}

fn closed() -> io::Error {
    io::Error::other("the server ends")
}

impl Spawned {
    /// Watches it, in the runtime that this is called in.
    pub(super) fn watch(self) -> io::Result<Group> {
        let Self { leader, exit, output } = self;
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe, since not all that it takes owns its descriptor; this does"
        )]
        let exit = AsyncFd::with_interest(exit, Interest::READABLE)?;
        Ok(Group {
            leader,
            exit,
            output: Some(Receiver::from_owned_fd(output)?),
            chunk: vec![0; CHUNK],
            kept: Vec::new(),
            cut_off: false,
        })
    }
}

impl Group {
    /// Reads until the leader has exited, so that the command is not held up, but for a while by what it writes beyond what is
    /// kept. Who else has the pipe open is not waited for. Cancel-safe.
    pub(super) async fn exited(&mut self) {
        loop {
            let Self { exit, output, chunk, cut_off, .. } = self;
            let reading = async {
                if *cut_off {
                    sleep(PAUSE).await;
                }
                match output {
                    Some(output) => output.read(chunk).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // An error means that there is no runtime any more, and then nobody waits.
                _ = exit.readable() => return,
                read = reading => match read {
                    Ok(0) | Err(_) => self.output = None,
                    Ok(read) => self.keep(read),
                }
            }
        }
    }

    /// Ends a group whose leader has exited. `None` where the leader's status is not known.
    pub(super) fn end(mut self) -> Option<Ended> {
        self.read_the_rest();
        let status = self.leader.end()?;
        Some(Ended { status, output: std::mem::take(&mut self.kept), cut_off: self.cut_off })
    }

    /// Asks the group to end.
    pub(super) fn terminate(&self) {
        signal(self.leader.pid, Signal::TERM);
    }

    /// Leaves the group no choice. It goes on until the leader has exited, but runs no more of its program.
    pub(super) fn kill(&self) {
        signal(self.leader.pid, Signal::KILL);
    }

    fn keep(&mut self, read: usize) {
        let room = KEPT - self.kept.len();
        self.kept.extend_from_slice(&self.chunk[..read.min(room)]);
        if read > room && !self.cut_off {
            self.cut_off = true;
            self.chunk = vec![0; FLOOD];
        }
    }

    /// What the leader wrote last may still be in the pipe; of what others write without an end, only so much is of interest.
    fn read_the_rest(&mut self) {
        while let Some(output) = self.output.as_ref().filter(|_| !self.cut_off) {
            match output.try_read(&mut self.chunk) {
                Ok(read) if read > 0 => self.keep(read),
                _ => return,
            }
        }
    }
}

/// The leader, not yet reaped. Dropped, it ends its group: at once, and without waiting for it.
#[derive(Debug)]
struct Leader {
    child: Child,
    pid: Pid,
    reaped: bool,
    leaders: Arc<Leaders>,
}

impl Leader {
    fn of(child: Child, leaders: &Arc<Leaders>) -> io::Result<Self> {
        // A pid is a positive `i32`.
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        let leader = Self { child, pid, reaped: false, leaders: Arc::clone(leaders) };
        if leaders.enter(pid) { Ok(leader) } else { Err(closed()) }
    }

    /// Kills the group, then reaps the leader if it has exited: after that the group's id may be another's.
    fn end(&mut self) -> Option<ExitStatus> {
        signal(self.pid, Signal::KILL);
        self.leaders.leave(self.pid);
        let status = self.child.try_wait().ok().flatten()?;
        self.reaped = true;
        Some(status)
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.reaped || self.end().is_some() {
            return;
        }
        // A thread of its own: this may be the end of the runtime, whose blocking pool takes nothing any more. It ends with the
        // process, which has been killed.
        let pid = self.pid;
        let reap = move || {
            // There is no such child only where somebody else has reaped it.
            let _ = retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
        };
        if thread::Builder::new().name("reaper".to_owned()).spawn(reap).is_err() {
            // No threads are left; what has been killed does not take long.
            reap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_spawned_while_the_server_ends_is_killed() {
        let leaders = Arc::default();
        Leaders::close(&leaders);
        let child = Command::new("sleep").arg("1000").process_group(0).spawn().expect("starts");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        Leader::of(child, &leaders).expect_err("closed");
        // The reaper takes it, sooner or later.
        while rustix::process::test_kill_process(pid).is_ok() {
            thread::yield_now();
        }
    }
}
