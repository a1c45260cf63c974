//! The store that outlives the process: one file of redb's, in a directory that one process holds.
//!
//! ```text
//! commit → one transaction: events (in pieces) · tasks (last images) · specs · requests · counters · a bounded trim
//! read   → a short read transaction beside the writer
//! ```
//!
//! | table | key → value |
//! |---|---|
//! | `meta` | a word → the form's number, the store's identity, the log's counters |
//! | `events` | the last sequence of a piece → the piece: events that were committed together, up to a page of them |
//! | `tasks` | the sequence at which the task was first heard of → its last image |
//! | `specs` | that, and the generation → the spec, which images only refer to, and what has become of it |
//! | `dying` | the sequence from which on nothing refers to it any more, and a spec's key → nothing but its seal |
//! | `requests` | a running number → a request to be remembered |
//!
//! Every row has a seal (`seal`), and every table a tally (`rows`): what has flipped on the disk is found as it is read.
//!
//! What is never so: a group half there; an event acknowledged and gone; a spec gone that a task or a retained event refers to; a
//! value served that is not the one that was written; an older reader taking a newer form for its own.

mod age;
mod archive;
mod births;
mod check;
mod containment;
mod copying;
mod database;
mod directory;
mod error;
mod first;
mod form;
mod group;
mod index;
mod medium;
mod migration;
mod overlay;
mod reading;
mod recovery;
mod report;
mod rows;
mod salvage;
mod seal;
mod specs;
mod tables;
#[cfg(test)]
mod tests;
mod trimming;

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use archive::{Archive, BackupError};
pub use error::OpenError;
#[cfg(test)]
pub(crate) use form::any_events;
pub use medium::Medium;
pub use report::{CheckReport, Compaction, LeftOut, Salvaged};

use self::age::AgeClock;
use self::containment::{Database, caught};
use self::database::Empty;
use self::directory::Directory;
use self::error::Fault;
use self::group::Written;
use self::medium::Fence;
use self::reading::Opened;
use super::store::{Group, Reader, Recovered, Store, StoreError};

/// Below that much free space clients are refused: the rest is for facts, which go on for a while after the last command.
const NEARLY_FULL: u64 = 64 << 20;
/// How long what was seen of the free space holds.
const SPACE_SEEN_FOR: Duration = Duration::from_secs(1);
/// How many steps one call of `maintain` takes: a commit that comes meanwhile waits for about as long as for another commit.
const MAINTAINED: usize = 128;

/// How much of the log is kept: what exceeds any of the bounds is dropped, the oldest first, a piece at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How many events at least; `None` is a million, or twenty for each task where that is more.
    pub events: Option<u64>,
    /// How old an event may grow: by the wall clock, whose jumps ahead while the store is open count for nothing.
    pub age: Duration,
    /// How many bytes the events may take, with the specs that are kept for their sake alone. Not counted are the tasks, the specs
    /// that are kept for those (ten each, of 64 KiB at the most), and what redb itself takes.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { events: None, age: Duration::from_secs(7 * 86_400), bytes: 1 << 30 }
    }
}

/// Keeps the log, the tasks and the requests in a directory.
pub struct EmbeddedStore {
    medium: Box<dyn Medium>,
    retention: Retention,
    shared: Arc<Opened>,
    /// `None` after a failure, until the medium is opened anew: then what was written is read again, not believed. Until then, what
    /// is shared is for readers alone.
    written: Option<Written>,
    /// What is shared is the writer's own, and redb is well with it.
    is_open: bool,
    /// Of what is shared.
    fence: Fence,
    clock: AgeClock,
    /// A commit failed, and its group may be there nevertheless.
    in_doubt: bool,
    nearly_full: Cell<Option<(Instant, bool)>>,
}

impl EmbeddedStore {
    /// Opens the store in `data_dir`, which is made (0700) where it is missing. Blocks: after a crash for as long as the repair
    /// takes.
    pub fn open(data_dir: &Path, retention: Retention) -> Result<Self, OpenError> {
        let directory = Directory::hold(data_dir)?;
        directory.begin_if_none()?;
        Self::open_for_server(Box::new(directory), retention, Empty::Refuse)
    }

    /// Opens the store that `medium` holds, or begins one where it is empty.
    pub fn with_medium(medium: impl Medium, retention: Retention) -> Result<Self, OpenError> {
        Self::open_for_server(Box::new(medium), retention, Empty::Begin)
    }

    fn open_for_server(medium: Box<dyn Medium>, retention: Retention, empty: Empty) -> Result<Self, OpenError> {
        let place = medium.place();
        Self::open_any(medium, retention, empty).map_err(|fault| fault.opening(place))
    }

    fn open_any(medium: Box<dyn Medium>, retention: Retention, empty: Empty) -> Result<Self, Fault> {
        database::refuse_unfit(&*medium)?;
        let mut store = Self {
            medium,
            retention,
            shared: Arc::default(),
            written: None,
            is_open: false,
            fence: Fence::default(),
            clock: AgeClock::start(),
            in_doubt: false,
            nearly_full: Cell::new(None),
        };
        store.reopen(empty)?;
        Ok(store)
    }

    /// Copies the store while it runs.
    pub fn archive(&self) -> Archive {
        Archive::new(Arc::clone(&self.shared), self.medium.place())
    }

    /// Looks at all that the store in `data_dir` holds. No server may hold it meanwhile. Blocks, for as long as reading it takes.
    pub fn check(data_dir: &Path) -> Result<CheckReport, OpenError> {
        let directory = Directory::hold_existing(data_dir)?;
        check::check(&directory).map_err(|fault| fault.opening(directory.place()))
    }

    /// Gives the space back that the store in `data_dir` does not use. No server may hold it meanwhile. Blocks.
    pub fn compact(data_dir: &Path) -> Result<Compaction, OpenError> {
        let directory = Directory::hold_existing(data_dir)?;
        check::compact(&directory).map_err(|fault| fault.opening(directory.place()))
    }

    /// Copies the store in `data_dir`, which no server may hold meanwhile, to the new directory `dest`, and leaves it as it is: what is
    /// repaired, or migrated from an older form, is so in memory on its way. Blocks. While a server runs, [`Archive::backup`] does the
    /// same.
    pub fn backup(data_dir: &Path, dest: &Path) -> Result<(), BackupError> {
        let directory = Directory::hold_existing(data_dir)?;
        let looked = database::look(&directory).and_then(|mut database| {
            caught(|| database::bring_up(&mut database))?;
            Ok(Arc::new(database))
        });
        let shared = Arc::<Opened>::default();
        shared.replace(Some(looked.map_err(|fault| fault.opening(directory.place()))?));
        Archive::new(shared, directory.place()).backup(dest)
    }

    /// Makes a new store in the new directory `dest`, with an id of its own, of what is sound in the one in `data_dir`, which is left as
    /// it is, and which no server may hold meanwhile. Blocks. Fails where redb does not open the file.
    pub fn salvage(data_dir: &Path, dest: &Path) -> Result<Salvaged, BackupError> {
        salvage::salvage(&Directory::hold_existing(data_dir)?, dest)
    }

    /// The store, opened anew if it has failed.
    fn opened(&mut self) -> Result<(Arc<Database>, &mut Written), Fault> {
        if self.written.is_none() || self.shared.has_failed() {
            self.written = None;
            self.medium.is_still_held().map_err(Fault::Lost)?;
            if self.is_open && !self.shared.has_failed() {
                let (database, clock) = (self.shared.database_or_fault()?, self.clock);
                let births = Arc::clone(&self.shared.births);
                self.written = Some(caught(|| Written::load(&database, clock, births))?);
            } else {
                self.reopen(Empty::Refuse)?;
            }
        }
        let database = self.shared.database_or_fault()?;
        let written = self.written.as_mut().ok_or(redb::Error::DatabaseClosed)?;
        Ok((database, written))
    }

    /// Opens it, in place of what is shared. What that was no longer writes from the start, and no longer reads by the time
    /// something is committed: the new one keeps the last commit's pages until then, and knows nothing of older readers.
    fn reopen(&mut self, empty: Empty) -> Result<(), Fault> {
        self.is_open = false;
        self.fence.close_to_writes();
        let (fence, clock) = (Fence::default(), self.clock);
        let mut database = database::open(&*self.medium, fence.clone(), empty)?;
        let births = Arc::clone(&self.shared.births);
        let loaded = caught(|| {
            database::bring_up(&mut database)?;
            Written::load(&database, clock, births)
        });
        let written = loaded.inspect_err(|_| fence.close())?;
        self.shared.set_oldest(written.counters.oldest);
        self.written = Some(written);
        self.share(Some(database), fence);
        self.is_open = true;
        Ok(())
    }

    /// What the fault leaves open stays so, to be closed at the end: a file that was not closed has its checksums looked at as it is
    /// opened, and redb refuses it for one row without a word on which.
    fn give_up(&mut self, fault: &Fault) {
        if self.is_open && fault.leaves_open() {
            self.written = None;
        } else {
            self.let_go();
        }
    }

    /// Gives up what has failed: redb neither reads nor writes after an error. Readers are given another, which has what was
    /// committed last, until the writer's own opens again.
    fn let_go(&mut self) {
        let was_writing = self.written.take().is_some() || self.is_open;
        self.is_open = false;
        // What is dropped would write.
        self.fence.close_to_writes();
        if !was_writing && self.shared.is_sound() {
            return;
        }
        let fence = Fence::default();
        let held = self.medium.is_still_held().map_err(Fault::Lost);
        match held.and_then(|()| database::open_for_readers(&*self.medium, fence.clone())) {
            Ok(database) => self.share(Some(database), fence),
            Err(fault) => {
                tracing::warn!(%fault, "the store cannot be read either");
                self.share(None, fence);
            }
        }
    }

    fn share(&mut self, database: Option<Database>, fence: Fence) {
        self.shared.replace(database.map(Arc::new));
        std::mem::replace(&mut self.fence, fence).close();
    }

    /// Has the open store do something; where that fails, the next call opens it anew.
    fn attempt<T>(
        &mut self,
        act: impl FnOnce(&Database, &mut Written, &Retention) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let retention = self.retention;
        let acted = self.opened().and_then(|(database, written)| {
            let done = caught(|| act(&database, written, &retention))?;
            Ok((done, written.counters.oldest))
        });
        let (done, oldest) = acted.inspect_err(|fault| self.give_up(fault))?;
        self.shared.set_oldest(oldest);
        Ok(done)
    }
}

impl Store for EmbeddedStore {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        let recovered = self.attempt(|database, written, _| {
            let now = written.clock.now();
            let mut recovered = recovery::recover(database, now)?;
            // Only now: of what cannot be begun with, nothing is changed.
            if let Some(id) = database::draw_id_if_copied(database)? {
                recovered.store_id = id;
            }
            Ok(recovered)
        });
        recovered.map_err(|fault| fault.beginning(self.medium.place()))
    }

    fn commit(&mut self, group: Group<'_>) -> Result<(), StoreError> {
        let in_doubt = self.in_doubt;
        let committed = self.attempt(|database, written, retention| {
            if in_doubt && written.holds(database, group)? {
                return written.confirm(database);
            }
            written.commit(database, group, retention)
        });
        self.in_doubt = committed.is_err();
        Ok(committed?)
    }

    fn maintain(&mut self) -> Result<bool, StoreError> {
        let more = self.attempt(|database, written, retention| {
            if !written.is_due(retention) {
                return Ok(false);
            }
            written.tidy(database, retention, MAINTAINED)?;
            Ok(written.is_due(retention))
        });
        Ok(more?)
    }

    fn is_nearly_full(&self) -> bool {
        let fresh = self.nearly_full.get().filter(|(seen, _)| seen.elapsed() < SPACE_SEEN_FOR);
        if let Some((_, nearly_full)) = fresh {
            return nearly_full;
        }
        // Where nobody can say, a write will.
        let nearly_full = self.medium.free_bytes().is_ok_and(|free| free < NEARLY_FULL);
        self.nearly_full.set(Some((Instant::now(), nearly_full)));
        nearly_full
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.shared) as Arc<dyn Reader>
    }
}

impl Drop for EmbeddedStore {
    /// Closes the file before the directory is let go, though readers may outlive the store.
    fn drop(&mut self) {
        self.shared.replace(None);
        self.fence.close();
    }
}
