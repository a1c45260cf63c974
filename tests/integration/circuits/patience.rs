//! Waits that end: a test that waits in vain is to fail and say so, and not to hang.

use std::fmt::{Debug, Display};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// Nothing that comes at all comes that late, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// The patience for something that may take many steps.
pub(super) struct Patience {
    awaited: String,
    end: Instant,
}

impl Patience {
    /// With something that has to come from now on.
    pub(super) fn with(awaited: impl Display) -> Self {
        Self { awaited: awaited.to_string(), end: Instant::now() + PATIENCE }
    }

    /// Takes the next step; fails with what is `seen` by then, if it takes too long.
    pub(super) async fn wait<T>(&self, step: impl Future<Output = T>, seen: impl Debug) -> T {
        let Ok(taken) = timeout_at(self.end, step).await else {
            panic!("awaited in vain for {PATIENCE:?}: {}; seen: {seen:?}", self.awaited);
        };
        taken
    }
}
