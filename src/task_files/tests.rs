use super::*;

const TASK: &str = "\
name: namespaces/default/tasks/api
labels:
  team: core
spec:
  http:
    url: http://127.0.0.1:8080/health
    headers:
      - name: Accept
        value: '*/*'
    expectedStatus: ['204', 200-299]
  schedule:
    interval: 1m30s
    timeout: 0.500s
    max_runs: 3
  shutdown: {graceTimeout: 5s, abort_timeout: 2s}
  restart:
    maxRestarts: 0
";

fn problems(text: &str) -> Vec<String> {
    match one("t.yaml", text) {
        Err(text) => text.lines().map(|line| line.trim().to_owned()).collect(),
        other => panic!("must be refused: {other:?}"),
    }
}

#[test]
fn a_task_is_read_from_yaml_with_either_form_of_names_and_durations() {
    let task = one("t.yaml", TASK).expect("valid");
    let spec = task.spec.expect("given");
    let schedule = spec.schedule.expect("given");
    assert_eq!(task.labels.get("team").map(String::as_str), Some("core"));
    assert_eq!(schedule.interval, Some(prost_types::Duration { seconds: 90, nanos: 0 }));
    assert_eq!(schedule.timeout, Some(prost_types::Duration { seconds: 0, nanos: 500_000_000 }));
    assert_eq!(schedule.max_runs, 3);
    assert_eq!(spec.restart.expect("given").max_restarts, Some(0));
    let Some(v1::task_spec::Monitor::Http(http)) = spec.monitor else { panic!("an HTTP monitor") };
    assert_eq!((http.headers.len(), http.expected_status.len()), (1, 2));
}

#[test]
fn json_is_read_too_and_custom_configs_pass_as_they_are() {
    let text =
        r#"{"spec": {"custom": {"kind": "drill", "config": {"behaviour": "spin", "n": 1.5, "l": [true, null]}}}}"#;
    let spec = one("t.json", text).expect("valid").spec.expect("given");
    let Some(v1::task_spec::Monitor::Custom(custom)) = spec.monitor else { panic!("a custom monitor") };
    let config = custom.config.expect("given").fields;
    assert_eq!(config["n"].kind, Some(prost_types::value::Kind::NumberValue(1.5)));
    assert_eq!(config.len(), 3);
}

#[test]
fn everything_that_is_wrong_is_told_with_its_place() {
    let text = "\
labels: {version: 1}
specs: {}
spec:
  http: {url: 5, expectedStatus: [204]}
  tcp: {address: 'a:1'}
  schedule:
    interval: 5 seconds
    intervall: 5s
    maxRuns: -1
  shutdown: 7s
  restart: {maxRestarts: 1, max_restarts: 2}
";
    let problems = problems(text);
    let expected = [
        "t.yaml is no task:",
        "t.yaml:1:19: labels.version: invalid type: integer `1`, expected a string; put it in quotes",
        "t.yaml:2:1: task: there is no field \"specs\"; there are name, uid, labels,",
        "t.yaml:4:15: spec.http.url: invalid type: integer `5`, expected a string; put it in quotes",
        "t.yaml:4:34: spec.http.expectedStatus: invalid type: integer `204`, expected a string",
        "t.yaml:5:3: spec: \"tcp\" excludes \"http\", which stands above",
        "t.yaml:7:15: spec.schedule.interval: \"5 seconds\" is no duration, as 5s,",
        "t.yaml:8:5: spec.schedule: there is no field \"intervall\"; there are interval, timeout, maxRuns",
        "t.yaml:9:14: spec.schedule.maxRuns: ",
        "t.yaml:10:13: spec.shutdown: expected a mapping, not text",
        "t.yaml:11:29: spec.restart: \"max_restarts\" excludes \"maxRestarts\", which stands above",
    ];
    for (found, expected) in problems.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nis not\n{expected}");
    }
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
}

#[test]
fn documents_that_are_no_mapping_or_not_one_are_refused() {
    assert!(problems("spec: {}\n---\nspec: {}\n")[0].contains("there are 2 documents"));
    assert!(problems("")[0].contains("t.yaml"));
    assert!(problems("- 1")[1].ends_with("expected a mapping, not a list"));
    assert!(problems("spec: [")[0].starts_with("t.yaml:1:7: "));
    assert!(problems("spec: {}\nspec: {}\n")[1].contains("stands here twice"));
}

fn names(found: &[Found]) -> Vec<(&str, &str)> {
    found.iter().map(|found| (found.place.as_str(), found.task.name.as_str())).collect()
}

#[test]
fn a_file_may_have_many_tasks_in_documents_in_lists_and_in_toml() {
    let yaml = "# nothing yet\n---\nname: a\n---\n- name: b\n- name: c\n---\ntasks:\n  - name: d\nnextPageToken: x\ncursor: y\n";
    let found = many("t.yaml", yaml).expect("valid");
    assert_eq!(names(&found), [("t.yaml:3:1", "a"), ("t.yaml:5:3", "b"), ("t.yaml:6:3", "c"), ("t.yaml:9:5", "d")]);
    assert!(many("t.yaml", "").expect("none").is_empty());
    let toml = "[[tasks]]\nname = 'a'\n[tasks.spec]\ntcp = { address = '127.0.0.1:1' }\nschedule = { interval = '5s', maxRuns = 0x3 }\n";
    let found = many("t.toml", toml).expect("valid");
    assert_eq!(names(&found), [("t.toml:1:1", "a")]);
    let schedule = found[0].task.spec.as_ref().and_then(|spec| spec.schedule).expect("given");
    assert_eq!((schedule.interval.expect("given").seconds, schedule.max_runs), (5, 3));
}

#[test]
fn what_is_wrong_in_many_tasks_is_told_with_each_place() {
    let yaml = "- nam: a\n- spec: {tcp: {address: 5}}\n---\ntasks: 7\n---\ntasks: []\nkind: List\n---\njust text\n";
    let problems = many("t.yaml", yaml).expect_err("all bad");
    let expected = [
        "t.yaml:1:3: task: there is no field \"nam\"",
        "t.yaml:2:25: spec.tcp.address: invalid type: integer `5`, expected a string; put it in quotes",
        "t.yaml:4:8: tasks: expected a list, not a number",
        "t.yaml:7:1: task: \"kind\" does not stand beside \"tasks\"",
        "t.yaml:9:1: task: expected a mapping, not text",
    ];
    for (found, expected) in problems.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nis not\n{expected}");
    }
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    let toml = many("t.toml", "[[tasks]]\nname = 'a'\nspec = 7\nstate = 1.5\n").expect_err("no mapping");
    assert!(toml[0].starts_with("t.toml:3:8: spec: expected a mapping, not a number"), "{toml:?}");
    assert!(many("t.toml", "a = \n").expect_err("no TOML")[0].starts_with("t.toml:1:5: "));
}

#[test]
fn every_task_has_a_full_name_of_its_own() {
    let mut found =
        many("t.yaml", "- name: a\n- {}\n- name: namespaces/x/tasks/a\n- name: namespaces/x/tasks/a\n").expect("valid");
    let mut problems = Vec::new();
    name_all(&mut found, "x", &mut problems);
    let expected = [
        "t.yaml:3:3: name: \"namespaces/x/tasks/a\" is also that of t.yaml:1:3",
        "t.yaml:4:3: name: \"namespaces/x/tasks/a\" is also that of t.yaml:1:3",
    ];
    assert_eq!(problems, expected);
    let places = [("tasks[1].spec.http", Some("t.yaml:2:3: spec.http")), ("tasks[0]", Some("t.yaml:1:3"))];
    for (field, place) in places.into_iter().chain([("tasks[9].name", None), ("header.owner", None)]) {
        assert_eq!(place_of(&found, field).as_deref(), place);
    }
}

#[test]
fn a_directory_is_all_its_task_files_by_name() {
    let directory = std::env::temp_dir().join(format!("switchyard-task-files-{}", uuid::Uuid::new_v4()));
    fs::create_dir_all(directory.join("below")).expect("made");
    let texts = [
        ("b.yml", "name: b"),
        ("a.json", "{\"name\": \"a\"}"),
        ("c.toml", "name = 'c'"),
        (".d.yaml", "no"),
        ("e.txt", "no"),
    ];
    for (name, text) in texts {
        fs::write(directory.join(name), text).expect("written");
    }
    let found = gather(std::slice::from_ref(&directory), "default", "core").expect("valid");
    let ids: Vec<_> = found.iter().map(|found| found.task.name.rsplit('/').next().expect("some")).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    let missing = gather(&[directory.join("none.yaml")], "default", "core").expect_err("missing");
    assert!(missing[0].starts_with("cannot read ") && missing[0].contains("none.yaml"), "{missing:?}");

    // What cannot be read, or has been emptied, is not the wish to have its tasks no more.
    fs::write(directory.join("b.yml"), "# b is gone").expect("written");
    fs::create_dir(directory.join("f.yaml")).expect("made");
    std::os::unix::fs::symlink("nowhere", directory.join("g.yaml")).expect("made");
    let problems = gather(std::slice::from_ref(&directory), "default", "core").expect_err("three are wrong");
    let expected = ["b.yml: there is no task in it", "f.yaml: Is a directory", "g.yaml: No such file"];
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.contains(expected), "{problem}");
    }
    let of_the_others: Vec<_> = problems.iter().skip(expected.len()).collect();
    assert_eq!(of_the_others.len(), 2, "{of_the_others:?}");
    assert!(of_the_others.iter().all(|problem| problem.ends_with(":1:1: spec: required")), "{of_the_others:?}");

    let (file, path) = (directory.join("c.toml"), directory.join("below/../c.toml"));
    let twice = gather(&[file.clone(), path.clone()], "default", "core").expect_err("the same");
    let (file, path) = (file.display(), path.display());
    assert_eq!(twice[0], format!("{path}: the same file is given twice, also as {file}"));
    let problems = gather(&[directory.join("a.json"), directory.join("a.json")], "default", "core");
    assert!(problems.expect_err("the same")[0].ends_with("a.json: the same file is given twice"));
    fs::remove_dir_all(directory).expect("removed");
}

#[test]
fn what_is_no_yaml_is_told_by_file_line_and_column() {
    for (text, expected) in [
        ("name: a\nspec:\n  tcp: {address: 'a:1'\n", "t.yaml:3:8: this is no YAML: unclosed bracket '{'"),
        ("name: a: b\n", "t.yaml:1:8: this is no YAML: mapping values are not allowed in this context"),
        ("? [1, 2]\n: 3\n", "t.yaml:1:3: this is no YAML: a key must be text"),
    ] {
        assert_eq!(many("t.yaml", text).expect_err(text), [expected]);
    }
}

#[test]
fn what_stands_twice_is_told_with_its_field_and_beside_all_else() {
    let text = "name: a\nname: b\nlabels: {x: p, x: q}\nspec:\n  schedule: {maxRuns: 1, max_runs: 2}\n  custom: {kind: k, config: {l: [{m: 1, m: 2}]}}\n";
    let expected = [
        "t.yaml:2:1: name: stands here twice; the first is at 1:1",
        "t.yaml:3:16: labels.x: stands here twice; the first is at 3:10",
        "t.yaml:6:41: spec.custom.config.l[0].m: stands here twice; the first is at 6:35",
        "t.yaml:5:26: spec.schedule: \"max_runs\" excludes \"maxRuns\", which stands above",
    ];
    assert_eq!(many("t.yaml", text).expect_err("doubles"), expected);
    assert_eq!(problems(text)[1..], expected);
    assert_eq!(
        many("t.yaml", "tasks: []\ntasks: [{}]\n").expect_err("twice"),
        ["t.yaml:2:1: tasks: stands here twice"]
    );
}

#[test]
fn what_yaml_reads_otherwise_than_it_is_meant_is_explained() {
    let text = "labels: {a: on, b: 1.0}\nspec:\n  schedule: {interval: 30, maxRuns: 1:30}\n  swap: {autoRevert: yes}\n";
    let expected = [
        "t.yaml:1:13: labels.a: invalid type: boolean `true`, expected a string; put it in quotes (yes, no, on and off are \
         booleans, too, as true and false)",
        "t.yaml:1:20: labels.b: invalid type: floating point `1.0`, expected a string; put it in quotes",
        "t.yaml:3:24: spec.schedule.interval: 30 has no unit; a duration is as 30s, 500ms, 1m30s, 2h",
        "t.yaml:3:37: spec.schedule.maxRuns: \"1:30\" is no whole number",
    ];
    assert_eq!(problems(text)[1..], expected);
}

#[test]
fn the_standard_input_is_toml_where_it_begins_so() {
    for toml in
        ["# one\n\n[[tasks]] # it\nname = 'a'\n", "name = 'a'\n", "[spec.tcp]\naddress = 'x'\n", "'name' = \"a\""]
    {
        assert!(many(STDIN, toml).is_ok(), "{toml}: {:?}", many(STDIN, toml));
        assert!(many("t.yaml", toml).is_err(), "{toml}");
    }
    for yaml in ["name: a=b\n", "[{name: a}]\n", "- name: a\n", "{\"name\": \"a\"}", "--- # = \nname: a\n"] {
        assert!(many(STDIN, yaml).is_ok(), "{yaml}: {:?}", many(STDIN, yaml));
    }
}

#[test]
fn where_a_file_is_wrong_the_rules_that_tasks_break_are_told_with_it() {
    let directory = std::env::temp_dir().join(format!("switchyard-task-files-{}", uuid::Uuid::new_v4()));
    fs::create_dir_all(&directory).expect("made");
    let texts = [("a.yaml", "nam: a\n"), ("b.yaml", "spec: {http: {url: 'ftp://x'}}\nlabels: {owner: other}\n")];
    for (name, text) in texts {
        fs::write(directory.join(name), text).expect("written");
    }
    let problems = gather(std::slice::from_ref(&directory), "default", "core").expect_err("both are wrong");
    for expected in [
        "a.yaml:1:1: task: there is",
        "b.yaml:1:1: name: ",
        "b.yaml:1:1: labels.owner: ",
        "b.yaml:1:1: spec.http.url: ",
    ] {
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected} is not in {problems:#?}");
    }
    fs::remove_dir_all(directory).expect("removed");
}
