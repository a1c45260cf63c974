//! Messages in the JSON mapping of protobuf: what `-o json` and `-o yaml` write, and `start -f` reads.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde::Serialize;
use serde::ser::SerializeMap;

use super::Failure;
use super::output::Format;
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
    ApplyTasksResponse,
    CancelTaskResponse,
    CheckRecord,
    Circuit,
    DeleteTaskResponse,
    DrainServerResponse,
    Event,
    GetServerInfoResponse,
    ListCircuitsResponse,
    ListGenerationsResponse,
    ListTasksResponse,
    OverrideCircuitResponse,
    PauseTaskResponse,
    ReportOutcomesResponse,
    ResetCircuitResponse,
    ResumeTaskResponse,
    RollbackTaskResponse,
    RunTaskResponse,
    StartTaskResponse,
    SwapTaskResponse,
    Task,
    TaskSpec,
    WaitTaskResponse,
    WatchChecksResponse
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

/// A message beneath a key, as a document.
pub(super) fn keyed<M: Message + Named>(key: &str, message: &M, format: Format) -> Result<String, Failure> {
    document(&Entry(key, dynamic(message)?), format)
}

/// An object with one key.
pub(super) struct Entry<'a, T>(pub(super) &'a str, pub(super) T);

impl<T: Serialize> Serialize for Entry<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &self.1)?;
        map.end()
    }
}

pub(super) fn local(error: impl std::fmt::Display) -> Failure {
    Failure::Local(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task_files::one;

    #[test]
    fn what_get_writes_can_be_started() {
        let text = "name: api\nlabels: {team: core}\nspec: {http: {url: 'http://a/'}, schedule: {interval: 1m30s}}";
        let task = one("t.yaml", text).expect("valid");
        let read = v1::Task { state: v1::State::Running.into(), generation: 7, etag: "e".to_owned(), ..task };
        assert_eq!(one("t.yaml", &yaml(&read).expect("written")).expect("valid"), read);
        assert_eq!(one("t.json", &pretty(&read).expect("written")).expect("valid"), read);
    }

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
