//! Requests, from the wire to the model. Everything a request says is read, or named here as ignored; whatever is wrong with
//! it is gathered, each violation with its field's path as the request spells it.

mod config_value;
mod duration;
mod mutation;
mod read;
mod spec;
#[cfg(test)]
mod tests;

pub use mutation::{cancel_task, delete_task, start_task};
pub use read::{ListTasks, Start, WaitTask, WatchTasks, get_task, list_tasks, wait_task, watch_tasks};

use crate::model::{TaskName, Violations};

fn task_name(v: &mut Violations, name: &str) -> Option<TaskName> {
    TaskName::parse(name).map_err(|problem| v.add("name", problem.to_string())).ok()
}
