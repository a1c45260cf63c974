//! What is sampled of a live instance.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::model::Live;

/// Holds what a running monitor last did, for whoever reads the task; no event and no decision depends on it.
#[derive(Default)]
pub struct LiveCell(Mutex<Live>);

impl LiveCell {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is known at this moment.
    pub fn snapshot(&self) -> Live {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Live)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl fmt::Debug for LiveCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}
