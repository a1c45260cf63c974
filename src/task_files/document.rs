//! Documents with tasks, by the JSON mapping of protobuf, with durations as people write them.
//!
//! A document is checked against the contract's descriptors field by field, so that everything that is wrong is told at once,
//! each with its line, its column and its path.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value as Json};

use super::located::{Node, Place, Value};
use super::too_deep;
use crate::model::Pretty;
use crate::pb::{DESCRIPTORS, v1};

static TASK: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("the build wrote these descriptors");
    pool.get_message_by_name("switchyard.v1.Task").expect("the contract has tasks")
});

/// What reads tasks; notes what is wrong with them, in lines that say where.
pub(super) struct Reader<'a> {
    file: &'a str,
    pub(super) problems: Vec<String>,
}

impl<'a> Reader<'a> {
    /// `file` is what problems call it.
    pub(super) fn new(file: &'a str) -> Self {
        Self { file, problems: Vec::new() }
    }

    /// The task that the node is, unless something is wrong with it.
    pub(super) fn task(&mut self, node: &Node) -> Option<v1::Task> {
        let before = self.problems.len();
        let task = self.message(&TASK, node, "");
        if self.problems.len() > before {
            return None;
        }
        let read = DynamicMessage::deserialize(TASK.clone(), task).map_err(|error| error.to_string());
        let task = read.and_then(|message| message.transcode_to().map_err(|error| error.to_string()));
        task.map_err(|error| self.problem(node.at, "", error)).ok()
    }

    /// Notes every key that a mapping has more than once, however deep: which of the values is meant cannot be known.
    pub(super) fn find_doubles(&mut self, node: &Node, path: &str) {
        match &node.value {
            Value::Map(entries) => {
                let mut first: BTreeMap<&str, Place> = BTreeMap::new();
                for (key, value) in entries {
                    let path = join(path, &key.name);
                    match first.entry(&key.name) {
                        Entry::Vacant(vacant) => drop(vacant.insert(key.at)),
                        Entry::Occupied(first) => {
                            self.problem(key.at, &path, format!("stands here twice; the first is at {}", first.get()));
                        }
                    }
                    self.find_doubles(value, &path);
                }
            }
            Value::List(items) => {
                let at = |n| format!("{path}[{n}]");
                items.iter().enumerate().for_each(|(n, item)| self.find_doubles(item, &at(n)));
            }
            _ => {}
        }
    }

    /// The node as canonical JSON of the message; notes what is wrong, and leaves that out.
    fn message(&mut self, descriptor: &MessageDescriptor, node: &Node, path: &str) -> Json {
        let Value::Map(entries) = &node.value else {
            self.problem(node.at, path, format!("expected a mapping, not {}", node.value.kind()));
            return Json::Null;
        };
        let mut fields = Map::new();
        let mut given: Vec<(&str, FieldDescriptor)> = Vec::new();
        for (key, value) in entries {
            let named = descriptor.get_field_by_json_name(&key.name);
            let Some(field) = named.or_else(|| descriptor.get_field_by_name(&key.name)) else {
                let names: Vec<_> = descriptor.fields().map(|field| field.json_name().to_owned()).collect();
                let problem = format!("there is no field {:?}; there are {}", key.name, names.join(", "));
                self.problem(key.at, path, problem);
                continue;
            };
            if value.value == Value::Null {
                continue;
            }
            // What stands twice by the same name is told as that.
            let excluded = given.iter().find(|(name, other)| *name != key.name && excludes(other, &field));
            if let Some((name, _)) = excluded {
                let problem = format!("{:?} excludes {name:?}, which stands above", key.name);
                self.problem(key.at, path, problem);
            }
            let path = join(path, field.json_name());
            if let Some(value) = self.field(descriptor, &field, value, &path) {
                fields.insert(field.json_name().to_owned(), value);
            }
            given.push((&key.name, field));
        }
        Json::Object(fields)
    }

    fn field(
        &mut self,
        descriptor: &MessageDescriptor,
        field: &FieldDescriptor,
        node: &Node,
        path: &str,
    ) -> Option<Json> {
        match (field.kind(), &node.value) {
            (_, Value::Map(entries)) if field.is_map() => {
                let mut map = Map::new();
                for (key, value) in entries {
                    let one = Json::Object(Map::from_iter([(key.name.clone(), value.value.plain())]));
                    if self.fits(descriptor, field, &one, value.at, &join(path, &key.name)) {
                        map.insert(key.name.clone(), value.value.plain());
                    }
                }
                Some(Json::Object(map))
            }
            (Kind::Message(message), Value::List(items)) if field.is_list() && is_ours(&message) => {
                let item = |(n, node)| self.message(&message, node, &format!("{path}[{n}]"));
                Some(items.iter().enumerate().map(item).collect())
            }
            (Kind::Message(message), _) if !field.is_list() && !field.is_map() && is_ours(&message) => {
                Some(self.message(&message, node, path))
            }
            (Kind::Message(message), Value::Text(text)) if message.full_name() == "google.protobuf.Duration" => {
                match duration(text) {
                    Ok(span) => Some(format!("{}.{:09}s", span.as_secs(), span.subsec_nanos()).into()),
                    Err(problem) => {
                        self.problem(node.at, path, problem);
                        None
                    }
                }
            }
            (kind, _) => {
                let plain = node.value.plain();
                let is_config =
                    matches!(&kind, Kind::Message(message) if message.full_name() == "google.protobuf.Struct");
                if let Some(problem) = is_config.then(|| too_deep(&plain)).flatten() {
                    self.problem(node.at, path, problem);
                    return None;
                }
                self.fits(descriptor, field, &plain, node.at, path).then_some(plain)
            }
        }
    }

    /// Whether the field takes the value; notes why not.
    fn fits(
        &mut self,
        descriptor: &MessageDescriptor,
        field: &FieldDescriptor,
        value: &Json,
        at: Place,
        path: &str,
    ) -> bool {
        let alone = Json::Object(Map::from_iter([(field.json_name().to_owned(), value.clone())]));
        match DynamicMessage::deserialize(descriptor.clone(), alone) {
            Ok(_) => true,
            Err(error) => {
                self.problem(at, path, misfit(value, &field.kind(), &error.to_string()));
                false
            }
        }
    }

    pub(super) fn problem(&mut self, at: Place, path: &str, problem: impl std::fmt::Display) {
        let path = if path.is_empty() { "task" } else { path };
        self.problems.push(format!("{}:{at}: {path}: {problem}", self.file));
    }
}

/// Why a value does not fit, and what would.
fn misfit(value: &Json, kind: &Kind, error: &str) -> String {
    let wants_text = error.contains("expected a string");
    match (value, kind) {
        _ if wants_text && error.contains("boolean `") => {
            format!("{error}; put it in quotes (yes, no, on and off are booleans, too, as true and false)")
        }
        (Json::String(text), Kind::Uint32 | Kind::Uint64 | Kind::Int32 | Kind::Int64) => {
            format!("{text:?} is no whole number")
        }
        (Json::Number(number), Kind::Message(message)) if message.full_name() == "google.protobuf.Duration" => {
            format!("{number} has no unit; a duration is as {number}s, 500ms, 1m30s, 2h")
        }
        _ if wants_text => format!("{error}; put it in quotes"),
        _ => error.to_owned(),
    }
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    let parsed: Result<Pretty, _> = text.parse();
    parsed
        .map(|Pretty(duration)| duration)
        .map_err(|_| format!("{text:?} is no duration, as 5s, 500ms, 1m30s, 1.5s, 2h, 1d"))
}

/// Two fields of which a message has one at the most: the same one, by its other name, or alternatives.
fn excludes(one: &FieldDescriptor, other: &FieldDescriptor) -> bool {
    let alternative = |field: &FieldDescriptor| field.containing_oneof().map(|oneof| oneof.name().to_owned());
    one == other || (alternative(one).is_some() && alternative(one) == alternative(other))
}

/// Whether the message is one of the contract's; the well-known ones have JSON forms of their own.
fn is_ours(message: &MessageDescriptor) -> bool {
    message.package_name() == "switchyard.v1"
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
