//! Messages in the JSON mapping of protobuf: what `-o json` and `-o yaml` write, and `start -f` reads.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde::Serialize;

use super::Failure;
use super::output::Format;
use crate::model::ConfigValue;
use crate::pb::{self, v1};

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(pb::DESCRIPTORS).expect("the build wrote these descriptors"));

/// A message that knows its name in the contract.
pub(super) trait Named {
    const NAME: &'static str;
}

macro_rules! named {
    ($($message:ident),*) => {
        $(impl Named for v1::$message {
            const NAME: &'static str = concat!("switchyard.v1.", stringify!($message));
        })*
    };
}

named!(
    CancelTaskResponse,
    DeleteTaskResponse,
    DrainServerResponse,
    Event,
    GetServerInfoResponse,
    ListGenerationsResponse,
    ListTasksResponse,
    PauseTaskResponse,
    ResumeTaskResponse,
    RollbackTaskResponse,
    RunTaskResponse,
    StartTaskResponse,
    SwapTaskResponse,
    Task,
    TaskSpec,
    WaitTaskResponse
);

impl Named for prost_types::Struct {
    const NAME: &'static str = "google.protobuf.Struct";
}

pub(super) fn descriptor<M: Named>() -> Result<MessageDescriptor, Failure> {
    POOL.get_message_by_name(M::NAME).ok_or_else(|| Failure::Local(format!("there is no message {}", M::NAME)))
}

/// The message as it can be written by serde.
pub(super) fn dynamic<M: Message + Named>(message: &M) -> Result<DynamicMessage, Failure> {
    DynamicMessage::decode(descriptor::<M>()?, message.encode_to_vec().as_slice()).map_err(local)
}

pub(super) fn pretty<M: Message + Named>(message: &M) -> Result<String, Failure> {
    serde_json::to_string_pretty(&dynamic(message)?).map_err(local)
}

pub(super) fn yaml<M: Message + Named>(message: &M) -> Result<String, Failure> {
    serde_saphyr::to_string(&dynamic(message)?).map_err(local)
}

/// One of many documents: a line of JSON, or a document of YAML.
pub(super) fn document(document: &impl Serialize, format: Format) -> Result<String, Failure> {
    match format {
        Format::Yaml => Ok(format!("---\n{}", serde_saphyr::to_string(document).map_err(local)?)),
        Format::Table | Format::Json => Ok(serde_json::to_string(document).map_err(local)? + "\n"),
    }
}

/// What is wrong with a configuration's depth, if anything. The server would say it too, were it not for protobuf's decoders,
/// whose own limit comes soon after: an INTERNAL error without a field.
pub(super) fn too_deep(config: &serde_json::Value) -> Option<String> {
    let most = ConfigValue::MAX_DEPTH;
    (depth(config) > most).then(|| format!("must not be nested deeper than {most}"))
}

/// As [`ConfigValue::MAX_DEPTH`] counts it: what stands in the innermost object or list is a level too.
fn depth(value: &serde_json::Value) -> usize {
    let below = match value {
        serde_json::Value::Array(items) => items.iter().map(depth).max(),
        serde_json::Value::Object(fields) => fields.values().map(depth).max(),
        _ => None,
    };
    1 + below.unwrap_or_default()
}

pub(super) fn local(error: impl std::fmt::Display) -> Failure {
    Failure::Local(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_mapping_is_written() {
        let task = v1::Task {
            name: "namespaces/default/tasks/api".to_owned(),
            generation: 1,
            state: v1::State::Running.into(),
            spec: Some(v1::TaskSpec {
                start_timeout: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
                ..v1::TaskSpec::default()
            }),
            ..v1::Task::default()
        };
        let json = pretty(&task).expect("written");
        for line in ["\"startTimeout\": \"1.500s\"", "\"generation\": \"1\"", "\"state\": \"STATE_RUNNING\""] {
            assert!(json.contains(line), "{json}");
        }
        let yaml = yaml(&task).expect("written");
        for line in ["startTimeout: 1.500s", "generation: \"1\"", "state: STATE_RUNNING"] {
            assert!(yaml.contains(line), "{yaml}");
        }
    }
}
