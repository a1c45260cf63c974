//! Real commands, in real time. Nothing here depends on how fast this machine is: what must not time out has the longest timeout
//! there is, and what must time out goes on for ever.

mod kept;
mod told;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use self::told::{Told, gone, left, read};
use super::*;
use crate::model::{Epoch, ExecDraft, Live, MonitorDraft, Regime, ScheduleDraft, SpecDraft, Verdict};
use crate::monitor::testing::assignment;
use crate::monitor::{BuiltIn, CancellationToken, Children, LiveCell, Orders};
use crate::probe::BuiltIns;
use crate::telemetry::Metrics;

/// Long enough for the slowest machine.
const AMPLE: Duration = Duration::from_secs(120);
const SHELL: &str = "/bin/sh";

/// An instance that runs a script.
struct Bench {
    token: CancellationToken,
    live: Arc<LiveCell>,
    orders: Arc<Orders>,
    metrics: Metrics,
    running: AbortOnDropHandle<()>,
}

impl Bench {
    /// One check, or as many as there is time for.
    fn start(command: &str, args: &[&str], env: &[(&str, &str)], timeout: Duration, max_runs: u32) -> Self {
        let (spec, schedule) = spec(command, args, env, timeout, max_runs);
        let metrics = Metrics::new().expect("registered once");
        let built_ins = BuiltIns::new().with_commands(&[command.to_owned()], metrics.perfdata.clone());
        let monitor = built_ins.build(&Arc::new(spec)).expect("allowed");
        Self::begin(monitor, schedule, metrics)
    }

    fn begin(monitor: Box<dyn Monitor>, schedule: ScheduleDraft, metrics: Metrics) -> Self {
        // Reports that nobody takes are waited for only while there is no room for them.
        let (reports, mut inbox) = mpsc::channel(16);
        tokio::spawn(async move { while inbox.recv().await.is_some() {} });
        let assignment = assignment("exec", schedule, reports).expect("valid");
        let (live, orders) = (Arc::clone(&assignment.live), Arc::clone(&assignment.orders));
        let token = CancellationToken::new();
        let context = Context::new(assignment, token.clone(), Children::new());
        let running = tokio::spawn(async move { monitor.run(context).await.expect("a clean exit") });
        Self { token, live, orders, metrics, running: AbortOnDropHandle::new(running) }
    }

    fn script(script: &str, timeout: Duration) -> Self {
        Self::start(SHELL, &["-c", script], &[], timeout, 1)
    }

    async fn ended(self) -> Live {
        timeout(AMPLE, self.running).await.expect("it ends").expect("no panic");
        self.live.snapshot()
    }
}

fn spec(
    command: &str,
    args: &[&str],
    env: &[(&str, &str)],
    timeout: Duration,
    max_runs: u32,
) -> (TaskSpec, ScheduleDraft) {
    let draft = ExecDraft {
        command: command.to_owned(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
    };
    let schedule = ScheduleDraft { interval: Some(Duration::from_secs(300)), timeout: Some(timeout), max_runs };
    let draft = SpecDraft { monitor: Some(MonitorDraft::Exec(draft)), schedule, ..SpecDraft::default() };
    let mut violations = Violations::new();
    let spec = TaskSpec::try_new(draft, &mut violations).unwrap_or_else(|| panic!("{violations}"));
    (spec, schedule)
}

/// Verdict, reason and message of the one check of a script.
async fn check(script: &str) -> (Verdict, &'static str, String) {
    found(Bench::script(script, AMPLE)).await
}

async fn found(bench: Bench) -> (Verdict, &'static str, String) {
    let check = bench.ended().await.last_check.expect("one check");
    (check.verdict, check.reason, check.message)
}

/// The command of a script.
fn command(script: &str, args: &[&str]) -> ExecSpec {
    let (spec, _) = spec(SHELL, &[&["-c", script], args].concat(), &[], AMPLE, 1);
    match spec.monitor() {
        MonitorSpec::Exec(command) => command.clone(),
        other => panic!("no command: {other:?}"),
    }
}

/// Runs a script that has the file's name in `$1`.
fn run(told: &Told, script: &str, timeout: Duration) -> Bench {
    Bench::start(SHELL, &["-c", script, "sh", told.path()], &[], timeout, 1)
}

#[tokio::test]
async fn the_exit_status_is_the_verdict() {
    let said = |verdict, reason, message: &str| (verdict, reason, message.to_owned());
    for (script, expected) in [
        ("echo 'all well | a=1'; echo more", said(Verdict::Pass, "", "all well")),
        ("exit 0", said(Verdict::Pass, "", "")),
        ("echo nearly; exit 1", said(Verdict::Pass, "WARNING", "nearly")),
        ("echo broken; exit 2", said(Verdict::Fail, "CRITICAL", "broken")),
        ("exit 2", said(Verdict::Fail, "CRITICAL", "exit status: 2, without a word")),
        ("echo who knows; exit 3", said(Verdict::Neutral, "UNKNOWN", "who knows")),
        ("echo what; exit 4", said(Verdict::Neutral, "UNKNOWN", "exit status: 4; what")),
        ("nonesuch", said(Verdict::Neutral, "UNKNOWN", "exit status: 127")),
        ("echo x; kill -9 $$", said(Verdict::Neutral, "KILLED", "signal: 9 (SIGKILL); x")),
    ] {
        assert_eq!(check(script).await, expected, "{script}");
    }
}

#[tokio::test]
async fn what_is_no_program_is_not_the_targets_fault() {
    let told = Told::new();
    for (content, mode) in [("#!/bin/sh\n", 0o644), ("exit 2\n", 0o755)] {
        fs::write(told.path(), content).expect("writes");
        fs::set_permissions(told.path(), fs::Permissions::from_mode(mode)).expect("is ours");
        let found = found(Bench::start(told.path(), &[], &[], AMPLE, 1)).await;
        assert_eq!((found.0, found.1), (Verdict::Neutral, "NOT_EXECUTABLE"), "{content:?}: {}", found.2);
    }
    for command in ["/nonesuch", "/etc", "/etc/passwd/x"] {
        let (verdict, reason, message) = found(Bench::start(command, &[], &[], AMPLE, 1)).await;
        assert_eq!((verdict, reason), (Verdict::Neutral, "NOT_EXECUTABLE"), "{command}");
        assert!(message.starts_with("cannot run the command: "), "{message}");
    }
    assert_eq!(not_started(&Errno::AGAIN.into()).reason, "LOCAL_FAULT");
}

#[tokio::test]
async fn the_environment_is_clean_and_the_specs() {
    let env = [("B", "2 3"), ("LC_ALL", "C.UTF-8")];
    let found = found(Bench::start("/usr/bin/env", &[], &env, AMPLE, 1)).await;
    // The message is the first line only.
    assert_eq!((found.0, found.2.as_str()), (Verdict::Pass, "B=2 3"));
    let script = r#"echo $(pwd) $(env | grep -vE '^(PWD|OLDPWD|_|SHLVL)=' | sort | tr '\n' ' ') "$(cat)" $1 "$2""#;
    let found = self::found(Bench::start(SHELL, &["-c", script, "sh", "a", "b  $HOME"], &env, AMPLE, 1)).await;
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(found.2, format!("/ B=2 3 LC_ALL=C.UTF-8 {path}  a b  $HOME"));
}

#[tokio::test]
async fn output_is_bounded_and_holds_nobody_up() {
    let script = "echo 'much|a=1'; yes abcdefgh | head -c 2000000; exit 1";
    assert_eq!(check(script).await, (Verdict::Pass, "WARNING", "much".to_owned()));
    let (verdict, reason, _) = found(Bench::script("yes", Duration::from_secs(1))).await;
    assert!(matches!((verdict, reason), (Verdict::Fail, "TIMEOUT") | (Verdict::Neutral, "LOCAL_FAULT")), "{reason}");
    for (said, kept, cut_off) in [(100, 100, false), (8 * 1024, 8 * 1024, false), (2_000_000, 8 * 1024, true)] {
        let spawned = group::spawn(&command(&format!("head -c {said} /dev/zero"), &[]), &Arc::default());
        let mut group = spawned.and_then(Spawned::watch).expect("starts");
        let began = Instant::now();
        group.exited().await;
        // Of that only the pipe's 64 KiB and what is kept are taken at once.
        assert!(said < 2_000_000 || began.elapsed() > Duration::from_millis(200), "{:?}", began.elapsed());
        let ended = group.end().expect("has exited");
        assert_eq!((ended.output.len(), ended.cut_off), (kept, cut_off));
    }
}

#[tokio::test]
async fn who_keeps_the_output_open_is_not_waited_for_and_ends_with_the_command() {
    let told = Told::new();
    let bench = run(&told, "(trap '' TERM HUP; while :; do sleep 1000; done) & echo $$ > $1; echo done", AMPLE);
    let group = told.group().await;
    assert_eq!(found(bench).await, (Verdict::Pass, "", "done".to_owned()));
    gone(group).await;
}

#[tokio::test]
async fn one_that_runs_out_of_time_is_killed_with_its_group() {
    let told = Told::new();
    let script = "trap '' TERM; sleep 1000 & echo $$ > $1; while :; do sleep 1000; done";
    // Also where it is killed before it has said a word.
    let found = found(run(&told, script, Duration::from_millis(300))).await;
    assert!(matches!(found, (Verdict::Fail, "TIMEOUT", _) | (Verdict::Neutral, "LOCAL_FAULT", _)), "{found:?}");
    if let Ok(pid) = read(told.path()).unwrap_or_default().trim().parse() {
        gone(pid).await;
    }
}

#[tokio::test]
async fn one_that_is_told_to_stop_may_clean_up() {
    let told = Told::new();
    let script =
        "trap 'head -c 1000000 /dev/zero; echo cleaned >> $1; exit' TERM; echo $$ > $1; while :; do sleep 0.01; done";
    let bench = run(&told, script, AMPLE);
    let group = told.group().await;
    bench.token.cancel();
    let live = bench.ended().await;
    assert_eq!(live.last_check.map(|check| check.reason), Some("CANCELLED"));
    assert_eq!(told.lines(2).await[1], "cleaned", "more output than the pipe holds");
    gone(group).await;
}

#[tokio::test]
async fn one_that_is_dropped_leaves_nothing() {
    let told = Told::new();
    let script = "trap '' TERM HUP; (trap '' TERM HUP; while :; do sleep 1000; done) & echo $$ > $1; \
                  while :; do sleep 1000; done";
    let bench = run(&told, script, AMPLE);
    let group = told.group().await;
    bench.token.cancel();
    bench.running.abort();
    drop(bench);
    gone(group).await;
}

#[tokio::test]
async fn a_trial_does_not_wait_for_what_was_begun_before() {
    let told = Told::new();
    let script = "[ -s $1 ] && { echo second; exit; }; trap '' TERM; echo $$ > $1; while :; do sleep 1000; done";
    let bench = run(&told, script, AMPLE);
    let group = told.group().await;
    bench.orders.set_regime(Regime { epoch: Epoch::new(9), counted: true, trial_interval: Some(AMPLE) });
    assert_eq!(found(bench).await, (Verdict::Pass, "", "second".to_owned()));
    gone(group).await;
}

#[tokio::test]
async fn data_is_shown_while_the_instance_lives_and_its_checks_count() {
    for counted in [true, false] {
        let told = Told::new();
        // The first check ends, the one of the trial does not: the instance lives on.
        let script = "[ -s $1 ] || { echo $$ > $1; echo '|a=1'; exit; }; echo >> $1; while :; do sleep 1000; done";
        let path = told.path();
        let bench = Bench::start(SHELL, &["-c", script, "sh", path], &[], AMPLE, 0);
        bench.orders.set_regime(Regime {
            epoch: Epoch::new(1),
            counted,
            trial_interval: Some(Duration::from_millis(1)),
        });
        told.lines(2).await;
        assert_eq!(shown(&bench.metrics), counted);
        let metrics = bench.metrics.clone();
        bench.token.cancel();
        bench.ended().await;
        assert!(!shown(&metrics));
    }
}

/// Whether there is any performance data.
fn shown(metrics: &Metrics) -> bool {
    let text = String::from_utf8(metrics.render().expect("renders")).expect("text");
    text.contains("circuit_breaker_exec_perfdata{label=\"a\"")
}

#[tokio::test]
async fn nothing_is_left_of_what_is_started_for_nobody() {
    let told = Told::new();
    let command = command("echo $$ > $1; sleep 1000", &["sh", told.path()]);
    let (go_on, told_to) = std::sync::mpsc::sync_channel::<()>(1);
    let starting = AbortOnDropHandle::new(spawn_blocking(move || {
        let spawned = group::spawn(&command, &Arc::default());
        // An error only tells that the test has failed.
        let _ = told_to.recv();
        spawned
    }));
    let group = told.group().await;
    drop(starting);
    assert!(!left(group).is_empty(), "it is not here yet");
    go_on.send(()).expect("waits");
    gone(group).await;
}
