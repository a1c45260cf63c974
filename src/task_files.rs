//! Task files: tasks as people keep them, in YAML, JSON or TOML, by the JSON mapping of protobuf. Everything that is wrong with any
//! of them is told at once, each with its file, line and field.
//!
//! A document is a task, a list of tasks, or a mapping with such a list as `tasks`, which is what `switchyard list -o yaml` writes and
//! how TOML has many (`[[tasks]]`). A YAML file may have many documents. The standard input has no name to say what it is: it is TOML
//! where it begins as TOML does.

mod document;
mod given;
mod located;
mod spanned_toml;
mod yaml;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::model::{ConfigValue, Violations};
use crate::pb::parse::ApplySet;
use crate::pb::v1;
use document::Reader;
use located::{Node, Value};

/// What the files of a set may take together, as much as a set may.
const MOST_BYTES: u64 = 128 * 1024 * 1024;
/// The path that stands for the standard input.
pub const STDIN: &str = "-";
/// Beside `tasks`, what a list has that is no matter here.
const OF_A_LIST: [&str; 2] = ["nextPageToken", "cursor"];

/// A task, and where it stands: `tasks/api.yaml:3:1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The file, the line and the column.
    pub place: String,
    /// The task, with whatever name it has there.
    pub task: v1::Task,
}

/// Reads the one task of a file; `file` is what errors call it.
pub fn one(file: &str, text: &str) -> Result<v1::Task, String> {
    let documents = documents(file, text)?;
    let [document] = documents.as_slice() else {
        return Err(format!("{file}: one task a file; there are {} documents in it", documents.len()));
    };
    let mut reader = Reader::new(file);
    reader.find_doubles(document, "");
    match reader.task(document).filter(|_| reader.problems.is_empty()) {
        Some(task) => Ok(task),
        None => Err(format!("{file} is no task:\n  {}", reader.problems.join("\n  "))),
    }
}

/// Reads all tasks of a file; `file` is what errors call it.
pub fn many(file: &str, text: &str) -> Result<Vec<Found>, Vec<String>> {
    let documents = documents(file, text).map_err(|problem| vec![problem])?;
    let mut reader = Reader::new(file);
    let mut found = Vec::new();
    for document in &documents {
        for node in tasks(&mut reader, document) {
            reader.find_doubles(node, "");
            let task = reader.task(node);
            found.extend(task.map(|task| Found { place: format!("{file}:{}", node.at), task }));
        }
    }
    if reader.problems.is_empty() { Ok(found) } else { Err(reader.problems) }
}

/// Reads all tasks of files, and of all files of directories (`.yaml`, `.yml`, `.json`, `.toml`; not those further below, nor hidden
/// ones), in the order of their names; [`STDIN`] is the standard input. None at all is a
/// problem, too, and so is a file without any, or one that is given twice. A name that is short becomes the full one in the
/// `namespace`; none may come twice. Where anything is wrong, what is wrong with the other tasks as a set of that owner's is told with it.
pub fn gather(paths: &[PathBuf], namespace: &str, owner: &str) -> Result<Vec<Found>, Vec<String>> {
    let mut problems = Vec::new();
    let mut found = Vec::new();
    let mut room = MOST_BYTES;
    for file in given::files(paths, &mut problems) {
        let name = file.display().to_string();
        match read(&file, &mut room) {
            Ok(text) => match many(&name, &text) {
                // More likely one that is being written than the wish to have none of its tasks any more.
                Ok(tasks) if tasks.is_empty() => problems.push(format!("{name}: there is no task in it")),
                Ok(tasks) => found.extend(tasks),
                Err(more) => problems.extend(more),
            },
            Err(error) => problems.push(format!("cannot read {name}: {error}")),
        }
    }
    name_all(&mut found, namespace, &mut problems);
    if found.is_empty() && problems.is_empty() {
        // More likely a directory that is not mounted than the wish to have none.
        let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        problems.push(format!("{}: there is no task in it", paths.join(", ")));
    }
    if problems.is_empty() {
        return Ok(found);
    }
    problems.extend(broken_rules(&found, owner));
    Err(problems)
}

/// Gives each task its full name, which no other may have: a later one of the same name is told of, and left out. One without any is
/// for the rules of sets to find.
fn name_all(found: &mut Vec<Found>, namespace: &str, problems: &mut Vec<String>) {
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    found.retain_mut(|Found { place, task }| {
        if task.name.is_empty() {
            return true;
        }
        if !task.name.contains('/') {
            task.name = format!("namespaces/{namespace}/tasks/{}", task.name);
        }
        match places.entry(task.name.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(place.clone());
                true
            }
            Entry::Occupied(first) => {
                problems.push(format!("{place}: name: {:?} is also that of {}", task.name, first.get()));
                false
            }
        }
    });
}

/// What is wrong with the tasks as a set of the owner's, for all that can be told without a server.
fn broken_rules(found: &[Found], owner: &str) -> Vec<String> {
    let mut set = ApplySet::new(owner);
    set.parse(found.iter().map(|found| found.task.clone()).collect());
    set.finish().err().map(|violations| told(found, &violations)).unwrap_or_default()
}

/// Violations of a set's rules, each with its file and field.
pub fn told(found: &[Found], violations: &Violations) -> Vec<String> {
    let place = |field: &str| place_of(found, field).unwrap_or_else(|| field.to_owned());
    violations.as_slice().iter().map(|v| format!("{}: {}", place(&v.field), v.description)).collect()
}

/// What a violation of a set's rules is about, told by file: `tasks[17].spec.http.url` as `a.yaml:3:1: spec.http.url`.
pub fn place_of(found: &[Found], field: &str) -> Option<String> {
    let (number, rest) = field.strip_prefix("tasks[")?.split_once(']')?;
    let Found { place, .. } = found.get(number.parse::<usize>().ok()?)?;
    let rest = rest.trim_start_matches('.');
    Some(if rest.is_empty() { place.clone() } else { format!("{place}: {rest}") })
}

/// What is wrong with a configuration's depth, if anything. The server would say it too, were it not for protobuf's decoders,
/// whose own limit comes soon after: an INTERNAL error without a field.
pub fn too_deep(config: &serde_json::Value) -> Option<String> {
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

/// The nodes that should be tasks.
fn tasks<'a>(reader: &mut Reader<'_>, document: &'a Node) -> Vec<&'a Node> {
    let list = match &document.value {
        // Nothing but comments.
        Value::Null => return Vec::new(),
        Value::List(_) => document,
        Value::Map(entries) => match entries.iter().find(|(key, _)| key.name == "tasks") {
            Some((_, tasks)) => {
                for (key, _) in
                    entries.iter().filter(|(key, _)| key.name != "tasks" && !OF_A_LIST.contains(&&*key.name))
                {
                    reader.problem(key.at, "", format!("{:?} does not stand beside \"tasks\"", key.name));
                }
                for (key, _) in entries.iter().filter(|(key, _)| key.name == "tasks").skip(1) {
                    reader.problem(key.at, "tasks", "stands here twice");
                }
                tasks
            }
            None => return vec![document],
        },
        _ => return vec![document],
    };
    match &list.value {
        Value::List(items) => items.iter().collect(),
        other => {
            reader.problem(list.at, "tasks", format!("expected a list, not {}", other.kind()));
            Vec::new()
        }
    }
}

fn documents(file: &str, text: &str) -> Result<Vec<Node>, String> {
    let is_toml = Path::new(file).extension().is_some_and(|extension| extension == "toml");
    if is_toml || (file == STDIN && given::looks_like_toml(text)) {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Vec::new());
        }
        return spanned_toml::parse(text).map(|node| vec![node]).map_err(|error| format!("{file}:{error}"));
    }
    let is_json = Path::new(file).extension().is_some_and(|extension| extension == "json");
    let format = if is_json { "JSON" } else { "YAML" };
    yaml::parse(text).map_err(|error| format!("{file}:{}", error.replacen("no YAML", &format!("no {format}"), 1)))
}

fn read(path: &Path, room: &mut u64) -> io::Result<String> {
    let input: Box<dyn Read> =
        if path == Path::new(STDIN) { Box::new(io::stdin().lock()) } else { Box::new(fs::File::open(path)?) };
    let mut text = String::new();
    let taken = u64::try_from(input.take(*room + 1).read_to_string(&mut text)?).unwrap_or(u64::MAX);
    *room = room.checked_sub(taken).ok_or_else(|| io::Error::other(format!("more than {MOST_BYTES} bytes in all")))?;
    Ok(text)
}

#[cfg(test)]
mod tests;
