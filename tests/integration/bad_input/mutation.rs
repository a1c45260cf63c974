//! SwapTask, CancelTask, PauseTask, ResumeTask, RunTask and DeleteTask.

use futures_util::FutureExt;
use switchyard::pb::v1::server_service_client::ServerServiceClient;
use switchyard::pb::v1::{
    CancelTaskRequest, DeleteTaskRequest, DrainServerRequest, PauseTaskRequest, ResumeTaskRequest, RunTaskRequest,
    SwapTaskRequest,
};
use tonic::Code;

use super::{Case, ENDED, RUNNING, call};
use crate::harness::{idle, name};
use crate::kinds::of_kind;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = swaps();
    cases.extend(cancels());
    cases.extend(pauses());
    cases.extend(resumes());
    cases.extend(runs());
    cases.extend(deletes());
    cases.extend(drains());
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
    let unknown = of_kind("nonesuch");
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

fn pauses() -> Vec<Case> {
    let pause = |id: &str| PauseTaskRequest { name: name(id), ..Default::default() };
    let bad =
        |what: &str, field, request| Case::invalid(format!("PauseTask: {what}"), field, call!(pause_task, request));
    let refused = |what: &str, code, reason, request| {
        Case::new(format!("PauseTask: {what}"), call!(pause_task, request), code, reason, "")
    };
    let expiring = |what: &str, seconds, nanos| {
        let expire_time = Some(prost_types::Timestamp { seconds, nanos });
        bad(what, "expire_time", PauseTaskRequest { expire_time, ..pause(RUNNING) })
    };
    vec![
        bad("a bad name", "name", PauseTaskRequest { name: "running".to_owned(), ..Default::default() }),
        bad("all namespaces", "name", PauseTaskRequest { name: "namespaces/-/tasks/a".to_owned(), ..pause(RUNNING) }),
        bad("a long reason", "reason", PauseTaskRequest { reason: "r".repeat(1025), ..pause(RUNNING) }),
        bad("a bad request_id", "request_id", PauseTaskRequest { request_id: "x".to_owned(), ..pause(RUNNING) }),
        expiring("an end in the past", 1_600_000_000, 0),
        expiring("an end before 1970", -1, 0),
        expiring("an end after 2554", 18_446_744_074, 0),
        expiring("an end after 9999", 253_402_300_800, 0),
        expiring("an end at the end of time", i64::MAX, 0),
        expiring("negative nanoseconds", 4_000_000_000, -1),
        expiring("too many nanoseconds", 4_000_000_000, 1_000_000_000),
        refused("no such task", Code::NotFound, "TASK_NOT_FOUND", pause("nonesuch")),
        refused("an ended task", Code::FailedPrecondition, "TASK_NOT_RUNNING", pause(ENDED)),
        refused("a stale etag", Code::Aborted, "ETAG_MISMATCH", {
            PauseTaskRequest { etag: "stale".to_owned(), ..pause(RUNNING) }
        }),
    ]
}

fn resumes() -> Vec<Case> {
    let resume = |id: &str| ResumeTaskRequest { name: name(id), ..Default::default() };
    let bad =
        |what: &str, field, request| Case::invalid(format!("ResumeTask: {what}"), field, call!(resume_task, request));
    let refused = |what: &str, code, reason, request| {
        Case::new(format!("ResumeTask: {what}"), call!(resume_task, request), code, reason, "")
    };
    vec![
        bad("no name", "name", ResumeTaskRequest::default()),
        bad("a long reason", "reason", ResumeTaskRequest { reason: "r".repeat(1025), ..resume(RUNNING) }),
        bad("a bad request_id", "request_id", ResumeTaskRequest { request_id: "x".to_owned(), ..resume(RUNNING) }),
        refused("no such task", Code::NotFound, "TASK_NOT_FOUND", resume("nonesuch")),
        refused("an ended task", Code::FailedPrecondition, "TASK_NOT_RUNNING", resume(ENDED)),
        refused("a stale etag", Code::Aborted, "ETAG_MISMATCH", {
            ResumeTaskRequest { etag: "stale".to_owned(), ..resume(RUNNING) }
        }),
    ]
}

fn runs() -> Vec<Case> {
    let run = |id: &str| RunTaskRequest { name: name(id), ..Default::default() };
    let bad = |what: &str, field, request| Case::invalid(format!("RunTask: {what}"), field, call!(run_task, request));
    let refused = |what: &str, code, reason, request| {
        Case::new(format!("RunTask: {what}"), call!(run_task, request), code, reason, "")
    };
    vec![
        bad("no name", "name", RunTaskRequest::default()),
        bad("a long reason", "reason", RunTaskRequest { reason: "r".repeat(1025), ..run(RUNNING) }),
        bad("a bad request_id", "request_id", RunTaskRequest { request_id: "x".to_owned(), ..run(RUNNING) }),
        refused("no such task", Code::NotFound, "TASK_NOT_FOUND", run("nonesuch")),
        refused("an ended task", Code::FailedPrecondition, "TASK_NOT_RUNNING", run(ENDED)),
        refused("a task that makes no checks", Code::FailedPrecondition, "NO_CHECKS", run(RUNNING)),
        refused("a stale etag", Code::Aborted, "ETAG_MISMATCH", {
            RunTaskRequest { etag: "stale".to_owned(), ..run(RUNNING) }
        }),
    ]
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

/// One that is good would end the server.
fn drains() -> Vec<Case> {
    let bad = |what: &str, field, request| {
        let send = async move |channel| ServerServiceClient::new(channel).drain_server(request).await.map(drop);
        Case::invalid(format!("DrainServer: {what}"), field, Box::new(move |channel| send(channel).boxed()))
    };
    vec![
        bad("a long reason", "reason", DrainServerRequest { reason: "r".repeat(1025), ..Default::default() }),
        bad("a bad request_id", "request_id", DrainServerRequest { request_id: "x".to_owned(), ..Default::default() }),
        bad("the nil request_id", "request_id", {
            DrainServerRequest { request_id: uuid::Uuid::nil().to_string(), ..Default::default() }
        }),
    ]
}
