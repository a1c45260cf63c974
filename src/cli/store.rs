//! `store`: what can be done with a data directory.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::json;
use super::output::{Format, Output, OutputArgs, Tone, clean, out};
use super::progress::Progress;
use super::salvage::Salvage;
use super::table::{self, Cell, Column};
use super::{Failure, words};
use crate::server::chain;
use crate::server::store_tools::{self, Backup, CheckReport, Compaction, ToolError};

/// Check, compact, back up or salvage a server's data directory.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard store check --data-dir /var/lib/switchyard
  switchyard store compact
  switchyard store backup /var/backups/switchyard-1       also while the server runs
  switchyard store salvage /var/lib/switchyard-saved

These work on the directory itself, on the server's machine, as the server's user or root. check,
compact and salvage need it alone; backup asks the server that holds it, if one does.")]
pub(super) struct Store {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Subcommand)]
enum Tool {
    Check(Check),
    Compact(Compact),
    Backup(MakeBackup),
    Salvage(Salvage),
}

#[derive(Args, Debug)]
pub(super) struct Common {
    /// The data directory.
    #[arg(long, value_name = "DIR", env = "SWITCHYARD_DATA_DIR", default_value = "./switchyard-data")]
    pub(super) data_dir: PathBuf,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// Look at all that a store holds, and say whether it is sound.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard store check
  switchyard store check --data-dir /var/lib/switchyard -o json

Nothing is changed, not even where a server would repair or migrate the store as it opens it.

Exit codes: 0 sound, 1 something is wrong (each finding has its line).")]
struct Check {
    #[command(flatten)]
    common: Common,
}

/// Give the space back that a store does not use any more.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard store compact
  switchyard store compact --data-dir /var/lib/switchyard

A store of an older version is migrated by it, as by a server that starts: that version does not
open it afterwards.")]
struct Compact {
    #[command(flatten)]
    common: Common,
}

/// Copy a store, also while its server runs.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  switchyard store backup /var/backups/switchyard-1
  switchyard store backup /var/backups/switchyard-1 --data-dir /var/lib/switchyard
  switchyard serve --data-dir /var/backups/switchyard-1      runs on what was backed up

The copy is of one moment, whole or not there at all. Where a server holds the directory, that
server makes it, so it is the server's user who must be able to write DEST; ended early, this
command leaves the server to finish it. Where none does, the directory is left as it is; a store of
an older version is migrated on its way into the copy, in memory, and only the copy. So to be able
to go back to that version, copy the stopped server's directory itself (cp -a).

To restore one, put it in the place of the data directory, or serve it where it is. It opens as a
store of its own (with a new store id), so cursors of the original are refused: CURSOR_EXPIRED.")]
struct MakeBackup {
    /// The directory to copy it to, which must not exist.
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    common: Common,
}

impl Store {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.tool {
            Tool::Check(check) => check.run(),
            Tool::Compact(compact) => compact.run(),
            Tool::Backup(backup) => backup.run(),
            Tool::Salvage(salvage) => salvage.run(),
        }
    }
}

impl Check {
    fn run(&self) -> Result<(), Failure> {
        let Common { data_dir, output } = &self.common;
        let output = Output::new(output);
        let report = match store_tools::check(data_dir) {
            Ok(report) => report,
            Err(error) if error.is_damage() => return Err(Failure::Negative(clean(&chain(&error)))),
            Err(error) => return Err(refused(&error)),
        };
        match output.format {
            Format::Table => out(&findings(&report, output))?,
            format => out(&json::document(&Checked::from(&report), format)?)?,
        }
        if report.is_sound() { Ok(()) } else { Err(Failure::Negative(String::new())) }
    }
}

impl Compact {
    fn run(&self) -> Result<(), Failure> {
        let Common { data_dir, output } = &self.common;
        let output = Output::new(output);
        let Compaction { before, after } = store_tools::compact(data_dir).map_err(|error| refused(&error))?;
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Compacted {
            bytes_before: u64,
            bytes_after: u64,
        }
        match output.format {
            Format::Table => out(&format!("{} before, {} after\n", words::bytes(before), words::bytes(after))),
            format => out(&json::document(&Compacted { bytes_before: before, bytes_after: after }, format)?),
        }
    }
}

impl MakeBackup {
    fn run(&self) -> Result<(), Failure> {
        let Common { data_dir, output } = &self.common;
        let output = Output::new(output);
        let mut progress = Progress::new();
        let backup = store_tools::backup(data_dir, &self.dest, |for_so_long| {
            progress.tell(|| format!("the server copies it: {}", words::rough(for_so_long)));
        });
        drop(progress);
        let Backup { dest, bytes, online, process } = backup.map_err(|error| refused(&error))?;
        #[derive(Serialize)]
        struct Made<'a> {
            dest: &'a str,
            bytes: u64,
            online: bool,
        }
        let shown = dest.to_string_lossy();
        match output.format {
            Format::Table => {
                let by = match (online, process) {
                    (false, _) => "no server was running".to_owned(),
                    (true, Some(process)) => format!("by the running server, process {process}"),
                    (true, None) => "by the running server".to_owned(),
                };
                out(&format!("{}  {}  ({by})\n", clean(&shown), words::bytes(bytes)))
            }
            format => out(&json::document(&Made { dest: &shown, bytes, online }, format)?),
        }
    }
}

pub(super) fn refused(error: &ToolError) -> Failure {
    let text = chain(error);
    if error.is_usage() { Failure::Usage(text) } else { Failure::Local(text) }
}

/// A report for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked<'a> {
    sound: bool,
    store_id: String,
    oldest: u64,
    head: u64,
    events: u64,
    event_bytes: u64,
    tasks: u64,
    specs: u64,
    requests: u64,
    file_bytes: u64,
    problems: &'a [String],
}

impl<'a> From<&'a CheckReport> for Checked<'a> {
    fn from(report: &'a CheckReport) -> Self {
        let CheckReport { store_id, oldest, head, events, event_bytes, tasks, specs, requests, file_bytes, problems } =
            report;
        Self {
            sound: report.is_sound(),
            store_id: store_id.to_string(),
            oldest: *oldest,
            head: *head,
            events: *events,
            event_bytes: *event_bytes,
            tasks: *tasks,
            specs: *specs,
            requests: *requests,
            file_bytes: *file_bytes,
            problems,
        }
    }
}

/// A report for people.
fn findings(report: &CheckReport, output: Output) -> String {
    const COLUMNS: [Column; 2] =
        [Column { title: "STORE", rank: 0, least: None }, Column { title: "", rank: 0, least: None }];
    let Checked { sound, store_id, oldest, head, events, event_bytes, tasks, specs, requests, file_bytes, problems } =
        Checked::from(report);
    let verdict = match problems.len() {
        0 if sound => "sound".to_owned(),
        1 => "1 problem".to_owned(),
        problems => format!("{problems} problems"),
    };
    let lines = [
        ("verdict", verdict),
        ("store id", store_id),
        ("events", format!("{events}, after {oldest} up to {head}, {}", words::bytes(event_bytes))),
        ("tasks", tasks.to_string()),
        ("specs", specs.to_string()),
        ("requests remembered", requests.to_string()),
        ("file", words::bytes(file_bytes)),
    ];
    let row = |(title, text): (&str, String)| vec![Cell::new(Tone::Plain, title), Cell::from(text)];
    let mut text = table::render(&COLUMNS, &lines.map(row), output.width, output.paint);
    for problem in problems {
        text += &format!("{}: {}\n", output.paint.text(Tone::Bad, "wrong"), clean(problem));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    #[command(name = "switchyard store")]
    struct Command {
        #[command(flatten)]
        store: Store,
    }

    #[test]
    fn every_tool_has_examples() {
        for tool in Command::command().get_subcommands() {
            let help = tool.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("switchyard store {}", tool.get_name())), "{}", tool.get_name());
        }
    }

    #[test]
    fn a_report_says_what_is_wrong_in_every_form() {
        let report = CheckReport { events: 7, problems: vec!["a\nb".to_owned()], ..CheckReport::default() };
        let output = Output { format: Format::Table, paint: super::super::output::Paint(false), width: Some(80) };
        let text = findings(&report, output);
        assert!(text.contains("verdict              1 problem\n") && text.ends_with("wrong: a b\n"), "{text}");
        let json = json::document(&Checked::from(&report), Format::Json).expect("written");
        assert!(json.contains(r#""sound":false"#) && json.contains(r#""problems":["a\nb"]"#), "{json}");
        assert!(findings(&CheckReport::default(), output).contains("verdict              sound\n"));
    }
}
