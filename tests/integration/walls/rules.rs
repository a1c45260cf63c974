//! Who may import whom (design.md §2), and what else holds for every source file.

use std::collections::BTreeSet;

use super::source::{Path, Source};

/// A room and what it may import of the others. `room::Item` allows that item alone; code under test may take the whole room.
pub(super) struct Room {
    pub(super) name: &'static str,
    pub(super) imports: &'static [&'static str],
    /// A pure room knows no runtime, wire form, disk form, clock or randomness; these are the crates that it may use.
    pub(super) pure: Option<&'static [&'static str]>,
}

const fn room(name: &'static str, imports: &'static [&'static str]) -> Room {
    Room { name, imports, pure: None }
}

const fn pure(name: &'static str, imports: &'static [&'static str], crates: &'static [&'static str]) -> Room {
    Room { name, imports, pure: Some(crates) }
}

/// What the services see: the manager's handle, the journal's view and watch; never a probe or a backend.
const SERVED: [&str; 8] =
    ["accept", "pb", "model", "telemetry", "manager::Handle", "manager::Accepted", "manager::Planned", "journal"];
const SERVICES: [&str; 2] = ["rpc", "http"];
/// The journal's other side.
const BACKEND: [&str; 19] = [
    "Append",
    "Archive",
    "BackupError",
    "CheckReport",
    "Compaction",
    "EmbeddedStore",
    "Failure",
    "Finished",
    "Group",
    "Medium",
    "MemoryStore",
    "OpenError",
    "Options",
    "Reader",
    "Recovered",
    "Release",
    "Retention",
    "Store",
    "Writer",
];

/// The table. A room without a row may not exist.
pub(super) const ROOMS: [Room; 17] = [
    pure("model", &[], &["regex", "thiserror", "url", "uuid"]),
    pure("circuit", &["model"], &["thiserror"]),
    pure("lifecycle", &["model", "circuit"], &["thiserror", "uuid"]),
    room("telemetry", &["model"]),
    room("monitor", &["model", "telemetry"]),
    room("journal", &["model", "telemetry"]),
    room("probe", &["model", "monitor", "telemetry"]),
    room("manager", &["model", "lifecycle", "monitor", "journal", "telemetry"]),
    room("pb", &["model"]),
    room("accept", &["telemetry"]),
    room("rpc", &SERVED),
    room("http", &SERVED),
    room("config", &["model", "telemetry"]),
    room("client", &["pb", "telemetry"]),
    room("task_files", &["model", "pb"]),
    room("cli", &["model", "client", "pb", "config", "server", "task_files", "telemetry"]),
    room("server", &["*"]),
];

/// Of the standard library, what no pure room may touch.
const IMPURE_STD: [&str; 8] = ["env", "fs", "io", "net", "os", "process", "thread", "time"];
/// What of that is a mere value.
const VALUES: [&[&str]; 4] = [&["time", "Duration"], &["net", "IpAddr"], &["net", "Ipv4Addr"], &["net", "Ipv6Addr"]];
/// Their iteration order differs from run to run; the rooms that decide must give the same trace for the same seed.
const HASH_ORDER: [&str; 5] = ["HashMap", "HashSet", "RandomState", "DefaultHasher", "hash_map"];
const DECIDING: [&str; 2] = ["circuit", "lifecycle"];
/// What draws at random, of crates that are otherwise fit for a pure room.
const RANDOM: [&str; 4] = ["new_v1", "new_v4", "new_v7", "now_v7"];
/// Names that say nothing.
const VAGUE: [&str; 6] = ["common", "helper", "helpers", "misc", "util", "utils"];

const FILE_LINES: usize = 500;
const ENTRY_LINES: usize = 25;

/// A source file, with what the rules need to know of it.
pub(super) struct File<'a> {
    /// From the package's root: `src/lifecycle/run.rs`.
    pub(super) path: &'a str,
    pub(super) text: &'a str,
    pub(super) source: &'a Source,
    /// Declared under `#[cfg(test)]`.
    pub(super) test: bool,
}

/// The module of a file under `src/`: `["lifecycle", "run"]`; empty for `lib.rs`, `main.rs`, and files elsewhere.
pub(super) fn module(path: &str) -> Vec<&str> {
    match path.strip_prefix("src/").map(|inner| inner.trim_end_matches(".rs")) {
        None | Some("lib" | "main") => Vec::new(),
        Some(inner) => inner.split('/').collect(),
    }
}

/// What is wrong with a file, each with its place and rule. `crates` are the package's dependencies.
pub(super) fn check(file: &File<'_>, crates: &BTreeSet<String>) -> Vec<String> {
    let mut wrongs = shape(file);
    let module = module(file.path);
    if let Some(name) = module.first() {
        let Some(room) = ROOMS.iter().find(|room| room.name == *name) else {
            wrongs.push(format!("{}:1: the room `{name}` has no row in the table of who may import whom", file.path));
            return wrongs;
        };
        let imported: BTreeSet<&str> = file.source.paths.iter().filter_map(whole_room).collect();
        for path in &file.source.paths {
            let test = file.test || path.test;
            let wrong = import(room, &from_root(path, &imported), test)
                .or_else(|| impurity(room, path, crates, &file.source.modules).filter(|_| !test));
            wrongs.extend(wrong.map(|wrong| at(file, path, &wrong)));
        }
        let unordered = |name: &&Path| HASH_ORDER.contains(&name.segments[0].as_str());
        if DECIDING.contains(&room.name) {
            for name in file.source.names.iter().filter(unordered).filter(|name| !file.test && !name.test) {
                wrongs.push(at(
                    file,
                    name,
                    &format!("`{}`: `{}` decides, so it may not depend on hash order", name.segments[0], room.name),
                ));
            }
        }
    }
    wrongs
}

fn at(file: &File<'_>, path: &Path, wrong: &str) -> String {
    format!("{}:{}: {wrong}", file.path, path.line)
}

/// The room that `use crate::room;` makes known by its name.
fn whole_room(path: &Path) -> Option<&str> {
    match path.segments.as_slice() {
        [root, room] if root == "crate" => Some(room),
        _ => None,
    }
}

/// `room::Item` as `crate::room::Item`, where the room is known by its name.
fn from_root(path: &Path, imported: &BTreeSet<&str>) -> Path {
    let mut path = path.clone();
    if imported.contains(path.segments[0].as_str()) {
        path.segments.insert(0, "crate".to_owned());
    }
    path
}

/// The walls.
fn import(room: &Room, path: &Path, test: bool) -> Option<String> {
    let [root, target, rest @ ..] = path.segments.as_slice() else { return None };
    if !["crate", "switchyard"].contains(&root.as_str()) || target == room.name || room.imports == ["*"] {
        return None;
    }
    let named = path.segments.join("::");
    if !ROOMS.iter().any(|other| other.name == target) {
        return Some(format!("`{named}`: `{target}` is no room"));
    }
    let item = rest.first().map(String::as_str);
    let allows = |import: &&str| match import.split_once("::") {
        None => import == target,
        Some((of, only)) => of == target && (test || item.is_none_or(|item| item == only)),
    };
    if !room.imports.iter().any(allows) {
        return Some(format!("`{named}`: `{}` may import only {}", room.name, list(room.imports)));
    }
    let sees_backend = item.is_some_and(|item| ["*", "as"].contains(&item) || BACKEND.contains(&item));
    (!test && target == "journal" && SERVICES.contains(&room.name) && sees_backend)
        .then(|| format!("`{named}`: `{}` sees the journal's view and watch, never its backend", room.name))
}

fn list(imports: &[&str]) -> String {
    if imports.is_empty() { "no other room".to_owned() } else { imports.join(", ") }
}

/// What a pure room may not know.
fn impurity(room: &Room, path: &Path, crates: &BTreeSet<String>, modules: &BTreeSet<String>) -> Option<String> {
    let allowed = room.pure?;
    let (first, rest) = path.segments.split_first()?;
    let impure = match first.as_str() {
        "std" => {
            let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
            rest.first().is_some_and(|module| IMPURE_STD.contains(module))
                && !VALUES.iter().any(|value| rest.starts_with(value))
        }
        name => crates.contains(name) && !allowed.contains(&name) && !modules.contains(name),
    };
    let random = rest.last().is_some_and(|name| RANDOM.contains(&name.as_str()));
    (impure || random).then(|| {
        format!(
            "`{}`: `{}` is pure: no runtime, wire form, I/O, clock or randomness",
            path.segments.join("::"),
            room.name
        )
    })
}

/// Sizes, names and leftovers.
fn shape(file: &File<'_>) -> Vec<String> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let lines = file.text.lines().count();
    let limit = if ["src/main.rs", "build.rs"].contains(&file.path) { ENTRY_LINES } else { FILE_LINES };
    let mut wrongs = Vec::new();
    if lines > limit {
        wrongs.push(format!("{}:{lines}: {lines} lines, and at most {limit} are allowed", file.path));
    }
    if name == "mod.rs" {
        wrongs.push(format!("{}:1: a module `foo` is `foo.rs`, not `foo/mod.rs`", file.path));
    }
    if VAGUE.contains(&name.trim_end_matches(".rs")) {
        wrongs.push(format!("{}:1: the name says nothing of what is in it", file.path));
    }
    for path in &file.source.paths {
        if let [.., name, bang] = path.segments.as_slice()
            && bang == "!"
            && ["todo", "unimplemented"].contains(&name.as_str())
        {
            wrongs.push(at(file, path, &format!("`{name}!`: nothing unfinished is kept")));
        }
    }
    wrongs
}
