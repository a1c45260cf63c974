//! What has been appended and waits for the writer.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Append;

/// The buffer between those who append and the writer, who takes all of it at once: that is the group commit. Nothing bounds it
/// here, for facts cannot be refused; admission bounds what is appended while the store stalls.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    /// Tells the writer of something new.
    news: Condvar,
    /// Tells whoever closes the journal that the writer has ended.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    appends: Vec<Append>,
    /// Since when something waits for a commit, here or in the writer's hands; since the last commit, if that was later.
    since: Option<Instant>,
    phase: Phase,
}

/// What the writer is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Commit what it has been given.
    Commit,
    /// Nothing waits: it may do what need not be done with a commit.
    Idle,
    /// End.
    End,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Open,
    /// The writer is to end once nothing waits any more.
    Closing,
    /// It is to end now.
    Abandoned,
    /// It has ended.
    Ended,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something at the end. After the writer's end it is dropped.
    pub(super) fn push(&self, append: Append) {
        let mut state = self.lock();
        if state.phase >= Phase::Abandoned {
            // What is dropped may run others' code.
            drop(state);
            return drop(append);
        }
        let first = state.appends.is_empty();
        if state.since.is_none() {
            state.since = Some(Instant::now());
        }
        state.appends.push(append);
        drop(state);
        if first {
            self.news.notify_one();
        }
    }

    /// Waits for something, and swaps all of it with `empty`; but for no longer than `patience`.
    pub(super) fn take(&self, empty: &mut Vec<Append>, patience: Duration) -> Next {
        let idle = |state: &mut State| state.appends.is_empty() && state.phase == Phase::Open;
        let waited = self.news.wait_timeout_while(self.lock(), patience, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.phase {
            Phase::Open if state.appends.is_empty() => Next::Idle,
            Phase::Open | Phase::Closing if !state.appends.is_empty() => {
                std::mem::swap(&mut state.appends, empty);
                Next::Commit
            }
            Phase::Open | Phase::Closing | Phase::Abandoned | Phase::Ended => Next::End,
        }
    }

    /// What was taken last is committed: whatever has come since waits from here.
    pub(super) fn committed(&self) {
        let mut state = self.lock();
        state.since = (!state.appends.is_empty()).then(Instant::now);
    }

    /// For how long something has waited for a commit.
    pub(super) fn waits(&self) -> Duration {
        self.lock().since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Waits for `delay`, but not beyond the moment when closing begins or is given up. `false`: it was given up.
    pub(super) fn pause(&self, delay: Duration) -> bool {
        let state = self.lock();
        let before = state.phase;
        let unchanged = |state: &mut State| state.phase == before;
        let (state, _) = self.news.wait_timeout_while(state, delay, unchanged).unwrap_or_else(PoisonError::into_inner);
        state.phase < Phase::Abandoned
    }

    /// Asks the writer to end once nothing waits.
    pub(super) fn close(&self) {
        drop(self.enter(Phase::Closing));
        self.news.notify_one();
    }

    /// Waits for the writer's end; after `deadline` gives up on it. `false`: it was given up.
    pub(super) fn await_end(&self, deadline: Duration) -> bool {
        let live = |state: &mut State| state.phase < Phase::Ended;
        let (state, wait) =
            self.ended.wait_timeout_while(self.lock(), deadline, live).unwrap_or_else(PoisonError::into_inner);
        drop(state);
        if wait.timed_out() {
            drop(self.enter(Phase::Abandoned));
            self.news.notify_one();
        }
        !wait.timed_out()
    }

    /// Says that the writer has ended, and drops what it left.
    pub(super) fn end(&self) {
        let left = self.enter(Phase::Ended);
        self.ended.notify_all();
        drop(left);
    }

    /// Phases only go forward. What nobody will take any more is handed back, to be dropped outside the lock.
    fn enter(&self, phase: Phase) -> Vec<Append> {
        let mut state = self.lock();
        state.phase = state.phase.max(phase);
        if state.phase < Phase::Abandoned {
            return Vec::new();
        }
        state.since = None;
        std::mem::take(&mut state.appends)
    }
}
