//! What watchers who never read cost the server, however large the events are.

use prost::Message;
use switchyard::config::{Layer, StoreKind};
use switchyard::pb::v1::circuit_service_client::CircuitServiceClient;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{
    EventView, HttpHeader, HttpMonitor, Override, OverrideCircuitRequest, Schedule, State, WatchTasksRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::alone::alone;
use crate::harness::{Harness, name, reach, start, with_spec};
use crate::scratch::Scratch;

/// What one may cost, at the most.
const BOUND: usize = 512 * 1024;
const WATCHERS: usize = 100;
/// So many events, each with a reason as long as may be: several times of what is under way to one watcher.
const EVENTS: usize = 700;
/// Nearly all that HTTP/2 lets a server send to a client which does not ask for more.
const WINDOW: usize = 60_000;

/// A frame of HTTP/2 on the first stream of a connection, or on the connection itself.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [.., high, middle, low] = payload.len().to_be_bytes();
    [&[high, middle, low, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// What asks for a watch, byte by byte: so whoever asks keeps nothing of the answer in this process.
fn asks(request: &WatchTasksRequest) -> Vec<u8> {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const DATA: u8 = 0;
    const END_OF_HEADERS: u8 = 4;
    const END_OF_STREAM: u8 = 1;
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/switchyard.v1.TaskService/WatchTasks"),
        (":authority", "unread"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    let headers: Vec<_> = fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect();
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let message = [&[0], length.as_slice(), &message].concat();
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_OF_HEADERS, 1, &headers),
        frame(DATA, END_OF_STREAM, 1, &message),
    ]
    .concat()
}

/// What each of many costs that watch from the beginning and read no more than their window.
async fn cost(server: &Harness, cursor: &str, view: EventView) -> usize {
    let start = Some(Start::Cursor(cursor.to_owned()));
    let asks = asks(&WatchTasksRequest { start, view: view.into(), ..Default::default() });
    let before = crate::ALLOCATOR.current_usage();
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        let mut stream = TcpStream::connect(server.address()).await.expect("listening");
        stream.write_all(&asks).await.expect("connected");
        watchers.push(stream);
    }
    let mut unread = vec![0; WINDOW];
    for stream in &mut watchers {
        stream.read_exact(&mut unread).await.expect("it comes");
    }
    let cost = crate::ALLOCATOR.current_usage().saturating_sub(before) / WATCHERS;
    drop(watchers);
    // What they leave is not to be counted with the next ones.
    while !server.metrics().await.contains("circuit_breaker_watch_streams 0") {
        tokio::task::yield_now().await;
    }
    cost
}

/// Has a task as large as may be, and a log of events about it.
async fn fill(server: &Harness) {
    let mut client = server.client().await;
    let header = |number| HttpHeader { name: format!("X-Large-{number}"), value: "x".repeat(7_500) };
    let monitor = Monitor::Http(HttpMonitor {
        url: format!("http://{}/", server.http_address()),
        headers: (0..6).map(header).collect(),
        body: vec![b'x'; 16_000],
        expected_status: vec!["100-599".to_owned()],
        ..Default::default()
    });
    let mut request = with_spec(start("large", monitor), |spec| {
        spec.schedule = Some(Schedule {
            interval: prost_types::Duration { seconds: 3_600, nanos: 0 }.into(),
            ..Default::default()
        });
    });
    let task = request.task.as_mut().expect("given");
    task.annotations = [("note".to_owned(), "x".repeat(16_000))].into();
    client.start_task(request).await.expect("started");
    reach(&mut client, "large", State::Running).await;
    let mut circuits = CircuitServiceClient::new(server.connect().await);
    for number in 0..EVENTS {
        let over = if number % 2 == 0 { Override::Shadow } else { Override::None };
        let reason = "x".repeat(1_024);
        let request =
            OverrideCircuitRequest { name: name("large"), r#override: over.into(), reason, ..Default::default() };
        circuits.override_circuit(request).await.expect("laid");
    }
}

#[test]
fn a_watcher_that_reads_nothing_costs_half_a_mebibyte_at_the_most_whatever_it_watches() {
    print!("{}", alone("unread::none_of_them_costs_more"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it counts what lives on its process's heap, so it is run by the test above, alone in one"]
async fn none_of_them_costs_more() {
    let directory = Scratch::new("unread");
    let store = |store| Layer { store: Some(store), data_dir: Some(directory.path().to_owned()), ..Layer::default() };
    let mut costs = Vec::new();
    let server = Harness::start(store(StoreKind::Embedded)).await;
    let cursor = server.info().await.head_cursor;
    fill(&server).await;
    for view in [EventView::Full, EventView::Basic] {
        costs.push(("of late", view, cost(&server, &cursor, view).await));
    }
    server.shut_down();
    server.ended().await;
    // What is older than a server is in its store alone.
    let server = Harness::start(store(StoreKind::Embedded)).await;
    for view in [EventView::Full, EventView::Basic] {
        costs.push(("of long ago", view, cost(&server, &cursor, view).await));
    }
    assert!(costs.iter().all(|(_, _, cost)| *cost <= BOUND), "{costs:?}");
}
