//! The one clock that the manager and the monitors share.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::model::{Mono, Now, Timestamp};

/// The process's monotonic clock, with an origin that every room counts from, and the wall clock beside it. Made once, at the
/// start, and copied from then on. It follows tokio's clock, so tests may pause it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    wall_at_origin: Timestamp,
}

impl Clock {
    /// A clock whose origin is now.
    #[expect(clippy::new_without_default, reason = "it reads the time: two of them are never equal")]
    pub fn new() -> Self {
        Self::starting_at(wall())
    }

    /// A clock whose origin is now, and which takes `wall` for the present wall-clock time when it lays out phase grids.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self { origin: Instant::now(), wall_at_origin: wall }
    }

    /// The present moment. The wall clock is read anew each time, so that records stay right where it is stepped or slewed.
    pub fn now(&self) -> Now {
        Now { mono: self.mono(Instant::now()), wall: wall() }
    }

    /// An instant as the pure rooms know it; the origin, if it lies before that.
    pub fn mono(&self, instant: Instant) -> Mono {
        Mono::ZERO + instant.saturating_duration_since(self.origin)
    }

    /// A point as tokio's timers know it.
    pub fn instant(&self, mono: Mono) -> Instant {
        self.origin + Duration::from_nanos(mono.as_nanos())
    }

    /// The wall-clock time at the origin: what phase grids are anchored on.
    pub(super) const fn wall_at_origin(&self) -> Timestamp {
        self.wall_at_origin
    }
}

fn wall() -> Timestamp {
    Timestamp::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_follows_tokios() {
        let clock = Clock::new();
        tokio::time::advance(Duration::from_secs(5)).await;
        let mono = clock.now().mono;
        assert_eq!(mono, Mono::ZERO + Duration::from_secs(5));
        assert_eq!(clock.instant(mono), Instant::now());
    }
}
