//! `pause`, `resume`, `run`, and how `list` and `get` show what rests and what blocks.

use super::process::{Served, switchyard};

fn drill(served: &Served, name: &str, config: &str, flags: &[&str]) {
    let started = served.run(&[&["start", name, "--kind", "drill", "--config", config, "--wait"], flags].concat());
    assert_eq!(started.code, 0, "{started:?}");
}

const COOPERATIVE: &str = r#"{"behaviour": "cooperative"}"#;

#[test]
fn tasks_are_paused_shown_and_resumed_by_the_dozen() {
    let served = Served::begin(&["--enable-drills"]);
    for name in ["api", "db"] {
        drill(&served, name, COOPERATIVE, &[]);
    }
    let paused = served.run(&["pause", "api", "db", "--reason", "night shift", "--wait"]);
    let expected = "api  PAUSED  until it is resumed: night shift\ndb  PAUSED  until it is resumed: night shift\n";
    assert_eq!((paused.code, paused.stdout.as_str()), (0, expected), "{paused:?}");
    assert_eq!(served.run(&["wait", "api", "--for", "paused"]).stdout, "api  PAUSED\n");
    let list = served.run(&["list"]).stdout;
    for text in ["PAUSED  ", "until resumed: night shift"] {
        assert!(list.contains(text), "{text} is not in\n{list}");
    }
    let got = served.run(&["get", "api"]).stdout;
    for line in ["State:       PAUSED\n", "Paused:      until it is resumed: night shift\n", ", suspended"] {
        assert!(got.contains(line), "{line} is not in\n{got}");
    }

    let moved = served.run(&["pause", "api", "--for", "2h", "-o", "json"]);
    assert!(moved.json()["task"]["pause"]["expireTime"].is_string(), "{moved:?}");
    let until = served.run(&["pause", "api", "--until", "2099-01-01T02:00:00+02:00"]);
    assert_eq!(until.stdout, "api  PAUSED  until 2099-01-01T00:00:00.000Z\n", "{until:?}");
    let resumed = served.run(&["resume", "api", "db", "--wait"]);
    assert_eq!((resumed.code, resumed.stdout.as_str()), (0, "api  RUNNING\ndb  RUNNING\n"), "{resumed:?}");
    assert!(!served.run(&["list"]).stdout.contains("PAUSED"));
}

#[test]
fn a_pause_that_cannot_be_is_told_by_name_and_exit_code() {
    let served = Served::begin(&["--enable-drills"]);
    drill(&served, "api", COOPERATIVE, &[]);
    let both = served.run(&["pause", "nobody", "api", "--wait"]);
    assert_eq!(both.code, 3, "{both:?}");
    assert!(both.stdout.starts_with("api  PAUSED") && both.stderr.starts_with("nobody: error: "), "{both:?}");
    let past = served.run(&["pause", "api", "--until", "2020-01-01T00:00:00Z"]);
    assert_eq!(past.code, 2, "{past:?}");
    assert!(past.stderr.contains("expire_time: must lie in the future"), "{past:?}");
    for flags in [["--until", "2099-01-01T00:00:00"], ["--until", "tomorrow"], ["--for", "0s"]] {
        assert_eq!(switchyard(&[&["pause", "api"], &flags[..]].concat(), "").code, 2, "{flags:?}");
    }
    let several = served.run(&["pause", "api", "db", "--etag", "x"]);
    assert!((several.code, several.stderr.contains("is for one task")) == (2, true), "{several:?}");
    let stale = served.run(&["resume", "api", "--etag", "x"]);
    assert_eq!(stale.code, 5, "{stale:?}");
    assert!(stale.stderr.contains("ABORTED, ETAG_MISMATCH"), "{stale:?}");
    assert_eq!(served.run(&["cancel", "api"]).code, 0);
    let ended = served.run(&["pause", "api"]);
    assert!((ended.code, ended.stderr.contains("TASK_NOT_RUNNING")) == (5, true), "{ended:?}");
}

#[test]
fn one_check_is_made_told_and_judged_by_the_exit_code() {
    let served = Served::begin(&["--enable-drills"]);
    let url = format!("http://{}/healthz", served.http);
    for (name, flag, target) in [("good", "--http", url.as_str()), ("bad", "--tcp", "127.0.0.1:1")] {
        assert_eq!(served.run(&["start", name, flag, target, "--interval", "24h", "--wait"]).code, 0);
    }
    let good = served.run(&["run", "good", "--reason", "just to see"]);
    let (found, phases) = good.stdout.split_once('\n').expect("two lines");
    assert!(found.starts_with("good  PASS in ") && phases.contains("first byte "), "{good:?}");
    assert_eq!(good.code, 0, "{good:?}");
    let bad = served.run(&["run", "bad"]);
    assert!(bad.stdout.starts_with("bad  FAIL CONNECTION_REFUSED in "), "{bad:?}");
    assert!((bad.code, bad.stdout.contains(": cannot connect to 127.0.0.1:1")) == (1, true), "{bad:?}");
    let json = served.run(&["run", "bad", "-o", "json"]);
    assert_eq!((json.code, &json.json()["check"]["verdict"]), (1, &"VERDICT_FAIL".into()));
    drill(&served, "drill", COOPERATIVE, &[]);
    let none = served.run(&["run", "drill"]);
    assert!((none.code, none.stderr.contains("NO_CHECKS")) == (5, true), "{none:?}");
    assert_eq!(served.run(&["run", "nobody"]).code, 3);
}

#[test]
fn who_blocks_its_thread_is_shown_with_since_when_and_is_stuck_once_it_is_paused() {
    let served = Served::begin(&["--enable-drills"]);
    let mut watch = served.follow(&["watch", "--initial", "-o", "json"]);
    watch.until(|line| line["initialComplete"] == true);
    let block = r#"{"behaviour": "block_thread", "duration": "1h"}"#;
    drill(&served, "mule", block, &["--isolation", "thread", "--grace", "0s", "--abort", "100ms"]);
    assert_eq!(served.run(&["get", "mule", "-o", "json"]).json()["spec"]["isolation"], "ISOLATION_THREAD");
    let raised = watch.until(|line| line["event"]["type"] == "EVENT_TYPE_ALERT_RAISED");
    assert_eq!(raised["event"]["alert"]["kind"], "ALERT_KIND_POLL_BLOCKED");
    let list = served.run(&["list", "--filter", "alert = POLL_BLOCKED"]).stdout;
    let row = list.lines().nth(1).expect("a row");
    let since = row.split("POLL_BLOCKED ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("since when");
    assert!(since.ends_with('s') && since != "0s", "{row}");
    assert!(served.run(&["get", "mule"]).stdout.contains("Blocked:     one poll keeps its thread, since "));

    let paused = served.run(&["pause", "mule", "--wait"]);
    assert_eq!(paused.code, 1, "{paused:?}");
    assert!(paused.stdout.starts_with("mule  STUCK  it outlived both phases"), "{paused:?}");
}
