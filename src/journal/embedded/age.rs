//! What age is measured by.

use std::time::{Duration, Instant, SystemTime};

use crate::model::Timestamp;

/// The wall clock, but never further ahead of where it stood when the store was opened than time has passed since. So
/// what is old when a store is opened goes, however long nobody ran; and a clock that jumps ahead while the store is open makes
/// nothing old. A clock that was behind and is put right counts late until the next start (as does a machine that was suspended):
/// what is kept for longer is bounded by number and bytes all the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct AgeClock {
    wall: fn() -> Timestamp,
    /// What the wall clock said then.
    opened_at: Timestamp,
    opened: Instant,
}

impl AgeClock {
    /// Of a store that is being opened. Outlives its reopening: the clock may have jumped by then.
    pub(super) fn start() -> Self {
        Self::start_by(wall)
    }

    /// As [`start`](Self::start), by another wall clock.
    pub(super) fn start_by(wall: fn() -> Timestamp) -> Self {
        Self { wall, opened_at: wall(), opened: Instant::now() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.at((self.wall)(), self.opened.elapsed())
    }

    fn at(&self, wall: Timestamp, since_opened: Duration) -> Timestamp {
        wall.min(self.opened_at + since_opened)
    }

    /// As it is after its wall clock has jumped.
    #[cfg(test)]
    pub(super) fn jumped(self, wall: fn() -> Timestamp) -> Self {
        Self { wall, ..self }
    }
}

/// The wall clock.
pub(super) fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::default() + since_epoch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_as_it_does_whatever_the_wall_clock_says() {
        let clock = AgeClock::start();
        let (day, hour) = (Duration::from_secs(86_400), Duration::from_secs(3_600));
        let start = clock.opened_at;
        assert_eq!(clock.at(start + hour, hour), start + hour, "both go on");
        assert_eq!(clock.at(start + 8 * day, hour), start + hour, "the wall clock jumps ahead");
        assert_eq!(clock.at(start.before(day), hour), start.before(day), "it is set back");
        assert_eq!(clock.at(start + hour + hour, hour + hour), start + hour + hour, "it is right again");
    }
}
