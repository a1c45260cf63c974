//! The store as a whole.
#![expect(clippy::disallowed_methods, reason = "tests may block")]

mod crashes;
mod directories;
mod faults;
mod figures;
mod folds;
mod history;
mod media;
mod reopening;
mod retention;
