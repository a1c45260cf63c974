//! The writer: the thread through which everything that clients see has come.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::time::Instant;

use super::inbox::Next;
use super::store::{Failure, Group, Store, StoreError};
use super::{Append, Release, Shared};
use crate::model::{Event, Remembered, Sequence};
use crate::telemetry::Commits as Metrics;

/// The pauses before a failed commit is tried again: doubling, up to a second, so that a store that works again is noticed
/// before a client's patience ends.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// When nothing has come for that long the store is maintained, for which nobody waits; and it is looked whether there is space, which
/// nothing else would while clients are refused for want of it.
const IDLE: Duration = Duration::from_secs(1);
/// How long maintenance is put off that has failed: it is not urgent, or the next commit will say so.
const AFTER_FAILED_MAINTENANCE: Duration = Duration::from_secs(30);

/// Owns the journal's thread. Dropping it asks the thread to end; [`close`](Self::close) also waits for that.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Finished>>,
}

/// A journal that has ended. Followers can read from its store what was committed, until this is dropped: that closes the store.
/// Blocks then.
pub struct Finished {
    committed: bool,
    /// `None` where the writer's thread has it still, or has panicked.
    _store: Option<Box<dyn Store>>,
}

impl Finished {
    /// Whether everything was committed that had been appended before the end.
    pub fn has_committed_all(&self) -> bool {
        self.committed
    }

    fn without_store() -> Self {
        Self { committed: false, _store: None }
    }
}

impl Writer {
    pub(super) fn start(store: Box<dyn Store>, shared: Arc<Shared>, metrics: Option<Metrics>) -> io::Result<Self> {
        let head = shared.view.load().head();
        let ends = Ends(Arc::clone(&shared));
        let commits = Commits {
            _ends: ends,
            store,
            shared: Arc::clone(&shared),
            head,
            waiting: Vec::new(),
            metrics,
            maintain_from: None,
        };
        commits.look_at_space();
        let thread = thread::Builder::new().name("journal".to_owned()).spawn(|| commits.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Commits what waits and ends the journal, within `deadline`: followers see what was committed, then the end. What is appended
    /// afterwards is dropped, its releases unrun. Blocks.
    pub fn finish(mut self, deadline: Duration) -> Finished {
        self.shared.inbox.close();
        if !self.shared.inbox.await_end(deadline) {
            self.shared.end();
            return Finished::without_store();
        }
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_else(Finished::without_store)
    }

    /// [`finish`](Self::finish)es, and closes the store. Says whether everything appended before was committed.
    pub fn close(self, deadline: Duration) -> bool {
        self.finish(deadline).has_committed_all()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.inbox.close();
    }
}

/// What the thread runs.
struct Commits {
    /// The first to be dropped, in a panic too: the store may take its time.
    _ends: Ends,
    store: Box<dyn Store>,
    shared: Arc<Shared>,
    head: Sequence,
    /// Releases of events that have not been appended yet.
    waiting: Vec<Release>,
    metrics: Option<Metrics>,
    /// When the store is to be maintained again after that has failed. Space is looked at meanwhile.
    maintain_from: Option<Instant>,
}

impl Commits {
    fn run(mut self) -> Finished {
        let committed = self.commit_until_end();
        Finished { committed, _store: Some(self.store) }
    }

    /// Says, when it ends, whether everything was committed.
    fn commit_until_end(&mut self) -> bool {
        let mut appends = Vec::new();
        let mut patience = IDLE;
        loop {
            match self.shared.inbox.take(&mut appends, patience) {
                Next::Commit if !self.commit_all(&mut appends) => return false,
                Next::Commit => patience = IDLE,
                Next::Idle => patience = self.maintain(),
                Next::End => return true,
            }
        }
    }

    /// Commits, shows and releases what was appended. `false`: nothing will ever be committed again.
    fn commit_all(&mut self, appends: &mut Vec<Append>) -> bool {
        let (events, requests) = self.gather(appends);
        let group = Group { events: &events, requests: &requests };
        let is_empty = events.is_empty() && requests.is_empty();
        if !is_empty && !self.commit(group) {
            return false;
        }
        if let (Some(first), Some(last)) = (events.first(), events.last()) {
            debug_assert!(first.sequence > self.head && events.is_sorted_by(|a, b| a.sequence < b.sequence));
            self.head = last.sequence;
            self.shared.publish(&events);
        }
        self.shared.inbox.committed();
        self.release();
        self.tidy();
        true
    }

    /// Lets the store do a piece of what it has put off, and says how long to wait for something to commit before the next.
    fn maintain(&mut self) -> Duration {
        self.look_at_space();
        if self.maintain_from.is_some_and(|from| Instant::now() < from) {
            return IDLE;
        }
        self.maintain_from = None;
        match self.store.maintain() {
            Ok(true) => Duration::ZERO,
            Ok(false) => IDLE,
            Err(error) => {
                tracing::warn!(%error, "the journal's store could not be maintained");
                self.maintain_from = Some(Instant::now() + AFTER_FAILED_MAINTENANCE);
                IDLE
            }
        }
    }

    fn look_at_space(&self) {
        self.shared.space.set_full(self.store.is_nearly_full());
    }

    fn gather(&mut self, appends: &mut Vec<Append>) -> (Vec<Arc<Event>>, Vec<Remembered>) {
        let mut events = Vec::with_capacity(appends.iter().map(|append| append.events.len()).sum());
        let mut requests = Vec::new();
        for append in appends.drain(..) {
            events.extend(append.events.into_iter().map(Arc::new));
            requests.extend(append.requests);
            self.waiting.extend(append.releases);
        }
        (events, requests)
    }

    /// Commits the group, however often it takes. `false`: the journal was closed meanwhile, and its deadline has passed.
    fn commit(&mut self, group: Group<'_>) -> bool {
        let Err(error) = self.try_to_commit(group) else { return true };
        if error.failure() == Failure::Final {
            tracing::error!(%error, "the journal will never commit again");
            return false;
        }
        tracing::error!(%error, events = group.events.len(), "the journal cannot commit, and tries again until it can");
        let since = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut last: StoreError = error;
        while self.shared.inbox.pause(pause) {
            match self.try_to_commit(group) {
                Ok(()) => {
                    tracing::info!(stalled = ?since.elapsed(), "the journal commits again");
                    return true;
                }
                Err(error) if error.failure() == Failure::Final => {
                    tracing::error!(%error, "the journal will never commit again");
                    return false;
                }
                Err(error) => last = error,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        tracing::error!(error = %last, events = group.events.len(), "the journal was closed before it could commit");
        false
    }

    fn try_to_commit(&mut self, group: Group<'_>) -> Result<(), StoreError> {
        let begun = Instant::now();
        let done = self.store.commit(group);
        match &done {
            Ok(()) => self.look_at_space(),
            Err(error) => self.shared.space.set_full(error.failure() == Failure::Full),
        }
        if let Some(metrics) = &self.metrics {
            match &done {
                Ok(()) => metrics.committed(group.events.len(), begun.elapsed()),
                Err(_) => metrics.failed(),
            }
        }
        done
    }

    fn release(&mut self) {
        let head = self.head;
        for release in self.waiting.extract_if(.., |release| release.after <= head) {
            // Whoever waited is gone in a panic; the others must not go with it.
            if catch_unwind(AssertUnwindSafe(release.run)).is_err() {
                tracing::error!(after = %release.after, "what waited for a commit panicked");
            }
        }
    }

    /// A pinned view costs memory as commits move away from it, so commits are when to look.
    fn tidy(&self) {
        if let Some(view) = self.shared.pages.give_up_one(Instant::now()) {
            // Takes tens of milliseconds where 100,000 tasks have changed since: not the writer's.
            let dropping = thread::Builder::new().name("journal-tidy".to_owned()).spawn(move || drop(view));
            // Nobody needs to know when it is done; and without a thread it was dropped here.
            drop(dropping);
        }
    }
}

/// However the thread ends, by a panic too, nobody waits for it in vain.
struct Ends(Arc<Shared>);

impl Drop for Ends {
    fn drop(&mut self) {
        let Self(shared) = self;
        shared.end();
        shared.inbox.end();
    }
}
