//! The data directory: `journal.redb`, and the `lock` that one process holds.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::error::OpenError;
use super::medium::Medium;

const STORE: &str = "journal.redb";
const LOCK: &str = "lock";
/// Under this name a new store is made, and renamed when it is whole.
const UNFINISHED: &str = "journal.redb.new";
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A data directory that this process holds.
pub(super) struct Directory {
    path: PathBuf,
    lock: File,
}

impl Directory {
    /// Makes the directory where it is missing, and holds it.
    pub(super) fn hold(path: &Path) -> Result<Self, OpenError> {
        let io = |step, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { step, path, source }
        };
        let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path);
        made.map_err(io("making the data directory", path))?;
        let lock_path = path.join(LOCK);
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
        Ok(Self { path: path.to_owned(), lock })
    }

    pub(super) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    fn unfinished(&self) -> PathBuf {
        self.path.join(UNFINISHED)
    }
}

impl Medium for Directory {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let _ = self.unfinished();
        let file = options().create(true).open(self.store())?;
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }

    fn is_still_held(&self) -> Result<(), String> {
        let identity = |found: io::Result<std::fs::Metadata>| found.map(|found| (found.dev(), found.ino()));
        match (identity(self.lock.metadata()), identity(self.path.join(LOCK).metadata())) {
            (Ok(held), Ok(there)) if held == there => Ok(()),
            _ => Err(format!("{} was moved or removed, and may be another process's by now", self.path.display())),
        }
    }
}

fn options() -> OpenOptions {
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
