//! How long a stream may be silent.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tonic::{Code, Status};

use super::Error;

/// A server owes its watches a frame every ten seconds, if only an empty one. That the connection is alive proves nothing: it may end at a
/// proxy that has lost the server behind it. Twice of what is owed, so that nobody gives up a server that is only busy, or a link that
/// brings 6 KiB a second, as the largest frame has 120; and less than a mirror's bound of staleness is by default, so that the copy may be
/// good again before it counts as stale.
pub(super) const GIVE_UP: Duration = Duration::from_secs(20);
/// A timer that fires so late was one of a process that stood still, and what has come meanwhile is read after the timers: it gets as long
/// to be read.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// How much longer a stream may be silent while somebody waits for it: what was not fetched was not late.
#[derive(Debug)]
pub(super) struct Patience(Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(GIVE_UP)
    }
}

impl Patience {
    /// What the stream says next; UNAVAILABLE where it has said nothing for too long. One wait that is dropped is gone on with by the
    /// next one, so that those who look up often give up as well.
    pub(super) async fn wait_for<T>(
        &mut self,
        message: impl Future<Output = Result<Option<T>, Status>>,
    ) -> Result<Option<T>, Error> {
        let mut message = pin!(message);
        let wait = Wait { began: Instant::now(), left: &mut self.0 };
        let mut said = timeout(*wait.left, &mut message).await;
        if said.is_err() && wait.began.elapsed() >= *wait.left + STOOD_STILL {
            said = timeout(STOOD_STILL, message).await;
        }
        drop(wait);
        self.0 = GIVE_UP;
        match said {
            Ok(message) => Ok(message?),
            Err(_) => Err(Error::new(Code::Unavailable, format!("the server has said nothing for {GIVE_UP:?}"))),
        }
    }
}

/// A wait, which takes the time that it lasts however it ends.
struct Wait<'a> {
    began: Instant,
    left: &'a mut Duration,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        *self.left = self.left.saturating_sub(self.began.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::yield_now;
    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_is_not_counted_though_a_wait_was_dropped() {
        let mut patience = Patience::default();
        let dropped = timeout(GIVE_UP / 2, patience.wait_for(pending::<Result<Option<()>, _>>())).await;
        assert!(dropped.is_err());
        sleep(GIVE_UP).await;
        let late = async {
            sleep(GIVE_UP / 2 - STOOD_STILL).await;
            Ok(Some(()))
        };
        assert_eq!(patience.wait_for(late).await, Ok(Some(())));
        let began = Instant::now();
        let error = patience.wait_for(pending::<Result<Option<()>, _>>()).await.expect_err("silent");
        assert_eq!((error.code, began.elapsed()), (Code::Unavailable, GIVE_UP));
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_while_the_process_stood_still_is_read_before_the_stream_is_given_up() {
        let mut patience = Patience::default();
        let came = async {
            advance(GIVE_UP + 2 * STOOD_STILL).await;
            yield_now().await;
            Ok(Some(()))
        };
        assert_eq!(patience.wait_for(came).await, Ok(Some(())));
    }
}
