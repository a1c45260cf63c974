//! What fixtures wait at for as long as their test wants: whoever waits goes on once the gate is dropped, also by a test that fails.

use std::fs::{self, OpenOptions};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that whoever computes on and on looks at.
pub(super) struct Flag(Arc<AtomicBool>);

/// A socket that nothing comes of until the other end is dropped.
pub(super) struct Socket(#[expect(dead_code, reason = "it is there to be closed")] UnixStream);

/// A FIFO that nobody writes to: whoever reads it waits for that already when opening it.
pub(super) struct Fifo(PathBuf);

impl Flag {
    pub(super) fn new() -> (Self, Arc<AtomicBool>) {
        let flag = Arc::new(AtomicBool::new(false));
        (Self(Arc::clone(&flag)), flag)
    }
}

impl Socket {
    pub(super) fn new() -> (Self, Arc<UnixStream>) {
        let (held, waited_at) = UnixStream::pair().expect("a pair");
        (Self(held), Arc::new(waited_at))
    }
}

impl Fifo {
    /// `name` tells it from those of other tests.
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("switchyard-{}-{name}", std::process::id()));
        let made = Command::new("mkfifo").arg(&path).status().expect("there is mkfifo");
        assert!(made.success(), "{}", path.display());
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        // Both ends, so that this waits for nobody; those who wait find a writer, and once that is closed, the end.
        drop(OpenOptions::new().read(true).write(true).open(&self.0));
        let _ = fs::remove_file(&self.0);
    }
}
