//! The live tail of check results: for whoever looks, and free while nobody does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::model::CheckRecord;

/// Where monitors show what their checks find. Nobody who looks can hold a monitor up: whoever is slow misses the oldest.
#[derive(Clone, Debug)]
pub struct CheckTail(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    watchers: AtomicUsize,
    results: broadcast::Sender<Arc<CheckRecord>>,
}

impl Default for CheckTail {
    fn default() -> Self {
        Self::with_room(Self::KEPT)
    }
}

impl CheckTail {
    /// How many results are kept for those who have not taken them yet: a fifth of a second of 20,000 checks a second.
    pub const KEPT: usize = 4_096;

    /// One that keeps so many results.
    pub fn with_room(kept: usize) -> Self {
        let (results, _) = broadcast::channel(kept);
        Self(Arc::new(Shared { watchers: AtomicUsize::new(0), results }))
    }

    /// Shows a result, which is made only where somebody looks.
    pub fn show(&self, record: impl FnOnce() -> CheckRecord) {
        if self.0.watchers.load(Ordering::Acquire) > 0 {
            // They may have gone meanwhile.
            let _ = self.0.results.send(Arc::new(record()));
        }
    }

    /// Looks, from now on.
    pub fn watch(&self) -> CheckResults {
        let results = self.0.results.subscribe();
        self.0.watchers.fetch_add(1, Ordering::AcqRel);
        CheckResults { shared: Arc::clone(&self.0), results }
    }
}

/// What checks find, for one who looks.
#[derive(Debug)]
pub struct CheckResults {
    shared: Arc<Shared>,
    results: broadcast::Receiver<Arc<CheckRecord>>,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckShown {
    /// A result.
    Result(Arc<CheckRecord>),
    /// So many were not taken in time.
    Missed(u64),
}

impl CheckResults {
    /// What is there by now; `None` where nothing is.
    pub fn ready(&mut self) -> Option<CheckShown> {
        match self.results.try_recv() {
            Ok(record) => Some(CheckShown::Result(record)),
            Err(TryRecvError::Lagged(missed)) => Some(CheckShown::Missed(missed)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }

    /// What comes next. May be dropped while it waits, without losing anything.
    pub async fn next(&mut self) -> CheckShown {
        match self.results.recv().await {
            Ok(record) => CheckShown::Result(record),
            Err(RecvError::Lagged(missed)) => CheckShown::Missed(missed),
            // What is held here keeps the other side alive.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Drop for CheckResults {
    fn drop(&mut self) {
        self.shared.watchers.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Check, Generation, TaskName, Uid};

    fn record(number: u64) -> CheckRecord {
        let check = Check::passed(number.to_string());
        let name = TaskName::parse("namespaces/default/tasks/api").expect("valid");
        CheckRecord {
            name,
            uid: Uid::new(uuid::Uuid::from_u128(1)),
            generation: Generation::new(1),
            shadow: false,
            check,
        }
    }

    #[test]
    fn nothing_is_made_while_nobody_looks() {
        let tail = CheckTail::default();
        tail.show(|| panic!("nobody looks"));
        drop(tail.watch());
        tail.show(|| panic!("nobody looks any more"));
    }

    #[test]
    fn who_is_slow_misses_the_oldest_and_is_told_how_many_and_others_miss_nothing() {
        let tail = CheckTail::with_room(4);
        let (mut slow, mut quick) = (tail.watch(), tail.watch());
        for number in 0..10 {
            tail.show(|| record(number));
            assert_eq!(quick.ready(), Some(CheckShown::Result(Arc::new(record(number)))));
        }
        assert_eq!(slow.ready(), Some(CheckShown::Missed(6)));
        for number in 6..10 {
            assert_eq!(slow.ready(), Some(CheckShown::Result(Arc::new(record(number)))));
        }
        assert_eq!((slow.ready(), quick.ready()), (None, None));
    }
}
