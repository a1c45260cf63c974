//! The keys of the configuration, and what each takes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::Layer;
use super::storage::{InvalidStoreKind, bytes};
use crate::model::{InvalidDuration, Pretty};
use crate::telemetry::InvalidLogFormat;

/// A key, by the same name in all layers: `max_tasks`, `SWITCHYARD_MAX_TASKS`, `--max-tasks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is documented as a field of `Layer`")]
pub enum Key {
    Listen,
    HttpListen,
    Log,
    LogFormat,
    EnableDrills,
    ExecCommands,
    BuiltInShards,
    CustomShards,
    MaxTasks,
    MaxStuck,
    ExitOnStuckLimit,
    MaxStreams,
    MaxStreamsPerConnection,
    CircuitSeries,
    Tasks,
    TasksOwner,
    Store,
    DataDir,
    EventRetention,
    EventRetentionAge,
    EventRetentionBytes,
}

/// The type a key has in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Integer,
    Boolean,
    /// A number of bytes, or a text with a unit.
    Size,
    /// As text, the elements are separated by colons, as in PATH.
    List,
}

impl Type {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Integer => "an integer",
            Self::Boolean => "true or false",
            Self::Size => "a number of bytes, or one with a unit as 1GiB",
            Self::List => "an array of strings",
        }
    }
}

impl Key {
    /// Every key.
    pub const ALL: [Self; 21] = [
        Self::Listen,
        Self::HttpListen,
        Self::Log,
        Self::LogFormat,
        Self::EnableDrills,
        Self::ExecCommands,
        Self::BuiltInShards,
        Self::CustomShards,
        Self::MaxTasks,
        Self::MaxStuck,
        Self::ExitOnStuckLimit,
        Self::MaxStreams,
        Self::MaxStreamsPerConnection,
        Self::CircuitSeries,
        Self::Tasks,
        Self::TasksOwner,
        Self::Store,
        Self::DataDir,
        Self::EventRetention,
        Self::EventRetentionAge,
        Self::EventRetentionBytes,
    ];

    /// The name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::HttpListen => "http_listen",
            Self::Log => "log",
            Self::LogFormat => "log_format",
            Self::EnableDrills => "enable_drills",
            Self::ExecCommands => "exec_commands",
            Self::BuiltInShards => "built_in_shards",
            Self::CustomShards => "custom_shards",
            Self::MaxTasks => "max_tasks",
            Self::MaxStuck => "max_stuck",
            Self::ExitOnStuckLimit => "exit_on_stuck_limit",
            Self::MaxStreams => "max_streams",
            Self::MaxStreamsPerConnection => "max_streams_per_connection",
            Self::CircuitSeries => "circuit_series",
            Self::Tasks => "tasks",
            Self::TasksOwner => "tasks_owner",
            Self::Store => "store",
            Self::DataDir => "data_dir",
            Self::EventRetention => "event_retention",
            Self::EventRetentionAge => "event_retention_age",
            Self::EventRetentionBytes => "event_retention_bytes",
        }
    }

    /// The name in the environment.
    pub fn variable(self) -> String {
        format!("SWITCHYARD_{}", self.name().to_ascii_uppercase())
    }

    /// The name as a flag.
    pub fn flag(self) -> String {
        format!("--{}", self.name().replace('_', "-"))
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }

    pub(super) fn takes(self) -> Type {
        match self {
            Self::Listen
            | Self::HttpListen
            | Self::Log
            | Self::LogFormat
            | Self::Tasks
            | Self::TasksOwner
            | Self::Store
            | Self::DataDir
            | Self::EventRetentionAge => Type::Text,
            Self::EventRetentionBytes => Type::Size,
            Self::EnableDrills | Self::ExitOnStuckLimit => Type::Boolean,
            Self::ExecCommands => Type::List,
            Self::BuiltInShards
            | Self::CustomShards
            | Self::MaxTasks
            | Self::MaxStuck
            | Self::MaxStreams
            | Self::MaxStreamsPerConnection
            | Self::CircuitSeries
            | Self::EventRetention => Type::Integer,
        }
    }
}

impl Layer {
    /// Sets a key from its text; `Err` says what it takes.
    pub(super) fn set(&mut self, key: Key, text: &str) -> Result<(), String> {
        match key {
            Key::Listen => self.listen = Some(address(text)?),
            Key::HttpListen => self.http_listen = Some(address(text)?),
            Key::Log => self.log = Some(text.to_owned()),
            Key::LogFormat => {
                self.log_format = Some(text.parse().map_err(|error: InvalidLogFormat| error.to_string())?)
            }
            Key::EnableDrills => self.enable_drills = Some(scalar(text, Type::Boolean)?),
            Key::ExecCommands => self.exec_commands = Some(list(text)),
            Key::BuiltInShards => self.built_in_shards = Some(scalar(text, Type::Integer)?),
            Key::CustomShards => self.custom_shards = Some(scalar(text, Type::Integer)?),
            Key::MaxTasks => self.max_tasks = Some(scalar(text, Type::Integer)?),
            Key::MaxStuck => self.max_stuck = Some(scalar(text, Type::Integer)?),
            Key::ExitOnStuckLimit => self.exit_on_stuck_limit = Some(scalar(text, Type::Boolean)?),
            Key::MaxStreams => self.max_streams = Some(scalar(text, Type::Integer)?),
            Key::MaxStreamsPerConnection => self.max_streams_per_connection = Some(scalar(text, Type::Integer)?),
            Key::CircuitSeries => self.circuit_series = Some(scalar(text, Type::Integer)?),
            Key::Tasks => self.tasks = Some(PathBuf::from(text)),
            Key::TasksOwner => self.tasks_owner = Some(text.to_owned()),
            Key::Store => self.store = Some(text.parse().map_err(|error: InvalidStoreKind| error.to_string())?),
            Key::DataDir => self.data_dir = Some(PathBuf::from(text)),
            Key::EventRetention => self.event_retention = Some(scalar(text, Type::Integer)?),
            Key::EventRetentionAge => {
                let Pretty(age) = text.parse().map_err(|error: InvalidDuration| format!("{error}, not {text:?}"))?;
                self.event_retention_age = Some(age);
            }
            Key::EventRetentionBytes => {
                let expected = || format!("expected {}, not {text:?}", Type::Size.name());
                self.event_retention_bytes = Some(bytes(text).ok_or_else(expected)?);
            }
        }
        Ok(())
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("expected an IP address and a port, as 127.0.0.1:6710, not {text:?}"))
}

/// An empty text is an empty list, and turns off what a lower layer has turned on.
fn list(text: &str) -> Vec<String> {
    text.split(':').filter(|element| !element.is_empty()).map(str::to_owned).collect()
}

fn scalar<T: FromStr>(text: &str, takes: Type) -> Result<T, String> {
    text.parse().map_err(|_| format!("expected {}, not {text:?}", takes.name()))
}
