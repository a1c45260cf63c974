//! Copies of a store: while it runs, and offline.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::{Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, Value};
use thiserror::Error;

use super::database::{make_tables, open_backend, put_meta, writing};
use super::directory::{DIRECTORY_MODE, STORE, backend, options, sync_directory};
use super::error::{Fault, OpenError};
use super::medium::Fence;
use super::reading::Opened;
use super::tables::{DYING, EVENTS, META, REQUESTS, SPECS, TASKS, counters, identity};
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
    /// up after ten minutes.
    pub fn backup(&self, dest: &Path) -> Result<(), BackupError> {
        let write =
            |source: Box<dyn std::error::Error + Send + Sync>| BackupError::Write { path: dest.to_owned(), source };
        if dest.try_exists().map_err(|error| write(error.into()))? {
            return Err(BackupError::Exists(dest.to_owned()));
        }
        let database = self.shared.database().map_err(BackupError::Read)?;
        let transaction = database.begin_read().map_err(|error| BackupError::Read(Fault::from(error).into()))?;
        let unfinished = Unfinished::make(dest).map_err(|error| write(error.into()))?;
        let copied = copy_store(&transaction, &unfinished.path);
        // What has been opened in its place overwrites what was still to be copied.
        if !self.shared.is_current(&database) {
            return Err(BackupError::Read(StoreError::new("it failed meanwhile, and was opened anew")));
        }
        copied.map_err(|fault| write(fault.into()))?;
        unfinished.finish(dest).map_err(|error| write(error.into()))
    }
}

/// A copy that is not whole yet, beside its destination. Goes when it is dropped.
struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    fn make(dest: &Path) -> io::Result<Self> {
        let mut name = dest.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(format!(".unfinished-{}", std::process::id()));
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

fn copy_store(from: &ReadTransaction, to: &Path) -> Result<(), Fault> {
    let file = options().create_new(true).open(to.join(STORE)).map_err(Fault::Medium)?;
    let database = open_backend(backend(file)?, Fence::default())?;
    let meta = from.open_table(META)?;
    let (identity, counters) = (identity(&meta)?, counters(&meta)?);
    let transaction = writing(&database)?;
    make_tables(&transaction)?;
    put_meta(&transaction, &identity.of_copy(), &counters)?;
    transaction.commit()?;
    let until = Instant::now() + LONGEST;
    copy_table(from, &database, EVENTS, until)?;
    copy_table(from, &database, TASKS, until)?;
    copy_table(from, &database, SPECS, until)?;
    copy_table(from, &database, DYING, until)?;
    copy_table(from, &database, REQUESTS, until)?;
    Ok(database.close()?)
}

fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &Database,
    table: TableDefinition<'static, K, V>,
    until: Instant,
) -> Result<(), Fault> {
    let original = from.open_table(table)?;
    let mut rows = original.iter()?.peekable();
    while rows.peek().is_some() {
        if Instant::now() > until {
            return Err(Fault::Medium(io::ErrorKind::TimedOut.into()));
        }
        let transaction = writing(to)?;
        {
            let mut copy = transaction.open_table(table)?;
            for row in rows.by_ref().take(ROWS) {
                let (key, value) = row?;
                copy.insert(key.value(), value.value())?;
            }
        }
        transaction.commit()?;
    }
    Ok(())
}
