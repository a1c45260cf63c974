//! Turns of a kind's: calls of embedders' code on the blocking pool, a few of one kind at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::task::spawn_blocking;

/// Calls of one kind at once. One that hangs keeps its place until it returns, so a hanging kind costs at most this many threads,
/// and costs other kinds nothing.
pub(super) const AT_ONCE: usize = 8;

/// A call, and what lives as long as somebody waits for it.
struct Call<T> {
    caller: Weak<T>,
    make: Box<dyn FnOnce() + Send>,
}

/// The calls of one kind that wait, and the threads that make them. A thread goes on as long as calls wait: most take a microsecond,
/// and to wake a thread for each, and its caller for a place, takes twenty.
pub(super) struct Turns<T>(Mutex<Queue<T>>);

struct Queue<T> {
    calls: VecDeque<Call<T>>,
    threads: usize,
    /// The last of these has not begun: it takes whatever waits by then.
    is_coming: bool,
}

impl<T: Send + Sync + 'static> Turns<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Queue { calls: VecDeque::new(), threads: 0, is_coming: false }))
    }

    /// Makes a call, once those before it have begun, and a place is free; it may be left out if `caller` is gone by then. Call it in a
    /// runtime.
    pub(super) fn take(self: &Arc<Self>, caller: Weak<T>, make: impl FnOnce() + Send + 'static) {
        let mut queue = self.lock();
        // Where all places hang nothing else would; and as all wait equally long, the first are the first to be given up.
        let mut given_up = Vec::new();
        while queue.calls.front().is_some_and(|first| first.caller.strong_count() == 0) {
            given_up.extend(queue.calls.pop_front());
        }
        queue.calls.push_back(Call { caller, make: Box::new(make) });
        let wants_thread = queue.wants_thread();
        drop(queue);
        drop(given_up);
        if wants_thread {
            self.bring();
        }
    }

    /// How many threads make calls now, or are about to.
    #[cfg(test)]
    pub(super) fn threads(&self) -> usize {
        self.lock().threads
    }

    /// How many calls wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().calls.len()
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bring(self: &Arc<Self>) {
        let turns = Arc::clone(self);
        // Nobody needs to wait for it: whoever waits for a call hears of its end from the call.
        drop(spawn_blocking(move || turns.run()));
    }

    fn run(self: &Arc<Self>) {
        let _leaving = Leaving(self);
        self.lock().is_coming = false;
        while let Some((call, wants_thread)) = self.next() {
            // Before the call, which may hang.
            if wants_thread {
                self.bring();
            }
            (call.make)();
        }
    }

    /// The next call, and whether another thread is to come for what waits behind it.
    fn next(&self) -> Option<(Call<T>, bool)> {
        let mut queue = self.lock();
        let call = queue.calls.pop_front()?;
        let wants_thread = queue.wants_thread();
        drop(queue);
        Some((call, wants_thread))
    }
}

impl<T> Queue<T> {
    /// Whether a thread is to come for what waits; counts it as coming.
    fn wants_thread(&mut self) -> bool {
        let wants = !self.calls.is_empty() && !self.is_coming && self.threads < AT_ONCE;
        if wants {
            self.threads += 1;
            self.is_coming = true;
        }
        wants
    }
}

/// A thread that gives its place back, though a call panics.
struct Leaving<'a, T: Send + Sync + 'static>(&'a Arc<Turns<T>>);

impl<T: Send + Sync + 'static> Drop for Leaving<'_, T> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.threads -= 1;
        // What has come since it looked, or waits because a call panicked.
        let wants_thread = queue.wants_thread();
        drop(queue);
        if wants_thread {
            self.0.bring();
        }
    }
}
