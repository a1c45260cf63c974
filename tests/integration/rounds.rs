//! Nothing is left behind by tasks that come and go: threads, descriptors, shards and memory, after ten thousand of them.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use switchyard::config::Layer;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::{self, ExecMonitor, Isolation, Schedule, ShutdownPolicy, State};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use crate::alone::alone;
use crate::harness::{Client, Harness, all_tasks, cancel, drill, name, outcome, reach, start, with_spec};

/// Clients that start, cancel and delete side by side.
const CLIENTS: usize = 8;
const WARM_UP: usize = 2_000;
const ROUNDS: usize = 10_000;
/// What the live heap may have grown by meanwhile, in bytes.
const GROWTH: usize = 1024 * 1024;
/// Threads of a blocking pool that idle end after ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ignores SIGTERM, and leaves a grandchild that does, too. All of them hold the pipe open to which their leader has said that they
/// are there.
const STUBBORN: &str = "#!/bin/sh
trap '' TERM
exec 3> \"$1\"
(sh -c 'sleep 1000' &)
echo there >&3
while :; do sleep 1000; done
";

/// What a process has that it must give back.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    threads: usize,
    descriptors: usize,
    /// Zombies among them.
    processes: usize,
}

impl Holdings {
    fn now() -> Self {
        let entries = |path| fs::read_dir(path).expect("a Linux").count();
        Self { threads: entries("/proc/self/task"), descriptors: entries("/proc/self/fd"), processes: children() }
    }
}

#[expect(clippy::disallowed_methods, reason = "small files, and nothing else is to be done meanwhile")]
fn children() -> usize {
    let ours = std::process::id().to_string();
    let processes = fs::read_dir("/proc").expect("a Linux").filter_map(Result::ok);
    let stats = processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
    // The parent comes after the state, and that after the program's name in its parentheses.
    let is_child = |stat: &String| Some(stat.rsplit_once(')')?.1.split_whitespace().nth(1)? == ours);
    stats.filter(|stat| is_child(stat) == Some(true)).count()
}

/// The script, where this server may run it.
struct Script(PathBuf);

impl Script {
    fn write() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stubborn-{}", Uuid::new_v4()));
        fs::write(&path, STUBBORN).expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("ours");
        Self(path)
    }

    fn path(&self) -> String {
        self.0.to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // The system clears what is left there.
        let _ = fs::remove_file(&self.0);
    }
}

/// The shards by sort, what lives there, and what blocks them, as `/metrics` has it.
async fn shards(server: &Harness) -> Vec<String> {
    let ours = ["circuit_breaker_shard_threads", "circuit_breaker_active_tasks", "circuit_breaker_blocked_polls"];
    let metrics = server.metrics().await;
    let lines = metrics.lines().filter(|line| ours.iter().any(|name| line.starts_with(name)));
    lines.map(ToOwned::to_owned).collect()
}

/// How often shards have been left to what blocked them.
async fn reliefs(server: &Harness) -> u64 {
    let metrics = server.metrics().await;
    let values = metrics.lines().filter_map(|line| line.strip_prefix("circuit_breaker_shards_relieved_total "));
    values.map(|value| value.parse::<u64>().expect("a number")).sum()
}

/// What is done with a round's task before it is cancelled.
#[derive(Clone, Copy)]
enum Meanwhile {
    Nothing,
    /// It becomes ready, as with all that follow.
    Ready,
    Pause,
    Swap,
}

impl Meanwhile {
    fn of(round: usize) -> Self {
        match round % 16 {
            3 => Self::Pause,
            5 => Self::Swap,
            // Others are cancelled before they are ready, some of them.
            _ if round.is_multiple_of(3) => Self::Ready,
            _ => Self::Nothing,
        }
    }

    async fn happens(self, client: &mut Client, id: &str, round: usize) {
        if matches!(self, Self::Nothing) {
            return;
        }
        reach(client, id, State::Running).await;
        match self {
            Self::Nothing | Self::Ready => {}
            Self::Pause => {
                let request = v1::PauseTaskRequest { name: name(id), ..Default::default() };
                client.pause_task(request).await.expect("pauses");
                reach(client, id, State::Paused).await;
                let request = v1::ResumeTaskRequest { name: name(id), ..Default::default() };
                client.resume_task(request).await.expect("resumes");
                reach(client, id, State::Running).await;
            }
            Self::Swap => {
                let other = drill(id, "cooperative", "29s").task;
                let request = v1::SwapTaskRequest { name: name(id), task: other, wait: true, ..Default::default() };
                let swapped = client.swap_task(request).await.expect("swaps").into_inner().task.expect("answered");
                let phase = swapped.swap.as_ref().expect("there was one").phase();
                assert_eq!((swapped.generation, phase), (2, v1::SwapPhase::Done), "of round {round}");
            }
        }
    }
}

/// A task of one round; most kinds of trouble are among them, each bounded by a short shutdown.
fn task(id: &str, round: usize) -> v1::StartTaskRequest {
    let behaviour = match round % 16 {
        0..=7 => "cooperative",
        8 | 9 => "ignore_cancel",
        10 | 11 => "leak_children",
        12 => "panic_in_cleanup",
        _ => "slow_cleanup",
    };
    // Now and then one that blocks a shared thread until that is relieved.
    let (behaviour, duration) = match round {
        _ if round % 500 == 249 => ("block_thread", "1500ms"),
        // It has a thread to itself, which it gives back.
        _ if round % 16 == 15 => ("block_thread", "40ms"),
        _ => (behaviour, "30s"),
    };
    with_spec(drill(id, behaviour, duration), |spec| {
        let millis = |nanos| Some(prost_types::Duration { seconds: 0, nanos: nanos * 1_000_000 });
        spec.shutdown = Some(ShutdownPolicy { grace_timeout: millis(5), abort_timeout: millis(500) });
        if matches!(round % 16, 7 | 15) {
            spec.isolation = Isolation::Thread.into();
        }
    })
}

/// One that runs the script, and then nothing of that is left.
async fn round_of_processes(client: &mut Client, id: &str, script: &str) {
    let (sender, receiver) = pipe::pipe().expect("a pipe");
    let path = format!("/proc/{}/fd/{}", std::process::id(), sender.as_raw_fd());
    let monitor = ExecMonitor { command: script.to_owned(), args: vec![path], env: vec![] };
    let request = with_spec(start(id, Monitor::Exec(monitor)), |spec| {
        let grace_timeout = Some(prost_types::Duration { seconds: 0, nanos: 20_000_000 });
        spec.shutdown = Some(ShutdownPolicy { grace_timeout, abort_timeout: None });
        let minutes = Some(prost_types::Duration { seconds: 300, nanos: 0 });
        spec.schedule = Some(Schedule { interval: minutes, timeout: minutes, max_runs: 0 });
    });
    client.start_task(request).await.expect("starts");
    let (mut told, mut line) = (BufReader::new(receiver), String::new());
    told.read_line(&mut line).await.expect("reads");
    assert_eq!(line, "there\n");
    drop(sender);
    end(client, id).await;
    // It ends when the last of them has: none of them closes it.
    let rest = tokio::time::timeout(PATIENCE, told.read_to_string(&mut line)).await;
    assert_eq!(rest.expect("no process is left").expect("reads"), 0);
}

async fn round(client: &mut Client, id: &str, round: usize, script: &str) {
    if round % 100 == 50 {
        return round_of_processes(client, id, script).await;
    }
    client.start_task(task(id, round)).await.expect("starts");
    Meanwhile::of(round).happens(client, id, round).await;
    end(client, id).await;
}

/// Cancels the task, and deletes it.
async fn end(client: &mut Client, id: &str) {
    let ended = client.cancel_task(cancel(id)).await.expect("cancels").into_inner().task.expect("answered");
    let ended = if ended.state() == State::Stuck { reach(client, id, State::Cancelled).await } else { ended };
    assert_eq!(ended.state(), State::Cancelled, "{:?}", outcome(&ended));
    let request = v1::DeleteTaskRequest { name: name(id), ..Default::default() };
    client.delete_task(request).await.expect("deletes");
}

async fn rounds(client: &Client, script: &str, from: usize, to: usize) {
    let clients = (0..CLIENTS).map(|n| {
        let mut client = client.clone();
        async move {
            for number in (from..to).skip(n).step_by(CLIENTS) {
                round(&mut client, &format!("task-{n}"), number, script).await;
            }
        }
    });
    join_all(clients).await;
}

/// Waits until everything has been given back. Idle threads take their time, and asking the server would keep them. Nothing tells of
/// a thread's end, or of a descriptor's: so it looks, now and then.
async fn settled(before: &Holdings) {
    let (began, mut looks) = (Instant::now(), interval(Duration::from_millis(100)));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let now = Holdings::now();
        if now == *before {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "left behind: {now:?}, was {before:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it counts what its process holds, so it is run by the test below, alone in one"]
async fn everything_is_given_back() {
    // Fewer events than a round's, so that the log is full when the counting begins.
    let script = Script::write();
    let commands = Some(vec![script.path()]);
    let layer = Layer { event_retention: Some(1_000), exec_commands: commands, ..Layer::default() };
    let server = Harness::start(layer).await;
    let client = server.client().await;
    // A connection may be there before the server has accepted it; one that is answered is held by both ends.
    all_tasks(&mut client.clone()).await;
    let before = Holdings::now();
    let idle = shards(&server).await;
    rounds(&client, &script.path(), 0, WARM_UP).await;
    settled(&before).await;
    let relieved = reliefs(&server).await;
    assert!(relieved > 0, "none of those that block has been left its thread");
    let warm = crate::ALLOCATOR.current_usage();
    rounds(&client, &script.path(), WARM_UP, ROUNDS).await;
    settled(&before).await;
    let grown = crate::ALLOCATOR.current_usage().saturating_sub(warm);
    assert!(grown <= GROWTH, "the heap has grown by {grown} bytes over {} rounds", ROUNDS - WARM_UP);
    assert_eq!(shards(&server).await, idle);
    assert!(reliefs(&server).await > relieved, "none of those that block has been left its thread");
    println!("the heap has grown by {grown} bytes of {warm} over {} rounds", ROUNDS - WARM_UP);
}

#[test]
fn ten_thousand_tasks_that_come_and_go_leave_nothing_behind() {
    print!("{}", alone("rounds::everything_is_given_back"));
}
