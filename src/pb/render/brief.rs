//! Events in the basic view, encoded from what is known of them in brief: what [`event`](super::event) renders, without its strings.

use prost::Message;
use uuid::Uuid;

use super::event::detail;
use super::task::shutdown as render_shutdown;
use super::time::timestamp;
use crate::model::{Brief, BriefActor, BriefCause, BriefTask, Detail, Instance, Timestamp};
use crate::pb::v1;
use crate::pb::wire::{put_message, put_number, put_pair, put_text, put_word};

/// Adds an event, as it is on the wire; `tag` is that of the field it is in.
pub(in crate::pb) fn put_event(bytes: &mut Vec<u8>, tag: u32, event: &Brief<'_>) {
    put_message::<2>(bytes, tag, |bytes| put_fields(bytes, event));
}

fn put_fields(bytes: &mut Vec<u8>, event: &Brief<'_>) {
    let Brief { sequence, time, kind, generation, attempt, cause, detail: what, task } = event;
    put_number(bytes, 1, sequence.get());
    put_time(bytes, 2, *time);
    put_word(bytes, 3, v1::EventType::from(*kind));
    if let Some(task) = task {
        put_text(bytes, 4, task.name());
        put_uuid(bytes, 5, task.uid.uuid());
    }
    put_number(bytes, 6, generation.get());
    put_number(bytes, 7, attempt.get().into());
    put_message::<1>(bytes, 8, |bytes| put_cause(bytes, cause));
    match what.as_deref() {
        Some(Detail::Instance(instance)) => put_message::<1>(bytes, 9, |bytes| put_instance(bytes, instance)),
        Some(what) => put_detail(bytes, what, task.as_ref()),
        None => {}
    }
}

/// Rare enough that it may be built.
fn put_detail(bytes: &mut Vec<u8>, what: &Detail, task: Option<&BriefTask<'_>>) {
    if let Some(detail) = detail(what, || task.map(|task| (task.name().concat(), task.uid))) {
        detail.encode(bytes);
    }
}

fn put_cause(bytes: &mut Vec<u8>, cause: &BriefCause<'_>) {
    let BriefCause { actor, reason, request_id } = cause;
    match actor {
        BriefActor::System(component) => put_text(bytes, 1, ["system:", component]),
        BriefActor::File(path) => put_text(bytes, 1, ["file:", path]),
        BriefActor::Anonymous(_) => put_text(bytes, 1, [&actor.to_string()]),
    }
    put_text(bytes, 2, [reason]);
    if let Some(id) = request_id {
        put_uuid(bytes, 3, *id);
    }
}

fn put_uuid(bytes: &mut Vec<u8>, tag: u32, uuid: Uuid) {
    put_text(bytes, tag, [&*uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer())]);
}

fn put_time(bytes: &mut Vec<u8>, tag: u32, time: Timestamp) {
    let prost_types::Timestamp { seconds, nanos } = timestamp(time);
    put_pair(bytes, tag, seconds.cast_unsigned(), i64::from(nanos).cast_unsigned());
}

fn put_instance(bytes: &mut Vec<u8>, instance: &Instance) {
    let Instance { generation, attempt, state, start_time, ready_time, stop_time, exit, shutdown, blocked_since } =
        instance;
    put_number(bytes, 1, generation.get());
    put_number(bytes, 2, attempt.get().into());
    put_word(bytes, 3, v1::InstanceState::from(*state));
    put_time(bytes, 4, *start_time);
    let put_some = |bytes: &mut Vec<u8>, tag, time: &Option<Timestamp>| {
        if let Some(time) = time {
            put_time(bytes, tag, *time);
        }
    };
    put_some(bytes, 5, ready_time);
    put_some(bytes, 6, stop_time);
    put_word(bytes, 7, exit.map_or(v1::Exit::Unspecified, v1::Exit::from));
    if let Some(shutdown) = shutdown {
        put_message::<1>(bytes, 8, |bytes| render_shutdown(*shutdown).encode_raw(bytes));
    }
    put_some(bytes, 9, blocked_since);
}
