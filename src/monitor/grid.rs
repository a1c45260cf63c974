//! The phase grid: when the checks of an instance are due.

use std::time::Duration;

use super::Clock;
use crate::model::{Mono, Uid};

/// The points `offset + n * interval` of the wall clock as it was when the process started, carried on by the monotonic clock.
///
/// The offset is a hash of the task's uid. So tasks spread over the interval instead of firing together, and a task keeps its
/// points when others come and go, when its instance is started anew, and, as far as the wall clock is right, when the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    interval: u64,
    /// The first point at or after the clock's origin, in nanoseconds since then.
    first: u64,
}

impl Grid {
    /// Timers fire up to a millisecond late, and then the task waits its turn. A point that passed so little ago is served late
    /// instead of being skipped: otherwise a check that takes its whole interval, as each check of a dead target does where the
    /// timeout is the interval, would run only every other time. It is the tolerance of tokio's own intervals.
    const TOLERANCE: Duration = Duration::from_millis(5);
    /// Below this tokio's timers cannot tell two points apart.
    const SHORTEST: Duration = Duration::from_millis(1);

    pub(super) fn new(clock: &Clock, uid: Uid, interval: Duration) -> Self {
        let interval = nanos(interval.max(Self::SHORTEST));
        let offset = hash(uid) % interval;
        let origin = clock.wall_at_origin().as_nanos() % interval;
        let first = if offset >= origin { offset - origin } else { interval - (origin - offset) };
        Self { interval, first }
    }

    /// When the first check is due of one of many instances that are started together, at `at`: within `spread`, by a hash of the
    /// task's uid, but no later than its next point.
    pub(super) fn spread(self, uid: Uid, at: Mono, spread: Duration) -> Mono {
        let share = Duration::from_nanos(hash(uid) % nanos(spread).max(1));
        (at + share).min(self.after(at))
    }

    /// The first point after `at`.
    pub(super) fn after(self, at: Mono) -> Mono {
        let passed = self.passed(at);
        Mono::from_nanos(self.first.saturating_add(passed.saturating_mul(self.interval)))
    }

    /// When the check that follows is due, after one that ended at `end`; and how many points before that have passed since
    /// `after`, which is where the ended check began or was due.
    pub(super) fn next(self, after: Mono, end: Mono) -> (Mono, u32) {
        let due = self.after(after.max(end.before(Self::TOLERANCE)));
        let skipped = self.passed(due).saturating_sub(self.passed(after) + 1);
        (due, u32::try_from(skipped).unwrap_or(u32::MAX))
    }

    /// When a check that begins at `begin` has run out of time. Where that is the next point but for the lateness of this check's
    /// timer, it is that point: lateness would add up from check to check until a point is lost.
    pub(super) fn deadline(self, begin: Mono, timeout: Duration) -> Mono {
        let (deadline, next) = (begin + timeout, self.after(begin));
        if next < deadline && deadline.since(next) <= Self::TOLERANCE { next } else { deadline }
    }

    /// How many points lie at or before `at`.
    const fn passed(self, at: Mono) -> u64 {
        match at.as_nanos().checked_sub(self.first) {
            Some(since) => since / self.interval + 1,
            None => 0,
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// FNV-1a, 64 bits: stable across versions of this program and of the standard library, which the latter's hashers are not.
fn hash(uid: Uid) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    uid.uuid().as_bytes().iter().fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::Timestamp;

    const SECOND: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    fn uid(number: u128) -> Uid {
        Uid::new(Uuid::from_u128(number))
    }

    fn grid(interval: Duration) -> Grid {
        Grid { interval: nanos(interval), first: 0 }
    }

    fn at(span: Duration) -> Mono {
        Mono::ZERO + span
    }

    #[test]
    fn the_points_are_those_of_the_wall_clock_whenever_the_process_started() {
        let interval = Duration::from_millis(700);
        let wall = Timestamp::from_nanos(1_700_000_000_123_456_789);
        let later = Duration::from_nanos(98_765_432_101);
        let before = Grid::new(&Clock::starting_at(wall), uid(7), interval);
        let after = Grid::new(&Clock::starting_at(wall + later), uid(7), interval);
        assert_eq!(before.after(Mono::ZERO + later), after.after(Mono::ZERO) + later);
    }

    #[test]
    fn tasks_spread_over_the_interval() {
        let clock = Clock::starting_at(Timestamp::default());
        let mut tenths = [0_u32; 10];
        for number in 0..1_000 {
            let first = Grid::new(&clock, uid(number), 10 * SECOND).first;
            tenths[usize::try_from(first / nanos(SECOND)).expect("small")] += 1;
        }
        assert!(tenths.iter().all(|count| (50..200).contains(count)), "{tenths:?}");
    }

    #[test]
    fn first_checks_are_spread_and_none_is_put_off_beyond_its_point() {
        let (grid, now) = (grid(SECOND), at(10_400 * MS));
        let due: Vec<_> = (0..100).map(|number| grid.spread(uid(number), now, SECOND)).collect();
        assert!(due.iter().all(|due| (now..=at(11 * SECOND)).contains(due)), "{due:?}");
        let early = due.iter().filter(|due| **due < at(10_700 * MS)).count();
        assert!((15..50).contains(&early), "{early} of 100 in 300 ms of 1 s");
        assert_eq!(grid.spread(uid(1), now, Duration::ZERO), now);
    }

    #[test]
    fn the_next_point_lies_after_and_not_at() {
        let grid = Grid { interval: nanos(SECOND), first: nanos(300 * MS) };
        assert_eq!(grid.after(Mono::ZERO), at(300 * MS));
        assert_eq!(grid.after(at(300 * MS)), at(1_300 * MS));
        assert_eq!(grid.after(at(1_299 * MS)), at(1_300 * MS));
    }

    #[test]
    fn a_point_passed_during_a_check_is_skipped() {
        let grid = grid(SECOND);
        assert_eq!(grid.next(at(SECOND), at(1_200 * MS)), (at(2 * SECOND), 0));
        assert_eq!(grid.next(at(SECOND), at(2_500 * MS)), (at(3 * SECOND), 1));
        assert_eq!(grid.next(at(SECOND), at(4_500 * MS)), (at(5 * SECOND), 3));
    }

    #[test]
    fn a_point_passed_by_a_timers_lateness_is_served() {
        let grid = grid(SECOND);
        assert_eq!(grid.next(at(SECOND), at(2 * SECOND)), (at(2 * SECOND), 0));
        assert_eq!(grid.next(at(SECOND), at(2_002 * MS)), (at(2 * SECOND), 0));
        assert_eq!(grid.next(at(SECOND), at(2_006 * MS)), (at(3 * SECOND), 1));
        assert_eq!(grid.next(at(SECOND), at(1_001 * MS)), (at(2 * SECOND), 0), "its own point is not served twice");
    }

    #[test]
    fn lateness_does_not_add_up_where_the_timeout_is_the_interval() {
        let grid = grid(SECOND);
        assert_eq!(grid.deadline(at(1_002 * MS), SECOND), at(2 * SECOND));
        assert_eq!(grid.deadline(at(1_002 * MS), 500 * MS), at(1_502 * MS));
        assert_eq!(grid.deadline(at(1_400 * MS), SECOND), at(2_400 * MS), "a check that begins late keeps its time");
    }
}
