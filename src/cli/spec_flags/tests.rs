use clap::Parser;

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    flags: SpecFlags,
}

fn applied(arguments: &[&str], mut task: v1::Task) -> Result<v1::Task, String> {
    let command = Command::try_parse_from(["start"].iter().chain(arguments)).map_err(|error| error.to_string())?;
    match command.flags.apply(&mut task) {
        Ok(()) => Ok(task),
        Err(failure) => Err(failure.text().expect("something to tell")),
    }
}

fn http(task: v1::Task) -> v1::HttpMonitor {
    match task.spec.and_then(|spec| spec.monitor) {
        Some(Monitor::Http(http)) => http,
        other => panic!("not HTTP: {other:?}"),
    }
}

#[test]
fn flags_alone_make_a_task() {
    let arguments = [
        "--http",
        "http://a/",
        "--interval",
        "5s",
        "--timeout",
        "1.5s",
        "--max-runs",
        "3",
        "--isolation",
        "thread",
        "--grace",
        "1s",
        "--abort",
        "500ms",
        "--label",
        "team=core",
        "--annotation",
        "note=a=b",
        "--header",
        "X-A: b: c",
        "--method",
        "HEAD",
        "--expect-status",
        "204,300-399",
        "--body-contains",
        "ok",
    ];
    let task = applied(&arguments, v1::Task::default()).expect("valid");
    let spec = task.spec.clone().expect("given");
    assert_eq!(spec.isolation(), v1::Isolation::Thread);
    let schedule = spec.schedule.expect("given");
    assert_eq!(schedule.timeout, Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }));
    assert_eq!(schedule.max_runs, 3);
    assert_eq!(
        spec.shutdown.expect("given").abort_timeout,
        Some(prost_types::Duration { seconds: 0, nanos: 500_000_000 })
    );
    assert_eq!(task.annotations["note"], "a=b");
    let http = http(task);
    assert_eq!((http.headers[0].name.as_str(), http.headers[0].value.as_str()), ("X-A", "b: c"));
    assert_eq!((http.method.as_str(), http.expected_status.len()), ("HEAD", 2));
}

#[test]
fn a_flag_replaces_its_field_of_the_file_and_nothing_else() {
    let text = "labels: {a: '1', b: '2'}\nspec: {http: {url: 'http://a', method: PUT, headers: [{name: X-A, value: a}]}, \
                schedule: {interval: 9s, timeout: 1s}}";
    let file = crate::task_files::one("t.yaml", text).expect("valid");
    let arguments = ["--http", "http://b", "--interval", "5s", "--label", "b=3", "--header", "x-a: b"];
    let task = applied(&arguments, file).expect("valid");
    assert_eq!((task.labels["a"].as_str(), task.labels["b"].as_str()), ("1", "3"));
    let schedule = task.spec.as_ref().and_then(|spec| spec.schedule).expect("given");
    assert_eq!(schedule.interval.map(|interval| interval.seconds), Some(5));
    assert_eq!(schedule.timeout.map(|timeout| timeout.seconds), Some(1));
    let http = http(task);
    assert_eq!((http.url.as_str(), http.method.as_str()), ("http://b", "PUT"));
    assert_eq!((http.headers.len(), http.headers[0].value.as_str()), (1, "b"));
}

#[test]
fn circuit_flags_replace_their_fields_of_the_files_policy() {
    let text = "spec: {http: {url: 'http://a'}, circuit: {consecutiveFailures: 9, openBase: 1s, streakCap: 4}}";
    let file = crate::task_files::one("t.yaml", text).expect("valid");
    let arguments = ["--circuit-failures", "0", "--circuit-open", "2s", "--circuit-successes", "1"];
    let circuit = applied(&arguments, file).expect("valid").spec.and_then(|spec| spec.circuit).expect("given");
    assert_eq!((circuit.consecutive_failures, circuit.close_successes, circuit.streak_cap), (Some(0), 1, 4));
    assert_eq!(circuit.open_base, Some(prost_types::Duration { seconds: 2, nanos: 0 }));
    assert!(
        applied(&["--http", "http://a"], v1::Task::default()).expect("valid").spec.expect("given").circuit.is_none()
    );
}

#[test]
fn custom_kinds_take_json() {
    let arguments = ["--kind", "drill", "--config", r#"{"behaviour": "spin", "n": [1, null]}"#];
    let task = applied(&arguments, v1::Task::default()).expect("valid");
    let Some(Monitor::Custom(custom)) = task.spec.and_then(|spec| spec.monitor) else { panic!("custom") };
    assert_eq!((custom.kind.as_str(), custom.config.expect("given").fields.len()), ("drill", 2));
}

#[test]
fn a_command_has_arguments_and_an_environment() {
    let flags = ["--exec", "/bin/check", "--arg", "-w", "--arg", "5 %", "--arg=", "--env", "A=b=c", "--env", "B="];
    let exec = |task: v1::Task| match task.spec.and_then(|spec| spec.monitor) {
        Some(Monitor::Exec(exec)) => exec,
        other => panic!("no command: {other:?}"),
    };
    let alone = exec(applied(&flags, v1::Task::default()).expect("valid"));
    assert_eq!((alone.command.as_str(), &alone.args[..]), ("/bin/check", &["-w", "5 %", ""].map(str::to_owned)[..]));
    let variables = |exec: &v1::ExecMonitor| {
        exec.env.iter().map(|variable| format!("{}={}", variable.name, variable.value)).collect::<Vec<_>>()
    };
    assert_eq!(variables(&alone), ["A=b=c", "B="]);
    let text = "spec: {exec: {command: /bin/old, args: [a], env: [{name: A, value: x}, {name: C, value: z}]}}";
    let file = || crate::task_files::one("t.yaml", text).expect("valid");
    let replaced = exec(applied(&flags, file()).expect("valid"));
    assert_eq!((replaced.command.as_str(), replaced.args.len()), ("/bin/check", 3));
    assert_eq!(variables(&replaced), ["C=z", "A=b=c", "B="]);
    let kept = exec(applied(&["--interval", "5s"], file()).expect("valid"));
    assert_eq!((kept.command.as_str(), kept.args.len(), kept.env.len()), ("/bin/old", 1, 2));
}

#[test]
fn a_config_nested_too_deeply_is_refused_before_it_is_sent() {
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let start = |depth| applied(&["--kind", "drill", "--config", &nested(depth)], v1::Task::default());
    assert!(start(31).is_ok());
    for depth in [32, 40, 60, 110] {
        let error = start(depth).expect_err("too deep");
        assert_eq!(error, "error: --config must not be nested deeper than 32");
    }
    let file = format!("spec: {{custom: {{kind: drill, config: {}}}}}", nested(40));
    let error = crate::task_files::one("t.yaml", &file).expect_err("too deep");
    assert!(error.ends_with("t.yaml:1:38: spec.custom.config: must not be nested deeper than 32"), "{error}");
}

#[test]
fn flags_that_do_not_belong_together_are_refused_with_a_word_why() {
    let cases: [(&[&str], &str); 12] = [
        (&[], "nothing to watch"),
        (&["--tcp", "a:1", "--method", "PUT", "--body", "x"], "--method is about an HTTP task"),
        (&["--tcp", "a:1", "--config", "{}"], "--config is about a custom kind"),
        (&["--tcp", "a:1", "--arg", "x"], "--arg is about a command"),
        (&["--kind", "drill", "--env", "A=b"], "--env is about a command"),
        (&["--exec", "/a", "--body", "x"], "--body is about an HTTP task"),
        (&["--exec", "/a", "--env", "A"], "NAME=VALUE"),
        (&["--http", "http://a", "--tcp", "a:1"], "cannot be used with"),
        (&["--http", "http://a", "--interval", "5"], "is no duration"),
        (&["--http", "http://a", "--header", "x"], "Name: value"),
        (&["--http", "http://a", "--label", "x"], "key=value"),
        (&["--kind", "drill", "--config", "[1]"], "--config is no JSON object"),
    ];
    for (arguments, problem) in cases {
        let error = applied(arguments, v1::Task::default()).expect_err(problem);
        assert!(error.contains(problem), "{arguments:?}: {error}");
    }
    let file = crate::task_files::one("t.yaml", "spec: {tcp: {address: 'a:1'}}").expect("valid");
    let error = applied(&["--http", "http://a"], file).expect_err("another kind");
    assert!(error.contains("--http is about an HTTP task, which the file's task is not"), "{error}");
}
