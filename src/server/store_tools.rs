//! What can be done with a data directory: checked, compacted, copied and saved from. Blocking, for the command line.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use thiserror::Error;

use super::control::{Answer, PULSE, Request, connect, lies_in, size, would_lie_in};
use crate::journal::{BackupError, EmbeddedStore, OpenError};
pub use crate::journal::{CheckReport, Compaction, LeftOut, Salvaged};

/// A server that says nothing for so long is not going to.
const SILENCE: Duration = PULSE.saturating_mul(15);
/// Answers are short; what is longer comes from something else.
const ANSWER_BYTES: u64 = 64 * 1024;

/// Why it was not done.
#[derive(Debug, Error)]
pub enum ToolError {
    /// There is no data directory.
    #[error("there is no store in {}: no server has run with this data directory", .0.display())]
    NoStore(PathBuf),
    /// A process holds the directory, and what was asked for needs it alone.
    #[error("{} is in use{}: {what} needs it alone; stop that server first (`switchyard drain`, or SIGTERM)", dir.display(), by(*pid))]
    Held {
        /// The directory.
        dir: PathBuf,
        /// The process, if it said.
        pid: Option<u32>,
        /// What was asked for.
        what: &'static str,
    },
    /// A process holds the directory, and does not answer.
    #[error(
        "{} is in use{}, which does not answer at its control socket; it may be starting or ending: try again, or stop it first",
        dir.display(), by(*pid)
    )]
    Silent {
        /// The directory.
        dir: PathBuf,
        /// The process, if it said.
        pid: Option<u32>,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The server that holds the directory did not do it.
    #[error("the server that holds the directory{} did not make the backup: {why}", by(*pid))]
    Refused {
        /// The process, if it said.
        pid: Option<u32>,
        /// What it says.
        why: String,
    },
    /// A check has found the store damaged beyond what can be looked through.
    #[error(
        "{place} is damaged: {problem}. Restore a backup in its place, or move it away to begin anew, without its tasks"
    )]
    Damaged {
        /// The store.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// The store could not be opened.
    #[error(transparent)]
    Open(OpenError),
    /// The store could not be copied.
    #[error(transparent)]
    Backup(BackupError),
    /// The destination lies in the data directory.
    #[error("{}", would_lie_in(dest, dir))]
    Inside {
        /// The data directory.
        dir: PathBuf,
        /// The destination.
        dest: PathBuf,
    },
    /// The destination has no name that can be told to a server.
    #[error("{}: the destination must be UTF-8", .0.display())]
    Unspeakable(PathBuf),
    /// There is no current directory.
    #[error("{} cannot be found from here", .0.display())]
    NoPath(PathBuf, #[source] io::Error),
}

impl ToolError {
    /// Whether it says that the store is damaged.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Open(OpenError::Damaged { .. }))
    }

    /// Whether something else should have been asked for.
    pub const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NoStore(_) | Self::Inside { .. } | Self::Unspeakable(_) | Self::Backup(BackupError::Exists(_))
        )
    }
}

fn by(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// A copy that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Where it is.
    pub dest: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Whether a running server has made it.
    pub online: bool,
    /// That server's process, if it said.
    pub process: Option<u32>,
}

/// Looks at all that the store holds.
pub fn check(dir: &Path) -> Result<CheckReport, ToolError> {
    EmbeddedStore::check(dir).map_err(|error| match error {
        // Its advice would be to check.
        OpenError::Damaged { place, problem } => ToolError::Damaged { place, problem },
        error => alone(dir, error, "the check"),
    })
}

/// Gives the space back that the store does not use.
pub fn compact(dir: &Path) -> Result<Compaction, ToolError> {
    EmbeddedStore::compact(dir).map_err(|error| alone(dir, error, "the compaction"))
}

/// Copies the store to the new directory `dest`; where a server holds it, has that server do so while it runs. `running` hears
/// every second how long it has taken.
pub fn backup(dir: &Path, dest: &Path, running: impl FnMut(Duration)) -> Result<Backup, ToolError> {
    let dest = absolute(dest).map_err(|error| ToolError::NoPath(dest.to_owned(), error))?;
    if lies_in(&dest, dir) {
        return Err(ToolError::Inside { dir: dir.to_owned(), dest });
    }
    match EmbeddedStore::backup(dir, &dest) {
        Ok(()) => Ok(Backup { bytes: size(&dest), dest, online: false, process: None }),
        Err(BackupError::Open(OpenError::Held { pid, .. })) => online(dir, dest, pid, running),
        Err(BackupError::Open(error)) => Err(opening(dir, error)),
        Err(error) => Err(ToolError::Backup(error)),
    }
}

/// Makes a new store, in the new directory `dest`, of what is sound in the one in `dir`.
pub fn salvage(dir: &Path, dest: &Path) -> Result<Salvaged, ToolError> {
    let dest = absolute(dest).map_err(|error| ToolError::NoPath(dest.to_owned(), error))?;
    if lies_in(&dest, dir) {
        return Err(ToolError::Inside { dir: dir.to_owned(), dest });
    }
    EmbeddedStore::salvage(dir, &dest).map_err(|error| match error {
        // Its advice would be this.
        BackupError::Open(OpenError::Damaged { place, problem }) => ToolError::Damaged { place, problem },
        BackupError::Open(error) => alone(dir, error, "salvaging"),
        error => ToolError::Backup(error),
    })
}

fn opening(dir: &Path, error: OpenError) -> ToolError {
    match error {
        OpenError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ToolError::NoStore(dir.to_owned()),
        error => ToolError::Open(error),
    }
}

fn alone(dir: &Path, error: OpenError, what: &'static str) -> ToolError {
    match error {
        OpenError::Held { dir, pid } => ToolError::Held { dir, pid, what },
        error => opening(dir, error),
    }
}

fn online(dir: &Path, dest: PathBuf, pid: Option<u32>, mut running: impl FnMut(Duration)) -> Result<Backup, ToolError> {
    if dest.to_str().is_none() {
        return Err(ToolError::Unspeakable(dest));
    }
    let silent = |source| ToolError::Silent { dir: dir.to_owned(), pid, source };
    let mut stream = connect(dir).map_err(silent)?;
    stream.set_read_timeout(Some(SILENCE)).and_then(|()| stream.set_write_timeout(Some(SILENCE))).map_err(silent)?;
    let request =
        serde_json::to_string(&Request::Backup { dest: dest.clone() }).map_err(|error| silent(error.into()))?;
    stream.write_all(format!("{request}\n").as_bytes()).map_err(silent)?;
    let mut answers = BufReader::new(stream);
    loop {
        match answer(&mut answers).map_err(silent)? {
            Answer::Running { seconds } => running(Duration::from_secs(seconds)),
            Answer::Done { bytes } => return Ok(Backup { dest, bytes, online: true, process: pid }),
            Answer::Refused { why } => return Err(ToolError::Refused { pid, why }),
        }
    }
}

fn answer(answers: &mut impl BufRead) -> io::Result<Answer> {
    let mut line = String::new();
    answers.by_ref().take(ANSWER_BYTES).read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has hung up: the backup may be there or not"));
    }
    Ok(serde_json::from_str(&line)?)
}
