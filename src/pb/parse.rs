//! Requests, from the wire to the model. Everything a request says is read, or named here as ignored; whatever is wrong with
//! it is gathered, each violation with its field's path as the request spells it.

mod apply;
mod batch;
mod circuit;
mod config_value;
mod duration;
mod mutation;
mod read;
mod spec;
#[cfg(test)]
mod tests;
mod time;

pub use apply::{ApplySet, apply_header};
pub use batch::{InvalidBatch, Place, batch};
pub use circuit::{acquire_permit, get_circuit, override_circuit, report_outcomes, reset_circuit};
pub use mutation::{
    cancel_task, delete_task, drain_server, pause_task, resume_task, rollback_task, run_task, start_task, swap_task,
};
pub use read::{
    ListTasks, Start, Until, WaitTask, WatchChecks, WatchTasks, get_task, list_circuits, list_generations, list_tasks,
    wait_task, watch_checks, watch_circuits, watch_tasks,
};

use super::names;
use crate::model::{Isolation, StatePolicy, SwapStrategy, TaskName, Violations};

fn task_name(v: &mut Violations, name: &str) -> Option<TaskName> {
    if name.is_empty() {
        v.add("name", "required");
        return None;
    }
    TaskName::parse(name).map_err(|problem| v.add("name", problem.to_string())).ok()
}

/// The isolation, where one was given and there is such a one.
fn isolation(v: &mut Violations, number: i32) -> Option<Isolation> {
    names::isolation(number).unwrap_or_else(|problem| {
        v.add("isolation", problem.to_string());
        None
    })
}

/// The state policy, where one was given and there is such a one.
fn state_policy(v: &mut Violations, number: i32) -> Option<StatePolicy> {
    names::state_policy(number).unwrap_or_else(|problem| {
        v.add("state_policy", problem.to_string());
        None
    })
}

/// The strategy, where one was given and there is such a one.
fn swap_strategy(v: &mut Violations, number: i32) -> Option<SwapStrategy> {
    names::swap_strategy(number).unwrap_or_else(|problem| {
        v.add("strategy", problem.to_string());
        None
    })
}
