//! SwapTask, CancelTask and DeleteTask.

use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::{CancelTaskRequest, CustomMonitor, DeleteTaskRequest, SwapTaskRequest};
use tonic::Code;

use super::{Case, ENDED, RUNNING, call};
use crate::harness::{idle, name};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = swaps();
    cases.extend(cancels());
    cases.extend(deletes());
    cases
}

fn swaps() -> Vec<Case> {
    let swap = |id: &str| SwapTaskRequest { name: name(id), task: idle(id).task, ..Default::default() };
    let bad = |what: &str, field, request| Case::invalid(format!("SwapTask: {what}"), field, call!(swap_task, request));
    let refused = |what: &str, code, reason, field, request| {
        Case::new(format!("SwapTask: {what}"), call!(swap_task, request), code, reason, field)
    };
    let changed = |change: &dyn Fn(&mut switchyard::pb::v1::Task)| {
        let mut request = swap(RUNNING);
        change(request.task.as_mut().expect("set"));
        request
    };
    let unknown = Monitor::Custom(CustomMonitor { kind: "nonesuch".to_owned(), config: None });
    let unknown = changed(&|task| task.spec.as_mut().expect("set").monitor = Some(unknown.clone()));
    let labelled = changed(&|task| task.labels = [("team".to_owned(), "core".to_owned())].into());
    vec![
        bad("no name", "name", SwapTaskRequest { name: String::new(), ..swap(RUNNING) }),
        bad("no task", "task", SwapTaskRequest { task: None, ..swap(RUNNING) }),
        bad("no spec", "task.spec", changed(&|task| task.spec = None)),
        bad("a bad spec", "task.spec.monitor", changed(&|task| task.spec = Some(Default::default()))),
        bad("a long annotation", "task.annotations", {
            changed(&|task| task.annotations = [("a".to_owned(), "x".repeat(17 * 1024))].into())
        }),
        bad("an unknown strategy", "strategy", SwapTaskRequest { strategy: 3, ..swap(RUNNING) }),
        bad("a negative strategy", "strategy", SwapTaskRequest { strategy: -1, ..swap(RUNNING) }),
        bad("a long reason", "reason", SwapTaskRequest { reason: "r".repeat(1025), ..swap(RUNNING) }),
        bad("a bad request_id", "request_id", SwapTaskRequest { request_id: "x".to_owned(), ..swap(RUNNING) }),
        refused("an unknown kind", Code::InvalidArgument, "UNKNOWN_KIND", "task.spec.custom.kind", unknown),
        refused("other labels", Code::InvalidArgument, "LABELS_IMMUTABLE", "task.labels", labelled),
        refused("no such task", Code::NotFound, "TASK_NOT_FOUND", "", swap("nonesuch")),
        refused("a stale etag", Code::Aborted, "ETAG_MISMATCH", "", {
            SwapTaskRequest { etag: "stale".to_owned(), ..swap(RUNNING) }
        }),
        refused("an ended task", Code::FailedPrecondition, "TASK_NOT_RUNNING", "", swap(ENDED)),
        refused("an ended task, waited for", Code::FailedPrecondition, "TASK_NOT_RUNNING", "", {
            SwapTaskRequest { wait: true, ..swap(ENDED) }
        }),
        refused("an ended task, validated only", Code::FailedPrecondition, "TASK_NOT_RUNNING", "", {
            SwapTaskRequest { validate_only: true, ..swap(ENDED) }
        }),
    ]
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
