//! Requests that change something.

use prost::Message;
use uuid::Uuid;

use super::spec::spec;
use super::time::timestamp;
use super::{state_policy, swap_strategy, task_name};
use crate::model::{
    Actor, Annotations, CancelTask, Cause, DeleteTask, Etag, Generation, Idempotency, Labels, Namespace, PauseTask,
    Reason, ResumeTask, RollbackTask, RunTask, StartTask, SwapTask, TaskName, TaskSpec, Violations,
};
use crate::pb::v1;

/// Parses a StartTask.
pub fn start_task(mut request: v1::StartTaskRequest, actor: Actor) -> Result<StartTask, Violations> {
    let mut v = Violations::new();
    let idempotency = idempotency(&mut v, &mut request, |request| &mut request.request_id);
    let v1::StartTaskRequest { parent, task_id, task, validate_only, reason, request_id: _ } = request;
    let namespace = Namespace::parse(&parent).map_err(|problem| v.add("parent", problem.to_string())).ok();
    // A bad namespace hides nothing that is wrong with the id.
    let name = TaskName::try_new(&namespace.unwrap_or_default(), &task_id);
    let name = name.map_err(|problem| v.add("task_id", problem.to_string())).ok();
    let task = v.within("task", |v| new_task(v, task));
    let cause = cause(&mut v, actor, reason, idempotency);
    let request = name.zip(task).map(|(name, NewTask { labels, annotations, spec })| StartTask {
        name,
        labels,
        annotations,
        spec,
        validate_only,
        cause,
        idempotency,
    });
    v.finish(request)
}

/// Parses a SwapTask. Whether it waits is the answer's affair: the second part of the result.
pub fn swap_task(mut request: v1::SwapTaskRequest, actor: Actor) -> Result<(SwapTask, bool), Violations> {
    let mut v = Violations::new();
    let idempotency = idempotency(&mut v, &mut request, |request| &mut request.request_id);
    let v1::SwapTaskRequest {
        name,
        task,
        strategy,
        state_policy: policy,
        preempt,
        validate_only,
        wait,
        etag,
        reason,
        request_id: _,
    } = request;
    let name = task_name(&mut v, &name);
    let task = v.within("task", |v| new_task(v, task));
    let strategy = swap_strategy(&mut v, strategy);
    let state_policy = state_policy(&mut v, policy);
    let cause = cause(&mut v, actor, reason, idempotency);
    let request = name.zip(task).map(|(name, NewTask { labels, annotations, spec })| SwapTask {
        name,
        labels,
        annotations,
        spec,
        former: None,
        strategy,
        state_policy,
        preempt,
        validate_only,
        etag: given(etag),
        cause,
        idempotency,
    });
    v.finish(request.map(|request| (request, wait)))
}

/// Parses a RollbackTask. Whether it waits is the answer's affair: the second part of the result.
pub fn rollback_task(mut request: v1::RollbackTaskRequest, actor: Actor) -> Result<(RollbackTask, bool), Violations> {
    let mut v = Violations::new();
    let idempotency = idempotency(&mut v, &mut request, |request| &mut request.request_id);
    let v1::RollbackTaskRequest {
        name,
        to_generation,
        strategy,
        validate_only,
        wait,
        etag,
        reason,
        request_id: _,
        preempt,
        state_policy: policy,
    } = request;
    let name = task_name(&mut v, &name);
    let strategy = swap_strategy(&mut v, strategy);
    let state_policy = state_policy(&mut v, policy);
    let cause = cause(&mut v, actor, reason, idempotency);
    let request = name.map(|name| RollbackTask {
        name,
        to_generation: (to_generation != 0).then(|| Generation::new(to_generation)),
        strategy,
        state_policy,
        preempt,
        validate_only,
        etag: given(etag),
        cause,
        idempotency,
    });
    v.finish(request.map(|request| (request, wait)))
}

/// Parses a CancelTask. Whether it waits is the answer's affair: the second part of the result.
pub fn cancel_task(mut request: v1::CancelTaskRequest, actor: Actor) -> Result<(CancelTask, bool), Violations> {
    let mut v = Violations::new();
    let idempotency = idempotency(&mut v, &mut request, |request| &mut request.request_id);
    let v1::CancelTaskRequest { name, force, wait, etag, reason, request_id: _ } = request;
    let name = task_name(&mut v, &name);
    let cause = cause(&mut v, actor, reason, idempotency);
    let request = name.map(|name| (CancelTask { name, force, etag: given(etag), cause, idempotency }, wait));
    v.finish(request)
}

/// Parses a DeleteTask.
pub fn delete_task(mut request: v1::DeleteTaskRequest, actor: Actor) -> Result<DeleteTask, Violations> {
    let mut v = Violations::new();
    let idempotency = idempotency(&mut v, &mut request, |request| &mut request.request_id);
    let v1::DeleteTaskRequest { name, etag, reason, request_id: _ } = request;
    let name = task_name(&mut v, &name);
    let cause = cause(&mut v, actor, reason, idempotency);
    v.finish(name.map(|name| DeleteTask { name, etag: given(etag), cause, idempotency }))
}

/// Parses a PauseTask.
pub fn pause_task(mut request: v1::PauseTaskRequest, actor: Actor) -> Result<PauseTask, Violations> {
    let mut v = Violations::new();
    let idempotency = idempotency(&mut v, &mut request, |request| &mut request.request_id);
    let v1::PauseTaskRequest { name, expire_time, etag, reason, request_id: _ } = request;
    let name = task_name(&mut v, &name);
    let expire_time = timestamp(&mut v, "expire_time", expire_time);
    let cause = cause(&mut v, actor, reason, idempotency);
    v.finish(name.map(|name| PauseTask { name, expire_time, etag: given(etag), cause, idempotency }))
}

/// Parses a ResumeTask.
pub fn resume_task(mut request: v1::ResumeTaskRequest, actor: Actor) -> Result<ResumeTask, Violations> {
    let mut v = Violations::new();
    let idempotency = idempotency(&mut v, &mut request, |request| &mut request.request_id);
    let v1::ResumeTaskRequest { name, etag, reason, request_id: _ } = request;
    let name = task_name(&mut v, &name);
    let cause = cause(&mut v, actor, reason, idempotency);
    v.finish(name.map(|name| ResumeTask { name, etag: given(etag), cause, idempotency }))
}

/// Parses a RunTask.
pub fn run_task(mut request: v1::RunTaskRequest, actor: Actor) -> Result<RunTask, Violations> {
    let mut v = Violations::new();
    let idempotency = idempotency(&mut v, &mut request, |request| &mut request.request_id);
    let v1::RunTaskRequest { name, etag, reason, request_id: _ } = request;
    let name = task_name(&mut v, &name);
    let cause = cause(&mut v, actor, reason, idempotency);
    v.finish(name.map(|name| RunTask { name, etag: given(etag), cause, idempotency }))
}

/// Parses a DrainServer: who asks, and why.
pub fn drain_server(mut request: v1::DrainServerRequest, actor: Actor) -> Result<Cause, Violations> {
    let mut v = Violations::new();
    let idempotency = idempotency(&mut v, &mut request, |request| &mut request.request_id);
    let v1::DrainServerRequest { reason, request_id: _ } = request;
    let cause = cause(&mut v, actor, reason, idempotency);
    v.finish(Some(cause))
}

pub(super) struct NewTask {
    pub(super) labels: Labels,
    pub(super) annotations: Annotations,
    pub(super) spec: TaskSpec,
}

pub(super) fn new_task(v: &mut Violations, wire: Option<v1::Task>) -> Option<NewTask> {
    let Some(wire) = wire else {
        v.add("", "required");
        return None;
    };
    // All but three fields are OUTPUT_ONLY and ignored in requests (AIP-203), so that what was read can be sent back.
    let v1::Task {
        labels,
        annotations,
        spec: wire,
        name: _,
        uid: _,
        generation: _,
        etag: _,
        state: _,
        intent: _,
        instance: _,
        draining: _,
        restart: _,
        swap: _,
        outcome: _,
        circuit: _,
        alerts: _,
        pause: _,
        create_time: _,
        update_time: _,
        end_time: _,
        expire_time: _,
        live: _,
        observation: _,
    } = wire;
    let labels = v.within("labels", |v| Labels::try_new(labels).map_err(|found| v.extend(found)).ok());
    let annotations =
        v.within("annotations", |v| Annotations::try_new(annotations).map_err(|found| v.extend(found)).ok());
    let spec = v.within("spec", |v| spec(v, wire));
    Some(NewTask { labels: labels?, annotations: annotations?, spec: spec? })
}

/// What makes a request one of its own: its id, and a fingerprint of everything else. Takes the id out of the request.
pub(super) fn idempotency<R: Message>(
    v: &mut Violations,
    request: &mut R,
    id_of: impl Fn(&mut R) -> &mut String,
) -> Option<Idempotency> {
    let id = std::mem::take(id_of(request));
    request_id(v, &id).map(|id| Idempotency::new(id, &request.encode_to_vec()))
}

/// The request's id, where one was given.
pub(super) fn request_id(v: &mut Violations, id: &str) -> Option<Uuid> {
    if id.is_empty() {
        return None;
    }
    // The nil UUID is what forgetful clients send; AIP-155 reserves it.
    let id = Uuid::try_parse(id).ok().filter(|id| !id.is_nil());
    if id.is_none() {
        v.add("request_id", "must be a UUID other than the nil one, as 8f14e45f-ceea-467f-a9c3-4b2f5d1e7c90");
    }
    id
}

pub(super) fn cause(v: &mut Violations, actor: Actor, reason: String, idempotency: Option<Idempotency>) -> Cause {
    cause_of(v, actor, reason, idempotency.map(|idempotency| idempotency.request_id))
}

pub(super) fn cause_of(v: &mut Violations, actor: Actor, reason: String, request_id: Option<Uuid>) -> Cause {
    let reason = Reason::try_new(reason).unwrap_or_else(|problem| {
        v.add("reason", problem);
        Reason::default()
    });
    Cause { actor, reason, request_id }
}

/// An empty etag is one that was not given.
pub(super) fn given(etag: String) -> Option<Etag> {
    (!etag.is_empty()).then(|| Etag::given(etag))
}
