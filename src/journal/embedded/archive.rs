//! Copies of a store: while it runs, and offline.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use uuid::Uuid;

use super::containment::caught;
use super::copying::Reading;
use super::database::{open_backend, put_meta, writing};
use super::directory::{DIRECTORY_MODE, STORE, backend, options, sync_directory};
use super::error::{Fault, OpenError};
use super::form::{Counters, Identity};
use super::medium::Fence;
use super::reading::Opened;
use super::tables::{META, counters, identity, make_tables};
use crate::journal::{Failure, StoreError};

/// How long a copy may take: as long, no page that is freed can be used again.
const LONGEST: Duration = Duration::from_secs(600);
/// How many rows are committed to the copy at once.
const ROWS: usize = 8_192;

/// Copies a store while its server runs. Cheap to clone.
#[derive(Clone)]
pub struct Archive {
    shared: Arc<Opened>,
    place: String,
}

/// Why a store was not copied. Nothing is left at the destination.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The destination exists.
    #[error("{} exists; a copy goes to a new directory", .0.display())]
    Exists(PathBuf),
    /// The store to copy could not be opened, or is damaged.
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
    /// Of a store that an error calls `place`.
    pub(super) fn new(shared: Arc<Opened>, place: String) -> Self {
        Self { shared, place }
    }

    /// Copies the store as it stands to the new directory `dest`, which is laid out as the data directory is. Appears there whole or
    /// not at all; of a store of which a row is damaged or missing there is no copy. A server that opens it draws a new store id, so that no cursor of the original is taken for its own. Blocks; gives
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
            Failed::Reading(fault) if fault.failure() == Failure::Final => {
                BackupError::Open(fault.opening(self.place.clone()))
            }
            Failed::Reading(fault) => BackupError::Read(fault.into()),
            Failed::Replaced => BackupError::Read(StoreError::new("it failed meanwhile, and was opened anew")),
            Failed::Writing(fault) => write(fault.into()),
        })?;
        unfinished.finish(dest).map_err(|error| write(error.into()))
    }

    fn copy(&self, to: &Path, until: Instant) -> Result<(), Failed> {
        let database = self.shared.database_or_fault().map_err(Failed::Reading)?;
        let copied = Arc::clone(&database);
        let begun = caught(|| {
            let transaction = database.begin_read()?;
            let meta = transaction.open_table(META)?;
            Ok((identity(&meta)?, counters(&meta)?, transaction))
        });
        let (identity, counters, transaction) = begun.map_err(Failed::Reading)?;
        let reading = Reading::begin(database, transaction, counters, until, ROWS);
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
pub(super) struct Unfinished {
    path: PathBuf,
    /// Holds a lock, so that no other copy takes this one for what is left of one.
    _held: File,
}

impl Unfinished {
    pub(super) fn make(dest: &Path) -> io::Result<Self> {
        let mut name = dest.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(".unfinished-");
        remove_left(dest, name.as_encoded_bytes());
        // Not by the process, whose id in a container is always the same: what one left that was killed must not be in the way.
        name.push(Uuid::new_v4().simple().to_string());
        let path = dest.with_file_name(name);
        DirBuilder::new().mode(DIRECTORY_MODE).create(&path)?;
        let held = File::open(&path)?;
        // Where there are no locks, what is left of others cannot be locked either, and stays.
        let _ = held.try_lock();
        Ok(Self { path, _held: held })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn finish(self, dest: &Path) -> io::Result<()> {
        sync_directory(&self.path)?;
        // Fails where something else has appeared there meanwhile, but for an empty directory.
        fs::rename(&self.path, dest)?;
        sync_directory(parent(dest))
    }
}

/// Removes what copies to `dest` have left that were killed. What cannot be removed is in nobody's way.
fn remove_left(dest: &Path, prefix: &[u8]) {
    let entries = fs::read_dir(parent(dest)).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix)) {
        let left = File::open(entry.path()).is_ok_and(|directory| directory.try_lock().is_ok());
        if left && let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!(%error, path = %entry.path().display(), "what is left of a backup could not be removed");
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
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
    database.close()
}
