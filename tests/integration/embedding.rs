//! What an embedder may rely on: its code can harm nothing but its own tasks, and a server that ends leaves nothing behind.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use switchyard::config::Layer;
use switchyard::model::Violations;
use switchyard::monitor::{Config as KindConfig, Context, Kind, Monitor, MonitorError, MonitorFuture, from_fn};
use switchyard::pb::v1::{Exit, State};
use switchyard::server::Ended;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::harness::{Harness, builder, cancel, drill, reach, reason};
use crate::kinds::{custom, fall};

/// A kind whose every part is as bad as its name says.
struct Hostile(&'static str);

/// Blocks whoever drops it: until the test lets go, or for a time.
struct Sticky(&'static str);

/// Whether what sticks is let go of, and whether something gave up waiting for that.
static LET_GO: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
static GAVE_UP: AtomicBool = AtomicBool::new(false);

/// Panics when it is dropped.
struct Explosive;

impl Drop for Sticky {
    #[expect(clippy::disallowed_methods, reason = "blocking whoever drops it is what this is for")]
    fn drop(&mut self) {
        if self.0 != "checking" {
            std::thread::sleep(Duration::from_secs(3));
        } else if !GAVE_UP.load(Ordering::Relaxed) {
            let (let_go, changed) = &LET_GO;
            let held = let_go.lock().expect("no panic");
            let waited = changed.wait_timeout_while(held, Duration::from_secs(60), |let_go| !*let_go);
            if waited.expect("no panic").1.timed_out() {
                GAVE_UP.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Explosive {
    fn drop(&mut self) {
        fall("a panic while a panic is dropped");
    }
}

impl Kind for Hostile {
    fn name(&self) -> &str {
        self.0
    }

    fn declares_readiness(&self) -> bool {
        if self.0 == "unready" {
            fall("a panic where readiness is declared");
        }
        false
    }

    fn validate(&self, _config: &KindConfig) -> Result<(), Violations> {
        if self.0 == "explosive" {
            fall(Explosive);
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "hanging is what this is for")]
    fn build(&self, _config: &KindConfig) -> Result<Box<dyn Monitor>, MonitorError> {
        if self.0 == "hanging" {
            std::thread::sleep(Duration::from_secs(3));
        }
        Ok(Box::new(Watching(self.0, Sticky(self.0))))
    }
}

struct Watching(&'static str, Sticky);

impl Monitor for Watching {
    fn run(self: Box<Self>, context: Context) -> MonitorFuture {
        Box::pin(async move {
            std::mem::forget(self.1);
            if self.0 == "throwing" {
                fall(Explosive);
            }
            loop {
                context.checkpoint().await?;
            }
        })
    }
}

async fn hostile(kinds: &[&'static str]) -> Harness {
    let builder = kinds.iter().fold(builder(Layer::default()), |builder, kind| builder.register(Hostile(kind)));
    Harness::run(builder.bind().await.expect("bound"))
}

#[tokio::test]
async fn told_to_stop_is_no_failure() {
    let server = hostile(&["checking"]).await;
    let mut client = server.client().await;
    client.start_task(custom("checking", "checking")).await.expect("starts");
    reach(&mut client, "checking", State::Running).await;
    let task = client.cancel_task(cancel("checking")).await.expect("cancels").into_inner().task.expect("the task");
    assert_eq!(task.outcome.as_ref().expect("has ended").exit(), Exit::Graceful, "{task:?}");
}

#[tokio::test]
async fn no_code_of_a_kinds_can_stop_the_server() {
    let server = hostile(&["unready", "explosive", "throwing", "checking", "hanging"]).await;
    let mut client = server.client().await;
    for (kind, says) in [("unready", "readiness"), ("explosive", "panicked")] {
        let refused = client.start_task(custom("bad", kind)).await.expect_err(kind);
        assert!(format!("{refused:?}").contains(says), "{refused:?}");
    }
    client.start_task(custom("throwing", "throwing")).await.expect("starts");
    client.start_task(custom("there", "checking")).await.expect("starts");
    // More than there are threads to drop them on, if it were these that drop what was built in vain.
    for _ in 0..5 {
        client.start_task(custom("there", "checking")).await.expect_err("exists");
    }
    client.cancel_task(cancel("there")).await.expect("cancels");
    // All of them stick until now: where one had stuck to a thread of the server's, it would have had to give up.
    assert!(!GAVE_UP.load(Ordering::Relaxed));
    *LET_GO.0.lock().expect("no panic") = true;
    LET_GO.1.notify_all();
}

#[tokio::test]
async fn a_kind_that_hangs_holds_up_no_other() {
    let server = hostile(&["hanging", "checking"]).await;
    let client = server.client().await;
    let hanging = (0..40).map(|n| {
        let mut client = client.clone();
        async move { client.start_task(custom(&format!("hanging-{n}"), "hanging")).await }
    });
    let refused = futures_util::future::join_all(hanging).await;
    for answer in refused {
        let status = answer.expect_err("it cannot be built");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "KIND_UNRESPONSIVE"));
    }
    client.clone().start_task(custom("fine", "checking")).await.expect("starts");
}

/// The threads of this process that are a server's.
fn threads() -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task").expect("there") {
        #[expect(clippy::disallowed_methods, reason = "a file of the kernel's")]
        let name = std::fs::read_to_string(entry.expect("reads").path().join("comm")).unwrap_or_default();
        if ["shard", "custom", "manager", "journal", "event-log"].iter().any(|ours| name.starts_with(ours)) {
            names.push(name.trim().to_owned());
        }
    }
    names
}

async fn none_is_left(after: &str, address: std::net::SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !threads().is_empty() {
        assert!(Instant::now() < deadline, "after {after}: {:?}", threads());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "after {after} it still listens");
}

#[test]
fn nothing_is_left_of_a_server_however_it_ends() {
    // In a process of its own, since other tests have servers, too.
    let mut alone = Command::new(std::env::current_exe().expect("runs"));
    let ran = alone.args(["--exact", "--ignored", "embedding::alone_in_its_process"]).output().expect("starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    assert!(String::from_utf8_lossy(&ran.stdout).contains("1 passed"), "it was not found");
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn alone_in_its_process() {
    let kind = || from_fn("idle", |token: CancellationToken| async move { token.cancelled().await });
    drop(builder(Layer::default()).register(kind()));
    assert_eq!(threads(), Vec::<String>::new());

    let server = builder(Layer::default()).register(kind()).bind().await.expect("bound");
    let address = server.addr();
    assert!(!threads().is_empty());
    drop(server);
    none_is_left("a drop", address).await;

    let harness = Harness::run(builder(Layer::default()).register(kind()).bind().await.expect("bound"));
    let mut client = harness.client().await;
    client.start_task(custom("idle", "idle")).await.expect("starts");
    reach(&mut client, "idle", State::Running).await;
    let address = harness.address();
    harness.shut_down();
    assert_eq!(harness.ended().await, Ended::Clean);
    none_is_left("a drain", address).await;

    let server = builder(Layer::default()).bind().await.expect("bound");
    let address = server.addr();
    let running = tokio::spawn(server.run(std::future::ready(()), std::future::ready(())));
    assert!(matches!(running.await.expect("no panic"), Ended::Forced | Ended::Clean));
    none_is_left("force", address).await;

    let harness = Harness::run(builder(Layer::default()).bind().await.expect("bound"));
    let mut client = harness.client().await;
    client.start_task(drill("ignoring", "ignore_cancel", "1h")).await.expect("starts");
    let address = harness.address();
    drop(harness);
    none_is_left("its future's drop", address).await;
}
