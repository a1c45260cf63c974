//! Looking back: `events`, and `watch --since`.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use serde_json::Value;

use super::process::{Said, Served};

fn start(served: &Served, names: &[&str]) {
    for name in names {
        let started = served.run(&["start", name, "--tcp", "127.0.0.1:1", "--wait"]);
        assert_eq!(started.code, 0, "{started:?}");
    }
}

fn events(said: &Said) -> Vec<Value> {
    assert_eq!(said.code, 0, "{said:?}");
    said.stdout.lines().map(|line| serde_json::from_str(line).expect("an event a line")).collect()
}

fn sequences(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["sequence"].as_str().expect("text").parse().expect("a number")).collect()
}

#[test]
fn the_newest_events_come_the_oldest_first_and_the_command_ends() {
    let served = Served::begin(&[]);
    let none = served.run(&["events"]);
    assert_eq!((none.code, none.stdout.as_str(), none.stderr.as_str()), (0, "", "no events\n"));
    start(&served, &["a", "b"]);
    let all = events(&served.run(&["events", "-o", "json"]));
    let numbers = sequences(&all);
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let newest = served.run(&["events", "-o", "json", "--limit", "2"]);
    assert_eq!((events(&newest).as_slice(), newest.stderr.as_str()), (&all[all.len() - 2..], ""));

    let of_a = events(&served.run(&["events", "a", "-o", "json", "--full"]));
    assert!(of_a.iter().all(|event| event["name"] == "namespaces/default/tasks/a" && event["task"].is_object()));
    let created = served.run(&["events", "-A", "--filter", "type = TASK_CREATED"]);
    let lines: Vec<_> = created.stdout.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("TASK_CREATED") && lines[0].contains("namespaces/default/tasks/a"));
    assert_eq!(served.run(&["events", "-n", "elsewhere"]).stderr, "no events\n");
    assert_eq!(served.run(&["events", "-o", "yaml", "--limit", "1"]).stdout.matches("---\n").count(), 1);
    for wrong in [["--limit", "0"], ["--since", "yesterday"], ["--filter", "state = RUNNING"]] {
        assert_eq!(served.run(&[&["events"], wrong.as_slice()].concat()).code, 2, "{wrong:?}");
    }
}

#[test]
fn what_is_older_is_passed_over() {
    let served = Served::begin(&[]);
    start(&served, &["a"]);
    let old = events(&served.run(&["events", "-o", "json"]));
    let last: Timestamp = old[old.len() - 1]["time"].as_str().expect("text").parse().expect("a time");
    let since = Timestamp::from(SystemTime::try_from(last).expect("in range") + Duration::from_nanos(1)).to_string();
    start(&served, &["b"]);
    let new = events(&served.run(&["events", "-o", "json", "--since", &since]));
    assert_eq!(sequences(&new)[0], old.len() as u64 + 1, "since {since}: {new:?}");
    let cut = served.run(&["events", "--since", &since, "--limit", "1"]);
    assert_eq!((cut.stdout.lines().count(), cut.stderr.as_str()), (1, "there are older ones; raise --limit\n"));

    let mut watch = served.follow(&["watch", "--since", &since, "-o", "json"]);
    let first = watch.until(|line| line["event"].is_object());
    assert_eq!(first["event"], new[0]);
    start(&served, &["c"]);
    watch.until(|line| line["event"]["name"] == "namespaces/default/tasks/c");
    assert_eq!(watch.interrupt(), Some(0));
    // By a clock that has gone a little.
    let recent = events(&served.run(&["events", "-o", "json", "--since", "1h"]));
    assert!(recent.len() > old.len() + new.len());
}

#[test]
fn where_less_is_kept_than_was_asked_for_that_is_told() {
    let served = Served::begin(&["--event-retention", "4"]);
    start(&served, &["a", "b", "c"]);
    let all = served.run(&["events", "--since", "1h", "-o", "json"]);
    assert_eq!(events(&all).len(), 4);
    assert!(all.stderr.starts_with("the server's events begin at ") && all.stderr.contains("later than"), "{all:?}");
    let some = served.run(&["events", "-o", "json"]);
    assert_eq!((events(&some).len(), some.stderr.as_str()), (4, ""));
}
