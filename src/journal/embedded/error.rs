//! What can be wrong with a store, and what may become of it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

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
        "{place} is damaged: {problem}. Nothing was changed. Look at it with `switchyard store check --data-dir DIR`; restore a \
         backup in its place; or move it away to begin anew, without its tasks"
    )]
    Damaged {
        /// The store.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// A newer version of this program has written it.
    #[error(
        "the store is of form {found}, and this version knows forms up to {known}: use the version that wrote it, or a newer one"
    )]
    Newer {
        /// The store's form.
        found: u32,
        /// The newest form that is known here.
        known: u32,
    },
    /// The operating system refused something.
    #[error("{step} {}", .path.display())]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}
