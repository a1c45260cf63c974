//! Answers, from the model to the wire.

mod apply;
mod brief;
mod check;
mod circuit;
mod event;
mod generation;
mod spec;
mod swap;
mod task;
mod time;

pub use apply::{action, apply_outcome, apply_progress, plan_item};
pub(super) use brief::put_event;
pub use check::{check, check_record};
pub use circuit::{callers_circuit, disposition, permission};
pub use event::{EventView, event};
pub use generation::generation;
pub use spec::spec;
pub use task::task;
pub use time::timestamp;
