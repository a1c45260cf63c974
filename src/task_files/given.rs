//! Which files are read.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::STDIN;

/// The files at these paths, each once: one that is given twice is a problem.
pub(super) fn files(paths: &[PathBuf], problems: &mut Vec<String>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        match fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => {
                let mut inside: Vec<_> =
                    entries.into_iter().map(|entry| entry.path()).filter(|p| is_task_file(p)).collect();
                inside.sort();
                files.extend(inside);
            }
            Err(error) => problems.push(format!("cannot read {}: {error}", path.display())),
        }
    }
    let mut first: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    files.retain(|file| match first.entry(identity(file)) {
        Entry::Vacant(vacant) => {
            vacant.insert(file.clone());
            true
        }
        Entry::Occupied(first) => {
            let (file, first) = (file.display(), first.get().display().to_string());
            let also = if file.to_string() == first { String::new() } else { format!(", also as {first}") };
            problems.push(format!("{file}: the same file is given twice{also}"));
            false
        }
    });
    files
}

/// What a file is known by, whichever way it was given.
fn identity(file: &Path) -> PathBuf {
    // Where there is none, reading it tells.
    if file == Path::new(STDIN) { file.to_owned() } else { file.canonicalize().unwrap_or_else(|_| file.to_owned()) }
}

fn is_task_file(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let extension = path.extension().and_then(|extension| extension.to_str());
    // Whatever it is: one that cannot be read is not to count as one that is not there.
    !hidden && matches!(extension, Some("yaml" | "yml" | "json" | "toml"))
}

/// Whether a text that bears no name begins as TOML does: with `key =`, `[table]` or `[[tasks]]`. None of them begins a task in YAML.
pub(super) fn looks_like_toml(text: &str) -> bool {
    let lines = text.lines().map(str::trim);
    let Some(line) = lines.into_iter().find(|line| !line.is_empty() && !line.starts_with('#')) else { return false };
    let is_key = |key: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || "_-.\"' ".contains(c);
        !key.is_empty() && key.chars().all(known)
    };
    let line = line.split(" #").next().unwrap_or(line).trim_end();
    match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
        Some(table) => is_key(table.trim_start_matches('[').trim_end_matches(']')),
        None => line.split_once('=').is_some_and(|(key, _)| is_key(key.trim_end())),
    }
}
