//! Nothing is left behind by tasks that come and go: threads, descriptors, shards and memory, after ten thousand of them.

use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use switchyard::config::Layer;
use switchyard::pb::v1::{self, Isolation, ShutdownPolicy, State};

use crate::harness::{Client, Harness, cancel, drill, name, outcome, reach, with_spec};

/// Clients that start, cancel and delete side by side.
const CLIENTS: usize = 8;
const WARM_UP: usize = 2_000;
const ROUNDS: usize = 10_000;
/// What the live heap may have grown by meanwhile, in bytes.
const GROWTH: usize = 1024 * 1024;
/// Threads of a blocking pool that idle end after ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process has that it must give back.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    threads: usize,
    descriptors: usize,
}

impl Holdings {
    fn now() -> Self {
        let entries = |path| std::fs::read_dir(path).expect("a Linux").count();
        Self { threads: entries("/proc/self/task"), descriptors: entries("/proc/self/fd") }
    }
}

/// The shards by sort, what lives there, and what blocks them, as `/metrics` has it.
async fn shards(server: &Harness) -> Vec<String> {
    let ours = ["circuit_breaker_shard_threads", "circuit_breaker_active_tasks", "circuit_breaker_blocked_polls"];
    let metrics = server.metrics().await;
    let lines = metrics.lines().filter(|line| ours.iter().any(|name| line.starts_with(name)));
    lines.map(ToOwned::to_owned).collect()
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
    let (behaviour, duration) = if round % 500 == 250 { ("block_thread", "1500ms") } else { (behaviour, "30s") };
    with_spec(drill(id, behaviour, duration), |spec| {
        let millis = |nanos| Some(prost_types::Duration { seconds: 0, nanos: nanos * 1_000_000 });
        spec.shutdown = Some(ShutdownPolicy { grace_timeout: millis(5), abort_timeout: millis(500) });
        if round % 16 == 7 {
            spec.isolation = Isolation::Thread.into();
        }
    })
}

async fn round(client: &mut Client, id: &str, round: usize) {
    client.start_task(task(id, round)).await.expect("starts");
    // Some are cancelled before they are ready.
    if round.is_multiple_of(3) {
        reach(client, id, State::Running).await;
    }
    let ended = client.cancel_task(cancel(id)).await.expect("cancels").into_inner().task.expect("answered");
    let ended = if ended.state() == State::Stuck { reach(client, id, State::Cancelled).await } else { ended };
    assert_eq!(ended.state(), State::Cancelled, "{:?}", outcome(&ended));
    let request = v1::DeleteTaskRequest { name: name(id), ..Default::default() };
    client.delete_task(request).await.expect("deletes");
}

async fn rounds(client: &Client, from: usize, to: usize) {
    let clients = (0..CLIENTS).map(|n| {
        let mut client = client.clone();
        async move {
            for number in (from..to).skip(n).step_by(CLIENTS) {
                round(&mut client, &format!("task-{n}"), number).await;
            }
        }
    });
    join_all(clients).await;
}

/// Waits until everything has been given back. Idle threads take their time, and asking the server would keep them.
async fn settled(before: &Holdings) {
    let began = Instant::now();
    loop {
        let now = Holdings::now();
        if now == *before {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "left behind: {now:?}, was {before:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it counts what its process holds, so it is run by the test below, alone in one"]
async fn everything_is_given_back() {
    // Fewer events than a round's, so that the log is full when the counting begins.
    let layer = Layer { event_retention: Some(1_000), ..Layer::default() };
    let server = Harness::start(layer).await;
    let client = server.client().await;
    let before = Holdings::now();
    let idle = shards(&server).await;
    rounds(&client, 0, WARM_UP).await;
    settled(&before).await;
    let warm = crate::ALLOCATOR.current_usage();
    rounds(&client, WARM_UP, ROUNDS).await;
    settled(&before).await;
    let grown = crate::ALLOCATOR.current_usage().saturating_sub(warm);
    assert!(grown <= GROWTH, "the heap has grown by {grown} bytes over {} rounds", ROUNDS - WARM_UP);
    assert_eq!(shards(&server).await, idle);
    println!("the heap has grown by {grown} bytes of {warm} over {} rounds", ROUNDS - WARM_UP);
}

#[test]
fn ten_thousand_tasks_that_come_and_go_leave_nothing_behind() {
    let this = std::env::current_exe().expect("a test binary");
    let run = Command::new(this)
        .args(["rounds::everything_is_given_back", "--exact", "--ignored", "--nocapture"])
        .output()
        .expect("runs");
    let (told, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && told.contains("1 passed"), "{told}\n{errors}");
    print!("{told}");
}
