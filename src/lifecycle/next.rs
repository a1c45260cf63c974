//! What becomes of a task one of whose instances has ended (lifecycle.md §1).

use std::time::Duration;

use super::commands::end;
use super::entry::{Entry, Held};
use super::run::Run;
use crate::model::{Asked, End, Exit, Intent, Now, Restart, RestartPolicy, State};

/// How much of a back-off jitter may take away, so that tasks that failed together do not come back together.
const JITTER: f64 = 0.2;

/// What becomes of a task one of whose instances has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Next {
    /// It ends.
    End(State, End),
    /// It is started again.
    Restart(Restart),
    /// It is started elsewhere at once: nothing was wrong with it. `once`, as [`Run::once`].
    Rehome { once: bool },
    /// It is paused.
    Rest,
    /// It goes on as it is: another instance lives, or decides first; or the next server starts it.
    Stay,
}

/// How an instance has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending<'a> {
    pub(super) run: &'a Run,
    pub(super) exit: Exit,
    /// As part of a sentence.
    pub(super) how: &'a str,
}

/// What becomes of a task whose active instance has ended (lifecycle.md §1): a cancel wins over everything, only a failure that
/// nobody asked for is followed by a restart, and a drain leaves the task as it is. It does not end while another instance lives
/// or a swap may still bring one.
pub(super) fn next(entry: &mut Entry, ending: Ending<'_>, draining: bool, chance: f64, now: Now) -> Next {
    let Ending { run, exit, how } = ending;
    match (entry.task.intent, run.asked(), exit) {
        // Whoever takes the task over starts it.
        (Intent::Run, ..) if run.past => Next::Stay,
        (Intent::Cancel | Intent::Pause, ..) | (Intent::Run, Asked::Cancel, _) => next_beside(entry, now),
        // Its task was resumed while it stopped: whatever it had been asked for first, and however it ended, it runs again.
        (Intent::Run, ..) if entry.held.is_some() => Next::Stay,
        (Intent::Run, Asked::None, Exit::Completed) => end_or_hold(entry, State::Succeeded, now),
        (Intent::Run, Asked::Drain, _) => Next::Stay,
        (Intent::Run, Asked::Swap | Asked::Pause, _) => {
            // It was stuck, and the swap that had asked it to stop has been rolled back: its spec runs again.
            if entry.swap.is_none() {
                entry.held = Some(Held::Launch { once: false });
            }
            Next::Stay
        }
        (Intent::Run, Asked::None | Asked::StartTimeout | Asked::Relief, _) if draining => Next::Stay,
        // That it was not ready in time was not its doing, either.
        (Intent::Run, _, Exit::Displaced) => Next::Rehome { once: run.once },
        (Intent::Run, Asked::None | Asked::StartTimeout | Asked::Relief, _) => {
            let late = run.asked() == Asked::StartTimeout;
            entry.fails(if late { "was not ready in time" } else { how });
            restart(entry, run, chance, now)
        }
    }
}

/// What becomes of a task of which an instance beside the active one has ended.
pub(super) fn next_beside(entry: &Entry, now: Now) -> Next {
    let last = entry.active.is_none() && entry.beside.is_none();
    match entry.task.intent {
        Intent::Cancel if last => Next::End(State::Cancelled, end(&entry.task, now)),
        Intent::Pause if last => Next::Rest,
        Intent::Cancel | Intent::Pause | Intent::Run => Next::Stay,
    }
}

fn restart(entry: &mut Entry, run: &Run, chance: f64, now: Now) -> Next {
    let policy = *entry.task.spec.restart();
    while entry.restarts.front().is_some_and(|made| now.mono.since(*made) >= policy.window()) {
        entry.restarts.pop_front();
    }
    let made = u32::try_from(entry.restarts.len()).unwrap_or(u32::MAX);
    if made >= policy.max_restarts() || (run.once && !run.was_ready()) {
        return end_or_hold(entry, State::Failed, now);
    }
    entry.restarts.push_back(now.mono);
    let delay = backoff(&policy, made, chance);
    Next::Restart(Restart { count: made + 1, next_time: Some(now.wall + delay) })
}

fn end_or_hold(entry: &mut Entry, state: State, now: Now) -> Next {
    if entry.is_alone() {
        return Next::End(state, end(&entry.task, now));
    }
    entry.held = Some(Held::End(state));
    Next::Stay
}

/// The wait before the next restart: doubled with each one that counts, at most `max_backoff`, less up to a fifth by chance.
fn backoff(policy: &RestartPolicy, made: u32, chance: f64) -> Duration {
    let doubled = policy.initial_backoff().saturating_mul(2_u32.saturating_pow(made));
    doubled.min(policy.max_backoff()).mul_f64(1.0 - JITTER * chance)
}
