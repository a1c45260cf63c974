//! How many lines a task may log.

use std::collections::HashMap;
use std::mem;

use crate::model::{Timestamp, Uid};

/// What a task that has been quiet may log at once: three lives of a task that starts, alerts and stops.
const BURST: f64 = 30.0;
/// What routine lines must leave for warnings.
const RESERVE: f64 = 10.0;
/// Lines a second in the long run.
const RATE: f64 = 1.0;
/// How many tasks one generation of buckets remembers; two are kept, about 0.5 MiB.
const TASKS: usize = 4_096;

/// A token bucket for each task that has logged lately. Bounded: tasks that have been quiet for longest are forgotten.
#[derive(Debug)]
pub struct RateLimiter {
    /// Two generations: a bucket in use moves to the younger; when that is full, the elder is forgotten as a whole.
    young: HashMap<Uid, Bucket>,
    old: HashMap<Uid, Bucket>,
    tasks: usize,
    forgotten: Forgotten,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Importance {
    /// Held back first.
    #[default]
    Routine,
    /// Held back only when the warnings alone are too many.
    Warning,
    /// Comes at most once in a task's life, so it is never held back; also carries the count of those that were.
    Once,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is logged.
    Admitted {
        /// How many of the task's lines were held back since its last one, if any.
        suppressed: Option<u64>,
    },
    /// It is held back.
    Suppressed,
}

/// Lines that were held back of tasks that are not remembered any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Forgotten {
    pub(super) lines: u64,
    pub(super) tasks: u64,
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self::remembering(TASKS)
    }
}

impl RateLimiter {
    /// A limiter that remembers the `tasks` that logged last, at the least, and twice as many at the most.
    fn remembering(tasks: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), tasks, forgotten: Forgotten::default() }
    }

    /// Decides on a line of the task, at `now`.
    pub(super) fn admit(&mut self, uid: Uid, importance: Importance, now: Timestamp) -> Verdict {
        if let Some(bucket) = self.young.get_mut(&uid) {
            return bucket.admit(importance, now);
        }
        let mut bucket = self.old.remove(&uid).unwrap_or_else(|| Bucket::full(now));
        let verdict = bucket.admit(importance, now);
        if self.young.len() >= self.tasks {
            self.turn();
        }
        self.young.insert(uid, bucket);
        verdict
    }

    /// What has been forgotten since this was last asked, if anything.
    pub(super) fn take_forgotten(&mut self) -> Option<Forgotten> {
        (self.forgotten.tasks > 0).then(|| mem::take(&mut self.forgotten))
    }

    fn turn(&mut self) {
        let dropped = mem::replace(&mut self.old, mem::take(&mut self.young));
        for bucket in dropped.values().filter(|bucket| bucket.suppressed > 0) {
            self.forgotten.lines += bucket.suppressed;
            self.forgotten.tasks += 1;
        }
    }
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Timestamp,
    suppressed: u64,
}

impl Bucket {
    fn full(now: Timestamp) -> Self {
        Self { tokens: BURST, filled: now, suppressed: 0 }
    }

    fn admit(&mut self, importance: Importance, now: Timestamp) -> Verdict {
        // A wall clock that was set back must not stop the refill until it has caught up: `since` is zero, and we go on from `now`.
        self.tokens = BURST.min(self.tokens + now.since(self.filled).as_secs_f64() * RATE);
        self.filled = now;
        let floor = match importance {
            Importance::Routine => RESERVE + 1.0,
            Importance::Warning => 1.0,
            Importance::Once => 0.0,
        };
        if self.tokens < floor {
            self.suppressed += 1;
            return Verdict::Suppressed;
        }
        self.tokens = (self.tokens - 1.0).max(0.0);
        let suppressed = mem::take(&mut self.suppressed);
        Verdict::Admitted { suppressed: (suppressed > 0).then_some(suppressed) }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn uid(number: u128) -> Uid {
        Uid::new(Uuid::from_u128(number))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * SECOND)
    }

    fn admitted(limiter: &mut RateLimiter, uid: Uid, importance: Importance, now: Timestamp) -> usize {
        (0..100).filter(|_| limiter.admit(uid, importance, now) != Verdict::Suppressed).count()
    }

    #[test]
    fn routine_lines_leave_room_for_warnings_and_nothing_stops_the_last_word() {
        let mut limiter = RateLimiter::default();
        assert_eq!(admitted(&mut limiter, uid(1), Importance::Routine, at(0)), 20);
        assert_eq!(admitted(&mut limiter, uid(1), Importance::Warning, at(0)), 10);
        // The first warning told of the 80 routine lines.
        assert_eq!(limiter.admit(uid(1), Importance::Once, at(0)), Verdict::Admitted { suppressed: Some(90) });
        assert_eq!(limiter.admit(uid(1), Importance::Once, at(0)), Verdict::Admitted { suppressed: None });
    }

    #[test]
    fn one_tasks_noise_costs_no_other_its_lines() {
        let mut limiter = RateLimiter::default();
        admitted(&mut limiter, uid(1), Importance::Routine, at(0));
        assert_eq!(limiter.admit(uid(2), Importance::Routine, at(0)), Verdict::Admitted { suppressed: None });
    }

    #[test]
    fn quiet_earns_lines_back_up_to_the_burst() {
        let mut limiter = RateLimiter::default();
        admitted(&mut limiter, uid(1), Importance::Routine, at(0));
        assert_eq!(admitted(&mut limiter, uid(1), Importance::Routine, at(5)), 5);
        assert_eq!(admitted(&mut limiter, uid(1), Importance::Routine, at(5_000)), 20);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_silence_a_task() {
        let mut limiter = RateLimiter::default();
        admitted(&mut limiter, uid(1), Importance::Routine, at(1_000));
        assert_eq!(admitted(&mut limiter, uid(1), Importance::Routine, at(100)), 0);
        assert_eq!(admitted(&mut limiter, uid(1), Importance::Routine, at(103)), 3);
    }

    #[test]
    fn memory_is_bounded_and_what_was_held_back_is_still_told() {
        let mut limiter = RateLimiter::remembering(4);
        admitted(&mut limiter, uid(0), Importance::Routine, at(0));
        for number in 1..=1_000 {
            limiter.admit(uid(number), Importance::Routine, at(0));
            assert!(limiter.young.len() + limiter.old.len() <= 8);
        }
        assert_eq!(limiter.take_forgotten(), Some(Forgotten { lines: 80, tasks: 1 }));
        assert_eq!(limiter.take_forgotten(), None);
    }

    #[test]
    fn a_task_that_goes_on_logging_is_remembered() {
        let mut limiter = RateLimiter::remembering(4);
        admitted(&mut limiter, uid(0), Importance::Warning, at(0));
        for number in 1..=1_000 {
            limiter.admit(uid(number), Importance::Routine, at(0));
            assert_eq!(limiter.admit(uid(0), Importance::Warning, at(0)), Verdict::Suppressed);
        }
    }
}
