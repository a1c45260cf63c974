//! `circuit`: what people and scripts see of circuits, and do to them.

use super::process::Served;

/// Twenty failed calls open it, for an hour at the least.
fn watched(served: &Served) {
    let url = format!("http://{}/healthz", served.http);
    let spec = format!("spec:\n  http: {{url: '{url}'}}\n  circuit: {{openBase: 1h, openMax: 2h, jitter: 0}}\n");
    let started = served.run_with(&["start", "api", "-f", "-", "--interval", "5s", "--wait"], &spec);
    assert_eq!(started.code, 0, "{started:?}");
}

#[test]
fn a_circuit_is_opened_by_reports_shown_followed_forced_and_reset() {
    let served = Served::begin(&[]);
    watched(&served);
    let mut watch = served.follow(&["circuit", "watch", "--initial", "-o", "json"]);
    let initial = watch.until(|line| line["circuit"].is_object());
    assert_eq!(initial["circuit"]["state"], "CIRCUIT_STATE_CLOSED");
    watch.until(|line| line["initialComplete"] == true);
    let before = served.run(&["circuit", "get", "api", "-o", "json"]).json();
    let token = before["token"].as_str().expect("a token").to_owned();

    let failed = served.run(&["circuit", "report", "api", "--outcome", "failure", "--count", "20"]);
    assert_eq!((failed.code, failed.stdout.as_str()), (0, "api  20 ACCEPTED\n"), "{failed:?}");
    watch.until(|line| line["event"]["type"] == "EVENT_TYPE_CIRCUIT_TRIPPED");
    let cursor = watch.until(|line| line["cursor"].is_string())["cursor"].as_str().expect("text").to_owned();
    assert_eq!(watch.interrupt(), Some(0));
    let list = served.run(&["circuit", "list", "--filter", "circuit.state = OPEN"]).stdout;
    let row = list.lines().nth(1).expect("a row");
    for text in ["api", "OPEN", " ago", "half-open in ", "calls failed or were slow"] {
        assert!(row.contains(text), "{text} is not in {row}");
    }
    let late = ["circuit", "report", "api", "--outcome", "success", "--latency", "5ms", "--token", &token];
    let late = served.run(&late);
    assert_eq!((late.code, late.stdout.as_str()), (1, "api  1 STALE\n"), "{late:?}");
    assert!(late.stderr.contains("earlier epoch"), "{late:?}");

    let forced = served.run(&["circuit", "force", "api", "closed", "--for", "2h", "--reason", "maintenance"]);
    assert!(forced.stdout.starts_with("api  forced closed until "), "{forced:?}");
    assert!(forced.stdout.contains(": maintenance; beneath it open for "), "{forced:?}");
    let got = served.run(&["circuit", "get", "api"]).stdout;
    for line in ["State:        FORCED_CLOSED\n", "Why:          maintenance\n", "Beneath:      OPEN; half-open in "] {
        assert!(got.contains(line), "{line} is not in\n{got}");
    }
    let list = served.run(&["circuit", "list", "--filter", "circuit.override != NONE"]).stdout;
    let row = list.lines().nth(1).expect("a row");
    assert!(row.contains("FORCED_CLOSED") && row.contains("maintenance"), "{row}");
    let mut later = served.follow(&["circuit", "watch", "api", "--cursor", &cursor, "-o", "json"]);
    let overridden = later.until(|line| line["event"]["type"] == "EVENT_TYPE_CIRCUIT_OVERRIDDEN");
    assert_eq!(overridden["event"]["circuit"]["override"], "OVERRIDE_FORCED_CLOSED");
    let off = served.run(&["circuit", "force", "api", "off"]);
    assert!(off.stdout.starts_with("api  open for "), "{off:?}");
    let none = served.run(&["circuit", "list", "--filter", "circuit.override != NONE"]);
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", "no circuits\n"));
    let reset = served.run(&["circuit", "reset", "api"]);
    assert_eq!((reset.code, reset.stdout.as_str()), (0, "api  closed (RESET)\n"), "{reset:?}");
    later.until(|line| line["event"]["type"] == "EVENT_TYPE_CIRCUIT_RESET");
    assert_eq!(later.interrupt(), Some(0));
}

#[test]
fn what_cannot_be_done_to_a_circuit_is_told_by_exit_code() {
    let served = Served::begin(&[]);
    assert_eq!(served.run(&["circuit", "list"]).stderr, "no circuits\n");
    for command in [
        &["circuit", "get", "nobody"][..],
        &["circuit", "force", "nobody", "open"],
        &["circuit", "reset", "nobody"],
        &["circuit", "report", "nobody", "--outcome", "failure"],
    ] {
        let refused = served.run(command);
        assert!((refused.code, refused.stderr.contains("TASK_NOT_FOUND")) == (3, true), "{refused:?}");
    }
    watched(&served);
    let stale = served.run(&["circuit", "force", "api", "open", "--etag", "x"]);
    assert!((stale.code, stale.stderr.contains("ETAG_MISMATCH")) == (5, true), "{stale:?}");
    for wrong in [
        &["circuit", "force", "api", "off", "--for", "1h"][..],
        &["circuit", "force", "api", "ajar"],
        &["circuit", "force", "api", "open", "--for", "1h", "--until", "2099-01-01T00:00:00Z"],
        &["circuit", "report", "api"],
        &["circuit", "report", "api", "--outcome", "success", "--token", "forged"],
        &["circuit", "list", "--filter", "colour = red"],
    ] {
        let refused = served.run(wrong);
        assert_eq!(refused.code, 2, "{wrong:?}: {refused:?}");
    }
}

#[test]
fn what_checks_find_is_shown_and_followed() {
    let served = Served::begin(&[]);
    watched(&served);
    assert_eq!(served.run(&["start", "db", "--tcp", "127.0.0.1:1", "--interval", "24h", "--wait"]).code, 0);
    let listed = served.run(&["checks"]).stdout;
    for text in ["api   PASS in ", "db    FAIL CONNECTION_REFUSED in ", "cannot connect to 127.0.0.1:1"] {
        assert!(listed.contains(text), "{text} is not in\n{listed}");
    }
    let one = served.run(&["checks", "db", "-o", "json"]).json();
    assert_eq!(one["checks"][0]["check"]["reason"], "CONNECTION_REFUSED");
    let none = served.run(&["checks", "db", "--filter", "state = PAUSED"]);
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", "no checks yet\n"), "a filter goes with a name");
    let garbage = served.run(&["checks", "db", "--filter", "garbage"]);
    assert!(garbage.code == 2 && garbage.stderr.contains("column 9"), "{garbage:?}");
    assert_eq!(served.run(&["checks", "nobody"]).code, 3);
    assert_eq!(served.run(&["checks", "nobody", "--follow"]).code, 3);

    let mut follow = served.follow(&["checks", "--filter", "name = api", "--follow", "-o", "json"]);
    let seen = follow.until(|line| line["check"].is_object());
    assert_eq!(
        (&seen["check"]["name"], &seen["check"]["generation"]),
        (&"namespaces/default/tasks/api".into(), &"1".into())
    );
    assert_eq!(follow.interrupt(), Some(0));
}
