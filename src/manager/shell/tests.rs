use std::sync::atomic::{AtomicBool, Ordering};

use super::super::{Manager, Options};
use super::*;
use crate::journal::testing::task;
use crate::journal::{self, Failure, Group, MemoryStore, Reader, Recovered, Store, StoreError};
use crate::model::{Cause, Refusal, ResumeTask, TaskName, TaskSpec};
use crate::monitor::{BuiltIn, Monitor, Registry};

/// How many tasks are left to take over, once as many wait as may. Each is told of by one event: no kind of theirs is known.
const BEYOND: usize = 2_000;

/// A store that an earlier server has left with tasks in it, and that has no space for more.
struct FullStore {
    inner: MemoryStore,
    full: Arc<AtomicBool>,
}

impl Store for FullStore {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        let tasks = (1..).map(|n: u128| Arc::new(task(&format!("t-{n}"), n))).take(backlog() + BEYOND).collect();
        Ok(Recovered { tasks, ..self.inner.recover()? })
    }

    fn commit(&mut self, group: Group<'_>) -> Result<(), StoreError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(StoreError::of(Failure::Full, "as the test says"));
        }
        self.inner.commit(group)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.inner.reader()
    }
}

struct NoBuiltIns;

impl BuiltIn for NoBuiltIns {
    fn names(&self) -> &'static [&'static str] {
        &[]
    }

    fn build(&self, _: &Arc<TaskSpec>) -> Option<Box<dyn Monitor>> {
        None
    }
}

fn backlog() -> usize {
    usize::try_from(BACKLOG).expect("few")
}

/// Waits until no more tasks are left than that.
async fn taken_over(metrics: &Metrics, left: usize) {
    while metrics.manager.tasks_left.get() > i64::try_from(left).expect("few") {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn no_more_is_taken_over_than_may_wait_for_a_store_that_is_full_and_the_rest_when_it_commits_again() {
    let full = Arc::new(AtomicBool::new(true));
    let store = FullStore { inner: MemoryStore::default(), full: Arc::clone(&full) };
    let (journal, _writer, _) = Journal::start(Box::new(store), journal::Options::default()).expect("starts");
    let metrics = Metrics::new().expect("registers");
    let options = Options {
        built_in_shards: 1,
        custom_shards: 1,
        limits: Limits { max_tasks: 100_000, max_stuck: 64 },
        unknown_kind_hint: |_| "",
    };
    let registry = Registry::new(NoBuiltIns);
    let (manager, handle) = Manager::start(options, registry, journal, Vec::new(), metrics.clone()).expect("starts");
    taken_over(&metrics, BEYOND).await;
    manager.condition().wait_for(|condition| condition.stalled && condition.full).await.expect("it lives");

    // Each of them is a turn of the loop, in which a few more might be taken over.
    for _ in 0..200 {
        let name = TaskName::parse("namespaces/default/tasks/unknown").expect("valid");
        let resume = ResumeTask { name, etag: None, cause: Cause::system("test", ""), idempotency: None };
        assert_eq!(handle.resume(resume).await.expect_err("no space"), Refusal::StoreFull);
    }
    let left = usize::try_from(metrics.manager.tasks_left.get()).expect("a count");
    assert!((BEYOND - 64..=BEYOND).contains(&left), "{left}");

    full.store(false, Ordering::Relaxed);
    taken_over(&metrics, 0).await;
    manager.close().await.expect("ends");
}
