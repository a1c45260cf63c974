//! The sign of life of a thread.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::Uncooperative;

/// The beat of a thread that is not blocked.
pub(super) const BEAT: Duration = Duration::from_millis(10);

/// The sign of life of a thread: a task on it that beats. Clones mean the same thread; read from any.
#[derive(Clone, Debug)]
pub(super) struct Pulse(Arc<Mutex<Beats>>);

#[derive(Debug)]
struct Beats {
    thread: Option<PathBuf>,
    last: Instant,
    busy_at_last: Option<Duration>,
    longest: Silence,
}

/// A time in which a thread did not beat.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Silence {
    pub(super) length: Duration,
    /// For how much of it the thread computed, or would have, had the machine let it; `None` where the system does not tell.
    busy: Option<Duration>,
}

impl Silence {
    /// What a monitor does wrong that keeps its thread silent for so long.
    pub(super) fn fault(self) -> Uncooperative {
        // What waits is busy for next to none of the time, and what computes for nearly all of it.
        let computes = self.busy.is_some_and(|busy| busy > self.length / 2);
        if computes { Uncooperative::Computes } else { Uncooperative::BlocksThread }
    }
}

impl Pulse {
    pub(super) fn new() -> Self {
        let beats = Beats { thread: None, last: Instant::now(), busy_at_last: None, longest: Silence::default() };
        Self(Arc::new(Mutex::new(beats)))
    }

    /// Says that the calling thread is the one.
    pub(super) fn attach(&self) {
        // Linux, and a process that may look at itself; nobody else tells what a thread does while it is silent.
        let thread = fs::read_link("/proc/thread-self").ok().map(|own| Path::new("/proc").join(own));
        self.lock().thread = thread;
        self.beat();
    }

    /// Beats as long as it is polled.
    pub(super) async fn go_on(self) {
        loop {
            self.beat();
            sleep(BEAT).await;
        }
    }

    fn beat(&self) {
        let mut beats = self.lock();
        let silence = beats.silence();
        if silence.length > beats.longest.length {
            beats.longest = silence;
        }
        beats.last = Instant::now();
        beats.busy_at_last = beats.thread.as_deref().and_then(busy);
    }

    /// The silence that lasts.
    pub(super) fn silence(&self) -> Silence {
        self.lock().silence()
    }

    /// The longest silence up to now.
    pub(super) fn longest_silence(&self) -> Silence {
        let beats = self.lock();
        let silence = beats.silence();
        if silence.length > beats.longest.length { silence } else { beats.longest }
    }

    fn lock(&self) -> MutexGuard<'_, Beats> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beats {
    fn silence(&self) -> Silence {
        let now = self.thread.as_deref().and_then(busy);
        let busy = now.zip(self.busy_at_last).map(|(now, then)| now.saturating_sub(then));
        Silence { length: self.last.elapsed(), busy }
    }
}

/// For how long a thread has computed or stood in line for a processor: what a busy machine takes from it does not make it look
/// idle. As the kernel's `Documentation/scheduler/sched-stats.rst` has it: two figures in nanoseconds, and a third.
#[expect(clippy::disallowed_methods, reason = "procfs answers from memory, and no shard of a server runs here")]
fn busy(thread: &Path) -> Option<Duration> {
    let text = fs::read_to_string(thread.join("schedstat")).ok()?;
    let mut figures = text.split_ascii_whitespace().map(str::parse::<u64>);
    let (computed, waited) = (figures.next()?.ok()?, figures.next()?.ok()?);
    Some(Duration::from_nanos(computed.saturating_add(waited)))
}
