//! Who is held up by an instance that blocks a thread, and what becomes of threads that were given up.

use std::sync::Arc;

use switchyard::config::Layer;
use switchyard::monitor::{CancellationToken, Kind, from_fn};
use switchyard::pb::v1::event::Detail;
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{
    AlertKind, Asked, Event, EventType, Exit, Isolation, ShutdownPolicy, StartTaskRequest, State, Task,
    WatchTasksRequest, WatchdogPolicy,
};
use tokio::sync::Notify;

use crate::harness::{Client, Harness, builder, cancel, idle, name, outcome, reach, with_spec};
use crate::kinds::{Gate, custom};

/// A kind whose instances block their thread once they are told to, until their gate opens; and go on after that.
#[derive(Default)]
struct Fuse {
    lit: Arc<Notify>,
    gate: Gate,
}

impl Fuse {
    fn kind(&self, name: &str) -> impl Kind {
        let (lit, barrier) = (Arc::clone(&self.lit), self.gate.barrier());
        from_fn(name, move |token: CancellationToken| {
            let (lit, barrier) = (Arc::clone(&lit), barrier.clone());
            async move {
                tokio::select! {
                    () = lit.notified() => barrier(),
                    () = token.cancelled() => return,
                }
                token.cancelled().await;
            }
        })
    }

    fn light(&self) {
        self.lit.notify_one();
    }
}

fn millis(millis: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: 0, nanos: millis * 1_000_000 })
}

/// Little time to stop: less than it takes until a blocked thread is relieved.
fn hasty(request: StartTaskRequest) -> StartTaskRequest {
    with_spec(request, |spec| {
        spec.shutdown = Some(ShutdownPolicy { grace_timeout: millis(50), abort_timeout: millis(100) });
    })
}

/// Found to block long before its thread is relieved.
fn mule() -> StartTaskRequest {
    with_spec(hasty(custom("mule", "fuse")), |spec| {
        spec.watchdog = Some(WatchdogPolicy { blocked_poll_after: millis(50), ..WatchdogPolicy::default() });
    })
}

async fn run(client: &mut Client, request: StartTaskRequest) {
    let id = request.task_id.clone();
    client.start_task(request).await.expect("starts");
    reach(client, &id, State::Running).await;
}

/// The events of a task up to the first that is the one.
async fn story(client: &mut Client, cursor: &str, id: &str, is_last: impl Fn(&Event) -> bool) -> Vec<Event> {
    let start = Some(Start::Cursor(cursor.to_owned()));
    let request = WatchTasksRequest { filter: format!("name = {}", name(id)), start, ..WatchTasksRequest::default() };
    let mut stream = client.watch_tasks(request).await.expect("watches").into_inner();
    let mut story = Vec::new();
    loop {
        let frame = stream.message().await.expect("goes on").expect("goes on");
        for event in frame.events {
            let last = is_last(&event);
            story.push(event);
            if last {
                return story;
            }
        }
    }
}

fn raises(kind: AlertKind) -> impl Fn(&Event) -> bool {
    move |event| {
        let raised = event.r#type() == EventType::AlertRaised;
        raised && matches!(&event.detail, Some(Detail::Alert(alert)) if alert.kind() == kind)
    }
}

/// Waits until the instance has been moved: it runs as the next attempt, and nothing was wrong with it.
async fn moved(client: &mut Client, cursor: &str, id: &str) -> Task {
    let is_again = |event: &Event| event.r#type() == EventType::InstanceReady && event.attempt == 2;
    story(client, cursor, id, is_again).await;
    let task = reach(client, id, State::Running).await;
    assert_eq!((outcome(&task), task.restart.unwrap_or_default().count), ((Exit::Displaced, Asked::Relief), 0));
    task
}

async fn bind(layer: Layer, kinds: &[(&str, &Fuse)]) -> (Harness, Client, String) {
    let builder = kinds.iter().fold(builder(layer), |builder, (name, fuse)| builder.register(fuse.kind(name)));
    let server = Harness::run(builder.bind().await.expect("bound"));
    let client = server.client().await;
    let head = server.info().await.head_cursor;
    (server, client, head)
}

/// How often a cancel may come too late.
const SCENES: usize = 20;

/// A task that is cancelled while another one blocks their thread, and its events.
async fn cancelled_beside_a_blocked_poll() -> (Task, Vec<Event>) {
    let fuse = Fuse::default();
    let (_server, mut client, head) =
        bind(Layer { custom_shards: Some(1), ..Layer::default() }, &[("fuse", &fuse)]).await;
    run(&mut client, hasty(idle("beside"))).await;
    run(&mut client, mule()).await;
    fuse.light();
    story(&mut client, &head, "mule", raises(AlertKind::PollBlocked)).await;
    let task = client.cancel_task(cancel("beside")).await.expect("cancels").into_inner().task.expect("answered");
    let story = story(&mut client, &head, "beside", |event| event.r#type() == EventType::TaskEnded).await;
    (task, story)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_cancelled_behind_a_blocked_thread_is_not_called_stuck() {
    // A busy machine may bring the cancel only when it has been moved, and so is behind nobody any more: then once more.
    let mut scenes = 0..SCENES;
    let (task, story) = loop {
        let (task, story) = cancelled_beside_a_blocked_poll().await;
        if task.instance.as_ref().is_some_and(|instance| instance.attempt == 1) {
            break (task, story);
        }
        scenes.next().expect("it is always moved before it can be cancelled");
    };
    assert_eq!((task.state(), outcome(&task)), (State::Cancelled, (Exit::Displaced, Asked::Cancel)));
    assert!(!story.iter().any(|event| event.r#type() == EventType::AlertRaised), "{story:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_is_one_at_the_stuck_limit_where_no_thread_is_given_up_any_more() {
    let (fuse, apart) = (Fuse::default(), Fuse::default());
    let layer = Layer { custom_shards: Some(1), max_stuck: Some(1), ..Layer::default() };
    let (server, mut client, head) = bind(layer, &[("fuse", &fuse), ("apart", &apart)]).await;
    run(&mut client, hasty(idle("beside"))).await;
    run(&mut client, mule()).await;
    let isolated = with_spec(custom("apart", "apart"), |spec| spec.isolation = Isolation::Thread.into());
    run(&mut client, isolated).await;
    apart.light();
    // From a second later on no thread may be lost any more.
    story(&mut client, &head, "apart", raises(AlertKind::PollBlocked)).await;
    while client.start_task(idle("late")).await.is_ok() {
        client.cancel_task(cancel("late")).await.expect("cancels");
        let request = switchyard::pb::v1::DeleteTaskRequest { name: name("late"), ..Default::default() };
        client.delete_task(request).await.expect("deletes");
    }
    fuse.light();
    story(&mut client, &head, "mule", raises(AlertKind::PollBlocked)).await;
    let task = client.cancel_task(cancel("beside")).await.expect("cancels").into_inner().task.expect("answered");
    assert_eq!((task.state(), outcome(&task)), (State::Cancelled, (Exit::Displaced, Asked::Cancel)));
    let metrics = server.metrics().await;
    assert!(metrics.contains("\ncircuit_breaker_shards_relieved_total 0\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_has_blocked_gives_its_thread_back_where_another_needs_it() {
    let (first, second) = (Fuse::default(), Fuse::default());
    let layer = Layer { custom_shards: Some(1), max_stuck: Some(1), ..Layer::default() };
    let (server, mut client, head) = bind(layer, &[("first", &first), ("second", &second)]).await;
    run(&mut client, custom("first", "first")).await;
    run(&mut client, custom("second", "second")).await;
    run(&mut client, idle("beside")).await;
    first.light();
    moved(&mut client, &head, "second").await;
    moved(&mut client, &head, "beside").await;
    first.gate.open();
    let back = |event: &Event| event.r#type() == EventType::AlertResolved;
    story(&mut client, &head, "first", back).await;

    let head = server.info().await.head_cursor;
    second.light();
    moved(&mut client, &head, "first").await;
    story(&mut client, &head, "beside", |event| event.r#type() == EventType::InstanceReady && event.attempt == 3).await;
    let metrics = server.metrics().await;
    for line in ["shards_relieved_total 2", "shard_threads{sort=\"relieved\"} 1"] {
        assert!(metrics.contains(&format!("\ncircuit_breaker_{line}\n")), "no {line} in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_in_quarantine_leaves_every_thread_that_it_shares() {
    let fuse = Fuse::default();
    let (_server, mut client, head) =
        bind(Layer { custom_shards: Some(2), ..Layer::default() }, &[("fuse", &fuse)]).await;
    // One each of both kinds on both threads.
    for n in 0..2 {
        run(&mut client, idle(&format!("drill-{n}"))).await;
    }
    for n in 0..2 {
        run(&mut client, custom(&format!("fuse-{n}"), "fuse")).await;
    }
    fuse.light();
    let both = ["fuse-0", "fuse-1"].map(|id| {
        let (mut client, head) = (client.clone(), head.clone());
        tokio::spawn(async move { drop(moved(&mut client, &head, id).await) })
    });
    // One of them blocks, the other has left the thread that it shared with a drill.
    let mut both = both.map(Box::pin);
    let [a, b] = &mut both;
    tokio::select! {
        moved = a => moved.expect("moved"),
        moved = b => moved.expect("moved"),
    }
    both.iter().for_each(|waiting| waiting.abort());
}
