//! Answers, from the model to the wire.

mod check;
mod event;
mod spec;
mod task;
mod time;

pub use event::{EventView, event};
pub use spec::spec;
pub use task::task;
pub use time::timestamp;
