//! The leaders of all groups that live, so that a server that ends can end them, whoever they belong to.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// The leaders that may be signalled: a leader leaves before it is reaped, since its pid may be another's from then on.
#[derive(Debug, Default)]
pub(super) struct Leaders(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    pids: HashSet<Pid>,
    closed: bool,
}

impl Leaders {
    /// Adds one, unless the server ends: then whoever has started it is to kill it.
    pub(super) fn enter(&self, leader: Pid) -> bool {
        let mut state = self.lock();
        if !state.closed {
            state.pids.insert(leader);
        }
        !state.closed
    }

    /// Removes one, whose group has been killed and which may be reaped now.
    pub(super) fn leave(&self, leader: Pid) {
        self.lock().pids.remove(&leader);
    }

    pub(super) fn are_closed(&self) -> bool {
        self.lock().closed
    }

    /// Kills all groups; no more of them enter.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        // Under the lock, so that none of them is reaped meanwhile. They leave by themselves, as their owners reap them.
        for leader in &state.pids {
            signal(*leader, Signal::KILL);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().pids.len()
    }
}

/// Signals a group whose leader has not been reaped.
pub(super) fn signal(leader: Pid, signal: Signal) {
    // All that can be wrong is that nobody is left, or that all have become other users, whom nothing of ours reaches.
    let _ = kill_process_group(leader, signal);
    // It may itself have moved to another group.
    let _ = kill_process(leader, signal);
}
