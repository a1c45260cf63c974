//! What stands in a mirror's way: for those who ask, and for the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

use crate::client::{Error, Outlook};

/// What stands in the way of one of a mirror's tasks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<Error>>>);

impl Trouble {
    pub(super) fn get(&self) -> Option<Error> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Error>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a task says of its trouble.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    trouble: Trouble,
    /// As what a refusal was logged last, and when.
    warned: Option<(Code, Instant)>,
    /// Whether that has passed since.
    passed: bool,
}

/// What comes and goes is told of no more often.
const NEWS: Duration = Duration::from_secs(60);

impl Complaint {
    /// What tells of the trouble, for as long as anybody wants to know.
    pub(super) fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    /// Whether the error is one to warn of. What passes by itself is no news. A refusal is, once: nobody else may ever tell of it.
    pub(super) fn is_news(&mut self, error: &Error) -> bool {
        // What one client of many has used up may be used up for good.
        let refused = error.outlook() == Outlook::ForGood || error.code == Code::ResourceExhausted;
        let is_old = |(code, at): (Code, Instant)| code == error.code && !(self.passed && at.elapsed() >= NEWS);
        let is_news = refused && !self.warned.is_some_and(is_old);
        if is_news {
            (self.warned, self.passed) = (Some((error.code, Instant::now())), false);
        }
        is_news
    }

    pub(super) fn meet(&self, error: Error) {
        *self.trouble.lock() = Some(error);
    }

    /// Nothing stands in the way any more.
    pub(super) fn end(&mut self) {
        self.passed = true;
        *self.trouble.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_comes_and_goes_is_told_of_once_a_minute_and_one_that_stays_once() {
        let refused = Error::new(Code::PermissionDenied, "no");
        let mut complaint = Complaint::default();
        assert!(complaint.is_news(&refused));
        advance(60 * NEWS).await;
        assert!(!complaint.is_news(&refused), "it has stayed");
        complaint.end();
        assert!(complaint.is_news(&refused), "it comes again");
        for _ in 0..59 {
            advance(NEWS / 60).await;
            complaint.end();
            assert!(!complaint.is_news(&refused));
        }
        advance(NEWS / 60).await;
        assert!(complaint.is_news(&refused));
        assert!(complaint.is_news(&Error::new(Code::NotFound, "")), "another one");
    }
}
