//! How long to wait before connecting again.

use std::time::Duration;

use uuid::Uuid;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
/// What a server may ask for at the most, so that no answer parks a client for good.
pub(super) const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// Doubles from 100 ms to 10 s; each wait is between a half and the whole of it, so that clients which lost the same server
/// do not come back as one.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The next wait; at least what the server asked for.
    pub(super) fn wait(&mut self, asked: Option<Duration>) -> Duration {
        // The first 32 bits of a random UUID are all random.
        self.wait_with(asked, Uuid::new_v4().as_fields().0)
    }

    fn wait_with(&mut self, asked: Option<Duration>, random: u32) -> Duration {
        let half = self.next / 2;
        let wait = half + half.mul_f64(f64::from(random) / f64::from(u32::MAX));
        self.next = (self.next * 2).min(LONGEST);
        wait + asked.unwrap_or(Duration::ZERO).min(LONGEST_ASKED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_bounds() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.wait_with(None, 0), FIRST / 2);
        assert_eq!(backoff.wait_with(None, u32::MAX), FIRST * 2);
        for _ in 0..20 {
            assert!(backoff.wait_with(None, u32::MAX) <= LONGEST);
        }
        assert_eq!(backoff.wait_with(None, u32::MAX), LONGEST);
    }

    #[test]
    fn the_servers_wish_is_honoured_within_reason() {
        let asked = Duration::from_secs(3);
        assert_eq!(Backoff::new().wait_with(Some(asked), u32::MAX), asked + FIRST);
        assert_eq!(Backoff::new().wait_with(Some(Duration::MAX), u32::MAX), LONGEST_ASKED + FIRST);
    }
}
