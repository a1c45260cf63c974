//! The data directory: `journal.redb`, and the `lock` that one process holds.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::database;
use super::error::{Fault, OpenError};
use super::medium::{Fence, Medium};

pub(super) const STORE: &str = "journal.redb";
const LOCK: &str = "lock";
/// Under this name a new store is made, and renamed when it is whole.
const UNFINISHED: &str = "journal.redb.new";
pub(super) const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A data directory that this process holds.
pub(super) struct Directory {
    path: PathBuf,
    lock: File,
    /// Whether a process held it before.
    was_held: bool,
}

impl Directory {
    /// Makes the directory where it is missing, and holds it.
    pub(super) fn hold(path: &Path) -> Result<Self, OpenError> {
        let io = |step, path: &Path| {
            let place = path.display().to_string();
            move |source| OpenError::Io { step, place, source }
        };
        let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path);
        made.map_err(io("making the data directory", path))?;
        let lock_path = path.join(LOCK);
        let was_held = lock_path.try_exists().map_err(io("looking for", &lock_path))?;
        let mut lock = options().create(true).open(&lock_path).map_err(io("opening", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Held { dir: path.to_owned(), pid: holder(&mut lock) });
            }
            Err(TryLockError::Error(error)) => return Err(io("locking", &lock_path)(error)),
        }
        let written = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        written.map_err(io("writing", &lock_path))?;
        Ok(Self { path: path.to_owned(), lock, was_held })
    }

    /// Holds a directory that has a store.
    pub(super) fn hold_existing(path: &Path) -> Result<Self, OpenError> {
        let store = path.join(STORE);
        match store.metadata() {
            Ok(found) if !found.is_file() => Err(OpenError::NoFile { path: store }),
            Ok(_) => Self::hold(path),
            Err(source) => Err(OpenError::Io { step: "opening", place: store.display().to_string(), source }),
        }
    }

    /// The database's file.
    pub(super) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// Sees to it that there is a store.
    pub(super) fn begin_if_none(&self) -> Result<(), OpenError> {
        let store = self.store();
        match store.metadata() {
            Ok(found) if found.is_file() => return Ok(()),
            Ok(_) => return Err(OpenError::NoFile { path: store }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(OpenError::Io { step: "opening", place: store.display().to_string(), source }),
        }
        if self.was_held {
            tracing::warn!(
                directory = %self.path.display(),
                "the data directory was in use before, but has no {STORE}: a new store begins, without the tasks of that one"
            );
        }
        self.begin().map_err(|fault| fault.opening(self.place()))
    }

    /// Begins a store. Under another name at first, so that whatever is found under its own is whole: one that
    /// is not, was damaged.
    fn begin(&self) -> Result<(), Fault> {
        let unfinished = self.path.join(UNFINISHED);
        let file = options().create(true).truncate(true).open(&unfinished).map_err(Fault::Medium)?;
        database::begin(&database::open_backend(backend(file)?, Fence::default())?)?;
        fs::rename(&unfinished, self.store()).map_err(Fault::Medium)?;
        sync_directory(&self.path).map_err(Fault::Medium)
    }
}

/// A file, for redb.
pub(super) fn backend(file: File) -> Result<Box<dyn StorageBackend>, Fault> {
    Ok(Box::new(FileBackend::new(file)?))
}

/// Makes what was renamed in a directory last.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Medium for Directory {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let file = options().open(self.store())?;
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn is_still_held(&self) -> Result<(), String> {
        let identity = |found: io::Result<std::fs::Metadata>| found.map(|found| (found.dev(), found.ino()));
        match (identity(self.lock.metadata()), identity(self.path.join(LOCK).metadata())) {
            (Ok(held), Ok(there)) if held == there => Ok(()),
            _ => Err(format!("{} was moved or removed, and may be another process's by now", self.path.display())),
        }
    }
}

pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(FILE_MODE);
    options
}

/// Whose lock it is; `None` where it has not been written yet.
fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().and_then(|()| lock.take(32).read_to_string(&mut text)).ok()?;
    text.trim().parse().ok()
}
