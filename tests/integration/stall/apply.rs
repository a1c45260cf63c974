//! A store that stalls, or has no space left, in the middle of an apply: what the client is told, and that the same apply goes on.

use switchyard::pb::v1::{ApplyHeader, ApplyOutcome, ApplyProgress, ApplyResult, ApplyTasksRequest, Rollout, Task};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::harness::drill;

const IDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// What is told of an apply that has ended.
async fn applied(client: &mut Client, parallel: u32, tasks: Vec<Task>) -> Result<ApplyResult, Status> {
    let rollout = Some(Rollout { max_parallel: parallel, ..Default::default() });
    let header = Some(ApplyHeader { owner: "core".to_owned(), rollout, ..Default::default() });
    let request = ApplyTasksRequest { header, tasks };
    let mut frames = client.apply_tasks(tokio_stream::iter([request])).await?.into_inner();
    while let Some(frame) = frames.message().await? {
        if let Some(result) = frame.result {
            return Ok(result);
        }
    }
    panic!("no result, and no error");
}

/// How many tasks were created, swapped, left.
fn told(result: &ApplyResult) -> (ApplyOutcome, [u32; 3]) {
    let ApplyProgress { created, swapped, left, .. } = result.counts.expect("told");
    (result.outcome(), [created, swapped, left])
}

fn task(id: &str, lasts: &str) -> Task {
    Task { name: name(id), ..drill(id, "cooperative", lasts).task.expect("set") }
}

fn set(lasts: &str) -> Vec<Task> {
    IDS.map(|id| task(id, lasts)).to_vec()
}

/// A server with six tasks of the owner, which are ready.
async fn six(disk: &Disk) -> (Harness, Client) {
    let (server, mut client) = server(disk).await;
    let created = applied(&mut client, 1, set("1h")).await.expect("applied");
    assert_eq!(told(&created), (ApplyOutcome::Succeeded, [6, 0, 0]));
    for id in IDS {
        reach(&mut client, id, State::Running).await;
    }
    (server, client)
}

/// How often each task was swapped, and how often it was begun to be, from the cursor on.
async fn swaps(client: &mut Client, from: &str) -> BTreeMap<String, (usize, usize)> {
    client.start_task(idle("last")).await.expect("started");
    let mut swaps = BTreeMap::<_, (usize, usize)>::new();
    for event in events_until(client, from, EventType::TaskCreated).await {
        let (begun, done) = match event.r#type() {
            EventType::SwapStarted => (1, 0),
            EventType::SwapCommitted => (0, 1),
            _ => continue,
        };
        let counts = swaps.entry(event.name).or_default();
        *counts = (counts.0 + begun, counts.1 + done);
    }
    swaps
}

/// The set again goes on from where it was, and once more does nothing; every task was swapped once in all.
async fn goes_on(server: &Harness, client: &mut Client, from: &str, set: fn() -> Vec<Task>) -> u32 {
    let (outcome, [created, swapped, left]) = told(&applied(client, 2, set()).await.expect("applied"));
    assert_eq!((outcome, created, swapped + left), (ApplyOutcome::Succeeded, 0, 6));
    let head = server.info().await.head_cursor;
    let again = applied(client, 2, set()).await.expect("applied");
    assert_eq!((told(&again), &again.cursor), ((ApplyOutcome::Succeeded, [0, 0, 6]), &head));
    assert_eq!(server.info().await.head_cursor, head, "nothing was appended");
    let once = IDS.map(|id| (name(id), (1, 1))).into();
    assert_eq!(swaps(client, from).await, once);
    left
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_whose_journal_stalls_tells_how_far_it_is_and_goes_on_when_asked_again() {
    let disk = Disk::default();
    let (server, mut client) = six(&disk).await;
    let head = server.info().await.head_cursor;
    disk.hold_after(3);
    let status = applied(&mut client, 2, set("2h")).await.expect_err("it stalls");
    assert_eq!((refusal(&status), retried_later(&status)), (stalled(), true));
    let message = status.message();
    assert!(message.starts_with("the journal is stalled: the apply goes no further. 0 created, "), "{message}");
    assert!(message.ends_with(" not begun. Apply the set again to go on from there"), "{message}");
    assert!(!message.contains(" 0 not begun") && !message.contains("Nothing was changed"), "{message}");
    health_becomes(&server, ServingStatus::NotServing).await;
    let status = applied(&mut client, 2, set("2h")).await.expect_err("it stalls still");
    assert_eq!((refusal(&status), retried_later(&status)), (stalled(), true));

    disk.hold(false);
    health_becomes(&server, ServingStatus::Serving).await;
    let left = goes_on(&server, &mut client, &head, || set("2h")).await;
    assert!(left > 0, "what the first one has done is not done again");
}

/// Says a word to whoever connects, once it may.
struct Late {
    address: String,
    may: watch::Sender<bool>,
    _serving: AbortOnDropHandle<()>,
}

impl Late {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let (may, mut allowed) = watch::channel(false);
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("listens");
                allowed.wait_for(|may| *may).await.expect("not over");
                // A check that was dropped meanwhile reads nothing.
                let _ = stream.write_all(b"a word").await;
            }
        });
        Self { address, may, _serving: AbortOnDropHandle::new(serving) }
    }

    /// A task that is ready once the word is said.
    fn awaited(&self, id: &str) -> Task {
        let steps = vec![v1::TcpStep { send: Vec::new(), expect: b"a word".to_vec() }];
        let request = start(id, Spec::Tcp(TcpMonitor { address: self.address.clone(), steps }));
        let request = with_spec(request, |spec| {
            let long = Some(prost_types::Duration { seconds: 300, nanos: 0 });
            spec.schedule = Some(v1::Schedule { interval: long, timeout: long, max_runs: 0 });
            spec.swap = Some(v1::SwapPolicy { readiness_timeout: long, ..Default::default() });
        });
        Task { name: name(id), ..request.task.expect("set") }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_whose_store_fills_up_tells_how_far_it_is_and_goes_on_when_there_is_space() {
    let disk = Disk::default();
    let (server, mut client) = six(&disk).await;
    let late = Late::start().await;
    let head = server.info().await.head_cursor;
    let set = || {
        let mut set = set("2h");
        set[0] = late.awaited("a");
        set
    };
    let (mut applying, first) = (client.clone(), set());
    let asked = tokio::spawn(async move { applied(&mut applying, 1, first).await });
    events_until(&mut client, &head, EventType::InstanceStarting).await;
    disk.fill(true);
    health_becomes(&server, ServingStatus::NotServing).await;
    late.may.send_replace(true);
    let status = asked.await.expect("no panic").expect_err("there is no space for the next swap");
    assert_eq!(refusal(&status), (Code::ResourceExhausted, "STORE_FULL".to_owned()));
    let so_far = "0 created, 1 swapped, 0 cancelled, 0 swapped back, 0 as they were, 0 failed; ";
    let message = status.message();
    assert!(message.starts_with("the journal's store is full: the apply goes no further. "), "{message}");
    assert!(message.contains(so_far), "{message}");
    let status = applied(&mut client, 1, set()).await.expect_err("there is none still");
    assert_eq!(refusal(&status), (Code::ResourceExhausted, "STORE_FULL".to_owned()));

    disk.fill(false);
    health_becomes(&server, ServingStatus::Serving).await;
    let result = applied(&mut client, 2, set()).await.expect("applied");
    assert_eq!(told(&result), (ApplyOutcome::Succeeded, [0, 5, 1]));
    let once: BTreeMap<_, _> = IDS.map(|id| (name(id), (1, 1))).into();
    assert_eq!(swaps(&mut client, &head).await, once);
}
