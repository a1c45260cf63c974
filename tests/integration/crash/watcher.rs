//! A client that watches everything, and goes on where it was whenever the server is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use switchyard::pb::v1::task_service_client::TaskServiceClient;
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{self, EventType, EventView};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;

/// What it makes of the events: the last image of every task.
type Fold = BTreeMap<String, v1::Task>;

#[derive(Clone, Default)]
struct Seen {
    cursor: String,
    events: u64,
    sequence: u64,
    tasks: Arc<Fold>,
}

/// The client. What it sees out of order, twice, or not at all, panics where it is looked at next.
pub(super) struct Watcher {
    address: watch::Sender<String>,
    seen: watch::Receiver<Seen>,
    _watching: AbortOnDropHandle<()>,
}

impl Watcher {
    /// Watches from the first event on.
    pub(super) async fn start(address: &str) -> Self {
        let (address, at) = watch::channel(address.to_owned());
        let (seen, shown) = watch::channel(Seen::default());
        let watching = AbortOnDropHandle::new(tokio::spawn(follow(at, seen)));
        // Before that it would begin elsewhere after a crash.
        shown.clone().wait_for(|seen| !seen.cursor.is_empty()).await.expect("the watcher watches");
        Self { address, seen: shown, _watching: watching }
    }

    /// There is another server.
    pub(super) fn go_on_at(&self, address: &str) {
        self.address.send_replace(address.to_owned());
    }

    /// How many events it has seen.
    pub(super) fn events(&self) -> u64 {
        self.seen.borrow().events
    }

    /// Waits until it has seen everything up to a cursor.
    pub(super) async fn reach(&self, cursor: &str) {
        let mut seen = self.seen.clone();
        let there = seen.wait_for(|seen| place(&seen.cursor) >= place(cursor)).await;
        there.expect("the watcher goes on");
    }

    /// The tasks as its events tell.
    pub(super) fn tasks(&self) -> Fold {
        Fold::clone(&self.seen.borrow().tasks)
    }
}

/// Which place a cursor is of. Clients may not know; a test of this server may.
fn place(cursor: &str) -> u64 {
    cursor.rsplit('-').next().and_then(|place| place.parse().ok()).expect("a cursor")
}

/// What of a task is durable.
pub(super) fn durable(task: &v1::Task) -> v1::Task {
    v1::Task { live: None, ..task.clone() }
}

async fn follow(mut address: watch::Receiver<String>, shown: watch::Sender<Seen>) {
    let mut cursor = None;
    loop {
        let at = address.borrow_and_update().clone();
        watch_at(&at, &mut cursor, &shown).await;
        // Gone; until there is another.
        if address.changed().await.is_err() {
            return;
        }
    }
}

async fn watch_at(address: &str, cursor: &mut Option<String>, shown: &watch::Sender<Seen>) {
    let Ok(mut client) = TaskServiceClient::connect(format!("http://{address}")).await else { return };
    let start = match cursor.clone() {
        Some(cursor) => Start::Cursor(cursor),
        None => Start::SendInitialState(true),
    };
    let view = EventView::Full.into();
    let request =
        v1::WatchTasksRequest { parent: "namespaces/-".to_owned(), start: Some(start), view, ..Default::default() };
    let mut stream = match client.watch_tasks(request).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => return assert_ne!(status.code(), Code::OutOfRange, "a gap: {status:?}"),
    };
    loop {
        match stream.message().await {
            Ok(Some(frame)) => take(frame, cursor, shown),
            Ok(None) => return,
            Err(status) => return assert_ne!(status.code(), Code::OutOfRange, "a gap: {status:?}"),
        }
    }
}

fn take(frame: v1::WatchTasksResponse, cursor: &mut Option<String>, shown: &watch::Sender<Seen>) {
    let mut seen = shown.borrow().clone();
    for event in frame.events {
        seen.events += 1;
        assert_eq!(event.sequence, seen.sequence + 1, "each event once, and in order: {event:?}");
        seen.sequence = event.sequence;
        let Some(task) = event.task.clone() else { continue };
        let tasks = Arc::make_mut(&mut seen.tasks);
        match event.r#type() {
            EventType::TaskDeleted => drop(tasks.remove(&task.name)),
            _ => drop(tasks.insert(task.name.clone(), durable(&task))),
        }
    }
    if !frame.cursor.is_empty() {
        seen.cursor.clone_from(&frame.cursor);
        *cursor = Some(frame.cursor);
    }
    shown.send_replace(seen);
}
