//! The store as a whole.

mod directories;
mod history;
mod media;
