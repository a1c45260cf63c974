//! CancelTask and DeleteTask.

use switchyard::pb::v1::{CancelTaskRequest, DeleteTaskRequest};
use tonic::Code;

use super::{Case, ENDED, RUNNING, call};
use crate::harness::name;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = cancels();
    cases.extend(deletes());
    cases
}

fn cancels() -> Vec<Case> {
    let cancel = |id: &str| CancelTaskRequest { name: name(id), ..Default::default() };
    let mut cases = Vec::new();
    let megabyte = "a".repeat(1024 * 1024);
    for name in ["", "running", "namespaces/-/tasks/a", "namespaces/default/tasks/", megabyte.as_str()] {
        let request = CancelTaskRequest { name: name.to_owned(), ..Default::default() };
        cases.push(Case::invalid(format!("CancelTask: {:.40}", name), "name", call!(cancel_task, request)));
    }
    let waiting = CancelTaskRequest { wait: true, ..cancel("nonesuch") };
    cases.extend([
        Case::new(
            "CancelTask: no such task",
            call!(cancel_task, cancel("nonesuch")),
            Code::NotFound,
            "TASK_NOT_FOUND",
            "",
        ),
        Case::new("CancelTask(wait): no such task", call!(cancel_task, waiting), Code::NotFound, "TASK_NOT_FOUND", ""),
        Case::new(
            "CancelTask: a stale etag",
            call!(cancel_task, CancelTaskRequest { etag: "stale".to_owned(), ..cancel(RUNNING) }),
            Code::Aborted,
            "ETAG_MISMATCH",
            "",
        ),
        Case::invalid(
            "CancelTask: a long reason",
            "reason",
            call!(cancel_task, CancelTaskRequest { reason: "r".repeat(1025), ..cancel(RUNNING) }),
        ),
        Case::invalid(
            "CancelTask: a request_id that is no UUID",
            "request_id",
            call!(cancel_task, CancelTaskRequest { request_id: "x".to_owned(), ..cancel(RUNNING) }),
        ),
    ]);
    cases
}

fn deletes() -> Vec<Case> {
    let delete = |id: &str| DeleteTaskRequest { name: name(id), ..Default::default() };
    let bad_name = DeleteTaskRequest { name: "namespaces/default".to_owned(), ..Default::default() };
    vec![
        Case::invalid("DeleteTask: a bad name", "name", call!(delete_task, bad_name)),
        Case::new(
            "DeleteTask: no such task",
            call!(delete_task, delete("nonesuch")),
            Code::NotFound,
            "TASK_NOT_FOUND",
            "",
        ),
        Case::new(
            "DeleteTask: a live task",
            call!(delete_task, delete(RUNNING)),
            Code::FailedPrecondition,
            "TASK_LIVE",
            "",
        ),
        Case::new(
            "DeleteTask: a stale etag",
            call!(delete_task, DeleteTaskRequest { etag: "stale".to_owned(), ..delete(ENDED) }),
            Code::Aborted,
            "ETAG_MISMATCH",
            "",
        ),
        Case::invalid(
            "DeleteTask: a long reason",
            "reason",
            call!(delete_task, DeleteTaskRequest { reason: "r".repeat(1025), ..delete(ENDED) }),
        ),
        Case::invalid(
            "DeleteTask: a request_id that is no UUID",
            "request_id",
            call!(delete_task, DeleteTaskRequest { request_id: "x".to_owned(), ..delete(ENDED) }),
        ),
    ]
}
