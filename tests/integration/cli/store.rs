//! The data directory: what survives in it, who may hold it, and the tools for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::process::{Said, Served, switchyard};
use crate::scratch::{Scratch, read};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").permissions().mode() & 0o777
}

fn tool(tool: &[&str], data_dir: &Path) -> Said {
    switchyard(&[&["store"], tool, &["--data-dir", text(data_dir)]].concat(), "")
}

fn serve(data_dir: &Path) -> Said {
    let any = "127.0.0.1:0";
    switchyard(&["serve", "--listen", any, "--http-listen", any, "--data-dir", text(data_dir)], "")
}

fn start(served: &Served, name: &str) {
    let started = served.run(&["start", name, "--tcp", "127.0.0.1:1", "--wait"]);
    assert_eq!(started.code, 0, "{started:?}");
}

fn names(served: &Served) -> Vec<String> {
    let listed = served.run(&["list", "-o", "json"]).json();
    let tasks = listed["tasks"].as_array().cloned().unwrap_or_default();
    tasks.iter().map(|task| task["name"].as_str().expect("text").to_owned()).collect()
}

fn head(served: &Served) -> String {
    served.run(&["info", "-o", "json"]).json()["headCursor"].as_str().expect("text").to_owned()
}

/// A directory with a store that has seen some tasks; no server holds it.
fn stored(scratch: &Scratch) -> PathBuf {
    let data_dir = scratch.join("data");
    let served = Served::begin_in(&data_dir, &[]);
    start(&served, "a");
    start(&served, "b");
    assert_eq!(served.terminate(), Some(0));
    data_dir
}

#[test]
fn nobody_else_can_look_into_it_and_a_clean_end_leaves_no_socket() {
    let scratch = Scratch::new("store-modes");
    let data_dir = scratch.join("deep/data");
    let served = Served::begin_in(&data_dir, &[]);
    assert_eq!(mode(&data_dir), 0o700);
    let mut files: Vec<_> = fs::read_dir(&data_dir).expect("there").map(|entry| entry.expect("read").path()).collect();
    files.sort();
    assert!(files.iter().any(|file| file.ends_with("control")), "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    assert_eq!(served.terminate(), Some(0));
    assert!(!data_dir.join("control").exists());
}

#[test]
fn a_directory_that_others_may_look_into_is_warned_of_once() {
    let scratch = Scratch::new("store-open");
    let data_dir = scratch.join("data");
    fs::create_dir(&data_dir).expect("made");
    let log = |mode: u32| {
        fs::set_permissions(&data_dir, fs::Permissions::from_mode(mode)).expect("set");
        let any = "127.0.0.1:0";
        let flags = ["serve", "--listen", any, "--http-listen", any, "--data-dir", text(&data_dir)];
        let mut served = super::process::Alone::begin(scratch.path(), &flags);
        served.until("--initial");
        served.interrupt();
        served.end().0.stderr
    };
    let warnings = |log: &str| log.lines().filter(|line| line.contains("others may look into the data")).count();
    let open = log(0o755);
    assert_eq!(warnings(&open), 1, "{open}");
    assert!(open.contains("WARN") && open.contains("755") && open.contains(text(&data_dir)), "{open}");
    for closed in [0o700, 0o750] {
        let log = log(closed);
        assert_eq!(warnings(&log), 0, "{closed:o}: {log}");
    }
}

#[test]
fn a_server_in_memory_writes_nothing() {
    let scratch = Scratch::new("store-memory");
    let mut served = super::process::Alone::begin(
        scratch.path(),
        &["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--store", "memory"],
    );
    assert!(served.until("--initial").contains("store  memory: tasks and events do not survive a restart"));
    served.interrupt();
    assert_eq!(served.end().0.code, 0);
    assert_eq!(fs::read_dir(scratch.path()).expect("there").count(), 0);
}

#[test]
fn tasks_events_and_cursors_survive_a_kill() {
    let scratch = Scratch::new("store-killed");
    let (data_dir, file) = (scratch.join("data"), scratch.join("cursor"));
    let served = Served::begin_in(&data_dir, &[]);
    let watch = |served: &Served| served.follow(&["watch", "--cursor-file", text(&file), "-o", "json"]);
    let sequence = |line: &serde_json::Value| {
        line["event"]["sequence"].as_str().map(|text| text.parse::<u64>().expect("a number"))
    };
    let mut first = watch(&served);
    first.until(|line| line["cursor"].is_string());
    start(&served, "a");
    let mut seen = Vec::new();
    first.until(|line| {
        seen.extend(sequence(line));
        line["event"]["type"] == "EVENT_TYPE_INSTANCE_READY"
    });
    let (code, rest) = first.end(Signal::TERM);
    seen.extend(rest.iter().filter_map(sequence));
    assert_eq!(code, Some(0));
    start(&served, "b");
    let before = served.run(&["events", "-o", "json"]).stdout;
    served.kill();

    let served = Served::begin_in(&data_dir, &[]);
    assert!(served.run(&["events", "-o", "json"]).stdout.starts_with(&before), "what was answered is there");
    assert_eq!(names(&served), ["namespaces/default/tasks/a", "namespaces/default/tasks/b"]);
    for name in ["a", "b"] {
        assert_eq!(served.run(&["wait", name, "--for", "running"]).code, 0, "it runs again");
    }
    start(&served, "c");
    let mut second = watch(&served);
    second.until(|line| {
        seen.extend(sequence(line));
        line["event"]["type"] == "EVENT_TYPE_INSTANCE_READY" && line["event"]["name"] == "namespaces/default/tasks/c"
    });
    second.end(Signal::TERM);
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>(), "each once, across the servers");
}

#[test]
fn a_directory_that_is_held_is_left_to_its_holder() {
    let scratch = Scratch::new("store-held");
    let data_dir = scratch.join("data");
    let served = Served::begin_in(&data_dir, &[]);
    let holder = served.id().to_string();
    for said in [serve(&data_dir), tool(&["check"], &data_dir), tool(&["compact"], &data_dir)] {
        assert_eq!(said.code, 5, "{said:?}");
        assert!(said.stderr.contains("is in use") && said.stderr.contains(&holder), "{said:?}");
        assert!(said.stderr.contains("stop that"), "it says what to do: {said:?}");
    }
    start(&served, "still-served");
}

#[test]
fn the_tools_work_on_a_directory_that_nobody_holds() {
    let scratch = Scratch::new("store-tools");
    let data_dir = stored(&scratch);
    let checked = tool(&["check"], &data_dir);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.stdout.contains("sound"), "{checked:?}");
    let report = tool(&["check", "-o", "json"], &data_dir).json();
    assert_eq!((report["sound"].as_bool(), report["tasks"].as_u64()), (Some(true), Some(2)));
    assert_eq!(report["events"], report["head"], "nothing was trimmed: {report}");
    let compacted = tool(&["compact", "-o", "json"], &data_dir);
    assert_eq!(compacted.code, 0, "{compacted:?}");
    let sizes = compacted.json();
    assert!(sizes["bytesAfter"].as_u64() <= sizes["bytesBefore"].as_u64(), "{sizes}");
    assert!(tool(&["compact", "-o", "yaml"], &data_dir).stdout.contains("bytesAfter"));
    assert!(tool(&["compact"], &data_dir).stdout.contains(" before, "));

    let elsewhere = Scratch::new("store-tools-elsewhere");
    for nothing in [scratch.join("nowhere"), scratch.path().to_owned()] {
        for arguments in [&["check"][..], &["compact"], &["backup", text(&elsewhere.join("copy"))]] {
            let said = tool(arguments, &nothing);
            assert_eq!(said.code, 2, "{said:?}");
            assert!(said.stderr.contains("there is no store in"), "{said:?}");
        }
    }
    assert!(!scratch.join("nowhere").exists(), "nothing is made");
}

#[test]
fn a_backup_of_a_running_server_is_of_one_moment_and_a_store_of_its_own() {
    let scratch = Scratch::new("store-backup");
    let (data_dir, copy) = (scratch.join("data"), scratch.join("copy"));
    let served = Served::begin_in(&data_dir, &[]);
    start(&served, "a");
    let cursor = head(&served);
    let made = tool(&["backup", text(&copy), "-o", "json"], &data_dir);
    assert_eq!(made.code, 0, "{made:?}");
    let made = made.json();
    assert_eq!((made["online"].as_bool(), made["dest"].as_str()), (Some(true), copy.to_str()));
    assert_eq!(mode(&copy), 0o700);
    start(&served, "after-the-backup");

    let again = tool(&["backup", text(&copy)], &data_dir);
    assert_eq!(again.code, 5, "{again:?}");
    assert!(again.stderr.contains("exists; a copy goes to a new directory"), "{again:?}");
    let nowhere = tool(&["backup", text(&scratch.join("no/where"))], &data_dir);
    assert_eq!(nowhere.code, 5, "{nowhere:?}");
    assert!(nowhere.stderr.contains("did not make the backup: writing the backup to"), "{nowhere:?}");

    let restored = Served::begin_in(&copy, &[]);
    assert_eq!(names(&restored), ["namespaces/default/tasks/a"]);
    let refused = restored.run(&["watch", "--cursor", &cursor]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains("CURSOR_EXPIRED"), "{refused:?}");
    assert!(restored.run(&["events"]).stdout.contains("TASK_CREATED"));
    assert_eq!(restored.terminate(), Some(0));
    assert_eq!(tool(&["check"], &copy).code, 0);
    assert_eq!(names(&served).len(), 2, "the original goes on");
}

#[test]
fn a_backup_into_the_data_directory_is_refused_with_and_without_a_server() {
    let scratch = Scratch::new("store-backup-inside");
    let data_dir = stored(&scratch);
    let refused = || {
        let inside = tool(&["backup", text(&data_dir.join("copy"))], &data_dir);
        assert_eq!(inside.code, 2, "{inside:?}");
        assert!(inside.stderr.contains("lies in the data directory itself"), "{inside:?}");
        assert!(!data_dir.join("copy").exists());
    };
    refused();
    let _served = Served::begin_in(&data_dir, &[]);
    refused();
}

#[test]
fn a_backup_needs_no_server() {
    let scratch = Scratch::new("store-backup-offline");
    let (data_dir, copy) = (stored(&scratch), scratch.join("copy"));
    let made = tool(&["backup", text(&copy)], &data_dir);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.stdout.contains("no server was running"), "{made:?}");
    let exists = tool(&["backup", text(&copy)], &data_dir);
    assert_eq!(exists.code, 2, "{exists:?}");
    // In the place of the original.
    fs::remove_dir_all(&data_dir).expect("removed");
    fs::rename(&copy, &data_dir).expect("moved");
    assert_eq!(names(&Served::begin_in(&data_dir, &[])).len(), 2);
}

#[test]
fn a_damaged_store_is_told_of_and_not_served() {
    let scratch = Scratch::new("store-damaged");
    let data_dir = stored(&scratch);
    let file = data_dir.join("journal.redb");
    fs::write(&file, [b'x'; 8_192]).expect("written");
    let served = serve(&data_dir);
    assert_eq!(served.code, 5, "{served:?}");
    assert!(served.stderr.contains("is damaged") && served.stderr.contains("restore a backup"), "{served:?}");
    let checked = tool(&["check"], &data_dir);
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(checked.stderr.contains("is damaged"), "{checked:?}");
    assert_eq!(read(&file), [b'x'; 8_192], "it is left as it is");
}

#[test]
fn a_drain_in_the_midst_of_changes_loses_none_that_was_answered() {
    let scratch = Scratch::new("store-drained");
    let data_dir = scratch.join("data");
    let served = Served::begin_in(&data_dir, &[]);
    let started: Vec<_> = (0..20).map(|n| format!("t-{n}")).collect();
    for name in &started {
        assert_eq!(served.run(&["start", name, "--tcp", "127.0.0.1:1"]).code, 0);
    }
    assert_eq!(served.run(&["cancel", "t-0"]).code, 0);
    assert_eq!(served.terminate(), Some(0));
    let served = Served::begin_in(&data_dir, &[]);
    assert_eq!(names(&served).len(), started.len());
    assert_eq!(served.run(&["get", "t-0", "-o", "json"]).json()["state"], "STATE_CANCELLED");
    assert_eq!(served.run(&["wait", "t-19", "--for", "running"]).code, 0, "a drain is no cancel");
}
