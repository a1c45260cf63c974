//! `drain`.

use super::process::Served;

#[test]
fn a_drain_is_followed_until_the_server_has_gone() {
    let served = Served::begin(&["--enable-drills"]);
    for (name, behaviour, grace) in
        [("a", "cooperative", "5s"), ("b", "cooperative", "5s"), ("c", "ignore_cancel", "500ms")]
    {
        let drill = format!(r#"{{"behaviour": "{behaviour}", "duration": "1h"}}"#);
        let flags = ["--kind", "drill", "--config", &drill, "--grace", grace, "--wait"];
        assert_eq!(served.run(&[&["start", name], &flags[..]].concat()).code, 0);
    }
    let drained = served.run(&["drain", "--wait", "--reason", "a new version"]);
    assert_eq!((drained.code, drained.stderr.as_str()), (0, ""), "{drained:?}");
    let expected = "the server drains: it stops every task, and ends within 10s\n\
                    the server has gone; of its instances 1 ended ABORTED, 2 ended GRACEFUL\n";
    assert_eq!(drained.stdout, expected);
    let after = served.run(&["drain"]);
    assert_eq!((after.code, served.ended()), (4, Some(0)), "{after:?}");
}

#[test]
fn what_it_leaves_behind_is_told_by_name() {
    let served = Served::begin(&["--enable-drills"]);
    let drill = r#"{"behaviour": "block_thread", "duration": "1h"}"#;
    for name in ["early", "late"] {
        let flags = ["--kind", "drill", "--config", drill, "--grace", "0s", "--abort", "100ms", "--wait"];
        assert_eq!(served.run(&[&["start", name], &flags[..]].concat()).code, 0);
    }
    assert_eq!(served.run(&["cancel", "early"]).code, 1);
    let bad = served.run(&["drain", "--request-id", "x"]);
    assert!((bad.code, bad.stderr.contains("request_id")) == (2, true), "{bad:?}");
    let drained =
        served.run(&["drain", "--wait", "-o", "json", "--request-id", "3f2504e0-4f89-41d3-9a0c-0305e82c3303"]);
    assert_eq!(drained.code, 1, "{drained:?}");
    assert!(drained.json()["cursor"].is_string(), "{drained:?}");
    assert_eq!(drained.stderr, "the server has gone; no instance has ended; left behind STUCK: early, late\n");
    assert_eq!(served.ended(), Some(10));
}
