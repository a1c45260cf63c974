//! What wakes a monitor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// Stands between a monitor and what wakes it, and counts.
#[derive(Debug, Default)]
pub(super) struct Ear {
    woken: AtomicU64,
    polled: AtomicU64,
    task: AtomicWaker,
}

impl Ear {
    /// What to poll the monitor with, in place of the task's own waker.
    pub(super) fn waker(self: &Arc<Self>, task: &Waker) -> Waker {
        self.polled.fetch_add(1, Ordering::Relaxed);
        self.task.register(task);
        Waker::from(Arc::clone(self))
    }

    /// Whether what is done here wakes the monitor: then it waits for just that.
    pub(super) fn hears(&self, act: impl FnOnce()) -> bool {
        let before = self.woken.load(Ordering::Relaxed);
        act();
        self.woken.load(Ordering::Relaxed) > before
    }

    /// How often the monitor was polled.
    pub(super) fn polled(&self) -> u64 {
        self.polled.load(Ordering::Relaxed)
    }
}

impl Wake for Ear {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
        self.task.wake();
    }
}
