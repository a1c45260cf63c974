//! StartTask, but for the spec.

use switchyard::pb::v1::StartTaskRequest;
use tonic::Code;

use super::{Case, RUNNING, USED_ID, call};
use crate::harness::idle;

/// A good request, spoilt.
fn spoilt(spoil: impl FnOnce(&mut StartTaskRequest)) -> StartTaskRequest {
    let mut request = idle("fresh");
    spoil(&mut request);
    request
}

fn invalid(what: &str, field: &'static str, spoil: impl FnOnce(&mut StartTaskRequest)) -> Case {
    Case::invalid(format!("StartTask: {what}"), field, call!(start_task, spoilt(spoil)))
}

fn label(request: &mut StartTaskRequest, key: &str, value: &str) {
    request.task.as_mut().expect("set").labels.insert(key.to_owned(), value.to_owned());
}

fn annotation(request: &mut StartTaskRequest, key: &str, value: &str) {
    request.task.as_mut().expect("set").annotations.insert(key.to_owned(), value.to_owned());
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = names();
    cases.extend(metadata());
    cases.extend(conflicts());
    cases
}

fn names() -> Vec<Case> {
    let megabyte = "a".repeat(1024 * 1024);
    let mut cases = Vec::new();
    for parent in ["x", "namespaces/", "namespaces/-", "namespaces/A", "namespaces/a/tasks/b", megabyte.as_str()] {
        let what = format!("parent {:.40}", parent);
        cases.push(invalid(&what, "parent", |request| request.parent = parent.to_owned()));
    }
    let long = "a".repeat(64);
    for id in ["", "A", "1a", "-a", "a-", "a_b", "a/b", "ä", long.as_str(), megabyte.as_str()] {
        let what = format!("task_id {:.40}", id);
        cases.push(invalid(&what, "task_id", |request| request.task_id = id.to_owned()));
    }
    cases
}

fn metadata() -> Vec<Case> {
    vec![
        invalid("no task", "task", |request| request.task = None),
        invalid("no spec", "task.spec", |request| request.task.as_mut().expect("set").spec = None),
        invalid("65 labels", "task.labels", |request| {
            (0..65).for_each(|n| label(request, &format!("k{n}"), ""));
        }),
        invalid("a label without a key", "task.labels", |request| label(request, "", "v")),
        invalid("a label's long key", "task.labels", |request| label(request, &"k".repeat(64), "v")),
        invalid("a label's long value", "task.labels.k", |request| label(request, "k", &"v".repeat(64))),
        invalid("17 KiB of annotations", "task.annotations", |request| {
            annotation(request, "k", &"v".repeat(17 * 1024))
        }),
        invalid("an annotation without a key", "task.annotations", |request| annotation(request, "", "v")),
        invalid("a long reason", "reason", |request| request.reason = "r".repeat(1025)),
        invalid("a request_id that is no UUID", "request_id", |request| request.request_id = "42".to_owned()),
        invalid("the nil UUID", "request_id", |request| {
            request.request_id = "00000000-0000-0000-0000-000000000000".to_owned();
        }),
        invalid("a bad request that is only to be validated", "task_id", |request| {
            request.validate_only = true;
            request.task_id = String::new();
        }),
    ]
}

fn conflicts() -> Vec<Case> {
    let taken = |what: &str, validate_only| {
        let request = spoilt(|request| {
            request.task_id = RUNNING.to_owned();
            request.validate_only = validate_only;
        });
        Case::new(what, call!(start_task, request), Code::AlreadyExists, "TASK_EXISTS", "")
    };
    let reused = spoilt(|request| request.request_id = USED_ID.to_owned());
    vec![
        taken("StartTask: a name that is taken", false),
        taken("StartTask: a name that is taken, only to be validated", true),
        Case::new(
            "StartTask: a request_id of another request",
            call!(start_task, reused),
            Code::InvalidArgument,
            "REQUEST_ID_REUSED",
            "request_id",
        ),
    ]
}
