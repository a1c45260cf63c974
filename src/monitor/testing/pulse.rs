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
    spent_at_last: Option<Spent>,
    longest: Silence,
}

/// What computes for longer between two beats is silent by its own doing, however long the machine makes it take for that.
const CHUNK: Duration = Duration::from_millis(250);

/// A time in which a thread did not beat. For what it stood in line for a processor the machine is to blame, and nobody else.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Silence {
    pub(super) length: Duration,
    /// Whether it is by computing. Not where the system does not tell.
    computes: bool,
}

impl Silence {
    /// What there is of it after so long, in which the thread has spent that.
    fn of(elapsed: Duration, spent: Option<Spent>) -> Self {
        let Some(Spent { computed, waited }) = spent else { return Self { length: elapsed, computes: false } };
        let had = elapsed.saturating_sub(waited);
        // What waits for something else computes for next to none of the time that it had, and what computes for nearly all of it.
        Self { length: if computed >= CHUNK { elapsed } else { had }, computes: computed > had / 2 }
    }

    /// What a monitor does wrong that keeps its thread silent for so long.
    pub(super) fn fault(self) -> Uncooperative {
        if self.computes { Uncooperative::Computes } else { Uncooperative::BlocksThread }
    }
}

/// Measures time on the thread that beats.
#[derive(Debug)]
pub(super) struct Stopwatch {
    pulse: Pulse,
    began: Instant,
    waited: Duration,
}

impl Stopwatch {
    /// How long it is ago.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// For how much of that the thread did not stand in line for a processor.
    pub(super) fn had(&self) -> Duration {
        let waited = self.pulse.waited().saturating_sub(self.waited);
        self.elapsed().saturating_sub(waited)
    }
}

impl Pulse {
    pub(super) fn new() -> Self {
        let beats = Beats { thread: None, last: Instant::now(), spent_at_last: None, longest: Silence::default() };
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
        beats.spent_at_last = beats.spent();
    }

    /// The silence that lasts, as another thread sees it.
    pub(super) fn silence(&self) -> Silence {
        let beats = self.lock();
        let silence = beats.silence();
        // How long it stands in line is known only afterwards. Nothing but the machine keeps what can run from it.
        match beats.spent_since() {
            Some(Spent { computed, .. }) if computed < CHUNK && beats.can_run() => {
                Silence { length: computed, ..silence }
            }
            _ => silence,
        }
    }

    /// Begins to measure.
    pub(super) fn stopwatch(&self) -> Stopwatch {
        Stopwatch { pulse: self.clone(), began: Instant::now(), waited: self.waited() }
    }

    /// For how long the thread has stood in line up to now; nothing, where the system does not tell.
    fn waited(&self) -> Duration {
        self.lock().spent().map_or(Duration::ZERO, |spent| spent.waited)
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
        Silence::of(self.last.elapsed(), self.spent_since())
    }

    /// What the thread has spent since the last beat.
    fn spent_since(&self) -> Option<Spent> {
        self.spent().zip(self.spent_at_last).map(|(now, then)| now.since(then))
    }

    fn spent(&self) -> Option<Spent> {
        Spent::read(&read(self.thread.as_deref()?, "schedstat")?)
    }

    /// Whether the thread has a processor, or wants one. The state comes after the program's name in its parentheses, in which there
    /// may be others.
    fn can_run(&self) -> bool {
        let stat = self.thread.as_deref().and_then(|thread| read(thread, "stat"));
        stat.is_some_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('R')))
    }
}

/// What a thread has done with its time, as far as it did not wait for something else.
#[derive(Clone, Copy, Debug)]
struct Spent {
    computed: Duration,
    /// In line for a processor.
    waited: Duration,
}

impl Spent {
    /// As the kernel's `Documentation/scheduler/sched-stats.rst` has it: two figures in nanoseconds, and a third.
    fn read(text: &str) -> Option<Self> {
        let mut figures = text.split_ascii_whitespace().map(|figure| figure.parse().ok().map(Duration::from_nanos));
        Some(Self { computed: figures.next()??, waited: figures.next()?? })
    }

    fn since(self, then: Self) -> Self {
        Self { computed: self.computed.saturating_sub(then.computed), waited: self.waited.saturating_sub(then.waited) }
    }
}

#[expect(clippy::disallowed_methods, reason = "procfs answers from memory, and no shard of a server runs here")]
fn read(thread: &Path, file: &str) -> Option<String> {
    fs::read_to_string(thread.join(file)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silence(elapsed: u64, computed: u64, waited: u64) -> Silence {
        let then = Spent::read("1000 2000 3").expect("figures");
        let text = format!("{} {} 4\n", 1_000 + computed * 1_000_000, 2_000 + waited * 1_000_000);
        let spent = Spent::read(&text).map(|now| now.since(then));
        Silence::of(Duration::from_millis(elapsed), spent)
    }

    #[test]
    fn what_a_thread_stands_in_line_for_is_no_silence_of_its_own() {
        assert_eq!(silence(2_000, 5, 1_900).length, Duration::from_millis(100));
        assert_eq!(silence(2_000, 5, 0).length, Duration::from_millis(2_000));
        assert_eq!(Silence::of(Duration::from_millis(2_000), None).length, Duration::from_millis(2_000));
    }

    #[test]
    fn what_computes_on_and_on_is_silent_for_as_long_as_that_takes() {
        assert_eq!(silence(2_000, 300, 1_700).length, Duration::from_millis(2_000));
    }

    #[test]
    fn what_computes_is_told_from_what_waits_however_long_it_stands_in_line() {
        assert!(matches!(silence(4_000, 300, 3_690).fault(), Uncooperative::Computes));
        assert!(matches!(silence(4_000, 300, 2_000).fault(), Uncooperative::BlocksThread));
        assert!(matches!(Silence::of(Duration::from_secs(4), None).fault(), Uncooperative::BlocksThread));
    }
}
