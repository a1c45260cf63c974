//! Requests that only look.

use std::collections::BTreeSet;
use std::time::Duration;

use super::duration::duration;
use super::task_name;
use crate::model::{ListFilter, Parent, Pretty, State, TaskName, Violations, WatchFilter, limits};
use crate::pb::render::EventView;
use crate::pb::{names, v1};

/// Asks for a page of tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTasks {
    /// Whose tasks.
    pub parent: Parent,
    /// Which of them.
    pub filter: ListFilter,
    /// How many at the most.
    pub page_size: usize,
    /// The token that the page before gave; `None` for the first page.
    pub page_token: Option<String>,
    /// The filter as the client wrote it: page tokens hold on to it (AIP-158).
    pub filter_text: String,
}

/// Asks to be told how a task goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitTask {
    /// The task.
    pub name: TaskName,
    /// What to wait for.
    pub until: Until,
    /// How long to wait at the most.
    pub timeout: Duration,
}

/// What a client waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// That the task is in one of these states; at least one.
    States(BTreeSet<State>),
    /// That its newest swap has ended.
    SwapEnded,
}

/// Asks for events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchTasks {
    /// About whose tasks.
    pub parent: Parent,
    /// Which of them.
    pub filter: WatchFilter,
    /// From where on.
    pub start: Start,
    /// How much of each.
    pub view: EventView,
    /// Up to which cursor; without one the watch does not end by itself.
    pub end: Option<String>,
}

/// Where a watch begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what happens next.
    Now,
    /// Right after a cursor, whose validity the journal judges.
    Cursor(String),
    /// With the tasks as they are.
    InitialState,
}

/// Asks for the results of checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchChecks {
    /// Of one task.
    Of(TaskName),
    /// Of tasks that match.
    Matching {
        /// Whose tasks.
        parent: Parent,
        /// Which of them.
        filter: ListFilter,
    },
}

/// Parses a GetTask.
pub fn get_task(request: v1::GetTaskRequest) -> Result<TaskName, Violations> {
    let mut v = Violations::new();
    let v1::GetTaskRequest { name } = request;
    let name = task_name(&mut v, &name);
    v.finish(name)
}

/// Parses a ListGenerations.
pub fn list_generations(request: v1::ListGenerationsRequest) -> Result<TaskName, Violations> {
    let mut v = Violations::new();
    let v1::ListGenerationsRequest { name } = request;
    let name = task_name(&mut v, &name);
    v.finish(name)
}

/// Parses a ListTasks.
pub fn list_tasks(request: v1::ListTasksRequest) -> Result<ListTasks, Violations> {
    let mut v = Violations::new();
    let v1::ListTasksRequest { parent, page_size, page_token, filter: text } = request;
    let parent = parse_parent(&mut v, &parent);
    let page_size = match u32::try_from(page_size) {
        Ok(0) => limits::DEFAULT_PAGE_SIZE,
        Ok(size) => size.min(limits::PAGE_SIZE),
        Err(_) => {
            v.add("page_size", format!("must not be negative, got {page_size}"));
            0
        }
    };
    let filter = ListFilter::parse(&text).map_err(|problem| v.add("filter", problem)).ok();
    let request = parent.zip(filter).map(|(parent, filter)| ListTasks {
        parent,
        filter,
        filter_text: text,
        page_size: usize::try_from(page_size).unwrap_or(usize::MAX),
        page_token: (!page_token.is_empty()).then_some(page_token),
    });
    v.finish(request)
}

/// Parses a ListCircuits, which is a ListTasks that shows something else.
pub fn list_circuits(request: v1::ListCircuitsRequest) -> Result<ListTasks, Violations> {
    let v1::ListCircuitsRequest { parent, page_size, page_token, filter } = request;
    list_tasks(v1::ListTasksRequest { parent, page_size, page_token, filter })
}

/// Parses a WatchCircuits, which is a WatchTasks that shows something else.
pub fn watch_circuits(request: v1::WatchCircuitsRequest) -> Result<WatchTasks, Violations> {
    let v1::WatchCircuitsRequest { parent, filter, start } = request;
    let start = start.map(|start| match start {
        v1::watch_circuits_request::Start::Cursor(cursor) => v1::watch_tasks_request::Start::Cursor(cursor),
        v1::watch_circuits_request::Start::SendInitialState(send) => {
            v1::watch_tasks_request::Start::SendInitialState(send)
        }
    });
    watch_tasks(v1::WatchTasksRequest { parent, filter, start, ..Default::default() })
}

/// Parses a WatchChecks.
pub fn watch_checks(request: v1::WatchChecksRequest) -> Result<WatchChecks, Violations> {
    let mut v = Violations::new();
    let v1::WatchChecksRequest { name, parent, filter } = request;
    if !name.is_empty() {
        if !(parent.is_empty() && filter.is_empty()) {
            v.add("name", "not together with parent and filter");
        }
        let name = task_name(&mut v, &name);
        return v.finish(name.map(WatchChecks::Of));
    }
    let parent = parse_parent(&mut v, &parent);
    let filter = ListFilter::parse(&filter).map_err(|problem| v.add("filter", problem)).ok();
    v.finish(parent.zip(filter).map(|(parent, filter)| WatchChecks::Matching { parent, filter }))
}

/// Parses a WaitTask.
pub fn wait_task(request: v1::WaitTaskRequest) -> Result<WaitTask, Violations> {
    let mut v = Violations::new();
    let v1::WaitTaskRequest { name, until, timeout, swap_ended } = request;
    let name = task_name(&mut v, &name);
    if swap_ended && !until.is_empty() {
        v.add("swap_ended", "not together with until");
    }
    let states = parse_states(&mut v, &until);
    let until = if swap_ended { Until::SwapEnded } else { Until::States(states) };
    let timeout = duration(&mut v, "timeout", timeout).unwrap_or(limits::WAIT_DEFAULT);
    if timeout.is_zero() || timeout > limits::WAIT_MAX {
        let (most, timeout) = (Pretty(limits::WAIT_MAX), Pretty(timeout));
        v.add("timeout", format!("must be more than 0 and at most {most}, got {timeout}"));
    }
    v.finish(name.map(|name| WaitTask { name, until, timeout }))
}

/// Parses a WatchTasks.
pub fn watch_tasks(request: v1::WatchTasksRequest) -> Result<WatchTasks, Violations> {
    let mut v = Violations::new();
    let v1::WatchTasksRequest { parent, filter, start, view, end_cursor } = request;
    let parent = parse_parent(&mut v, &parent);
    let filter = WatchFilter::parse(&filter).map_err(|problem| v.add("filter", problem)).ok();
    let start = match start {
        None | Some(v1::watch_tasks_request::Start::SendInitialState(false)) => Start::Now,
        Some(v1::watch_tasks_request::Start::SendInitialState(true)) => Start::InitialState,
        Some(v1::watch_tasks_request::Start::Cursor(cursor)) => Start::Cursor(cursor),
    };
    let view = match v1::EventView::try_from(view) {
        Ok(v1::EventView::Unspecified | v1::EventView::Basic) => EventView::Basic,
        Ok(v1::EventView::Full) => EventView::Full,
        Err(_) => {
            v.add("view", format!("must be one of EVENT_VIEW_BASIC and EVENT_VIEW_FULL, got {view}"));
            EventView::Basic
        }
    };
    let end = Some(end_cursor).filter(|cursor| !cursor.is_empty());
    if end.is_some() && !matches!(start, Start::Cursor(_)) {
        v.add("end_cursor", "needs a `cursor` to begin after");
    }
    let request = parent.zip(filter).map(|(parent, filter)| WatchTasks { parent, filter, start, view, end });
    v.finish(request)
}

fn parse_parent(v: &mut Violations, parent: &str) -> Option<Parent> {
    Parent::parse(parent).map_err(|problem| v.add("parent", problem.to_string())).ok()
}

/// The states to wait for; none given means any in which a task has ended.
fn parse_states(v: &mut Violations, until: &[i32]) -> BTreeSet<State> {
    if until.is_empty() {
        return State::ALL.into_iter().filter(|state| state.is_ended()).collect();
    }
    let mut states = BTreeSet::new();
    for (n, number) in until.iter().enumerate() {
        match names::state(*number) {
            Some(state) => {
                states.insert(state);
            }
            None => {
                v.add(&format!("until[{n}]"), format!("must be a state other than STATE_UNSPECIFIED, got {number}"))
            }
        }
    }
    states
}
