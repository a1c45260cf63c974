//! The store as a whole.
#![expect(clippy::disallowed_methods, reason = "tests may block")]

mod clocks;
mod crashes;
mod directories;
mod faults;
mod figures;
mod folds;
mod history;
mod media;
mod retention;

use crate::journal::EmbeddedStore;

pub(super) use history::spec;

/// A store with something in it.
pub(super) fn filled() -> EmbeddedStore {
    faults::filled(&media::Disk::default()).0
}
