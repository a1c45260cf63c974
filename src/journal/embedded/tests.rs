//! The store as a whole.
#![expect(clippy::disallowed_methods, reason = "tests may block")]

mod backups;
mod clocks;
mod crashes;
mod directories;
mod dropping;
mod ending;
mod faults;
mod figures;
mod flips;
mod folds;
mod generations;
mod history;
mod media;
mod migrations;
mod reopening;
mod retention;
mod salvaging;
mod untouched;
mod vanishing;

use crate::journal::EmbeddedStore;

pub(super) use history::{Random, spec};
pub(super) use media::Disk;

/// A store with something in it.
pub(super) fn filled() -> EmbeddedStore {
    faults::filled(&Disk::default()).0
}
