//! What can be wrong with a store, and what may become of it.

use std::fmt::{self, Debug, Display};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use thiserror::Error;

use super::form::Unreadable;
use crate::journal::{Failure, StoreError};

/// Why a store could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process holds it.
    #[error(
        "{} is in use{}: one process at a time may hold a data directory; stop that one, or give this one another directory",
        .dir.display(), .pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// The process, if it said.
        pid: Option<u32>,
    },
    /// What is there is no sound store.
    #[error(
        "{place} is damaged: {problem}. Look at it with `switchyard store check --data-dir DIR`, which changes nothing; restore a \
         backup in its place; have what is sound written to a new store with `switchyard store salvage --data-dir DIR DEST`; or move it away to begin anew, without its tasks"
    )]
    Damaged {
        /// The store.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// A newer version of this program has written it.
    #[error(
        "{place} is of form {found}, and this version knows forms up to {known}: use the version that wrote it, or a newer one"
    )]
    Newer {
        /// The store.
        place: String,
        /// The store's form.
        found: u32,
        /// The newest form that is known here.
        known: u32,
    },
    /// Where the store's file should be is something else.
    #[error(
        "{} is no file, so it cannot be a store: name the directory that has the store in it with --data-dir, or move this away to \
         begin anew", .path.display()
    )]
    NoFile {
        /// Where.
        path: PathBuf,
    },
    /// The operating system refused something.
    #[error("{step} {place}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        place: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Whatever went wrong inside.
#[derive(Debug, Error)]
pub(super) enum Fault {
    /// redb's own.
    #[error(transparent)]
    Redb(redb::Error),
    /// The medium could not be opened.
    #[error("opening it")]
    Medium(#[source] io::Error),
    /// A row is not what it should be.
    #[error("{place}: {problem}")]
    Damaged {
        /// Table and key, or nothing yet.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// redb panicked over what it read. What it was writing is left half done, so that it cannot be closed in order either.
    #[error("the file: {0}")]
    Panicked(String),
    /// Of a form that this version does not know.
    #[error("it is of form {found}, and this version knows forms up to {known}")]
    Newer { found: u32, known: u32 },
    /// It is no longer ours.
    #[error("{0}")]
    Lost(String),
    /// The journal asked for nonsense: committing it would spoil the log.
    #[error("{0}")]
    Refused(String),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

impl From<Unreadable> for Fault {
    fn from(problem: Unreadable) -> Self {
        Self::damaged("", problem)
    }
}

impl Fault {
    pub(super) fn damaged(place: impl Display, problem: impl Display) -> Self {
        Self::Damaged { place: place.to_string(), problem: problem.to_string() }
    }

    /// Says where the damage is, if that has not been said.
    pub(super) fn at(self, table: &str, key: impl Debug) -> Self {
        match self {
            Self::Damaged { place, problem } if place.is_empty() => {
                Self::Damaged { place: format!("table {table}, key {key:?}"), problem }
            }
            other => other,
        }
    }

    /// What may become of the store.
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Redb(redb::Error::Io(error)) | Self::Medium(error) => match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Failure::Full,
                // So redb says that the file is none of its, or too short.
                ErrorKind::InvalidData | ErrorKind::UnexpectedEof => Failure::Final,
                _ => Failure::Passing,
            },
            Self::Redb(
                redb::Error::Backend(_)
                | redb::Error::PreviousIo
                | redb::Error::DatabaseClosed
                | redb::Error::LockPoisoned(_),
            ) => Failure::Passing,
            Self::Redb(_)
            | Self::Damaged { .. }
            | Self::Panicked(_)
            | Self::Newer { .. }
            | Self::Lost(_)
            | Self::Refused(_) => Failure::Final,
        }
    }

    /// Whether it is about what is stored alone, and the file is open as before.
    pub(super) fn leaves_open(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Refused(_) | Self::Redb(redb::Error::Corrupted(_)))
    }

    /// The fault of a server that begins with what `place` holds: where that is damaged, with a word on what to do.
    pub(super) fn beginning(self, place: String) -> StoreError {
        match self.failure() {
            Failure::Final => StoreError::of(Failure::Final, self.opening(place)),
            Failure::Passing | Failure::Full => self.into(),
        }
    }

    /// The fault of one who opens `place`.
    pub(super) fn opening(self, place: String) -> OpenError {
        match self {
            Self::Newer { found, known } => OpenError::Newer { place, found, known },
            fault if fault.failure() == Failure::Final => {
                OpenError::Damaged { place, problem: Chain(&fault).to_string() }
            }
            Self::Redb(redb::Error::Io(source)) | Self::Medium(source) => {
                OpenError::Io { step: "opening", place, source }
            }
            fault => OpenError::Io { step: "opening", place, source: io::Error::other(fault) },
        }
    }
}

/// The log has a hole.
pub(super) fn gap(last: u64, next: u64) -> Fault {
    Fault::damaged("", format!("the log has a gap: {next} follows {last}"))
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        Self::of(fault.failure(), fault)
    }
}

/// An error with its causes, in one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self.0, f)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
