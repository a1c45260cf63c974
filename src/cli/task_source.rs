//! Where the task that a command sends comes from: flags, a file, or both.

use std::io::Read;
use std::{fs, io};

use clap::Args;

use super::Failure;
use super::spec_flags::SpecFlags;
use crate::pb::v1;
use crate::task_files;

/// A task as a file and flags describe it; a flag replaces the file's field.
#[derive(Args, Clone, Debug)]
pub(super) struct TaskSource {
    /// A file with the task; - is the standard input.
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    #[command(flatten)]
    flags: SpecFlags,
}

impl TaskSource {
    /// Whether nothing is said of a task.
    pub(super) fn is_empty(&self) -> bool {
        self.file.is_none() && self.flags == SpecFlags::default()
    }

    /// The task and its name: the one given, or else the file's.
    pub(super) fn task(self, name: Option<String>) -> Result<(String, v1::Task), Failure> {
        let mut task = match &self.file {
            Some(file) => task_files::one(file, &read(file)?).map_err(Failure::Usage)?,
            None => v1::Task::default(),
        };
        self.flags.apply(&mut task)?;
        match (name, task.name.is_empty()) {
            (Some(name), _) => Ok((name, task)),
            (None, false) => Ok((task.name.clone(), task)),
            (None, true) => Err(Failure::Usage("the task has no name: give NAME".to_owned())),
        }
    }
}

/// Reads a file.
fn read(file: &str) -> Result<String, Failure> {
    const MOST: u64 = 4 * 1024 * 1024;
    let failed = |error: io::Error| Failure::Usage(format!("cannot read {file}: {error}"));
    let input: Box<dyn Read> = match file {
        "-" => Box::new(io::stdin().lock()),
        path => Box::new(fs::File::open(path).map_err(failed)?),
    };
    let mut text = String::new();
    let read = input.take(MOST + 1).read_to_string(&mut text).map_err(failed)?;
    if u64::try_from(read).is_ok_and(|read| read <= MOST) {
        Ok(text)
    } else {
        Err(Failure::Usage(format!("{file} is larger than a request may be, {MOST} bytes")))
    }
}
