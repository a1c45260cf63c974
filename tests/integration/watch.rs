//! Watching: every stream shows the same log, resumes anywhere in it, and says why it ends.

use std::time::Duration;

use futures_util::future::join_all;
use switchyard::config::Layer;
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{
    DeleteTaskRequest, Event, EventType, EventView, GetTaskRequest, State, Task, WatchTasksRequest, WatchTasksResponse,
};
use switchyard::server::Ended;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use crate::harness::{Client, Harness, all_tasks, cancel, idle, name, reach, reason};

type Frames = Streaming<WatchTasksResponse>;

async fn watch(client: &mut Client, request: WatchTasksRequest) -> Frames {
    client.watch_tasks(request).await.expect("opened").into_inner()
}

fn after(cursor: &str) -> WatchTasksRequest {
    WatchTasksRequest { start: Some(Start::Cursor(cursor.to_owned())), ..Default::default() }
}

async fn frame(frames: &mut Frames) -> WatchTasksResponse {
    frames.message().await.expect("no error").expect("not ended")
}

/// The frames up to the one with the event of that sequence.
async fn through(frames: &mut Frames, last: u64) -> Vec<WatchTasksResponse> {
    let mut seen = Vec::new();
    loop {
        seen.push(frame(frames).await);
        if seen.iter().flat_map(|frame| &frame.events).any(|event| event.sequence == last) {
            return seen;
        }
    }
}

fn events(frames: impl IntoIterator<Item = WatchTasksResponse>) -> Vec<Event> {
    frames.into_iter().flat_map(|frame| frame.events).collect()
}

/// Starts and cancels some tasks, some at a time.
async fn churn(client: &Client, prefix: &str, tasks: usize) {
    let lives = (0..tasks).map(|n| {
        let (mut client, id) = (client.clone(), format!("{prefix}-{n}"));
        async move {
            client.start_task(idle(&id)).await.expect("started");
            client.cancel_task(cancel(&id)).await.expect("cancelled");
        }
    });
    join_all(lives).await;
}

/// The last event there is, once nothing happens any more.
async fn last_event(client: &mut Client) -> Event {
    let mut frames =
        watch(client, WatchTasksRequest { start: Some(Start::SendInitialState(true)), ..Default::default() }).await;
    while !frame(&mut frames).await.initial_complete {}
    client.start_task(idle("marker")).await.expect("started");
    client.cancel_task(cancel("marker")).await.expect("cancelled");
    loop {
        let mut seen = frame(&mut frames).await.events.into_iter();
        if let Some(ended) = seen.find(|event| event.r#type() == EventType::TaskEnded && event.name == name("marker")) {
            return ended;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_streams_show_the_same_events_in_the_same_order() {
    let server = Harness::start(Layer::default()).await;
    let head = server.info().await.head_cursor;
    let mut watching = Vec::new();
    for _ in 0..10 {
        let client = server.client().await;
        for _ in 0..10 {
            watching.push(watch(&mut client.clone(), after(&head)).await);
        }
    }
    let mut client = server.client().await;
    join_all((0..4).map(|n| churn(&client, ["a", "b", "c", "d"][n], 25))).await;
    let last = last_event(&mut client).await.sequence;

    let seen = join_all(watching.iter_mut().map(|frames| through(frames, last))).await;
    let mut seen = seen.into_iter().map(events);
    let first = seen.next().expect("a hundred");
    assert!(first.is_sorted_by(|a, b| a.sequence < b.sequence));
    assert_eq!(first.iter().filter(|event| event.r#type() == EventType::TaskEnded).count(), 101);
    for other in seen {
        assert!(other == first, "two streams differ");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_resumes_after_each_of_its_cursors() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let mut frames = watch(&mut client, WatchTasksRequest::default()).await;
    let first = frame(&mut frames).await;
    assert!(first.events.is_empty() && !first.cursor.is_empty(), "from now on: {first:?}");
    let mut seen = vec![first];
    for n in 0..5 {
        churn(&client, &format!("t{n}"), 2).await;
        // Read at once, or a server that is slow to send would put all of it into one.
        seen.push(frame(&mut frames).await);
    }
    let last = last_event(&mut client).await.sequence;
    seen.extend(through(&mut frames, last).await);
    assert!(seen.len() > 5, "only {} cursors", seen.len());
    for (n, frame) in seen.iter().enumerate().take(seen.len() - 1) {
        let mut resumed = watch(&mut client.clone(), after(&frame.cursor)).await;
        let resumed = events(through(&mut resumed, last).await);
        assert_eq!(resumed, events(seen[n + 1..].to_vec()), "after frame {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_shows_what_its_filter_selects_as_fully_as_asked() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let head = server.info().await.head_cursor;
    let mut labelled = idle("labelled");
    labelled.task.as_mut().expect("set").labels.insert("team".to_owned(), "core".to_owned());
    client.start_task(labelled).await.expect("started");
    client.start_task(idle("other")).await.expect("started");
    client.cancel_task(cancel("labelled")).await.expect("cancelled");
    client.delete_task(DeleteTaskRequest { name: name("labelled"), ..Default::default() }).await.expect("ended");

    let filter = "labels.team = core AND type != INSTANCE_STARTING".to_owned();
    let request = WatchTasksRequest { filter, view: EventView::Full.into(), ..after(&head) };
    let mut frames = watch(&mut client, request).await;
    let mut seen: Vec<Event> = Vec::new();
    while seen.last().is_none_or(|event| event.r#type() != EventType::TaskDeleted) {
        seen.extend(frame(&mut frames).await.events);
    }
    let types: Vec<_> = seen.iter().map(Event::r#type).collect();
    use EventType::{InstanceEnded, InstanceReady, InstanceStopping, TaskCreated, TaskDeleted, TaskEnded};
    assert!(
        types.starts_with(&[TaskCreated])
            && types.ends_with(&[InstanceStopping, InstanceEnded, TaskEnded, TaskDeleted])
    );
    assert!(types.iter().filter(|seen| **seen == InstanceReady).count() <= 1);
    for event in &seen {
        let task = event.task.as_ref().expect("asked for");
        assert_eq!((&task.name, task.live.is_none()), (&name("labelled"), true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_initial_state_and_what_follows_it_lead_to_the_present() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    churn(&client, "before", 20).await;
    let (running, churned) = (client.clone(), client.clone());
    let meanwhile = tokio::spawn(async move { churn(&churned, "during", 40).await });
    let start = Some(Start::SendInitialState(true));
    let request = WatchTasksRequest { start, view: EventView::Full.into(), ..Default::default() };
    let mut frames = watch(&mut running.clone(), request).await;
    let mut tasks: Vec<Task> = Vec::new();
    let cursor = loop {
        let frame = frame(&mut frames).await;
        assert!(frame.events.is_empty());
        tasks.extend(frame.tasks);
        if frame.initial_complete {
            break frame.cursor;
        }
        assert!(frame.cursor.is_empty(), "frames of the initial state bear no cursor");
    };
    assert!(!cursor.is_empty() && tasks.is_sorted_by(|a, b| a.name < b.name) && tasks.len() >= 20);

    meanwhile.await.expect("no panic");
    let last = last_event(&mut client).await.sequence;
    for event in events(through(&mut frames, last).await) {
        let task = event.task.expect("the full view");
        assert!(tasks.iter().all(|known| known.uid != task.uid) == (event.r#type == EventType::TaskCreated as i32));
        tasks.retain(|known| known.uid != task.uid);
        tasks.push(task);
    }
    tasks.sort_by(|a, b| a.name.cmp(&b.name));
    let present: Vec<_> = all_tasks(&mut client).await.into_iter().map(|task| Task { live: None, ..task }).collect();
    assert_eq!(tasks, present);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trimmed_cursor_is_out_of_range_and_says_what_is_left() {
    let server = Harness::start(Layer { event_retention: Some(10), ..Default::default() }).await;
    let mut client = server.client().await;
    let trimmed = server.info().await.head_cursor;
    churn(&client, "t", 5).await;
    let status = client.watch_tasks(after(&trimmed)).await.expect_err("trimmed");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::OutOfRange, "CURSOR_EXPIRED"));
    let metadata = status.get_error_details().error_info().expect("always there").metadata.clone();
    let info = server.info().await;
    assert_eq!((&metadata["oldest"], &metadata["head"]), (&info.oldest_cursor, &info.head_cursor));
    let mut frames = watch(&mut client, after(&metadata["oldest"])).await;
    assert_eq!(frame(&mut frames).await.events.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_limited_by_connection_and_in_all() {
    let limits = Layer { max_streams: Some(3), max_streams_per_connection: Some(2), ..Default::default() };
    let server = Harness::start(limits).await;
    let open = async |client: &Client| client.clone().watch_tasks(WatchTasksRequest::default()).await;
    let refused = |status: Status| {
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "STREAM_LIMIT"))
    };
    let (first, second) = (server.client().await, server.client().await);
    let one = open(&first).await.expect("free");
    let _two = open(&first).await.expect("free");
    refused(open(&first).await.expect_err("two are open here"));
    let _three = open(&second).await.expect("free");
    refused(open(&second).await.expect_err("three are open"));
    drop(one);
    // The server learns of it by a frame that is on its way.
    while let Err(status) = open(&second).await {
        refused(status);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_shown_to_its_end() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    client.start_task(idle("task")).await.expect("started");
    reach(&mut client, "task", State::Running).await;
    let mut frames = watch(&mut client, WatchTasksRequest::default()).await;
    frame(&mut frames).await;
    server.shut_down();
    let mut seen = Vec::new();
    let status = loop {
        match frames.message().await {
            Ok(frame) => seen.push(frame.expect("it ends with a status")),
            Err(status) => break status,
        }
    };
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SERVER_DRAINING"));
    assert!(status.get_error_details().retry_info().is_some());
    let bookmark = seen.pop().expect("a bookmark");
    assert!(bookmark.events.is_empty() && bookmark.cursor == seen.last().expect("events").cursor, "{bookmark:?}");
    let types: Vec<_> = events(seen).iter().map(Event::r#type).collect();
    use EventType::{InstanceEnded, InstanceStopping, ServerDraining};
    assert_eq!(types, [ServerDraining, InstanceStopping, InstanceEnded]);
    assert_eq!(server.ended().await, Ended::Clean);
}

/// Deadlines that pass together are no attack: what else goes over the connection goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_given_up_by_the_hundred_end_no_watch_beside_them() {
    let server = Harness::start(Layer::default()).await;
    let client = server.client().await;
    let mut frames = watch(&mut client.clone(), WatchTasksRequest::default()).await;
    frame(&mut frames).await;
    for _ in 0..40 {
        let calls = (0..200).map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.get_task(GetTaskRequest { name: name("api") }).await.map(drop) })
        });
        let calls: Vec<_> = calls.collect();
        tokio::task::yield_now().await;
        calls.iter().for_each(tokio::task::JoinHandle::abort);
        join_all(calls).await;
    }
    client.clone().start_task(idle("api")).await.expect("the connection stands");
    let seen = through(&mut frames, 1).await;
    assert_eq!(events(seen).first().map(|event| event.name.clone()), Some(name("api")));
}
