//! The store as a whole.

mod crashes;
mod directories;
mod history;
mod media;
