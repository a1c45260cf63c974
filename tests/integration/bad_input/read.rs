//! GetTask, ListTasks, WaitTask and WatchTasks.

use prost_types::Duration;
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{GetTaskRequest, ListTasksRequest, WaitTaskRequest, WatchTasksRequest};
use tonic::Code;

use super::{Case, RUNNING, call};
use crate::harness::name;

pub(super) fn cases(head_cursor: &str) -> Vec<Case> {
    let mut cases = gets();
    cases.extend(lists());
    cases.extend(waits());
    cases.extend(watches(head_cursor));
    cases
}

fn gets() -> Vec<Case> {
    let get = |name: &str| GetTaskRequest { name: name.to_owned() };
    let long = format!("namespaces/default/tasks/{}", "a".repeat(1024 * 1024));
    let bad = ["", "running", "namespaces/-/tasks/running", "namespaces/default/tasks/a\r\nb", long.as_str()];
    let mut cases: Vec<_> =
        bad.map(|name| Case::invalid(format!("GetTask: {:.40}", name), "name", call!(get_task, get(name)))).into();
    let missing = get(&name("nonesuch"));
    cases.push(Case::new("GetTask: no such task", call!(get_task, missing), Code::NotFound, "TASK_NOT_FOUND", ""));
    cases
}

fn lists() -> Vec<Case> {
    let bad =
        |what: &str, field, request| Case::invalid(format!("ListTasks: {what}"), field, call!(list_tasks, request));
    let mut cases = vec![
        bad("a bad parent", "parent", ListTasksRequest { parent: "x".to_owned(), ..Default::default() }),
        bad("a negative page", "page_size", ListTasksRequest { page_size: -1, ..Default::default() }),
        bad("an underflowing page", "page_size", ListTasksRequest { page_size: i32::MIN, ..Default::default() }),
    ];
    let megabyte = "name = a ".repeat(100_000);
    for filter in [
        "state",
        "state = NONSENSE",
        "state = RUNNING OR state = STUCK",
        "colour = red",
        "type = TASK_CREATED",
        "circuit.state = BROKEN",
        "circuit.state : OPEN",
        "circuit.override = OPEN",
        "circuit.override:*",
        "name = \"a",
        "(name = a)",
        megabyte.as_str(),
    ] {
        let request = ListTasksRequest { filter: filter.to_owned(), ..Default::default() };
        cases.push(bad(&format!("filter {:.40}", filter), "filter", request));
    }
    let long = "1".repeat(1024 * 1024);
    for token in ["x", "1.default.running", "1.default.running.00000000000000000000000000000000", long.as_str()] {
        let request = ListTasksRequest { page_token: token.to_owned(), ..Default::default() };
        let what = format!("ListTasks: a forged token {:.40}", token);
        let call = call!(list_tasks, request);
        cases.push(Case::new(what, call, Code::InvalidArgument, "PAGE_TOKEN_INVALID", "page_token"));
    }
    cases
}

fn waits() -> Vec<Case> {
    let wait = || WaitTaskRequest { name: name(RUNNING), ..Default::default() };
    let bad = |what: &str, field, request| Case::invalid(format!("WaitTask: {what}"), field, call!(wait_task, request));
    let mut cases = vec![
        bad("no name", "name", WaitTaskRequest::default()),
        bad("an unspecified state", "until[0]", WaitTaskRequest { until: vec![0], ..wait() }),
        bad("an unknown state", "until[1]", WaitTaskRequest { until: vec![3, 4711], ..wait() }),
        bad("states and a swap", "swap_ended", WaitTaskRequest { until: vec![3], swap_ended: true, ..wait() }),
        bad("a negative state", "until[0]", WaitTaskRequest { until: vec![-1], ..wait() }),
    ];
    for (seconds, nanos) in [(0, 0), (-1, 0), (601, 0), (i64::MAX, 0), (1, 1_000_000_000), (1, -1)] {
        let request = WaitTaskRequest { timeout: Some(Duration { seconds, nanos }), ..wait() };
        cases.push(bad(&format!("a timeout of {seconds} s {nanos} ns"), "timeout", request));
    }
    let missing = WaitTaskRequest { name: name("nonesuch"), ..Default::default() };
    cases.push(Case::new("WaitTask: no such task", call!(wait_task, missing), Code::NotFound, "TASK_NOT_FOUND", ""));
    cases
}

fn watches(head_cursor: &str) -> Vec<Case> {
    let bad =
        |what: &str, field, request| Case::invalid(format!("WatchTasks: {what}"), field, call!(watch_tasks, request));
    let filtered = |filter: &str| WatchTasksRequest { filter: filter.to_owned(), ..Default::default() };
    let mut cases = vec![
        bad("a bad parent", "parent", WatchTasksRequest { parent: "tasks/a".to_owned(), ..Default::default() }),
        bad("an unknown type", "filter", filtered("type = NONSENSE")),
        bad("a list's filter", "filter", filtered("state = RUNNING")),
        bad("half a filter", "filter", filtered("name = a AND")),
        bad("an unknown view", "view", WatchTasksRequest { view: 9, ..Default::default() }),
    ];
    let foreign = "1-0123456789abcdef0123456789abcdef-0";
    // One more digit: ten times as far.
    let future = format!("{head_cursor}0");
    let megabyte = "1".repeat(1024 * 1024);
    for (cursor, code, reason, field) in [
        ("", Code::InvalidArgument, "CURSOR_INVALID", "cursor"),
        ("x", Code::InvalidArgument, "CURSOR_INVALID", "cursor"),
        ("1-2-3", Code::InvalidArgument, "CURSOR_INVALID", "cursor"),
        (megabyte.as_str(), Code::InvalidArgument, "CURSOR_INVALID", "cursor"),
        (foreign, Code::OutOfRange, "CURSOR_EXPIRED", ""),
        (future.as_str(), Code::OutOfRange, "CURSOR_EXPIRED", ""),
    ] {
        let request = WatchTasksRequest { start: Some(Start::Cursor(cursor.to_owned())), ..Default::default() };
        let what = format!("WatchTasks: cursor {:.40}", cursor);
        cases.push(Case::new(what, call!(watch_tasks, request), code, reason, field));
    }
    cases
}
