//! The tasks that a monitor has spawned. An instance has not ended while one of them lives, and aborting its root reaches none
//! of them (tokio #4400), so they are tracked.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::Span;

use super::slot::{self, Polled};

/// The children of one instance. Clones mean the same children. Costs a few words of memory until the first child:
/// built-in monitors have none, and there are many of them.
#[derive(Clone, Default)]
pub struct Children(Arc<OnceLock<Box<Tracked>>>);

#[derive(Default)]
struct Tracked {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    /// By number; `None` for one whose handle is not known yet.
    live: BTreeMap<u64, Option<AbortHandle>>,
    aborting: bool,
    aborted: bool,
}

impl Children {
    /// No children yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a child on the current runtime and tracks it until it has ended. A child's panic is logged and ends only that
    /// child. After [`abort_all`](Self::abort_all) the child is aborted before its first poll.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let number = self.tracked().enter();
        let membership = Membership { children: self.clone(), number, returned: false };
        let child = Child { future: Box::pin(future), span: Span::current(), membership };
        // Outside of the lock: a runtime that shuts down drops the future, and so the membership, right here.
        let handle = match slot::occupant() {
            // A child that blocks its thread is its instance's doing.
            Some(parent) => tokio::spawn(Polled::new(parent, child)),
            None => tokio::spawn(child),
        }
        .abort_handle();
        self.tracked().adopt(number, &handle);
        handle
    }

    /// Aborts every child, those that are spawned afterwards included.
    pub fn abort_all(&self) {
        let handles: Vec<_> = {
            let mut state = self.tracked().lock();
            state.aborting = true;
            state.live.values().flatten().cloned().collect()
        };
        for handle in handles {
            handle.abort();
        }
    }

    /// Returns once no child lives.
    pub async fn ended(&self) {
        let Some(tracked) = self.0.get() else { return };
        loop {
            let ended = tracked.ended.notified();
            if tracked.lock().live.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// Whether no child lives.
    pub fn is_empty(&self) -> bool {
        self.0.get().is_none_or(|tracked| tracked.lock().live.is_empty())
    }

    /// Whether some child ended because it was aborted.
    pub fn aborted(&self) -> bool {
        self.0.get().is_some_and(|tracked| tracked.lock().aborted)
    }

    fn tracked(&self) -> &Tracked {
        self.0.get_or_init(Box::default)
    }
}

impl fmt::Debug for Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live = self.0.get().map_or(0, |tracked| tracked.lock().live.len());
        f.debug_struct("Children").field("live", &live).finish_non_exhaustive()
    }
}

impl Tracked {
    fn enter(&self) -> u64 {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.live.insert(number, None);
        number
    }

    /// Notes the handle of a child that has not ended meanwhile.
    fn adopt(&self, number: u64, handle: &AbortHandle) {
        let mut state = self.lock();
        if let Some(slot) = state.live.get_mut(&number) {
            *slot = Some(handle.clone());
        }
        let abort = state.aborting;
        drop(state);
        if abort {
            handle.abort();
        }
    }

    fn leave(&self, number: u64, returned: bool) {
        let mut state = self.lock();
        state.live.remove(&number);
        state.aborted |= state.aborting && !returned;
        let last = state.live.is_empty();
        drop(state);
        if last {
            self.ended.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and the state is whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A child's future. Its fields drop in this order, so that the membership ends after the future is gone.
struct Child {
    future: BoxFuture<'static, ()>,
    span: Span,
    membership: Membership,
}

impl Future for Child {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let child = self.get_mut();
        let _entered = child.span.enter();
        // Nothing of the future is looked at again after a panic.
        match catch_unwind(AssertUnwindSafe(|| child.future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => {}
            Err(panic) => tracing::warn!(message = panic_message(&*panic), "a child of the monitor panicked"),
        }
        child.membership.returned = true;
        Poll::Ready(())
    }
}

/// Keeps a child among the live ones until it is dropped.
struct Membership {
    children: Children,
    number: u64,
    returned: bool,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.children.tracked().leave(self.number, self.returned);
    }
}

/// What a panic says, where it says it in words.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it gave no message")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::time::sleep;

    use super::*;

    const FOR_EVER: Duration = Duration::from_secs(1_000_000);

    #[tokio::test(start_paused = true)]
    async fn they_have_ended_when_the_last_one_has() {
        let children = Children::new();
        assert!(children.ended().now_or_never().is_some(), "none yet");
        children.spawn(sleep(Duration::from_secs(1)));
        children.spawn(sleep(Duration::from_secs(5)));
        let start = tokio::time::Instant::now();
        children.ended().await;
        assert_eq!(start.elapsed().as_secs(), 5);
        assert!(children.is_empty() && !children.aborted());
    }

    #[tokio::test(start_paused = true)]
    async fn abort_reaches_grandchildren_and_latecomers() {
        let children = Children::new();
        let family = children.clone();
        children.spawn(async move {
            family.spawn(sleep(FOR_EVER));
            sleep(FOR_EVER).await;
        });
        tokio::task::yield_now().await;
        children.abort_all();
        children.spawn(async { panic!("polled after the abort") });
        children.ended().await;
        assert!(children.aborted());
    }

    #[tokio::test(start_paused = true)]
    async fn abort_before_the_first_child_counts() {
        let children = Children::new();
        children.abort_all();
        assert!(!children.aborted(), "there was none to abort");
        children.spawn(sleep(FOR_EVER));
        children.ended().await;
        assert!(children.aborted());
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_returns_in_spite_of_the_abort_was_not_aborted() {
        let children = Children::new();
        children.spawn(async {});
        children.ended().await;
        children.abort_all();
        assert!(!children.aborted());
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_ends_only_its_own_child() {
        let children = Children::new();
        children.spawn(async { panic!("on purpose") });
        children.spawn(sleep(Duration::from_secs(1)));
        children.ended().await;
        assert!(!children.aborted());
    }

    #[test]
    fn a_runtime_that_goes_ends_its_children() {
        let children = Children::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async { children.spawn(std::future::pending()) });
        assert!(!children.is_empty());
        drop(runtime);
        assert!(children.is_empty() && !children.aborted());
    }
}
