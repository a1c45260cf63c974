//! What the tests put under a store.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use redb::StorageBackend;
use uuid::Uuid;

use crate::journal::Medium;

/// A directory that goes when it is dropped.
pub(super) struct TestDir(PathBuf);

impl TestDir {
    pub(super) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("switchyard-store-{}", Uuid::new_v4()));
        std::fs::create_dir(&path).expect("made");
        Self(path)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.join("data")
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("removed");
    }
}

/// What reached a disk, in order.
#[derive(Clone, Debug)]
pub(super) enum Done {
    Write { offset: usize, data: Arc<[u8]> },
    SetLen(usize),
    Sync,
}

/// How a disk fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fails {
    #[default]
    Never,
    /// No write has space.
    Full,
    /// Writes and syncs have errors.
    Writes,
    /// Syncs alone do, though what they were to sync is there.
    Syncs,
    /// Everything does.
    All,
}

/// A disk in memory that notes what it is told, and fails when it is told to.
#[derive(Clone, Default)]
pub(in crate::journal::embedded) struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    done: Option<Vec<Done>>,
    fails: Fails,
    /// How many syncs go well before one fails, once, without a word on what becomes of what it was to write.
    sync_fails_after: Option<usize>,
    free: Option<u64>,
    opened: usize,
    /// What is on the disk itself, as far as this is asked.
    durable: Option<Vec<u8>>,
    /// What has been written since the last sync, whatever became of that: after one that failed, a system takes it for written.
    cached: Vec<Done>,
    /// How many syncs succeed before one fails.
    syncs_left: Option<usize>,
    hold: Option<Hold>,
}

/// A read that is to be held up.
struct Hold {
    thread: &'static str,
    /// How many reads of that thread come before.
    after: usize,
    reached: SyncSender<()>,
    go_on: Receiver<()>,
}

impl Disk {
    pub(in crate::journal::embedded) fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { bytes, ..State::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::journal::embedded) fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    pub(super) fn set(&self, bytes: Vec<u8>) {
        self.lock().bytes = bytes;
    }

    /// Notes everything from now on.
    pub(super) fn record(&self) {
        self.lock().done = Some(Vec::new());
    }

    pub(super) fn recorded(&self) -> Vec<Done> {
        self.lock().done.clone().expect("recording")
    }

    /// How much has been noted.
    pub(super) fn len_recorded(&self) -> usize {
        self.lock().done.as_ref().map_or(0, Vec::len)
    }

    pub(super) fn fail(&self, fails: Fails) {
        self.lock().fails = fails;
    }

    /// After so many more syncs one fails, and what it was to write stays in the system's cache alone, for good.
    pub(super) fn fail_sync_after(&self, syncs: usize) {
        let mut state = self.lock();
        state.durable = Some(state.bytes.clone());
        state.syncs_left = Some(syncs);
    }

    /// What is on the disk itself.
    pub(super) fn durable(&self) -> Vec<u8> {
        self.lock().durable.clone().expect("asked for")
    }

    /// Has one sync fail after so many; `None` is none.
    pub(super) fn fail_one_sync_after(&self, syncs: Option<usize>) {
        self.lock().sync_fails_after = syncs;
    }

    pub(super) fn set_free(&self, free: u64) {
        self.lock().free = Some(free);
    }

    pub(super) fn empty(&self) {
        self.lock().bytes.clear();
    }

    pub(super) fn opened(&self) -> usize {
        self.lock().opened
    }

    /// Holds that thread up in a read after so many others of its own. The first end tells when it is there, the other lets it go
    /// on.
    pub(super) fn hold(&self, thread: &'static str, after: usize) -> (Receiver<()>, SyncSender<()>) {
        let ((reached, there), (go, go_on)) = (sync_channel(1), sync_channel(1));
        self.lock().hold = Some(Hold { thread, after, reached, go_on });
        (there, go)
    }

    fn wait_if_held(&self) {
        let mut state = self.lock();
        let mine = state.hold.as_mut().filter(|hold| thread::current().name() == Some(hold.thread));
        let Some(hold) = mine else { return };
        if let Some(left) = hold.after.checked_sub(1) {
            hold.after = left;
            return;
        }
        let hold = state.hold.take().expect("found");
        drop(state);
        hold.reached.send(()).expect("awaited");
        hold.go_on.recv().expect("told");
    }
}

impl State {
    fn note(&mut self, done: Done) {
        if self.durable.is_some() {
            self.cached.push(done.clone());
        }
        if let Some(all) = &mut self.done {
            all.push(done);
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let cached = std::mem::take(&mut self.cached);
        let Some(durable) = &mut self.durable else { return Ok(()) };
        match self.syncs_left.map(|left| left.checked_sub(1)) {
            Some(None) => {
                self.syncs_left = None;
                return Err(io::Error::from_raw_os_error(5));
            }
            left => self.syncs_left = left.flatten(),
        }
        for done in cached {
            match done {
                Done::Write { offset, data } => put(durable, offset, &data),
                Done::SetLen(len) => durable.resize(len, 0),
                Done::Sync => {}
            }
        }
        Ok(())
    }

    fn check(&self, failing: &[Fails]) -> io::Result<()> {
        match self.fails {
            fails if !failing.contains(&fails) => Ok(()),
            Fails::Full => Err(io::ErrorKind::StorageFull.into()),
            _ => Err(io::Error::from_raw_os_error(5)),
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a disk in memory")
    }
}

impl Medium for Disk {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let mut state = self.lock();
        state.opened += 1;
        state.check(&[Fails::All])?;
        drop(state);
        Ok(Box::new(self.clone()))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.lock().free.unwrap_or(u64::MAX))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.wait_if_held();
        let state = self.lock();
        state.check(&[Fails::All])?;
        let offset = usize::try_from(offset).expect("small");
        let bytes = state.bytes.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.check(&[Fails::Full, Fails::Writes, Fails::All])?;
        let len = usize::try_from(len).expect("small");
        state.bytes.resize(len, 0);
        state.note(Done::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.check(&[Fails::Writes, Fails::Syncs, Fails::All])?;
        let left = state.sync_fails_after.take();
        if left == Some(0) {
            return Err(io::Error::from_raw_os_error(5));
        }
        state.sync_fails_after = left.map(|left| left - 1);
        state.note(Done::Sync);
        state.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        state.check(&[Fails::Full, Fails::Writes, Fails::All])?;
        let offset = usize::try_from(offset).expect("small");
        put(&mut state.bytes, offset, data);
        state.note(Done::Write { offset, data: data.into() });
        Ok(())
    }
}

/// A write beyond the end makes the file longer.
pub(super) fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

/// Every file below a directory, with its mode.
pub(super) fn modes(path: &Path) -> Vec<(String, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
    let mut found = vec![(String::from("."), mode(path))];
    for entry in path.read_dir().expect("a directory") {
        let entry = entry.expect("read");
        found.push((entry.file_name().into_string().expect("ours"), mode(&entry.path())));
    }
    found.sort();
    found
}
