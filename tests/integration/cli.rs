//! The real binary, as people and scripts use it: against a real `serve`, on ports of the system's choosing.

mod apply;
mod circuit;
mod cursor_file;
mod drain;
mod events;
mod history;
mod pause;
pub(crate) mod process;
mod store;
mod swap;

use process::{Served, switchyard};

#[test]
fn a_task_is_started_seen_cancelled_and_deleted() {
    let served = Served::begin(&[]);
    let url = format!("http://{}/healthz", served.http);
    let started = served.run(&["start", "self", "--http", &url, "--interval", "60s", "--label", "team=core", "--wait"]);
    assert_eq!((started.code, started.stdout.as_str()), (0, "self  RUNNING\n"), "{started:?}");

    let list = served.run(&["list", "--filter", "labels.team = core"]);
    let row = list.stdout.lines().nth(1).expect("a row");
    for text in ["self", "http", "RUNNING", "PASS", &url] {
        assert!(row.contains(text), "{text} is not in {row}");
    }
    let got = served.run(&["get", "self", "-o", "json"]).json();
    assert_eq!(got["state"], "STATE_RUNNING");
    assert_eq!(got["spec"]["schedule"]["interval"], "60s");
    assert!(served.run(&["get", "self"]).stdout.contains("Last check:  PASS"));

    let yaml = served.run(&["get", "self", "-o", "yaml"]).stdout;
    let copied = served.run_with(&["start", "copy", "-f", "-", "--interval", "30s"], &yaml);
    assert_eq!(copied.code, 0, "{copied:?}");
    assert_eq!(served.run(&["get", "copy", "-o", "json"]).json()["spec"]["schedule"]["interval"], "30s");
    let listed = served.run(&["list", "-o", "json"]).json();
    assert_eq!(listed["tasks"].as_array().map(Vec::len), Some(2));
    assert_eq!(served.run(&["list", "--limit", "1"]).stdout.lines().count(), 2);

    let waited = served.run(&["wait", "self", "--for", "stuck", "--timeout", "10ms"]);
    assert_eq!(waited.code, 1, "{waited:?}");
    let live = served.run(&["delete", "self"]);
    assert_eq!(live.code, 5, "{live:?}");
    assert!(live.stderr.contains("FAILED_PRECONDITION, TASK_LIVE"), "{live:?}");

    let cancelled = served.run(&["cancel", "self", "copy", "--reason", "done"]);
    assert_eq!(cancelled.code, 0, "{cancelled:?}");
    assert!(cancelled.stdout.starts_with("self  CANCELLED  GRACEFUL after CANCEL"), "{cancelled:?}");
    assert_eq!(served.run(&["wait", "self"]).code, 0);
    assert_eq!(served.run(&["wait", "self", "--for", "running"]).code, 1);
    assert_eq!(served.run(&["delete", "self", "copy"]).stdout, "self  deleted\ncopy  deleted\n");
    let gone = served.run(&["get", "self"]);
    assert_eq!((gone.code, gone.stdout.as_str()), (3, ""));
    assert!(gone.stderr.contains("NOT_FOUND, TASK_NOT_FOUND"), "{gone:?}");
    assert_eq!(served.run(&["list"]).stderr, "no tasks\n");
    assert!(served.run(&["info"]).stdout.contains("head cursor"));
}

#[test]
fn what_is_wrong_is_told_field_by_field_and_by_exit_code() {
    let served = Served::begin(&[]);
    let bad = served.run(&["start", "Api", "--http", "ftp://a", "--interval", "1ms", "--abort", "1h"]);
    assert_eq!(bad.code, 2, "{bad:?}");
    assert!(bad.stderr.contains("(INVALID_ARGUMENT, INVALID_FIELD)\n"), "{bad:?}");
    for field in ["task_id", "task.spec.http.url", "task.spec.schedule.interval", "task.spec.shutdown.abort_timeout"] {
        assert!(bad.stderr.contains(&format!("\n  {field}: ")), "{field} is not in {}", bad.stderr);
    }
    let file = served.run_with(&["start", "api", "-f", "-"], "spec:\n  htp: {}\n");
    assert_eq!(file.code, 2);
    assert!(file.stderr.contains("-:2:3: spec: there is no field \"htp\""), "{file:?}");

    assert_eq!(served.run(&["start", "api", "--tcp", "127.0.0.1:1"]).code, 0);
    let again = served.run(&["start", "api", "--tcp", "127.0.0.1:1"]);
    assert_eq!(again.code, 5, "{again:?}");
    assert!(again.stderr.contains("ALREADY_EXISTS, TASK_EXISTS"), "{again:?}");
    let both = served.run(&["cancel", "api", "nobody"]);
    assert_eq!(both.code, 3, "{both:?}");
    assert!(both.stdout.starts_with("api  CANCELLED") && both.stderr.starts_with("nobody: error: "), "{both:?}");

    assert_eq!(switchyard(&["list", "--server", "127.0.0.1:1"], "").code, 4);
    assert_eq!(switchyard(&["list", "--server", "nowhere"], "").code, 2);
    assert_eq!(switchyard(&["bogus"], "").code, 2);
    assert_eq!(switchyard(&["start", "api", "--interval", "5"], "").code, 2);
    assert_eq!(switchyard(&["--help"], "").code, 0);
    let config = switchyard(&["serve", "--max-tasks", "0", "--listen", "here"], "");
    assert_eq!(config.code, 2);
    for problem in ["flag --max-tasks: must be 1 to 10000000, not 0", "flag --listen: expected an IP address"] {
        assert!(config.stderr.contains(problem), "{config:?}");
    }
}

#[test]
fn a_watch_tells_events_as_they_come_and_ends_when_asked() {
    let served = Served::begin(&[]);
    let mut watch = served.follow(&["watch", "--initial", "-o", "json"]);
    watch.until(|line| line["initialComplete"] == true);
    served.run(&["start", "api", "--tcp", "127.0.0.1:1"]);
    let created = watch.until(|line| line["event"]["type"] == "EVENT_TYPE_TASK_CREATED");
    assert_eq!(created["event"]["name"], "namespaces/default/tasks/api");
    let cursor = watch.until(|line| line["cursor"].is_string())["cursor"].as_str().expect("text").to_owned();
    assert_eq!(watch.interrupt(), Some(0));

    served.run(&["cancel", "api"]);
    let mut later = served.follow(&["watch", "api", "--cursor", &cursor, "-o", "json"]);
    later.until(|line| line["event"]["type"] == "EVENT_TYPE_TASK_ENDED");
    assert_eq!(later.interrupt(), Some(0));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let served = Served::begin(&[]);
    assert_eq!(served.without_reader(&["info"]), Some(0));
}

#[test]
fn a_stuck_task_is_a_negative_outcome() {
    let served = Served::begin(&["--enable-drills"]);
    let drill = r#"{"behaviour": "block_thread", "duration": "15s"}"#;
    let flags = ["--kind", "drill", "--config", drill, "--grace", "0s", "--abort", "100ms", "--wait"];
    let started = served.run(&[&["start", "blocker"], flags.as_slice()].concat());
    assert_eq!(started.code, 0, "{started:?}");
    let cancelled = served.run(&["cancel", "blocker"]);
    assert_eq!(cancelled.code, 1, "{cancelled:?}");
    assert!(cancelled.stdout.starts_with("blocker  STUCK"), "{cancelled:?}");
    assert_eq!(served.run(&["wait", "blocker"]).code, 0);
}

#[test]
fn many_that_are_cancelled_together_are_all_asked_before_any_is_waited_for() {
    let served = Served::begin(&["--enable-drills"]);
    let drill = r#"{"behaviour": "ignore_cancel", "duration": "1h"}"#;
    let names: Vec<_> = (0..70).map(|n| format!("ignorer-{n}")).collect();
    for name in &names {
        let started = served.run(&["start", name, "--kind", "drill", "--config", drill, "--grace", "10s"]);
        assert_eq!(started.code, 0, "{started:?}");
    }
    let cancel: Vec<_> = ["cancel"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let cancelled = served.run(&cancel);
    assert_eq!((cancelled.code, cancelled.stdout.lines().count()), (0, names.len()), "{cancelled:?}");
    let listed = served.run(&["list", "-o", "json"]).json();
    let times = |path: &str| -> Vec<prost_types::Timestamp> {
        let tasks = listed["tasks"].as_array().expect("a list").iter();
        tasks.map(|task| task.pointer(path).expect(path).as_str().expect("text").parse().expect("a time")).collect()
    };
    let (asked, ended) = (times("/instance/shutdown/askedTime"), times("/instance/stopTime"));
    let last_asked = asked.iter().map(|time| (time.seconds, time.nanos)).max();
    let first_ended = ended.iter().map(|time| (time.seconds, time.nanos)).min();
    assert!(last_asked < first_ended, "{last_asked:?} {first_ended:?}");
}

#[test]
fn sigterm_drains_and_a_second_one_forces() {
    let served = Served::begin(&[]);
    assert_eq!(served.run(&["start", "api", "--tcp", "127.0.0.1:1", "--wait"]).code, 0);
    assert_eq!(served.terminate(), Some(0));

    let served = Served::begin(&["--enable-drills"]);
    let drill = r#"{"behaviour": "ignore_cancel"}"#;
    let flags = ["--kind", "drill", "--config", drill, "--grace", "60s", "--wait"];
    assert_eq!(served.run(&[&["start", "ignorer"], flags.as_slice()].concat()).code, 0);
    let mut watch = served.follow(&["watch", "--initial", "-o", "json"]);
    watch.until(|line| line["initialComplete"] == true);
    served.signal();
    watch.until(|line| line["event"]["type"] == "EVENT_TYPE_SERVER_DRAINING");
    assert_eq!(served.terminate(), Some(11));
}
