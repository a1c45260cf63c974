//! Tasks that run commands: what the command says is seen, and nothing of it is left behind, however the task ends.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{fs, io};

use switchyard::config::Layer;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::{
    Asked, Check, ExecMonitor, ExecVariable, Exit, GetTaskRequest, Schedule, ShutdownPolicy, StartTaskRequest, State,
    SwapTaskRequest, Task, TaskSpec, Verdict,
};
use switchyard::server::Ended;
use tonic::Status;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::cli::process::Served;
use crate::harness::{Client, Harness, cancel, name, outcome, reach, reason, start, with_spec};

const SHELL: &str = "/bin/sh";

async fn server() -> (Harness, Client) {
    let commands = Some(vec![SHELL.to_owned(), "/usr/bin/env".to_owned()]);
    let server = Harness::start(Layer { exec_commands: commands, ..Layer::default() }).await;
    let client = server.client().await;
    (server, client)
}

fn monitor(command: &str, args: &[&str]) -> Monitor {
    let args = args.iter().map(|&arg| arg.to_owned()).collect();
    Monitor::Exec(ExecMonitor { command: command.to_owned(), args, env: Vec::new() })
}

fn script(id: &str, args: &[&str]) -> StartTaskRequest {
    start(id, monitor(SHELL, &[&["-c"], args].concat()))
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// What must be waited for, so that the wait is no longer than need be.
const SHORT: Duration = Duration::from_millis(200);
/// What is not to run out.
const AMPLE: Duration = Duration::from_secs(60);

/// The check that has made it ready.
async fn checked(client: &mut Client, request: StartTaskRequest) -> Check {
    let id = request.task_id.clone();
    client.start_task(request).await.expect("starts");
    let task = reach(client, &id, State::Running).await;
    task.live.and_then(|live| live.last_check).expect("ready comes after the first check")
}

async fn cancelled(client: &mut Client, id: &str) -> Task {
    client.cancel_task(cancel(id)).await.expect("cancels").into_inner().task.expect("the task")
}

/// A file in which a script says things, the pid of its group's leader first.
struct Told(PathBuf);

impl Told {
    fn new() -> Self {
        Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("exec-{}", Uuid::new_v4())))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }

    /// Looks until so many lines have been said.
    async fn lines(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + AMPLE;
        loop {
            let text = read(self.path()).unwrap_or_default();
            let lines: Vec<_> = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).collect();
            if lines.len() >= count {
                return lines.into_iter().map(str::to_owned).collect();
            }
            assert!(Instant::now() < deadline, "only {lines:?} were said");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // Nothing may have been said.
        let _ = fs::remove_file(&self.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "small files, and the server has threads of its own")]
fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(path)
}

/// Who is of a process group still, as procfs tells it. A zombie whose parent is not this process is no concern of ours: it runs no
/// more, and whoever has inherited it reaps it.
fn left(group: &str) -> Vec<String> {
    let ours = std::process::id().to_string();
    let of_group = |stat: &String| {
        // The program's name before these has parentheses, and may have others within.
        let fields: Vec<_> = stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
        let [state, parent, of, ..] = fields[..] else { return false };
        of == group && (state != "Z" || parent == ours)
    };
    let processes = fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
    let stats = processes.filter_map(|process| read(process.path().join("stat").to_str()?).ok());
    stats.filter(of_group).collect()
}

/// Waits until nobody is left: what has been killed takes a moment to go.
async fn gone(group: &str) {
    let deadline = Instant::now() + AMPLE;
    while !left(group).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", left(group));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Ignores SIGTERM, as does one of its children; another keeps its output open. The pids of all three are told.
const STUBBORN: &str = "trap '' TERM HUP
    sh -c 'trap \"\" TERM HUP; echo $$ >> \"$1\"; while :; do sleep 1000; done' sh \"$1\" > /dev/null &
    sh -c 'echo $$ >> \"$1\"; exec sleep 1000' sh \"$1\" &
    while [ \"$(wc -l < \"$1\")\" -lt 3 ]; do sleep 0.01; done
    while :; do sleep 1000; done";

/// To stop within; what is to be killed, is killed within five seconds on a busy machine, too.
fn within(grace: Duration) -> ShutdownPolicy {
    ShutdownPolicy { grace_timeout: Some(grace.try_into().expect("short")), abort_timeout: seconds(5) }
}

/// Starts a script that says its leader's pid before all else, and has the file's name in `$1`; it never runs out of time.
async fn running(client: &mut Client, id: &str, told: &Told, script: &str, shutdown: ShutdownPolicy) -> String {
    let script = format!("echo $$ >> \"$1\"\n{script}");
    let request = with_spec(self::script(id, &[&script, "sh", told.path()]), |spec| {
        spec.shutdown = Some(shutdown);
        spec.schedule = Some(Schedule { interval: seconds(300), timeout: seconds(300), max_runs: 0 });
    });
    client.start_task(request).await.expect("starts");
    told.lines(3).await[0].clone()
}

#[tokio::test]
async fn an_exit_status_is_a_verdict_and_the_first_line_its_message() {
    let (server, mut client) = server().await;
    for (id, text, verdict, reason, message) in [
        ("ok", "echo 'well | free=42%;10;5 t=1.5ms'", Verdict::Pass, "", "well"),
        ("warning", "echo 'nearly | free=7%'; exit 1", Verdict::Pass, "WARNING", "nearly"),
        ("critical", "echo broken; exit 2", Verdict::Fail, "CRITICAL", "broken"),
        ("unknown", "echo who knows; exit 3", Verdict::Neutral, "UNKNOWN", "who knows"),
        ("other", "exit 99", Verdict::Neutral, "UNKNOWN", "exit status: 99"),
        ("killed", "kill -9 $$", Verdict::Neutral, "KILLED", "signal: 9 (SIGKILL)"),
    ] {
        // Each is run once, however long a busy machine takes for all of them.
        let once = with_spec(script(id, &[text]), |spec| {
            spec.schedule = Some(Schedule { interval: seconds(3_600), ..Schedule::default() });
        });
        let check = checked(&mut client, once).await;
        assert_eq!((check.verdict(), check.reason.as_str(), check.message.as_str()), (verdict, reason, message));
    }
    let filter = "monitor = exec AND state = RUNNING".to_owned();
    let request =
        switchyard::pb::v1::ListTasksRequest { parent: "namespaces/default".to_owned(), filter, ..Default::default() };
    assert_eq!(client.list_tasks(request).await.expect("lists").into_inner().tasks.len(), 6);

    let series = |label: &str, id: &str, unit: &str, value: &str| {
        let name = name(id);
        format!("\ncircuit_breaker_exec_perfdata{{label=\"{label}\",name=\"{name}\",unit=\"{unit}\"}} {value}\n")
    };
    let metrics = server.metrics().await;
    for series in [series("free", "ok", "%", "42"), series("t", "ok", "ms", "1.5"), series("free", "warning", "%", "7")]
    {
        assert!(metrics.contains(&series), "{series} is not in {metrics}");
    }
    assert!(metrics.contains("circuit_breaker_checks_total{kind=\"exec\",verdict=\"fail\"} 1\n"), "{metrics}");
    cancelled(&mut client, "ok").await;
    let metrics = server.metrics().await;
    assert!(!metrics.contains(&name("ok")), "what an ended task has shown is shown no more: {metrics}");
    assert!(metrics.contains(&series("free", "warning", "%", "7")), "{metrics}");
}

#[tokio::test]
async fn what_a_successor_says_takes_the_place_of_what_was_said() {
    let (server, mut client) = server().await;
    let often = |request| {
        with_spec(request, |spec| spec.schedule = Some(Schedule { interval: seconds(1), ..Schedule::default() }))
    };
    checked(&mut client, often(script("data", &["echo '|old=1'"]))).await;
    shows(&server, "old").await;
    let task = Task { name: name("data"), ..often(script("data", &["echo '|new=1'"])).task.expect("set") };
    let swap = SwapTaskRequest { name: name("data"), task: Some(task), wait: true, ..Default::default() };
    client.swap_task(swap).await.expect("swaps");
    // The old instance has ended, and the new one's next check is not far.
    assert!(!server.metrics().await.contains("exec_perfdata{label=\"old\""));
    shows(&server, "new").await;
}

/// Waits until a check has come that said something under that label: one that a busy machine gives no turn in its time says nothing.
async fn shows(server: &Harness, label: &str) {
    let (series, deadline) = (format!("exec_perfdata{{label=\"{label}\""), Instant::now() + AMPLE);
    while !server.metrics().await.contains(&series) {
        assert!(Instant::now() < deadline, "{}", server.metrics().await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_environment_is_the_specs_and_the_output_bounded() {
    let (_server, mut client) = server().await;
    let count = "env | grep -vcE '^(PWD|OLDPWD|_|SHLVL)='; echo ignored";
    let check = checked(&mut client, script("clean", &[count])).await;
    assert_eq!(check.message, "2", "PATH and LC_ALL");
    let check = checked(&mut client, script("limit", &["[ $(ulimit -Sn) = $(ulimit -Hn) ] && echo raised"])).await;
    assert_eq!(check.message, "raised", "the server's own limit of descriptors");
    let request = with_spec(start("variable", monitor("/usr/bin/env", &[])), |spec| {
        let Some(Monitor::Exec(exec)) = &mut spec.monitor else { panic!("it is one") };
        exec.env = vec![ExecVariable { name: "A".to_owned(), value: "$HOME".to_owned() }];
    });
    assert_eq!(checked(&mut client, request).await.message, "A=$HOME");
    let check = checked(&mut client, script("long", &["head -c 5000000 /dev/zero | tr '\\0' x; exit 2"])).await;
    assert_eq!((check.verdict(), check.message.len()), (Verdict::Fail, 1024));
}

#[tokio::test]
async fn one_that_takes_too_long_is_killed_and_has_failed() {
    let (_server, mut client) = server().await;
    let told = Told::new();
    let text = format!("echo $$ >> \"$1\"\n{STUBBORN}");
    let request = with_spec(script("slow", &[&text, "sh", told.path()]), |spec| {
        spec.schedule = Some(Schedule { interval: seconds(1), ..Schedule::default() });
    });
    let mut check = checked(&mut client, request).await;
    // On a busy machine one may not even have been started in time.
    while check.reason == "LOCAL_FAULT" || told.lines(0).await.is_empty() {
        let task = client.get_task(GetTaskRequest { name: name("slow") }).await.expect("there").into_inner().task;
        check = task.and_then(|task| task.live?.last_check).expect("one at least");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((check.verdict(), check.reason.as_str()), (Verdict::Fail, "TIMEOUT"));
    cancelled(&mut client, "slow").await;
    // Not each of these is a group's; but none is left.
    for pid in told.lines(1).await {
        gone(&pid).await;
    }
}

fn fields(status: &Status) -> Vec<(String, String)> {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    violations.into_iter().map(|violation| (violation.field, violation.description)).collect()
}

#[tokio::test]
async fn only_what_the_operator_has_listed_is_run() {
    let (_server, mut client) = server().await;
    let off = Harness::start(Layer::default()).await;
    let mut without = off.client().await;
    let refused = |status: &Status, hint: &str| {
        assert_eq!(reason(status), "INVALID_FIELD");
        let fields = fields(status);
        assert!(
            matches!(&fields[..], [(field, text)] if field == "task.spec.exec.command" && text.contains(hint)),
            "{fields:?}"
        );
    };
    for validate_only in [false, true] {
        let request = StartTaskRequest { validate_only, ..script("api", &["true"]) };
        refused(&without.start_task(request).await.expect_err("off"), "runs no commands; its operator turns them on");
        for command in ["/bin/dash", "/bin/../bin/sh", "//bin/sh"] {
            let request = StartTaskRequest { validate_only, ..start("api", monitor(command, &[])) };
            refused(&client.start_task(request).await.expect_err("not listed"), "does not run this command");
        }
    }
    checked(&mut client, script("api", &["true"])).await;
    let spec = TaskSpec { monitor: Some(monitor("/bin/dash", &[])), ..TaskSpec::default() };
    let task = Some(Task { spec: Some(spec), ..Task::default() });
    let swap = SwapTaskRequest { name: name("api"), task, ..Default::default() };
    refused(&client.swap_task(swap).await.expect_err("not listed"), "does not run this command");
    let task = client.get_task(GetTaskRequest { name: name("api") }).await.expect("there").into_inner().task;
    assert_eq!(task.expect("answered").generation, 1);
}

#[tokio::test]
async fn a_cancel_leaves_no_process_behind_whoever_ignores_it() {
    let (server, mut client) = server().await;
    let told = Told::new();
    let group = running(&mut client, "stubborn", &told, STUBBORN, within(SHORT)).await;
    assert!(left(&group).len() >= 3, "{:?}", left(&group));
    let task = cancelled(&mut client, "stubborn").await;
    assert_eq!((task.state(), outcome(&task)), (State::Cancelled, (Exit::Aborted, Asked::Cancel)));
    gone(&group).await;
    let metrics = server.metrics().await;
    assert!(metrics.contains("\ncircuit_breaker_alerts_raised_total{alert=\"abort_timeout\"} 0\n"), "{metrics}");
}

#[tokio::test]
async fn one_that_ends_when_it_is_asked_to_ends_gracefully_with_what_it_has_spawned() {
    let (_server, mut client) = server().await;
    let told = Told::new();
    let text = "trap 'echo cleaned >> \"$1\"; exit 0' TERM
        (trap '' TERM; echo >> \"$1\"; while :; do sleep 1000; done) &
        echo >> \"$1\"; while :; do sleep 0.01; done";
    let group = running(&mut client, "polite", &told, text, within(AMPLE)).await;
    let task = cancelled(&mut client, "polite").await;
    assert_eq!((task.state(), outcome(&task)), (State::Cancelled, (Exit::Graceful, Asked::Cancel)));
    assert_eq!(told.lines(4).await[3], "cleaned");
    gone(&group).await;
}

#[tokio::test]
async fn a_server_that_ends_leaves_no_process_behind() {
    for drained in [true, false] {
        let (server, mut client) = server().await;
        let told = Told::new();
        let group = running(&mut client, "stubborn", &told, STUBBORN, within(SHORT)).await;
        if drained {
            server.shut_down();
            assert_eq!(server.ended().await, Ended::Clean);
        } else {
            drop(server);
        }
        gone(&group).await;
    }
}

#[tokio::test]
async fn a_server_that_is_forced_to_end_leaves_no_process_behind() {
    // So many on one thread that it could not end them by itself before the process ends.
    let served = Served::begin(&["--exec-commands", SHELL, "--built-in-shards", "1"]);
    let mut client = Client::connect(format!("http://{}", served.address)).await.expect("listening");
    let told: [_; 24] = std::array::from_fn(|_| Told::new());
    let text = "trap '' TERM HUP; sleep 1000 & echo >> $1; echo >> $1; while :; do sleep 1000; done";
    // A drain gives them what the phase that follows leaves of its own time.
    let shutdown = ShutdownPolicy { abort_timeout: None, ..within(AMPLE) };
    let mut groups = Vec::new();
    for (n, told) in told.iter().enumerate() {
        groups.push(running(&mut client, &format!("stubborn-{n}"), told, text, shutdown).await);
    }
    let mut watch = served.follow(&["watch", "--initial", "-o", "json"]);
    watch.until(|line| line["initialComplete"] == true);
    served.signal();
    watch.until(|line| line["event"]["type"] == "EVENT_TYPE_SERVER_DRAINING");
    assert!(groups.iter().all(|group| left(group).len() >= 2));
    assert_eq!(served.terminate(), Some(11));
    for group in groups {
        gone(&group).await;
    }
}

#[test]
fn the_command_line_starts_and_shows_it() {
    let served = Served::begin(&["--exec-commands", "/bin/true:/bin/sh"]);
    let arguments =
        ["start", "greet", "--exec", SHELL, "--arg", "-c", "--arg", "echo \"hello $WHO\"", "--env", "WHO=you"];
    let started = served.run(&[&arguments[..], &["--wait"]].concat());
    assert_eq!((started.code, started.stdout.as_str()), (0, "greet  RUNNING\n"), "{started:?}");
    let got = served.run(&["get", "greet"]).stdout;
    for text in ["exec /bin/sh -c 'echo \"hello $WHO\"'", "PASS", "hello you"] {
        assert!(got.contains(text), "{text} is not in {got}");
    }
    let list = served.run(&["list", "--filter", "monitor = exec"]).stdout;
    assert!(list.lines().nth(1).is_some_and(|row| row.contains("/bin/sh -c")), "{list}");
    let refused = served.run(&["start", "other", "--exec", "/bin/cat"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("\n  task.spec.exec.command: "), "{refused:?}");
}
