//! The ordered log of events, and what is folded from it: the only writer of what clients can see.
//!
//! ```text
//! append → inbox ─(group)→ store → view → ring → head → per-task waiters → releases
//! ```
//!
//! Append decides, commit shows. [`Journal::append`] never waits and never fails; the writer's thread takes everything that waits
//! and commits it as one group, without a timer. Only then does the group show: first in the [`View`], then to [`Follower`]s, then
//! to whoever waits for a task, and last its [`Release`]s run. So a client that has its answer can read what it wrote.
//!
//! A store that commits nothing for a second, or has no space left, is told of by a [`Vigil`]: then nothing should be appended but
//! facts, so that what waits stays bounded.
//!
//! The writer never waits for a reader: view and ring are persistent maps that are swapped whole, a follower is a cursor that
//! pulls, and what it needs from the store it reads beside the writer.

mod changes;
mod cursor;
mod embedded;
mod follow;
mod inbox;
mod log;
mod memory;
mod pages;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod view;
mod vigil;
mod writer;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

pub use changes::{Change, Ended, TaskChanges};
pub use cursor::CursorError;
pub use embedded::{
    Archive, BackupError, CheckReport, Compaction, EmbeddedStore, LeftOut, Medium, OpenError, Retention, Salvaged,
};
pub use follow::{Batch, Digest, Fed, Feed, FollowError, Follower, Taken, Trimmed};
pub use memory::MemoryStore;
pub use pages::{Arguments, Listing, PageError, Pages};
pub use store::{Failure, Group, Range, ReadError, Reader, Recovered, Show, Store, StoreError};
pub use view::{Counts, View};
pub use vigil::{Condition, Vigil};
pub use writer::{Finished, Writer};

use self::changes::Registry;
use self::inbox::Inbox;
use self::log::Log;
use self::vigil::{STALLED_AFTER, Space};
use crate::model::{Event, KeptGeneration, Remembered, Sequence, Standing, Task, Uid};
use crate::telemetry::Commits;

/// How many followers may read from the store at once: enough to keep a disk busy, few enough to leave the blocking pool to others.
const CATCH_UP_READS: usize = 4;

/// And how many others: apart, so that they do not wait for those who follow far behind.
const READS: usize = 2;

/// How a journal is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many of the newest events followers find without reading from the store.
    pub ring_events: usize,
    /// What counts commits, if anything does.
    pub metrics: Option<Commits>,
}

impl Default for Options {
    fn default() -> Self {
        Self { ring_events: 16_384, metrics: None }
    }
}

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

/// What is appended at once, and committed together.
#[derive(Default)]
pub struct Append {
    /// Events, numbered without gaps.
    pub events: Vec<Event>,
    /// Requests that succeeded by what has been appended by then.
    pub requests: Vec<Remembered>,
    /// What to run once that shows.
    pub releases: Vec<Release>,
}

/// Something to run once an event is committed and visible: mostly the answer to a client.
pub struct Release {
    /// The event; or an earlier one, for what has happened already.
    pub after: Sequence,
    /// Runs on the writer's thread, so it must be quick. Never runs if the journal ends before the commit.
    pub run: Box<dyn FnOnce() + Send>,
}

/// The places that can be followed from: from `oldest` to `head`, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// What retention dropped last, or 0.
    pub oldest: Sequence,
    /// The last event that shows.
    pub head: Sequence,
}

/// Why a journal could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The store could not be read.
    #[error("reading the journal")]
    Recover(#[source] StoreError),
    /// There is no thread for the writer.
    #[error("starting the journal's thread")]
    Thread(#[source] io::Error),
}

impl Journal {
    /// Recovers what the store holds, and starts the writer. The tasks show in the view; the requests that are to be remembered
    /// come with it.
    pub fn start(mut store: Box<dyn Store>, options: Options) -> Result<(Self, Writer, Vec<Remembered>), StartError> {
        let Recovered { store_id, head, tasks, requests } = store.recover().map_err(StartError::Recover)?;
        let shared = Arc::new(Shared {
            store_id,
            reader: store.reader(),
            view: ArcSwap::from_pointee(View::new(head, tasks)),
            ring: Log::new(head, options.ring_events),
            published: watch::Sender::new(Published { head, ended: false }),
            inbox: Inbox::default(),
            space: Space::default(),
            changes: Arc::default(),
            pages: Pages::new(),
            catch_up: Arc::new(Semaphore::new(CATCH_UP_READS)),
            reads: Arc::new(Semaphore::new(READS)),
        });
        let writer = Writer::start(store, Arc::clone(&shared), options.metrics).map_err(StartError::Thread)?;
        Ok((Self { shared }, writer, requests))
    }

    /// Appends what the caller has numbered, and has things run once it shows. Never fails, and waits for nothing but a short lock.
    pub fn append(&self, append: Append) {
        self.shared.inbox.push(append);
    }

    /// What clients can see now.
    pub fn view(&self) -> Arc<View> {
        self.shared.view.load_full()
    }

    /// The places that can be followed from now.
    pub fn bounds(&self) -> Bounds {
        self.shared.bounds()
    }

    /// Follows the log from right behind `after`.
    pub fn follow(&self, after: Sequence) -> Result<Follower, Trimmed> {
        self.feed(after, None).map(Follower::from)
    }

    /// As [`follow`](Self::follow), but what comes from the store is digested where it is read: each digest begins as a copy of
    /// `blank`, if there is one.
    pub fn feed<D: Digest>(&self, after: Sequence, blank: Option<D>) -> Result<Feed<D>, Trimmed> {
        if after < self.bounds().oldest {
            return Err(self.shared.trimmed());
        }
        Ok(Feed::new(Arc::clone(&self.shared), after, blank))
    }

    /// Tells when it commits no more, or can again. Call it in a runtime with a clock.
    pub fn vigil(&self) -> Vigil {
        Vigil::new(Arc::clone(&self.shared))
    }

    /// For how long something has waited for a commit: since it was appended, or since the last commit if that was later.
    pub fn waits(&self) -> Duration {
        self.shared.inbox.waits()
    }

    /// Tells of the committed events of one task.
    pub fn changes(&self, uid: Uid) -> TaskChanges {
        self.shared.changes.subscribe(uid)
    }

    /// The generations of a task that are kept, the oldest first, with what has become of them; none where it is gone. What is not
    /// known of the task's own one, since it is of a server that kept no stories, the task as given tells.
    pub async fn generations(&self, task: &Arc<Task>) -> Result<Vec<KeptGeneration>, StoreError> {
        let permit = Arc::clone(&self.shared.reads).acquire_owned().await;
        let (reader, of) = (Arc::clone(&self.shared.reader), Arc::clone(task));
        let read = tokio::task::spawn_blocking(move || {
            let read = reader.generations(&of);
            drop(permit);
            read
        });
        let mut generations = match read.await {
            Ok(read) => read?,
            Err(panic) if panic.is_panic() => return Err(StoreError::of(Failure::Final, panic)),
            Err(cancelled) => return Err(StoreError::new(cancelled)),
        };
        let active = generations.iter_mut().find(|kept| kept.generation == task.generation);
        if let Some(active) = active.filter(|active| active.story.standing == Standing::Unknown) {
            active.story.standing = Standing::Active { since: None };
            active.story.annotations = Some(task.annotations.clone());
        }
        Ok(generations)
    }

    /// The snapshots of listings.
    pub fn pages(&self) -> &Pages {
        &self.shared.pages
    }

    /// Names the store, in every cursor too.
    pub fn store_id(&self) -> Uuid {
        self.shared.store_id
    }

    /// The place right behind `sequence` as clients are given it: opaque, and far shorter than the 256 bytes that the contract
    /// allows.
    pub fn cursor(&self, sequence: Sequence) -> String {
        cursor::render(self.shared.store_id, sequence)
    }

    /// Reads a cursor that a client gave. One that passes can be followed from, unless retention overtakes it meanwhile.
    pub fn parse_cursor(&self, text: &str) -> Result<Sequence, CursorError> {
        cursor::parse(text, self.shared.store_id, self.bounds())
    }
}

/// What the writer and everyone else share.
struct Shared {
    store_id: Uuid,
    reader: Arc<dyn Reader>,
    view: ArcSwap<View>,
    ring: Log,
    published: watch::Sender<Published>,
    inbox: Inbox,
    space: Space,
    changes: Arc<Registry>,
    pages: Pages,
    catch_up: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

/// How far followers may go.
#[derive(Clone, Copy, Debug)]
struct Published {
    head: Sequence,
    ended: bool,
}

impl Shared {
    /// Shows a group that is committed. The order is the promise: whoever hears of an event finds it in the view.
    fn publish(&self, group: &[Arc<Event>]) {
        let view = self.view.load().after(group);
        let head = view.head();
        self.view.store(Arc::new(view));
        self.ring.push(group);
        self.published.send_modify(|published| published.head = head);
        self.changes.wake(group);
    }

    /// Tells everyone who waits that nothing more will come.
    fn end(&self) {
        self.published.send_modify(|published| published.ended = true);
        self.changes.end();
    }

    fn condition(&self) -> Condition {
        Condition { stalled: self.inbox.waits() >= STALLED_AFTER, full: self.space.is_full() }
    }

    fn bounds(&self) -> Bounds {
        let head = self.view.load().head();
        // A group larger than retention may be trimmed before it shows.
        Bounds { oldest: self.reader.oldest().min(head), head }
    }

    fn trimmed(&self) -> Trimmed {
        let Bounds { oldest, head } = self.bounds();
        Trimmed { oldest, head }
    }
}
