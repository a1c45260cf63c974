//! `apply`, with files.

use std::fs;
use std::net::TcpListener;

use super::process::{Said, Served, switchyard};
use crate::scratch::Scratch;

fn apply(served: &Served, directory: &Scratch, flags: &[&str]) -> Said {
    let path = directory.path().to_str().expect("UTF-8");
    served.run(&[&["apply", "-f", path, "--owner", "core"], flags].concat())
}

#[test]
fn files_are_applied_changed_pruned_and_nothing_is_done_twice() {
    let served = Served::begin(&[]);
    let directory = Scratch::new("apply");
    let tcp = |name: &str, port: u16| format!("name: {name}\nspec:\n  tcp: {{address: '127.0.0.1:{port}'}}\n");
    let many = format!("{}---\n{}", tcp("a", 1), tcp("b", 1));
    fs::write(directory.path().join("many.yaml"), many).expect("written");
    fs::write(directory.path().join("c.toml"), "[[tasks]]\nname = 'c'\nspec.tcp.address = '127.0.0.1:1'\n")
        .expect("written");

    let dry = apply(&served, &directory, &["--dry-run"]);
    let lines =
        "create  c  there is no such task\ncreate  a  there is no such task\ncreate  b  there is no such task\n";
    assert_eq!((dry.code, dry.stdout.as_str()), (0, &*format!("3 to create\n{lines}")), "{dry:?}");
    assert_eq!(served.run(&["list"]).stderr, "no tasks\n");
    let first = apply(&served, &directory, &[]);
    assert_eq!(
        (first.code, first.stdout.as_str()),
        (0, &*format!("3 to create\n{lines}SUCCEEDED  3 created\n")),
        "{first:?}"
    );
    let cursor = || served.run(&["info", "-o", "json"]).json()["headCursor"].clone();
    served.run(&["wait", "a", "--for", "running"]);
    let head = cursor();
    let again = apply(&served, &directory, &["--prune"]);
    assert_eq!((again.code, again.stdout.as_str()), (0, "SUCCEEDED  3 as they were\n"), "{again:?}");
    // The others may just have become ready; no task was touched.
    let events = served.run(&["events", "-o", "json", "--since", "1h"]).stdout;
    assert!(!events.contains("SWAP_STARTED") && head.is_string(), "{events}");

    fs::write(directory.path().join("many.yaml"), tcp("a", 2)).expect("written");
    let changed = apply(&served, &directory, &["--prune", "-o", "json"]);
    assert_eq!(changed.code, 0, "{changed:?}");
    let told = changed.json();
    assert_eq!(told["result"]["outcome"], "APPLY_OUTCOME_SUCCEEDED");
    assert_eq!(told["result"]["counts"]["swapped"], 1);
    assert_eq!(told["result"]["counts"]["cancelled"], 1);
    let actions: Vec<_> = told["plan"].as_array().expect("a list").iter().map(|item| item["action"].clone()).collect();
    assert_eq!(actions, ["APPLY_ACTION_LEAVE", "APPLY_ACTION_SWAP", "APPLY_ACTION_CANCEL"]);
    assert_eq!(served.run(&["get", "b", "-o", "json"]).json()["state"], "STATE_CANCELLED");
    // What `list` writes is a set, too; what has ended is in it.
    let listed = served.run(&["list", "--filter", "labels.owner = core", "-o", "yaml"]).stdout;
    let back = served.run_with(&["apply", "-f", "-", "--owner", "core", "--dry-run"], &listed);
    assert_eq!(
        (back.code, back.stdout.as_str()),
        (0, "1 to create, 2 as they are\ncreate  b  it was cancelled\n"),
        "{back:?}"
    );
}

#[test]
fn what_is_wrong_is_told_by_file_and_what_fails_by_task() {
    let served = Served::begin(&[]);
    let directory = Scratch::new("apply");
    let file = directory.path().join("a.yaml");
    fs::write(&file, "name: a\nspecs: {}\n---\nspec: {tcp: {address: 5}}\n").expect("written");
    let bad = apply(&served, &directory, &[]);
    assert_eq!(bad.code, 2, "{bad:?}");
    for line in ["a.yaml:2:1: task: there is no field \"specs\"", "a.yaml:4:23: spec.tcp.address: invalid type"] {
        assert!(bad.stderr.contains(line), "{line} is not in {}", bad.stderr);
    }
    fs::write(&file, "name: a\nspec: {tcp: {address: x}}\n---\nname: B\nspec: {http: {url: 'ftp://x'}}\n")
        .expect("written");
    let refused = apply(&served, &directory, &[]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.starts_with("error: the tasks are invalid (INVALID_ARGUMENT, INVALID_FIELD)\n"),
        "{refused:?}"
    );
    for line in ["a.yaml:1:1: spec.tcp.address: ", "a.yaml:4:1: name: ", "a.yaml:4:1: spec.http.url: "] {
        assert!(refused.stderr.contains(line), "{line} is not in {}", refused.stderr);
    }
    assert_eq!(served.run(&["apply", "-f", "nowhere.yaml"]).code, 2);
    assert_eq!(served.run(&["apply", "-f", "nowhere.yaml", "--prune"]).code, 2, "whose?");

    let tcp = |address: &str, more: &str| format!("name: d\nspec:\n  tcp: {{address: '{address}'{more}}}\n");
    fs::write(&file, tcp("127.0.0.1:1", "")).expect("written");
    assert_eq!(apply(&served, &directory, &[]).code, 0);
    served.run(&["wait", "d", "--for", "running"]);
    assert_eq!(served.run(&["start", "e", "--tcp", "127.0.0.1:1"]).code, 0);
    // It accepts connections and never says a word, so that the new instance is not ready.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    let unready =
        tcp(&address, ", steps: [{expect: eA==}]") + "  schedule: {timeout: 10s}\n  swap: {readinessTimeout: 100ms}\n";
    fs::write(&file, unready + "---\nname: e\nspec: {tcp: {address: '127.0.0.1:2'}}\n").expect("written");
    let failed = apply(&served, &directory, &["--on-failure", "roll-back"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    let lines: Vec<_> = failed.stdout.lines().collect();
    assert_eq!((lines[0], lines[2]), ("1 to swap, 1 refused", "swap    d  the spec is another"));
    assert!(
        lines[1].starts_with("refuse  e  namespaces/default/tasks/e has no owner")
            && lines[1].ends_with("(OWNED_BY_OTHER)")
    );
    assert!(lines[3].starts_with("failed  d  swap: the swap is ROLLED_BACK: the candidate was not ready within 100ms"));
    assert_eq!(lines[4..], ["ROLLED_BACK  2 failed"]);
}

#[test]
fn a_server_reads_its_task_files_on_sighup() {
    let directory = Scratch::new("apply");
    let path = directory.path().to_str().expect("UTF-8");
    fs::write(directory.join("a.yaml"), "name: a\nspec: {tcp: {address: '127.0.0.1:1'}}\n").expect("written");
    let served = Served::begin(&["--tasks", path, "--tasks-owner", "core"]);
    let mut watch = served.follow(&["watch", "--since", "1h", "-o", "json"]);
    let created = watch.until(|line| line["event"]["type"] == "EVENT_TYPE_TASK_CREATED");
    assert_eq!(created["event"]["cause"]["actor"], format!("file:{path}"));
    fs::write(directory.join("a.yaml"), "name: b\nspec: {tcp: {address: '127.0.0.1:1'}}\n").expect("written");
    served.hang_up();
    watch.until(|line| {
        line["event"]["type"] == "EVENT_TYPE_TASK_ENDED" && line["event"]["name"] == "namespaces/default/tasks/a"
    });
    assert_eq!(watch.interrupt(), Some(0));
    assert_eq!(served.terminate(), Some(0));

    fs::write(directory.join("a.yaml"), "name: b\n").expect("written");
    let refused = super::switchyard(&["serve", "--tasks", path, "--store", "memory"], "");
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("a.yaml:1:1: spec: required"), "{refused:?}");
}

#[test]
fn a_set_is_taken_from_stdin_in_each_format_and_from_no_place_that_cannot_be_read_again() {
    let served = Served::begin(&[]);
    let toml = "[[tasks]]\nname = 't'\nspec.tcp.address = '127.0.0.1:1'\n";
    let yaml = "name: t\nspec:\n  tcp: {address: '127.0.0.1:1'}\n";
    let json = "{\"name\": \"t\", \"spec\": {\"tcp\": {\"address\": \"127.0.0.1:1\"}}}";
    let planned = "1 to create\ncreate  t  there is no such task\n";
    for (format, text) in [("TOML", toml), ("YAML", yaml), ("JSON", json)] {
        let dry = served.run_with(&["apply", "-f", "-", "--owner", "core", "--dry-run"], text);
        assert_eq!((dry.code, dry.stdout.as_str()), (0, planned), "{format}: {dry:?}");
    }

    let directory = Scratch::new("twice");
    let file = directory.path().join("a.yaml");
    fs::write(&file, yaml).expect("written");
    let file = file.to_str().expect("UTF-8");
    let twice = served.run(&["apply", "-f", file, "-f", file, "--owner", "core"]);
    assert_eq!(twice.code, 2, "{twice:?}");
    assert!(twice.stderr.contains("given twice"), "{twice:?}");

    let flags = ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--store", "memory", "--tasks", "-"];
    let refused = switchyard(&[&["serve"], &flags[..]].concat(), yaml);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("--tasks") && refused.stderr.contains("SIGHUP"), "{refused:?}");
}
