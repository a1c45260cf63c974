//! `history`, `rollback` and `diff`.

use super::process::{Said, Served};

fn drill(duration: &str) -> [String; 4] {
    let config = format!(r#"{{"behaviour": "cooperative", "duration": "{duration}"}}"#);
    ["--kind".to_owned(), "drill".to_owned(), "--config".to_owned(), config]
}

fn run(served: &Served, command: &[&str], duration: &str, flags: &[&str]) -> Said {
    let drill = drill(duration);
    let drill: Vec<&str> = drill.iter().map(String::as_str).collect();
    served.run(&[command, &drill, flags].concat())
}

fn swapped_once() -> Served {
    let served = Served::begin(&["--enable-drills"]);
    assert_eq!(run(&served, &["start", "api"], "1h", &["--wait", "--reason", "first"]).code, 0);
    let swapped = run(&served, &["swap", "api"], "2h", &["--wait", "--reason", "second"]);
    assert_eq!(swapped.code, 0, "{swapped:?}");
    served
}

#[test]
fn a_task_is_rolled_back_and_its_history_tells_the_way() {
    let served = swapped_once();
    let dry = served.run(&["rollback", "api", "--dry-run"]);
    assert_eq!((dry.code, dry.stderr.as_str()), (0, "valid; nothing was swapped\n"));
    assert!(dry.stdout.contains("duration: 1h"), "{dry:?}");
    let back = served.run(&["rollback", "api", "--wait", "--reason", "the second is slow"]);
    assert_eq!((back.code, back.stdout.lines().last()), (0, Some("api  DONE  2 → 3, back to 1")), "{back:?}");
    let history = served.run(&["history", "api"]);
    let lines: Vec<_> = history.stdout.lines().collect();
    assert_eq!((history.code, lines.len()), (0, 4), "{history:?}");
    for (line, texts) in lines[1..].iter().zip([
        ["3 ", "ACTIVE", "anonymous@127.0.0.1", "back to 1: the second is slow"],
        ["2 ", "SUPERSEDED", "anonymous@127.0.0.1", "second"],
        ["1 ", "SUPERSEDED", "anonymous@127.0.0.1", "first"],
    ]) {
        assert!(line.starts_with(texts[0]) && texts.iter().all(|text| line.contains(text)), "{line}");
    }
    let json = served.run(&["history", "api", "-o", "json"]).json();
    assert_eq!(json["generations"][0]["rollbackTo"], "1");
    assert_eq!(json["generations"][2]["spec"]["custom"]["config"]["duration"], "1h");

    let unknown = served.run(&["rollback", "api", "--to-generation", "9"]);
    assert_eq!(unknown.code, 3, "{unknown:?}");
    assert!(unknown.stderr.contains("NOT_FOUND, GENERATION_NOT_FOUND"), "{unknown:?}");
    let same = served.run(&["rollback", "api", "--to-generation", "1"]);
    assert_eq!((same.code, same.stdout.as_str()), (0, "api  unchanged: it has this spec and these annotations\n"));
    assert_eq!(served.run(&["history", "nobody"]).code, 3);
}

#[test]
fn a_diff_tells_what_a_swap_would_change_and_changes_nothing() {
    let served = swapped_once();
    let differs = run(&served, &["diff", "api"], "3h", &["--interval", "5s", "--annotation", "note=new"]);
    let expected = "\
annotations.note             - → new
spec.circuit.stableFor       300s → 60s
spec.custom.config.duration  2h → 3h
spec.schedule.interval       30s → 5s
spec.schedule.timeout        10s → 5s
";
    assert_eq!((differs.code, differs.stdout.as_str(), differs.stderr.as_str()), (1, expected, ""), "{differs:?}");
    let same = run(&served, &["diff", "api"], "2h", &[]);
    assert_eq!((same.code, same.stdout.as_str(), same.stderr.as_str()), (0, "", "no difference\n"));
    let former = served.run(&["diff", "api", "--to-generation", "1", "-o", "json"]);
    assert_eq!(former.code, 1, "{former:?}");
    let field = serde_json::json!([{"field": "spec.custom.config.duration", "old": "2h", "new": "1h"}]);
    assert_eq!(former.json(), field);
    assert_eq!(served.run(&["get", "api", "-o", "json"]).json()["generation"], "2", "nothing has changed");

    let both = run(&served, &["diff", "api"], "3h", &["--to-generation", "1"]);
    assert_eq!(both.code, 2, "{both:?}");
    let bad = served.run(&["diff", "api", "--http", "ftp://x"]);
    assert_eq!(bad.code, 2, "{bad:?}");
    assert!(bad.stderr.contains("task.spec.http.url"), "{bad:?}");
    assert_eq!(run(&served, &["diff", "nobody"], "3h", &[]).code, 3);
}
