//! Whether the copy can be relied on, which callers learn without reading a clock: that would cost them more than all else they do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::local::nanos;

/// How long before the bound the clock begins to decide, and so how late a timer may be without anybody relying on a copy for too long.
const MARGIN: u64 = 100_000_000;

/// When the server was heard, and for how long the copy is relied on since.
#[derive(Debug)]
pub(super) struct Freshness {
    /// What times are counted from.
    origin: Instant,
    bound: u64,
    /// Until when the copy is relied on.
    until: AtomicU64,
    /// When the server was last heard; zero: never.
    heard: AtomicU64,
    /// Nobody follows the server any more.
    ended: AtomicBool,
    /// That the copy is relied on whatever the clock says. Set only while a timer runs that takes it back in time; else the clock decides.
    certain: AtomicBool,
    again: Notify,
}

impl Freshness {
    pub(super) fn new(bound: Duration) -> Self {
        Self {
            origin: Instant::now(),
            bound: nanos(bound),
            until: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            certain: AtomicBool::new(false),
            again: Notify::new(),
        }
    }

    /// For how long the server may be silent.
    pub(super) fn bound(&self) -> Duration {
        Duration::from_nanos(self.bound)
    }

    /// That time, in nanoseconds since the mirror began, plus one: zero stands for never.
    pub(super) fn at(&self, time: Instant) -> u64 {
        nanos(time.saturating_duration_since(self.origin)) + 1
    }

    /// The server has told everything there was until now.
    pub(super) fn hear(&self) {
        let now = self.at(Instant::now());
        self.heard.store(now, Ordering::Relaxed);
        self.until.store(now.saturating_add(self.bound), Ordering::Release);
        self.again.notify_one();
    }

    /// How long ago the server was last heard; `None`: never.
    pub(super) fn age(&self) -> Option<Duration> {
        let heard = self.heard.load(Ordering::Relaxed);
        (heard != 0).then(|| Duration::from_nanos(self.at(Instant::now()).saturating_sub(heard)))
    }

    /// Whether the copy is relied on, for all that is known without a clock.
    #[inline]
    pub(super) fn is_certain(&self) -> bool {
        self.certain.load(Ordering::Acquire)
    }

    /// Whether the copy is relied on at that time. Who has read the clock for other reasons finds out, too, if no timer has fired that
    /// should have, as where the mirror's runtime is held up.
    pub(super) fn is_fresh(&self, at: u64) -> bool {
        let fresh = at <= self.until.load(Ordering::Acquire) && !self.ended.load(Ordering::Acquire);
        if !fresh && self.is_certain() {
            self.certain.store(false, Ordering::Release);
        }
        fresh
    }

    /// Spares callers the clock, for as long as this runs.
    pub(super) async fn keep(&self) {
        let _end = Uncertain(self);
        loop {
            let until = self.until.load(Ordering::Acquire).saturating_sub(MARGIN);
            if self.at(Instant::now()) < until {
                self.certain.store(true, Ordering::Release);
                // The time is that of before: so this thread may be stopped at any point.
                sleep_until(self.origin + Duration::from_nanos(until)).await;
                // It may have been heard meanwhile: then that is found next.
                self.certain.store(false, Ordering::Release);
            } else {
                self.again.notified().await;
            }
        }
    }
}

/// The timer ends with the mirror: what nobody keeps up any more is not relied on.
struct Uncertain<'a>(&'a Freshness);

impl Drop for Uncertain<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.certain.store(false, Ordering::Release);
    }
}
