//! The exec kind: a command, run as monitoring plugins are.
//!
//! An instance is two futures side by side: the checks on their grid, each of which asks for a run of the command and waits for its
//! finding, and the runner, which carries the asking out. A check is dropped at once when it is superseded or the instance is told
//! to stop; the runner sees that, and ends the command in the way that is due: at once, or by SIGTERM first.

mod group;
mod leaders;
mod plugin;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use self::group::{Ended, Group, Spawned};
use self::leaders::Leaders;
use self::plugin::Said;
use crate::model::{ExecSpec, MonitorSpec, Pretty, TaskSpec, Violations};
use crate::monitor::{Context, Finding, Monitor, MonitorFuture, TIMEOUT};
use crate::telemetry::{Perfdata, PerfdataWriter};

/// The command says that the target is well, but not as well as it should be.
const WARNING: &str = "WARNING";
/// The command says that the target is not well.
const CRITICAL: &str = "CRITICAL";
/// The command could not say.
const UNKNOWN: &str = "UNKNOWN";
/// The command was ended by a signal that we have not sent.
const KILLED: &str = "KILLED";
/// The command is not there, or cannot be run.
const NOT_EXECUTABLE: &str = "NOT_EXECUTABLE";
/// The command was not started for a reason of ours.
const LOCAL_FAULT: &str = "LOCAL_FAULT";

/// Errors that speak of the program; all others, of this machine.
const PROGRAM: [Errno; 9] = [
    Errno::NOENT,
    Errno::ACCESS,
    Errno::NOEXEC,
    Errno::NOTDIR,
    Errno::ISDIR,
    Errno::LOOP,
    Errno::NAMETOOLONG,
    Errno::TXTBSY,
    Errno::LIBBAD,
];
/// How many commands may be starting at once. Each takes a thread of the blocking pool until its program has been loaded, which
/// may take long where that lies on a file system that hangs.
const STARTS: u32 = 64;
/// How long the end of a server waits for commands that are starting, which are killed once they have. Longer than a start takes
/// unless the program lies on a file system that hangs.
const STARTING: Duration = Duration::from_millis(100);
/// How long a check waits for what it has killed. Longer than any process takes to die that is not held by the kernel.
const DEATH: Duration = Duration::from_millis(100);

/// What the commands of a process share.
#[derive(Debug)]
pub(super) struct Exec {
    allowed: BTreeSet<String>,
    start: Start,
    starts: Arc<Semaphore>,
    leaders: Arc<Leaders>,
    perfdata: Perfdata,
}

/// What starts a command; blocks. Tests have starts that hang.
type Start = fn(&ExecSpec, &Arc<Leaders>) -> io::Result<Spawned>;

impl Exec {
    pub(super) fn new(allowed: &[String], perfdata: Perfdata) -> Self {
        Self {
            allowed: allowed.iter().cloned().collect(),
            start: group::spawn,
            starts: Arc::new(Semaphore::new(STARTS as usize)),
            leaders: Arc::default(),
            perfdata,
        }
    }

    /// Kills all commands, and lets no more of them start.
    pub(super) fn kill(&self) {
        self.leaders.close();
    }

    /// As [`kill`](Self::kill), and waits for what was about to start.
    pub(super) async fn end(&self) {
        self.kill();
        // One that hangs cannot be reached; its program has not begun.
        let _ = timeout(STARTING, self.starts.acquire_many(STARTS)).await;
    }

    fn allows(&self, command: &str) -> bool {
        self.allowed.contains(command)
    }
}

/// Whether this server runs the command. `exec` is `None` where it runs none.
pub(super) fn validate(exec: Option<&Exec>, spec: &ExecSpec) -> Result<(), Violations> {
    let problem = match exec {
        Some(exec) if exec.allows(spec.command()) => return Ok(()),
        Some(_) => "this server does not run this command; its operator lists those that it runs, as `exec_commands`",
        None => {
            "this server runs no commands; its operator turns them on by listing those that it may run, \
             as --exec-commands or `exec_commands`"
        }
    };
    Err(Violations::one("exec.command", problem))
}

/// One instance.
pub(super) struct Plugin {
    pub(super) spec: Arc<TaskSpec>,
    pub(super) exec: Arc<Exec>,
}

impl Monitor for Plugin {
    fn run(self: Box<Self>, context: Context) -> MonitorFuture {
        Box::pin(async move {
            let Self { spec, exec } = *self;
            let MonitorSpec::Exec(command) = spec.monitor() else { return Err("this is no exec task".into()) };
            // Checks do not overlap. One that was dropped may still be ended while the next asks.
            let (ask, asked) = mpsc::channel(1);
            let perfdata = exec.perfdata.writer(context.name());
            let limit = context.schedule().timeout();
            let runner = Runner { command, exec: &exec, context: &context, perfdata, limit, last_start: Weak::new() };
            let checks = async {
                context.every_until(context.schedule().interval(), |deadline| check(ask.clone(), deadline)).await;
                drop(ask);
            };
            tokio::join!(checks, runner.run(asked));
            Ok(())
        })
    }
}

/// A check's wish for a run of the command.
struct Run {
    deadline: Instant,
    finding: oneshot::Sender<Finding>,
}

async fn check(ask: mpsc::Sender<Run>, deadline: Instant) -> Finding {
    let (finding, found) = oneshot::channel();
    // The runner lives as long as anybody can ask.
    let _ = ask.send(Run { deadline, finding }).await;
    found.await.unwrap_or_else(|_| Finding::neutral(LOCAL_FAULT, "the command was not run"))
}

/// Runs the command when it is asked to.
struct Runner<'a> {
    command: &'a ExecSpec,
    exec: &'a Exec,
    context: &'a Context,
    perfdata: PerfdataWriter,
    limit: Duration,
    /// The place of the last start, held until that has come to an end, also where it was given up.
    last_start: Weak<OwnedSemaphorePermit>,
}

/// Why something is not waited for.
enum Given {
    /// The check was dropped.
    Up,
    /// It has run out of time.
    OutOfTime,
}

impl Runner<'_> {
    async fn run(mut self, mut asked: mpsc::Receiver<Run>) {
        while let Some(Run { deadline, mut finding }) = asked.recv().await {
            // On the heap, and only while it runs, so that an idle instance is small.
            let found = Box::pin(self.run_once(deadline, &mut finding)).await;
            let Some((found, said)) = found else { continue };
            // An instance whose checks drive nothing shows nothing.
            if self.context.is_counted() {
                self.perfdata.show(said.perfdata, said.dropped);
            }
            // The check may just have been dropped.
            let _ = finding.send(found);
        }
    }

    /// Runs the command, and leaves nothing of it; `None` where the check was dropped.
    async fn run_once(&mut self, deadline: Instant, finding: &mut oneshot::Sender<Finding>) -> Option<(Finding, Said)> {
        let limit = self.limit;
        let late = || {
            let message = format!("the command was not started within {}", Pretty(limit));
            Some((Finding::neutral(LOCAL_FAULT, message), Said::default()))
        };
        if self.last_start.strong_count() > 0 {
            // A second one would most likely hang, too, until this task had taken every place there is.
            let message = "not started again: an earlier start, which was given up, has not come to an end";
            return Some((Finding::neutral(LOCAL_FAULT, message), Said::default()));
        }
        let place = Arc::clone(&self.exec.starts).acquire_owned();
        let place = match unless_given_up(finding, deadline, place).await {
            // Nobody closes the semaphore.
            Ok(place) => place.ok()?,
            Err(Given::OutOfTime) => return late(),
            Err(Given::Up) => return None,
        };
        // Dropped, it does not begin, or what it has begun ends.
        let mut starting = AbortOnDropHandle::new(self.start(place));
        let started = match unless_given_up(finding, deadline, &mut starting).await {
            Ok(started) => started,
            Err(Given::OutOfTime) => return late(),
            Err(Given::Up) if self.is_told_to_stop() => {
                starting.abort();
                starting.await
            }
            Err(Given::Up) => return None,
        };
        let started = started.map_err(io::Error::other).and_then(|started| started?.watch());
        match started {
            Ok(group) => self.see_through(group, deadline, finding).await,
            Err(error) => Some((not_started(&error), Said::default())),
        }
    }

    fn start(&mut self, place: OwnedSemaphorePermit) -> JoinHandle<io::Result<Spawned>> {
        let place = Arc::new(place);
        self.last_start = Arc::downgrade(&place);
        let (start, command, leaders) = (self.exec.start, self.command.clone(), Arc::clone(&self.exec.leaders));
        spawn_blocking(move || {
            let _place = place;
            start(&command, &leaders)
        })
    }

    async fn see_through(
        &self,
        mut group: Group,
        deadline: Instant,
        finding: &mut oneshot::Sender<Finding>,
    ) -> Option<(Finding, Said)> {
        match unless_given_up(finding, deadline, group.exited()).await {
            Ok(()) => Some(judge(group.end())),
            Err(Given::OutOfTime) => {
                kill(group).await;
                let message = format!("killed, since it did not end within {}", Pretty(self.limit));
                Some((Finding::fail(TIMEOUT, message), Said::default()))
            }
            Err(Given::Up) if self.is_told_to_stop() => {
                group.terminate();
                // Without a bound of its own: after the grace period all this is dropped, and the group with it.
                group.exited().await;
                None
            }
            Err(Given::Up) => {
                kill(group).await;
                None
            }
        }
    }

    fn is_told_to_stop(&self) -> bool {
        self.context.token().is_cancelled()
    }
}

/// The future's output, unless the check is dropped or its deadline comes first.
async fn unless_given_up<T>(
    finding: &mut oneshot::Sender<Finding>,
    deadline: Instant,
    future: impl Future<Output = T>,
) -> Result<T, Given> {
    tokio::select! {
        biased;
        () = finding.closed() => Err(Given::Up),
        output = timeout_at(deadline, future) => output.map_err(|_| Given::OutOfTime),
    }
}

/// Kills the group, and sees its end unless the kernel holds it.
async fn kill(mut group: Group) {
    group.kill();
    // Either way it is dropped here, which kills whoever has joined the group meanwhile, and reaps the leader.
    let _ = timeout(DEATH, group.exited()).await;
}

/// What the command's end says of the target, by the Nagios plugin guidelines ("Plugin Return Codes").
fn judge(ended: Option<Ended>) -> (Finding, Said) {
    let Some(Ended { status, output, cut_off }) = ended else {
        return (Finding::neutral(LOCAL_FAULT, "how the command has ended is not known"), Said::default());
    };
    let said = plugin::read(&output, cut_off);
    let message = match status.code() {
        Some(1..=3) if said.message.is_empty() => format!("{status}, without a word"),
        Some(0..=3) => said.message.clone(),
        _ => format!("{status}; {}", said.message).trim_end_matches([';', ' ']).to_owned(),
    };
    let finding = match status.code() {
        Some(0) => Finding { message, ..Finding::pass() },
        Some(1) => Finding { reason: WARNING, message, ..Finding::pass() },
        Some(2) => Finding::fail(CRITICAL, message),
        Some(_) => Finding::neutral(UNKNOWN, message),
        None => Finding::neutral(KILLED, message),
    };
    (finding, said)
}

fn not_started(error: &io::Error) -> Finding {
    let is_program = Errno::from_io_error(error).is_some_and(|errno| PROGRAM.contains(&errno));
    let reason = if is_program { NOT_EXECUTABLE } else { LOCAL_FAULT };
    Finding::neutral(reason, format!("cannot run the command: {error}"))
}
