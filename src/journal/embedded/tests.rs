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

pub(super) use history::spec;
