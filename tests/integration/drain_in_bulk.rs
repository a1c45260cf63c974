//! The drain of a server that has its hands full, with a journal that stalls meanwhile.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use switchyard::config::Layer;
use switchyard::journal::{Group, MemoryStore, Reader, Recovered, Store, StoreError};
use switchyard::pb::v1::task_spec::Monitor as Spec;
use switchyard::pb::v1::{self, AlertKind, EventType, StartTaskRequest, TcpMonitor, WatchTasksRequest};
use switchyard::server::Ended;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::{Code, Streaming};

use crate::harness::{Harness, builder, drill, reason, start};
use crate::waits::Waits;

const BOUND: Duration = Duration::from_secs(10);
/// No stream is cut earlier than this: tasks have 7 s to stop, and the last events of their streams 1.6 s to arrive.
const UNCUT: Duration = Duration::from_millis(8_600);
/// The threads that a drain goes through, beside that of its test.
const DRAIN: &[&str] = &["tokio-rt-worker", "manager", "journal"];
const TASKS: usize = 1_000;
const STREAMS: usize = 50;
/// Those that block their thread for longer than a busy machine takes for the start and the drain.
const BLOCKING: usize = 10;

/// Whether commits get through; and how many may wait for that without end.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Option<Instant>>, Condvar)>);

impl Gate {
    /// Holds up every commit until then.
    fn close_until(&self, until: Instant) {
        *self.0.0.lock().expect("no panic") = Some(until);
    }

    /// Lets everything through.
    fn open(&self) {
        *self.0.0.lock().expect("no panic") = None;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let (closed, changed) = &*self.0;
        let mut until = closed.lock().expect("no panic");
        while let Some(left) =
            until.map(|until| until.saturating_duration_since(Instant::now())).filter(|it| !it.is_zero())
        {
            until = changed.wait_timeout(until, left).expect("no panic").0;
        }
    }
}

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Lets go of the writer's thread when the test ends, however it does.
struct Opens(Gate);

/// A store in memory, as slow as its gate.
struct Stalling(MemoryStore, Gate);

impl Store for Stalling {
    fn recover(&mut self) -> Result<Recovered, StoreError> {
        self.0.recover()
    }

    fn commit(&mut self, group: Group<'_>) -> Result<(), StoreError> {
        self.1.pass();
        self.0.commit(group)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.0.reader()
    }
}

/// A thousand tasks: most well, and some of every sort that is not.
fn tasks() -> impl Iterator<Item = StartTaskRequest> {
    let drills = [
        ("cooperative", "1h", 440),
        ("ignore_cancel", "1h", 60),
        ("leak_children", "1h", 40),
        ("panic", "500ms", 40),
        ("panic_in_cleanup", "1h", 10),
        ("block_thread", "2m", BLOCKING),
    ];
    let drills = drills.into_iter().flat_map(|(behaviour, duration, count)| {
        (0..count).map(move |n| drill(&format!("{}-{n}", behaviour.replace('_', "-")), behaviour, duration))
    });
    let tcp = |n| {
        let address = "127.0.0.1:9".to_owned();
        start(&format!("tcp-{n}"), Spec::Tcp(TcpMonitor { address, steps: vec![] }))
    };
    drills.chain((0..400).map(tcp))
}

/// A server that has its hands full, its clients, and the gate of its journal.
struct Busy {
    server: Harness,
    streams: Vec<Streaming<v1::WatchTasksResponse>>,
    gate: Gate,
    _opens: Opens,
    /// A client that never ends its handshake.
    _in_preface: TcpStream,
}

impl Busy {
    async fn start() -> Self {
        let gate = Gate::default();
        let layer = Layer { max_streams_per_connection: Some(64), ..Layer::default() };
        let store = Stalling(MemoryStore::new(100_000), gate.clone());
        let server = Harness::run(builder(layer).store(store).bind().await.expect("bound"));
        let client = server.client().await;
        let requests: Vec<_> = tasks().collect();
        assert_eq!(requests.len(), TASKS);
        let mut watcher = client.clone();
        let blocked = WatchTasksRequest {
            filter: "type = ALERT_RAISED AND name = namespaces/default/tasks/block-thread-*".to_owned(),
            ..WatchTasksRequest::default()
        };
        let blocked = watcher.watch_tasks(blocked).await.expect("watches").into_inner();
        let starts = stream::iter(requests).map(|request| {
            let mut client = client.clone();
            async move { client.start_task(request).await.expect("starts") }
        });
        starts.buffer_unordered(64).for_each(|_| std::future::ready(())).await;
        all_block(blocked).await;
        let everything = WatchTasksRequest { parent: "namespaces/-".to_owned(), ..WatchTasksRequest::default() };
        let mut streams = Vec::new();
        for _ in 0..STREAMS {
            streams.push(watcher.watch_tasks(everything.clone()).await.expect("watches").into_inner());
        }
        let mut in_preface = TcpStream::connect(server.address()).await.expect("listening");
        in_preface.write_all(b"PRI * HTTP/2.0\r\n").await.expect("connected");
        Self { server, streams, _opens: Opens(gate.clone()), gate, _in_preface: in_preface }
    }
}

/// Waits until each has been found to block the thread that it has by then to itself.
async fn all_block(mut alerts: Streaming<v1::WatchTasksResponse>) {
    let mut blocked = BTreeSet::new();
    while blocked.len() < BLOCKING {
        let frame = alerts.message().await.expect("goes on").expect("goes on");
        let is_blocked = |event: &v1::Event| match &event.detail {
            Some(v1::event::Detail::Alert(alert)) => alert.kind() == AlertKind::PollBlocked,
            _ => false,
        };
        blocked.extend(frame.events.into_iter().filter(is_blocked).map(|event| event.name));
    }
}

/// What a stream has shown by its end: how many instances ended, whether the drain was told, and why the stream ended.
#[derive(Debug)]
struct Seen {
    instances_ended: usize,
    drain_told: bool,
    bookmarked: bool,
    end: (Code, String),
}

impl Seen {
    /// A machine that is too busy has the drain cut its streams: that, too, is its bound.
    fn is_cut(&self, took: Duration) -> bool {
        took > UNCUT && self.end.1.is_empty()
    }
}

async fn read(mut stream: Streaming<v1::WatchTasksResponse>) -> Seen {
    let mut seen = Seen { instances_ended: 0, drain_told: false, bookmarked: false, end: (Code::Ok, String::new()) };
    loop {
        match stream.message().await {
            Ok(Some(frame)) => {
                for kind in frame.events.iter().map(v1::Event::r#type) {
                    seen.drain_told |= kind == EventType::ServerDraining;
                    // Only what the drain has ended: before it some ended by themselves, and some made way for those that block.
                    seen.instances_ended += usize::from(seen.drain_told && kind == EventType::InstanceEnded);
                }
                seen.bookmarked = frame.events.is_empty() && !frame.cursor.is_empty();
            }
            Ok(None) => return seen,
            Err(status) => return Seen { end: (status.code(), reason(&status)), ..seen },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tasks_and_a_journal_that_stalls_end_within_the_bound_and_every_stream_hears_of_it() {
    let Busy { server, streams, gate, _opens, _in_preface } = Busy::start().await;
    let reading = tokio::spawn(join_all(streams.into_iter().map(read)));
    gate.close_until(Instant::now() + Duration::from_secs(3));
    let (began, waits) = (Instant::now(), Waits::from_here());
    server.shut_down();
    let ended = server.ended().await;
    let (took, late) = (began.elapsed(), waits.through(DRAIN));
    assert!(took <= BOUND + late, "{took:?}, of which {late:?} may be the machine's");
    assert_eq!((ended, ended.exit_code()), (Ended::Abandoned(BLOCKING), 10));
    for seen in reading.await.expect("no panic").into_iter().filter(|seen| !seen.is_cut(took)) {
        assert!(seen.drain_told && seen.bookmarked, "after {took:?}: {seen:?}");
        // All but those that block; of those that panic some were backing off when the drain began.
        let (least, most) = (TASKS - BLOCKING - 40, TASKS - BLOCKING);
        assert!((least..=most).contains(&seen.instances_ended), "{} instances ended", seen.instances_ended);
        assert_eq!(seen.end, (Code::Unavailable, "SERVER_DRAINING".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_stalls_for_good_holds_up_nobodys_end() {
    let Busy { server, streams, gate, _opens, _in_preface } = Busy::start().await;
    let reading = tokio::spawn(join_all(streams.into_iter().map(read)));
    gate.close_until(Instant::now() + Duration::from_secs(600));
    let (began, waits) = (Instant::now(), Waits::from_here());
    server.shut_down();
    let ended = server.ended().await;
    let (took, late) = (began.elapsed(), waits.through(DRAIN));
    assert!(took <= BOUND + late, "{took:?}, of which {late:?} may be the machine's");
    assert_eq!(ended, Ended::Abandoned(BLOCKING));
    for seen in reading.await.expect("no panic").into_iter().filter(|seen| !seen.is_cut(took)) {
        // What was not committed is shown to nobody; but nobody is left waiting for it.
        assert!(!seen.drain_told && seen.bookmarked, "after {took:?}: {seen:?}");
        assert_eq!(seen.end, (Code::Unavailable, "SERVER_DRAINING".to_owned()));
    }
}
