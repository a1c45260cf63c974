//! Task files: one `Task` as YAML or JSON, by the JSON mapping of protobuf, with durations as people write them.
//!
//! The document is checked against the contract's descriptors field by field, so that everything that is wrong is told at once,
//! each with its line, its column and its path.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value as Json};

use super::located::{Node, Place, Value};
use super::{Failure, duration, json};
use crate::pb::v1;

/// Reads a task; `file` is what errors call it.
pub(super) fn parse(file: &str, text: &str) -> Result<v1::Task, Failure> {
    let documents: Vec<Node> =
        serde_saphyr::from_multiple(text).map_err(|error| Failure::Usage(format!("{file}: {error}")))?;
    let [document] = documents.as_slice() else {
        return Err(Failure::Usage(format!("{file}: one task a file; there are {} documents in it", documents.len())));
    };
    let descriptor = json::descriptor::<v1::Task>()?;
    let mut reader = Reader { file, problems: Vec::new() };
    let task = reader.message(&descriptor, document, "");
    if !reader.problems.is_empty() {
        return Err(Failure::Usage(format!("{file} is no task:\n  {}", reader.problems.join("\n  "))));
    }
    let whole = |error: &dyn std::fmt::Display| Failure::Usage(format!("{file} is no task: {error}"));
    let message = DynamicMessage::deserialize(descriptor, task).map_err(|error| whole(&error))?;
    message.transcode_to().map_err(|error| whole(&error))
}

struct Reader<'a> {
    file: &'a str,
    problems: Vec<String>,
}

impl Reader<'_> {
    /// The node as canonical JSON of the message; notes what is wrong, and leaves that out.
    fn message(&mut self, descriptor: &MessageDescriptor, node: &Node, path: &str) -> Json {
        let Value::Map(entries) = &node.value else {
            self.problem(node.at, path, format!("expected a mapping, not {}", node.value.kind()));
            return Json::Null;
        };
        let mut fields = Map::new();
        let mut given: Vec<FieldDescriptor> = Vec::new();
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
            if let Some(other) = given.iter().find(|other| excludes(other, &field)) {
                let problem = format!("{:?} excludes {:?}, which stands above", key.name, other.json_name());
                self.problem(key.at, path, problem);
            }
            let path = join(path, field.json_name());
            if let Some(value) = self.field(descriptor, &field, value, &path) {
                fields.insert(field.json_name().to_owned(), value);
            }
            given.push(field);
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
                match duration::parse(text) {
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
                if let Some(problem) = is_config.then(|| json::too_deep(&plain)).flatten() {
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
                let text = error.to_string();
                let hint = if text.contains("expected a string") { "; put it in quotes" } else { "" };
                self.problem(at, path, format!("{text}{hint}"));
                false
            }
        }
    }

    fn problem(&mut self, at: Place, path: &str, problem: impl std::fmt::Display) {
        let path = if path.is_empty() { "task" } else { path };
        self.problems.push(format!("{}:{at}: {path}: {problem}", self.file));
    }
}

/// Two fields of which a message has one at the most: the same one, or alternatives.
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

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = "\
name: namespaces/default/tasks/api
labels:
  team: core
spec:
  http:
    url: http://127.0.0.1:8080/health
    headers:
      - name: Accept
        value: '*/*'
    expectedStatus: ['204', 200-299]
  schedule:
    interval: 1m30s
    timeout: 0.500s
    max_runs: 3
  shutdown: {graceTimeout: 5s, abort_timeout: 2s}
  restart:
    maxRestarts: 0
";

    fn problems(text: &str) -> Vec<String> {
        match parse("t.yaml", text) {
            Err(Failure::Usage(text)) => text.lines().map(|line| line.trim().to_owned()).collect(),
            other => panic!("must be refused: {other:?}"),
        }
    }

    #[test]
    fn a_task_is_read_from_yaml_with_either_form_of_names_and_durations() {
        let task = parse("t.yaml", TASK).expect("valid");
        let spec = task.spec.expect("given");
        let schedule = spec.schedule.expect("given");
        assert_eq!(task.labels.get("team").map(String::as_str), Some("core"));
        assert_eq!(schedule.interval, Some(prost_types::Duration { seconds: 90, nanos: 0 }));
        assert_eq!(schedule.timeout, Some(prost_types::Duration { seconds: 0, nanos: 500_000_000 }));
        assert_eq!(schedule.max_runs, 3);
        assert_eq!(spec.restart.expect("given").max_restarts, Some(0));
        let Some(v1::task_spec::Monitor::Http(http)) = spec.monitor else { panic!("an HTTP monitor") };
        assert_eq!((http.headers.len(), http.expected_status.len()), (1, 2));
    }

    #[test]
    fn json_is_read_too_and_custom_configs_pass_as_they_are() {
        let text =
            r#"{"spec": {"custom": {"kind": "drill", "config": {"behaviour": "spin", "n": 1.5, "l": [true, null]}}}}"#;
        let spec = parse("t.json", text).expect("valid").spec.expect("given");
        let Some(v1::task_spec::Monitor::Custom(custom)) = spec.monitor else { panic!("a custom monitor") };
        let config = custom.config.expect("given").fields;
        assert_eq!(config["n"].kind, Some(prost_types::value::Kind::NumberValue(1.5)));
        assert_eq!(config.len(), 3);
    }

    #[test]
    fn what_get_writes_can_be_started() {
        let task = parse("t.yaml", TASK).expect("valid");
        let read = v1::Task { state: v1::State::Running.into(), generation: 7, etag: "e".to_owned(), ..task };
        assert_eq!(parse("t.yaml", &json::yaml(&read).expect("written")).expect("valid"), read);
        assert_eq!(parse("t.json", &json::pretty(&read).expect("written")).expect("valid"), read);
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_place() {
        let text = "\
labels: {version: 1}
specs: {}
spec:
  http: {url: 5, expectedStatus: [204]}
  tcp: {address: 'a:1'}
  schedule:
    interval: 5 seconds
    intervall: 5s
    maxRuns: -1
  shutdown: 7s
  restart: {maxRestarts: 1, max_restarts: 2}
";
        let problems = problems(text);
        let expected = [
            "t.yaml is no task:",
            "t.yaml:1:19: labels.version: invalid type: integer `1`, expected a string; put it in quotes",
            "t.yaml:2:1: task: there is no field \"specs\"; there are name, uid, labels,",
            "t.yaml:4:15: spec.http.url: invalid type: integer `5`, expected a string; put it in quotes",
            "t.yaml:4:34: spec.http.expectedStatus: invalid type: integer `204`, expected a string",
            "t.yaml:5:3: spec: \"tcp\" excludes \"http\", which stands above",
            "t.yaml:7:15: spec.schedule.interval: \"5 seconds\" is no duration, as 5s,",
            "t.yaml:8:5: spec.schedule: there is no field \"intervall\"; there are interval, timeout, maxRuns",
            "t.yaml:9:14: spec.schedule.maxRuns: ",
            "t.yaml:10:13: spec.shutdown: expected a mapping, not text",
            "t.yaml:11:29: spec.restart: \"max_restarts\" excludes \"maxRestarts\", which stands above",
        ];
        for (found, expected) in problems.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}\nis not\n{expected}");
        }
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    }

    #[test]
    fn documents_that_are_no_mapping_or_not_one_are_refused() {
        assert!(problems("spec: {}\n---\nspec: {}\n")[0].contains("there are 2 documents"));
        assert!(problems("")[0].contains("t.yaml"));
        assert!(problems("- 1")[1].ends_with("expected a mapping, not a list"));
        assert!(problems("spec: [")[0].starts_with("t.yaml: "));
        assert!(problems("spec: {}\nspec: {}\n")[0].contains("uplicate"));
    }
}
