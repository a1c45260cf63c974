//! What stands in a mirror's way: for those who ask, and for the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// As what a refusal was logged that has stood in the way since.
    warned: Option<Code>,
}

impl Complaint {
    /// What tells of the trouble, for as long as anybody wants to know.
    pub(super) fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    /// Whether the error is one to warn of. What passes by itself is no news. A refusal is, once: nobody else may ever tell of it.
    pub(super) fn is_news(&mut self, error: &Error) -> bool {
        // What one client of many has used up may be used up for good.
        let refused = error.outlook() == Outlook::ForGood || error.code == Code::ResourceExhausted;
        let is_news = refused && self.warned != Some(error.code);
        if is_news {
            self.warned = Some(error.code);
        }
        is_news
    }

    pub(super) fn meet(&self, error: Error) {
        *self.trouble.lock() = Some(error);
    }

    /// Nothing stands in the way any more.
    pub(super) fn end(&mut self) {
        self.warned = None;
        *self.trouble.lock() = None;
    }
}
