//! `store salvage`: what is sound in a damaged store, in a new one.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::output::{Format, Output, Tone, clean, out};
use super::store::{Common, refused};
use super::{Failure, json};
use crate::server::chain;
use crate::server::store_tools::{self, LeftOut, Salvaged};

/// Write what is sound in a damaged store to a new one, and name what is not.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard store salvage /var/lib/switchyard-saved --data-dir /var/lib/switchyard
  switchyard serve --data-dir /var/lib/switchyard-saved      runs on what was saved

For a store that is refused and of which there is no good backup. The damaged one is left as it
is. The new one has the events from after the last one that cannot be read, and every task whose
row and spec are sound, or that those events still have; the others are named. It is a store of
its own (with a new store id), so cursors of the original are refused: CURSOR_EXPIRED.

A file that was not closed (kill -9, a crash) and has flipped bits is opened by nobody: then only
a backup helps.

Exit codes: 0 nothing was left out, 1 something was (each has its line), or nothing can be saved.")]
pub(super) struct Salvage {
    /// The directory for the new store, which must not exist.
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    common: Common,
}

impl Salvage {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Common { data_dir, output } = &self.common;
        let output = Output::new(output);
        let salvaged = match store_tools::salvage(data_dir, &self.dest) {
            Ok(salvaged) => salvaged,
            Err(error) if error.is_damage() => return Err(Failure::Negative(clean(&chain(&error)))),
            Err(error) => return Err(refused(&error)),
        };
        match output.format {
            Format::Table => out(&told(&salvaged, output))?,
            format => out(&json::document(&Saved::from(&salvaged), format)?)?,
        }
        if salvaged.left_out.is_empty() { Ok(()) } else { Err(Failure::Negative(String::new())) }
    }
}

/// The same for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Saved<'a> {
    store_id: String,
    oldest: u64,
    head: u64,
    tasks: u64,
    specs: u64,
    requests: u64,
    left_out: Vec<Left<'a>>,
}

#[derive(Serialize)]
struct Left<'a> {
    table: &'a str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a str>,
    problem: &'a str,
}

impl<'a> From<&'a Salvaged> for Saved<'a> {
    fn from(salvaged: &'a Salvaged) -> Self {
        let Salvaged { store_id, oldest, head, tasks, specs, requests, left_out } = salvaged;
        let left =
            |LeftOut { table, key, task, problem }: &'a LeftOut| Left { table, key, task: task.as_deref(), problem };
        Self {
            store_id: store_id.to_string(),
            oldest: *oldest,
            head: *head,
            tasks: *tasks,
            specs: *specs,
            requests: *requests,
            left_out: left_out.iter().map(left).collect(),
        }
    }
}

/// For people.
fn told(salvaged: &Salvaged, output: Output) -> String {
    let Salvaged { store_id, oldest, head, tasks, specs, requests, left_out } = salvaged;
    let mut text = format!(
        "saved, as the store {store_id}: {tasks} tasks, {specs} specs, {requests} requests, the events after {oldest} up to {head}\n"
    );
    for LeftOut { table, key, task, problem } in left_out {
        let task = task.as_deref().map(|task| format!(", task {}", clean(task))).unwrap_or_default();
        let left = output.paint.text(Tone::Bad, "left out");
        text += &format!("{left}: table {table}, key {}{task}: {}\n", clean(key), clean(problem));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::output::Paint;
    use super::*;

    #[test]
    fn what_was_left_out_is_named_in_every_form() {
        let left = LeftOut {
            table: "tasks".to_owned(),
            key: "7".to_owned(),
            task: Some("namespaces/default/tasks/api".to_owned()),
            problem: "its checksum\nis wrong".to_owned(),
        };
        let salvaged = Salvaged {
            store_id: uuid::Uuid::nil(),
            oldest: 3,
            head: 9,
            tasks: 2,
            specs: 4,
            requests: 1,
            left_out: vec![left],
        };
        let text = told(&salvaged, Output { format: Format::Table, paint: Paint(false), width: Some(80) });
        let line = "left out: table tasks, key 7, task namespaces/default/tasks/api: its checksum is wrong\n";
        assert!(text.ends_with(line) && text.contains("after 3 up to 9"), "{text}");
        let json = json::document(&Saved::from(&salvaged), Format::Json).expect("written");
        assert!(
            json.contains(r#""leftOut":[{"table":"tasks","key":"7","task":"namespaces/default/tasks/api""#),
            "{json}"
        );
    }
}
