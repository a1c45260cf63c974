//! The walls of design.md §2 and the shape of the source files (style.md), kept.

mod lexer;
mod rules;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rules::{File, ROOMS};
use source::Source;

#[expect(clippy::disallowed_methods, reason = "a synchronous test blocks nobody")]
fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("reads")
}

/// Every `.rs` file of the package's own: from its root, with its text.
fn files() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut waiting = ["src", "tests", "benches", "examples", "build.rs"].map(|own| root.join(own)).to_vec();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).expect("lists").map(|entry| entry.expect("lists").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).expect("below the root").to_str().expect("UTF-8").to_owned();
            files.insert(name, text(&path));
        }
    }
    files
}

/// The package's dependencies, as code names them.
fn crates() -> BTreeSet<String> {
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().expect("TOML");
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .into_iter()
        .filter_map(|section| manifest.get(section)?.as_table())
        .flat_map(|section| section.keys().map(|name| name.replace('-', "_")))
        .collect()
}

/// What is wrong with a set of files.
fn wrongs(files: &BTreeMap<String, String>, crates: &BTreeSet<String>) -> Vec<String> {
    let sources: BTreeMap<&str, Source> =
        files.iter().map(|(path, text)| (path.as_str(), source::read(text, &rules::module(path)))).collect();
    let tests: BTreeSet<String> =
        sources.iter().flat_map(|(path, source)| source.test_modules.iter().map(|name| below(path, name))).collect();
    let check = |(path, text): (&String, &String)| {
        let test =
            tests.iter().any(|module| path == &format!("{module}.rs") || path.starts_with(&format!("{module}/")));
        rules::check(&File { path, text, source: &sources[path.as_str()], test }, crates)
    };
    files.iter().flat_map(check).collect()
}

/// Where the module `name` lies that the file declares, without its extension.
fn below(path: &str, name: &str) -> String {
    let directory = match path {
        "src/lib.rs" | "src/main.rs" => "src",
        _ => path.trim_end_matches(".rs"),
    };
    format!("{directory}/{name}")
}

#[test]
fn the_walls_stand() {
    let wrongs = wrongs(&files(), &crates());
    assert!(wrongs.is_empty(), "\n{}\n", wrongs.join("\n"));
}

#[test]
fn the_table_allows_no_way_round_a_pure_room() {
    for room in ROOMS.iter().filter(|room| room.pure.is_some()) {
        for import in room.imports {
            let imported = ROOMS.iter().find(|other| other.name == *import).expect("a room");
            assert!(imported.pure.is_some(), "{} imports {import}", room.name);
        }
    }
}

/// What the checker says of one file, without its path.
fn said(path: &str, text: &str) -> Vec<String> {
    let crates = ["tokio", "tonic", "uuid"].map(str::to_owned).into();
    let wrongs = wrongs(&[(path.to_owned(), text.to_owned())].into(), &crates);
    wrongs.into_iter().map(|wrong| wrong.strip_prefix(path).expect("begins with the path").to_owned()).collect()
}

#[test]
fn each_way_through_a_wall_is_found() {
    let cases = [
        ("src/model/x.rs", "use crate::telemetry::Metrics;"),
        ("src/model/x.rs", "fn f() { crate::journal::append() }"),
        ("src/model/x.rs", "use super::super::pb;"),
        ("src/model.rs", "mod inner { use super::super::pb; }"),
        ("src/model.rs", "#[cfg(test)] mod tests { use crate::manager::Handle; }"),
        ("src/lifecycle.rs", "use crate::{model, manager::Handle};"),
        ("src/lifecycle.rs", "use crate::{model::{Task, Event}, circuit::Step, journal::*};"),
        ("src/lifecycle.rs", "pub use crate::rpc as model;"),
        ("src/lifecycle.rs", "use crate::prelude;"),
        ("src/rpc.rs", "use crate::probe::Http;"),
        ("src/rpc.rs", "use crate::journal::{Journal, MemoryStore};"),
        ("src/http.rs", "use crate::manager::Shard;"),
        ("src/http.rs", "use crate::journal; fn f(_: journal::MemoryStore) {}"),
        ("src/http.rs", "use crate::manager; fn f(_: manager::Shard) {}"),
        ("src/http.rs", "use crate::{manager as m, pb};"),
        ("src/http.rs", "use crate::journal as j;"),
        ("src/client.rs", "use crate::model::Task;"),
        ("src/cli.rs", "use switchyard::manager::Handle;"),
        ("src/model.rs", "use std::time::{Duration, Instant};"),
        ("src/model.rs", "use std::time;"),
        ("src/model.rs", "use std::net::TcpStream;"),
        ("src/model.rs", "fn f() { std::fs::remove_file(p) }"),
        ("src/model.rs", "impl From<tonic::Status> for X {}"),
        ("src/lifecycle/x.rs", "use ::tokio::sync::mpsc;"),
        ("src/lifecycle/x.rs", "fn f() { uuid::Uuid::new_v4() }"),
        ("src/model/x.rs", "use uuid::Uuid; fn f() { Uuid::new_v4() }"),
        ("src/circuit.rs", "use uuid::Uuid;"),
        ("src/circuit.rs", "use std::collections::{BTreeMap, HashMap};"),
        ("src/lifecycle.rs", "struct X { a: std::collections::HashSet<u8> }"),
        ("src/attic.rs", ""),
        ("src/model/mod.rs", ""),
        ("src/model/utils.rs", ""),
        ("src/rpc.rs", "fn f() { todo!() }"),
        ("tests/integration/x.rs", "fn f() { std::unimplemented!(\"later\") }"),
    ];
    for (path, text) in cases {
        let said = said(path, &format!("\n{text}"));
        assert_eq!(said.len(), 1, "{path}: {text}: {said:?}");
        let line = if text.is_empty() { ":1:" } else { ":2:" };
        assert!(said[0].starts_with(line), "{text}: {said:?}");
    }
}

#[test]
fn what_the_table_allows_is_not_complained_of() {
    let cases = [
        ("src/lib.rs", "pub mod model; pub use crate::server::Server;"),
        ("src/main.rs", "fn main() { switchyard::cli::run() }"),
        ("src/model.rs", "mod task; use std::{net::IpAddr, time::Duration}; use uuid::Uuid; use self::task::Task;"),
        ("src/model/task.rs", "use super::{Labels, Uid}; use crate::model::limits; fn f() { self.tokio.x() }"),
        ("src/model.rs", "use std::collections::HashMap;"),
        ("src/model/spec.rs", "mod tonic; use tonic::Spec;"),
        ("src/lifecycle.rs", "#[cfg(test)] mod tests { use std::time::Instant; use std::collections::HashMap; }"),
        ("src/lifecycle.rs", "#[cfg(test)] fn f(a: [u8; 4]) { tokio::spawn(a) }"),
        ("src/lifecycle.rs", "#[cfg(test)] use tokio::spawn;"),
        ("src/circuit.rs", "fn f(x: char) -> bool { x != '\"' && x != '{' } // crate::manager"),
        ("src/circuit.rs", "/* a /* use crate::pb */ use crate::pb */ const A: &str = \"crate::pb \\\" crate::pb\";"),
        (
            "src/circuit.rs",
            "const A: &str = r#\"crate::pb \" tokio::spawn\"#; const B: u8 = b'\"'; fn f<'a>(a: &'a str) {}",
        ),
        ("src/rpc.rs", "use crate::{journal::Journal, manager::Handle, pb::v1};"),
        ("src/rpc.rs", "use crate::manager; fn f(_: manager::Handle) {}"),
        ("src/rpc.rs", "#[cfg(test)] mod tests { use crate::journal::MemoryStore; }"),
        ("src/server.rs", "use crate::{probe, rpc, journal::MemoryStore};"),
    ];
    for (path, text) in cases {
        assert_eq!(said(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn a_file_that_is_declared_as_test_code_is_test_code() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let parent = file("src/lifecycle.rs", "mod run; #[cfg(test)] mod simulation;");
    let crates = ["tokio".to_owned()].into();
    for (path, expected) in
        [("src/lifecycle/simulation.rs", 0), ("src/lifecycle/simulation/seed.rs", 0), ("src/lifecycle/run.rs", 1)]
    {
        let files = [parent.clone(), file(path, "use tokio::time;")].into();
        assert_eq!(wrongs(&files, &crates).len(), expected, "{path}");
    }
}

#[test]
fn files_have_a_limit() {
    for (path, limit) in [("src/rpc.rs", 500), ("src/main.rs", 25), ("build.rs", 25), ("tests/integration/x.rs", 500)] {
        assert_eq!(said(path, &"\n".repeat(limit)), Vec::<String>::new(), "{path}");
        assert_eq!(said(path, &"\n".repeat(limit + 1)).len(), 1, "{path}");
    }
}
