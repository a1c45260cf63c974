//! Copies of a store: while it runs, and offline.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::ReadableDatabase;
use thiserror::Error;
use uuid::Uuid;

use super::copying::Reading;
use super::database::{make_tables, open_backend, put_meta, writing};
use super::directory::{DIRECTORY_MODE, STORE, backend, options, sync_directory};
use super::error::{Fault, OpenError};
use super::form::{Counters, Identity};
use super::medium::Fence;
use super::reading::Opened;
use super::tables::{META, counters, identity};
use crate::journal::StoreError;

/// How long a copy may take: as long, no page that is freed can be used again.
const LONGEST: Duration = Duration::from_secs(600);
/// How many rows are committed to the copy at once.
const ROWS: usize = 8_192;

/// Copies a store while its server runs. Cheap to clone.
#[derive(Clone)]
pub struct Archive {
    shared: Arc<Opened>,
}

/// Why a store was not copied. Nothing is left at the destination.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The destination exists.
    #[error("{} exists; a backup goes to a new directory", .0.display())]
    Exists(PathBuf),
    /// The store to copy could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store could not be read.
    #[error("reading the store")]
    Read(#[source] StoreError),
    /// The copy could not be written.
    #[error("writing the backup to {}", .path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Archive {
    pub(super) fn new(shared: Arc<Opened>) -> Self {
        Self { shared }
    }

    /// Copies the store as it stands to the new directory `dest`, which is laid out as the data directory is. Appears there whole or
    /// not at all. A server that opens it draws a new store id, so that no cursor of the original is taken for its own. Blocks; gives
    /// up after ten minutes, or where the destination hangs, as soon as it answers. The store is held up by neither: at ten minutes
    /// it is read no more.
    pub fn backup(&self, dest: &Path) -> Result<(), BackupError> {
        self.backup_within(dest, LONGEST)
    }

    pub(super) fn backup_within(&self, dest: &Path, longest: Duration) -> Result<(), BackupError> {
        let write =
            |source: Box<dyn std::error::Error + Send + Sync>| BackupError::Write { path: dest.to_owned(), source };
        if dest.try_exists().map_err(|error| write(error.into()))? {
            return Err(BackupError::Exists(dest.to_owned()));
        }
        let unfinished = Unfinished::make(dest).map_err(|error| write(error.into()))?;
        let copied = self.copy(&unfinished.path, Instant::now() + longest);
        copied.map_err(|failed| match failed {
            Failed::Reading(fault) => BackupError::Read(fault.into()),
            Failed::Replaced => BackupError::Read(StoreError::new("it failed meanwhile, and was opened anew")),
            Failed::Writing(fault) => write(fault.into()),
        })?;
        unfinished.finish(dest).map_err(|error| write(error.into()))
    }

    fn copy(&self, to: &Path, until: Instant) -> Result<(), Failed> {
        let database = self.shared.database_or_fault().map_err(Failed::Reading)?;
        let copied = Arc::clone(&database);
        let transaction = database.begin_read().map_err(|error| Failed::Reading(error.into()))?;
        let meta = transaction.open_table(META).map_err(|error| Failed::Reading(error.into()))?;
        let identity = identity(&meta).map_err(Failed::Reading)?;
        let counters = counters(&meta).map_err(Failed::Reading)?;
        drop(meta);
        let reading = Reading::begin(database, transaction, until, ROWS);
        let reading = reading.map_err(|error| Failed::Reading(Fault::Medium(error)))?;
        let written = write_copy(&reading, &identity.of_copy(), &counters, to).map_err(Failed::Writing);
        let read = reading.end();
        // What has been opened in its place overwrites what was still to be copied.
        if !self.shared.is_current(&copied) {
            return Err(Failed::Replaced);
        }
        written?;
        read.map_err(|fault| match fault {
            Fault::Medium(_) => Failed::Writing(fault),
            fault => Failed::Reading(fault),
        })
    }
}

/// Which side of a copy failed.
enum Failed {
    Replaced,
    Reading(Fault),
    Writing(Fault),
}

/// A copy that is not whole yet, beside its destination. Goes when it is dropped.
struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    fn make(dest: &Path) -> io::Result<Self> {
        let mut name = dest.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        // Not by the process, whose id in a container is always the same: what one left that was killed must not be in the way.
        name.push(format!(".unfinished-{}", Uuid::new_v4().simple()));
        let path = dest.with_file_name(name);
        DirBuilder::new().mode(DIRECTORY_MODE).create(&path)?;
        Ok(Self { path })
    }

    fn finish(self, dest: &Path) -> io::Result<()> {
        sync_directory(&self.path)?;
        // Fails where something else has appeared there meanwhile, but for an empty directory.
        fs::rename(&self.path, dest)?;
        let parent = dest.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_directory(parent.unwrap_or(Path::new(".")))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After `finish` there is nothing under this name; and what cannot be removed is in nobody's way.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn write_copy(reading: &Reading, identity: &Identity, counters: &Counters, to: &Path) -> Result<(), Fault> {
    let file = options().create_new(true).open(to.join(STORE)).map_err(Fault::Medium)?;
    let database = open_backend(backend(file)?, Fence::default())?;
    let transaction = writing(&database)?;
    make_tables(&transaction)?;
    put_meta(&transaction, identity, counters)?;
    transaction.commit()?;
    while let Some(batch) = reading.next() {
        let transaction = writing(&database)?;
        batch(&transaction)?;
        transaction.commit()?;
    }
    Ok(database.close()?)
}
