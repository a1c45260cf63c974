//! What a store's bytes are on.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;

/// What a store's bytes are on: a directory, or what an embedder or a test puts under it.
pub trait Medium: Send + 'static {
    /// Opens it. Called again after an I/O error, when what was opened before is used no more; bytes that were synced are there
    /// again. An empty one (of length 0) begins a new store, the first time.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;

    /// How many bytes can still be written; as many as there are where nobody knows.
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    /// What an error calls it.
    fn place(&self) -> String {
        "the store".to_owned()
    }

    /// Called before it is opened again: an error is final, as when the directory is held by another process by now.
    fn is_still_held(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A backend that can be cut off: redb writes when a database is dropped, and what has failed must not write beside what has
/// been opened in its place. Nor may it read: its successor knows nothing of its readers, and overwrites what they read.
pub(super) struct Fenced {
    inner: Box<dyn StorageBackend>,
    fence: Fence,
}

/// Cuts a backend off.
#[derive(Clone, Default)]
pub(super) struct Fence(Arc<Gates>);

#[derive(Default)]
struct Gates {
    no_writes: AtomicBool,
    no_reads: AtomicBool,
}

impl Fence {
    /// From now on nothing is written.
    pub(super) fn close_to_writes(&self) {
        self.0.no_writes.store(true, Ordering::SeqCst);
    }

    /// From now on nothing is written, nor read: a read that has not ended by now fails.
    pub(super) fn close(&self) {
        self.close_to_writes();
        self.0.no_reads.store(true, Ordering::SeqCst);
    }

    fn check(gate: &AtomicBool) -> io::Result<()> {
        if gate.load(Ordering::SeqCst) { Err(io::Error::other("the store was opened anew")) } else { Ok(()) }
    }

    fn check_write(&self) -> io::Result<()> {
        Self::check(&self.0.no_writes)
    }

    fn check_read(&self) -> io::Result<()> {
        Self::check(&self.0.no_reads)
    }
}

impl Fenced {
    pub(super) fn new(inner: Box<dyn StorageBackend>, fence: Fence) -> Self {
        Self { inner, fence }
    }
}

impl fmt::Debug for Fenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Locks nothing: the directory's own lock keeps others out, and a database that is dropped late must not keep out its successor.
impl StorageBackend for Fenced {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)?;
        // Afterwards: what was read while the fence was closed may be the successor's.
        self.fence.check_read()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fence.check_write()?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fence.check_write()?;
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.fence.check_write()?;
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}
