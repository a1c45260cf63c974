//! Where the rows of each task are: what readers of a task's generations need to know of the writer's index.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::model::Uid;

/// The sequence at which each task was first heard of. A lock that is held for a look or for one entry; of a commit, the tasks that
/// begin or go take it.
#[derive(Default)]
pub(super) struct Births(RwLock<HashMap<Uid, u64>>);

impl Births {
    pub(super) fn get(&self, uid: Uid) -> Option<u64> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&uid).copied()
    }

    pub(super) fn insert(&self, uid: Uid, born: u64) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(uid, born);
    }

    pub(super) fn remove(&self, uid: Uid) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&uid);
    }

    /// Of a store that was opened anew.
    pub(super) fn replace(&self, all: HashMap<Uid, u64>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = all;
    }
}
