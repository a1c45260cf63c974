//! How long a stream may be silent.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};

use super::Error;

/// A server owes its watches a frame every ten seconds, if only an empty one. That the connection is alive proves nothing: it may end at a
/// proxy that has lost the server behind it. Twice of what is owed, so that nobody gives up a server that is only busy; and less than a
/// mirror's bound of staleness is by default, so that the copy may be good again before it counts as stale.
pub(super) const GIVE_UP: Duration = Duration::from_secs(20);

/// Until when the next frame is owed; none: from when it is next waited for, since what was not fetched was not late.
#[derive(Debug, Default)]
pub(super) struct Patience(Option<Instant>);

impl Patience {
    /// What the stream says next; UNAVAILABLE where it has said nothing for too long. One wait that is dropped is gone on with by the
    /// next one, so that those who look up often give up as well.
    pub(super) async fn wait_for<T>(
        &mut self,
        message: impl Future<Output = Result<Option<T>, Status>>,
    ) -> Result<Option<T>, Error> {
        let until = *self.0.get_or_insert_with(|| Instant::now() + GIVE_UP);
        let said = timeout_at(until, message).await;
        self.0 = None;
        match said {
            Ok(message) => Ok(message?),
            Err(_) => Err(Error::new(Code::Unavailable, format!("the server has said nothing for {GIVE_UP:?}"))),
        }
    }
}
