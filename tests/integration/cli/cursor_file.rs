//! `watch --cursor-file`: run after run without a gap or a repetition.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use super::process::{Following, Served, switchyard};
use crate::scratch::{Scratch, read};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The event's sequence, where the line is an event.
fn sequence(line: &Value) -> Option<u64> {
    line["event"]["sequence"].as_str().map(|text| text.parse().expect("a number"))
}

fn start(served: &Served, name: &str) {
    assert_eq!(served.run(&["start", name, "--tcp", "127.0.0.1:1", "--wait"]).code, 0);
}

/// Follows until the task runs, ends the watch, and says which events it has shown in all.
fn run(mut watch: Following, ready: &str, signal: Signal) -> (Option<i32>, Vec<u64>) {
    let mut seen = Vec::new();
    let ready = format!("namespaces/default/tasks/{ready}");
    watch.until(|line| {
        seen.extend(sequence(line));
        line["event"]["type"] == "EVENT_TYPE_INSTANCE_READY" && line["event"]["name"] == *ready
    });
    let (code, rest) = watch.end(signal);
    seen.extend(rest.iter().filter_map(sequence));
    (code, seen)
}

#[test]
fn runs_that_are_asked_to_end_show_every_event_once() {
    let scratch = Scratch::new("cursor-file");
    let file = scratch.join("cursor");
    let served = Served::begin(&[]);
    let watch = || served.follow(&["watch", "--cursor-file", text(&file), "-o", "json"]);
    let mut first = watch();
    first.until(|line| line["cursor"].is_string());
    start(&served, "a");
    let (code, mut seen) = run(first, "a", Signal::TERM);
    assert_eq!(code, Some(0));
    assert_eq!(fs::metadata(&file).expect("written").permissions().mode() & 0o777, 0o600);
    for (name, signal) in [("b", Signal::INT), ("c", Signal::TERM)] {
        // While nobody watches.
        start(&served, name);
        let (code, more) = run(watch(), name, signal);
        assert_eq!(code, Some(0));
        seen.extend(more);
    }
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
    assert_eq!(fs::read_dir(scratch.path()).expect("there").count(), 1, "nothing but the file");
}

#[test]
fn a_run_that_is_killed_misses_nothing() {
    let scratch = Scratch::new("cursor-file-killed");
    let file = scratch.join("cursor");
    let served = Served::begin(&[]);
    let watch = || served.follow(&["watch", "--cursor-file", text(&file), "-o", "json"]);
    let mut at_once = watch();
    at_once.until(|line| line["cursor"].is_string());
    assert_eq!(at_once.end(Signal::KILL), (None, Vec::new()));
    start(&served, "a");
    let (code, first) = run(watch(), "a", Signal::KILL);
    assert_eq!((code, first[0]), (None, 1));
    start(&served, "b");
    let (_, second) = run(watch(), "b", Signal::TERM);
    assert!(second[0] <= first[first.len() - 1] + 1, "{first:?} {second:?}");
    assert!(second.windows(2).all(|two| two[1] == two[0] + 1), "{second:?}");
}

#[test]
fn a_place_that_leads_nowhere_is_told_with_the_file_and_left_alone() {
    let scratch = Scratch::new("cursor-file-foreign");
    let file = scratch.join("cursor");
    let other = Served::begin(&[]);
    let foreign = other.run(&["info", "-o", "json"]).json()["headCursor"].as_str().expect("text").to_owned();
    fs::write(&file, format!("{foreign}\n")).expect("written");
    let served = Served::begin(&[]);
    let said = served.run(&["watch", "--cursor-file", text(&file)]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.stderr.contains("OUT_OF_RANGE, CURSOR_EXPIRED"), "{said:?}");
    assert!(said.stderr.contains(&format!("delete {} to go on", file.display())), "{said:?}");
    assert_eq!(read(&file), format!("{foreign}\n").as_bytes());

    fs::write(&file, "nonsense").expect("written");
    let said = served.run(&["watch", "--cursor-file", text(&file)]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.contains("does not hold a cursor; delete it"), "{said:?}");
    let nowhere = served.run(&["watch", "--cursor-file", text(&scratch.join("no/cursor"))]);
    assert_eq!(nowhere.code, 5, "{nowhere:?}");
    assert!(nowhere.stderr.contains("cannot write"), "{nowhere:?}");
    for conflicting in [["--cursor", "c"], ["--initial", "--since=1h"]] {
        let arguments = [&["watch", "--cursor-file", text(&file)], conflicting.as_slice()].concat();
        assert_eq!(switchyard(&arguments, "").code, 2, "{conflicting:?}");
    }
}
