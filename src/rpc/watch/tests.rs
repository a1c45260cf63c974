use std::net::SocketAddr;
use std::pin::Pin;

use futures_util::{FutureExt, StreamExt};
use prost::Message;
use tonic::Code;
use tonic_types::StatusExt;

use super::frame::FRAME_EVENTS;
use super::*;
use crate::journal::testing::{created, event, in_memory, sequence, start, task};
use crate::journal::{MemoryStore, Writer};
use crate::model::{Annotations, Cause, EventType, Labels};
use crate::pb::parse;
use crate::pb::v1::WatchTasksRequest;
use crate::pb::v1::watch_tasks_request::Start as From;
use crate::rpc::testing::commit;
use crate::telemetry::Metrics;

/// A journal, and what opens streams on it.
struct Bench {
    journal: Journal,
    _writer: Writer,
    metrics: telemetry::Rpcs,
    closing: CancellationToken,
    slots: Slots,
}

type Frames = Pin<Box<dyn Stream<Item = Result<WatchTasksResponse, Status>> + Send>>;

impl Bench {
    fn new() -> Self {
        Self::on(in_memory())
    }

    /// From memory, and from a store: there, frames are made where the events are read.
    fn both() -> [Self; 2] {
        [Self::new(), Self::on(start(MemoryStore::default(), 1))]
    }

    fn on((journal, writer): (Journal, Writer)) -> Self {
        let metrics = Metrics::new().expect("registered once").rpcs;
        let slots = Slots::new(100, 100, metrics.watch_streams.clone());
        Self { journal, _writer: writer, metrics, closing: CancellationToken::new(), slots }
    }

    fn watch(&self, request: WatchTasksRequest) -> Result<Frames, Error> {
        let resources = Resources {
            journal: self.journal.clone(),
            metrics: self.metrics.clone(),
            encodings: Arc::default(),
            closing: self.closing.clone(),
            _slot: self.slots.take(SocketAddr::from(([127, 0, 0, 1], 1)))?,
        };
        let request = parse::watch_tasks(request).expect("valid");
        let shows = Shows::Tasks(request.view);
        let frames = open(request, shows, resources)?;
        Ok(Box::pin(frames.map(|frame| frame.map(|frame| received(&frame)))))
    }

    fn frames(&self, start: Option<From>, filter: &str) -> Frames {
        let request = WatchTasksRequest { start, filter: filter.to_owned(), ..Default::default() };
        self.watch(request).expect("opened")
    }

    fn cursor(&self, number: usize) -> String {
        self.journal.cursor(sequence(number))
    }

    /// From the beginning.
    fn all(&self, filter: &str) -> Frames {
        self.frames(Some(From::Cursor(self.cursor(0))), filter)
    }
}

async fn frame(frames: &mut Frames) -> WatchTasksResponse {
    frames.next().await.expect("not ended").expect("no error")
}

/// As a client gets it.
fn received(frame: &WatchFrame) -> WatchTasksResponse {
    WatchTasksResponse::decode(&*frame.encode_to_vec()).expect("the same message")
}

fn numbers(frame: &WatchTasksResponse) -> Vec<u64> {
    frame.events.iter().map(|event| event.sequence).collect()
}

/// The reason that a stream ends with.
async fn end(frames: &mut Frames) -> (Code, String) {
    let status = frames.next().await.expect("not ended").expect_err("an error");
    assert!(frames.next().await.is_none(), "nothing follows the end");
    (status.code(), status.get_error_details().error_info().expect("always there").reason.clone())
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_now_begins_with_the_heads_cursor() {
    let bench = Bench::new();
    commit(&bench.journal, [created(1)]);
    let mut frames = bench.frames(None, "");
    let first = frame(&mut frames).await;
    assert_eq!((first.events.len(), first.cursor), (0, bench.cursor(1)));
    commit(&bench.journal, [created(2)]);
    let second = frame(&mut frames).await;
    assert_eq!((numbers(&second), second.cursor), (vec![2], bench.cursor(2)));
}

#[tokio::test(start_paused = true)]
async fn a_frame_holds_what_is_ready_up_to_its_limits() {
    for bench in Bench::both() {
        commit(&bench.journal, (1..=2 * FRAME_EVENTS + 88).map(created));
        let mut frames = bench.all("");
        for (count, through) in [(FRAME_EVENTS, 256), (FRAME_EVENTS, 512), (88, 600)] {
            let frame = frame(&mut frames).await;
            assert_eq!((frame.events.len(), frame.cursor), (count, bench.cursor(through)));
        }
        assert_eq!(bench.metrics.events_sent.get(), 600);
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_is_bounded_in_bytes_and_loses_nothing() {
    let bench = Bench::new();
    let annotations = Annotations::try_new([("a".to_owned(), "x".repeat(15_000))]).expect("valid");
    let heavy = |number| {
        let task = crate::model::Task { annotations: annotations.clone(), ..task("t", 1) };
        event(number, EventType::InstanceReady, task)
    };
    commit(&bench.journal, (1..=40).map(heavy));
    let view = crate::pb::v1::EventView::Full.into();
    let start = Some(From::Cursor(bench.cursor(0)));
    let mut frames = bench.watch(WatchTasksRequest { start, view, ..Default::default() }).expect("opened");
    let mut seen = Vec::new();
    while seen.len() < 40 {
        let frame = frame(&mut frames).await;
        assert!(prost::Message::encoded_len(&frame) <= FRAME_BYTES + 256, "with the cursor");
        assert_eq!(frame.cursor, bench.journal.cursor(Sequence::new(*numbers(&frame).last().expect("some"))));
        seen.extend(numbers(&frame));
    }
    assert_eq!(seen, (1..=40).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_frame_of_long_words_is_bounded_in_bytes_and_loses_nothing() {
    for bench in Bench::both() {
        let wordy = |number| Event { cause: Cause::system("test", "x".repeat(1_000)), ..created(number) };
        commit(&bench.journal, (1..=1_500).map(wordy));
        let mut frames = bench.all("");
        let mut seen = Vec::new();
        while seen.len() < 1_500 {
            let frame = frame(&mut frames).await;
            let bytes = prost::Message::encoded_len(&frame);
            let is_last = seen.len() + frame.events.len() == 1_500;
            assert!(bytes <= FRAME_BYTES + 256 && (bytes > FRAME_BYTES * 3 / 4 || is_last), "{bytes}");
            assert_eq!(frame.cursor, bench.journal.cursor(Sequence::new(*numbers(&frame).last().expect("some"))));
            seen.extend(numbers(&frame));
        }
        assert_eq!(seen, (1..=1_500).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_from_the_store_to_memory_and_shows_the_same_there() {
    let benches = [Bench::new(), Bench::on(start(MemoryStore::default(), 700))];
    let mut shown = Vec::new();
    for bench in benches {
        commit(&bench.journal, (1..=2_000).map(created));
        let mut frames = bench.all("name != t1500");
        let mut events = Vec::new();
        while events.len() < 1_999 {
            events.extend(frame(&mut frames).await.events);
        }
        commit(&bench.journal, [created(2_001)]);
        events.extend(frame(&mut frames).await.events);
        shown.push(events);
    }
    assert_eq!(shown[0].len(), 2_000);
    assert_eq!(shown[0], shown[1]);
}

#[tokio::test(start_paused = true)]
async fn a_bounded_stream_ends_with_ok_right_after_its_bound() {
    for bench in Bench::both() {
        commit(&bench.journal, (1..=600).map(created));
        for (after, through, filter, expected) in [
            (0, 300, "", 300),
            (0, 600, "", 600),
            (299, 300, "", 1),
            (300, 300, "", 0),
            (0, 300, "type = TASK_ENDED", 0),
        ] {
            let start = Some(From::Cursor(bench.cursor(after)));
            let end_cursor = bench.cursor(through);
            let request = WatchTasksRequest { start, end_cursor, filter: filter.to_owned(), ..Default::default() };
            let began = Instant::now();
            let frames: Vec<_> =
                bench.watch(request).expect("opened").map(|frame| frame.expect("no error")).collect().await;
            let seen: Vec<_> = frames.iter().flat_map(numbers).collect();
            assert_eq!((seen.len(), began.elapsed()), (expected, Duration::ZERO), "{after} to {through}, {filter:?}");
            assert!(seen.iter().all(|number| (after as u64..=through as u64).contains(number)));
            assert_eq!(frames.last().map(|frame| frame.cursor.clone()), Some(bench.cursor(through)));
        }
        let start = Some(From::Cursor(bench.cursor(0)));
        for (end_cursor, expected) in [("x".to_owned(), "CURSOR_INVALID"), (bench.cursor(601), "CURSOR_EXPIRED")] {
            let request = WatchTasksRequest { start: start.clone(), end_cursor, ..Default::default() };
            let Err(error) = bench.watch(request) else { panic!("must be refused") };
            let status = Status::from(error);
            assert_eq!(status.get_error_details().error_info().map(|info| info.reason.as_str()), Some(expected));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_shows_that_it_lives() {
    let bench = Bench::new();
    let mut frames = bench.frames(None, "");
    frame(&mut frames).await;
    for _ in 0..3 {
        let began = Instant::now();
        let bookmark = frame(&mut frames).await;
        assert_eq!((bookmark.events.len(), bookmark.cursor), (0, bench.cursor(0)));
        assert_eq!(began.elapsed(), IDLE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_events_that_nobody_asked_for_make_a_bookmark() {
    for bench in Bench::both() {
        commit(&bench.journal, (1..=2_500).map(created));
        let mut frames = bench.all("name = t2400");
        let began = Instant::now();
        for through in [1_000, 2_000] {
            let bookmark = frame(&mut frames).await;
            assert_eq!((bookmark.events.len(), bookmark.cursor), (0, bench.cursor(through)));
        }
        assert_eq!(numbers(&frame(&mut frames).await), [2_400]);
        assert!(began.elapsed() <= LINGER);
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_event_goes_at_once_and_a_burst_in_few_frames() {
    let bench = Bench::new();
    let mut frames = bench.frames(None, "");
    frame(&mut frames).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    let began = Instant::now();
    commit(&bench.journal, [created(1)]);
    assert_eq!(numbers(&frame(&mut frames).await), [1]);
    assert_eq!(began.elapsed(), Duration::ZERO);

    commit(&bench.journal, [created(2)]);
    let mut next = Box::pin(frame(&mut frames));
    assert!(next.as_mut().now_or_never().is_none(), "held back: a frame has just gone");
    tokio::time::advance(LINGER / 2).await;
    commit(&bench.journal, [created(3)]);
    assert_eq!(numbers(&next.await), [2, 3]);
    assert!(began.elapsed() <= LINGER);
}

#[tokio::test(start_paused = true)]
async fn filters_and_parents_select_but_the_servers_own_events_are_for_everyone() {
    for bench in Bench::both() {
        let labels = Labels::try_new([("team".to_owned(), "core".to_owned())]).expect("valid");
        let labelled = crate::model::Task { labels, ..task("b", 2) };
        let draining = Event { kind: EventType::ServerDraining, task: None, ..created(3) };
        commit(&bench.journal, [created(1), event(2, EventType::TaskDeleted, labelled), draining]);
        for (parent, filter, expected) in [
            ("", "", vec![1, 2, 3]),
            ("namespaces/-", "", vec![1, 2, 3]),
            ("namespaces/other", "", vec![3]),
            ("", "labels.team = core", vec![2, 3]),
            ("", "name = t*", vec![1, 3]),
            ("", "name = namespaces/default/tasks/b", vec![2, 3]),
            ("", "type = TASK_DELETED", vec![2]),
            ("", "type != SERVER_DRAINING", vec![1, 2]),
        ] {
            let request = WatchTasksRequest {
                parent: parent.to_owned(),
                filter: filter.to_owned(),
                start: Some(From::Cursor(bench.cursor(0))),
                ..Default::default()
            };
            let mut frames = bench.watch(request).expect("opened");
            let frame = frame(&mut frames).await;
            assert_eq!((numbers(&frame), frame.cursor), (expected, bench.cursor(3)), "{parent} {filter}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_initial_state_comes_in_frames_then_its_cursor_then_what_follows() {
    let bench = Bench::new();
    let annotations = Annotations::try_new([("a".to_owned(), "x".repeat(15_000))]).expect("valid");
    let heavy = |number: usize| {
        let task =
            crate::model::Task { annotations: annotations.clone(), ..task(&format!("t{number}"), number as u128) };
        event(number, EventType::TaskCreated, task)
    };
    commit(&bench.journal, (1..=40).map(heavy));
    let mut frames = bench.frames(Some(From::SendInitialState(true)), "name != t7");
    let mut names = Vec::new();
    let complete = loop {
        let frame = frame(&mut frames).await;
        if frame.initial_complete {
            break frame;
        }
        // The snapshot stays what it was.
        commit(&bench.journal, [created(41 + names.len())]);
        assert!(frame.cursor.is_empty() && frame.events.is_empty());
        assert!(prost::Message::encoded_len(&frame) <= FRAME_BYTES);
        names.extend(frame.tasks.into_iter().map(|task| task.name));
    };
    assert_eq!((complete.tasks.len(), complete.cursor), (0, bench.cursor(40)));
    assert_eq!(names.len(), 39);
    assert!(names.is_sorted() && !names.iter().any(|name| name.ends_with("/t7")));
    assert_eq!(numbers(&frame(&mut frames).await)[0], 41);
}

#[tokio::test(start_paused = true)]
async fn an_empty_initial_state_is_complete_at_once() {
    let bench = Bench::new();
    let mut frames = bench.frames(Some(From::SendInitialState(true)), "");
    let first = frame(&mut frames).await;
    assert!(first.initial_complete && first.tasks.is_empty());
    assert_eq!(first.cursor, bench.cursor(0));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_nobody_fetches_is_given_up() {
    let bench = Bench::new();
    commit(&bench.journal, [created(1)]);
    let mut frames = bench.frames(Some(From::SendInitialState(true)), "");
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::task::yield_now().await;
    assert_eq!(end(&mut frames).await, (Code::OutOfRange, "CURSOR_EXPIRED".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_overtaken_stream_is_told_so_with_where_to_resume() {
    let bench = Bench::on(start(MemoryStore::new(10), 10));
    let mut frames = bench.frames(None, "");
    frame(&mut frames).await;
    commit(&bench.journal, (1..=50).map(created));
    let status = frames.next().await.expect("not ended").expect_err("overtaken");
    assert_eq!(status.code(), Code::OutOfRange);
    let details = status.get_error_details();
    let metadata = &details.error_info().expect("always there").metadata;
    assert_eq!((&metadata["oldest"], &metadata["head"]), (&bench.cursor(40), &bench.cursor(50)));
    assert_eq!(numbers(&frame(&mut bench.frames(Some(From::Cursor(metadata["oldest"].clone())), "")).await).len(), 10);
}

#[tokio::test(start_paused = true)]
async fn cursors_are_judged_before_the_stream() {
    let bench = Bench::on(start(MemoryStore::new(10), 10));
    commit(&bench.journal, (1..=50).map(created));
    let foreign = Bench::new().cursor(0);
    for (cursor, reason) in [
        (String::new(), "CURSOR_INVALID"),
        ("x".to_owned(), "CURSOR_INVALID"),
        (bench.cursor(39), "CURSOR_EXPIRED"),
        (bench.cursor(51), "CURSOR_EXPIRED"),
        (foreign, "CURSOR_EXPIRED"),
    ] {
        let request = WatchTasksRequest { start: Some(From::Cursor(cursor.clone())), ..Default::default() };
        let status = Status::from(bench.watch(request).err().expect("refused"));
        assert_eq!(status.get_error_details().error_info().expect("always there").reason, reason, "{cursor}");
    }
    assert_eq!(bench.metrics.watch_streams.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_aged_stream_ends_with_a_bookmark() {
    let bench = Bench::new();
    let mut frames = bench.frames(None, "");
    let began = Instant::now();
    let mut last = frame(&mut frames).await;
    let status = loop {
        match frames.next().await.expect("not ended") {
            Ok(frame) => last = frame,
            Err(status) => break status,
        }
    };
    assert!((AGE..=2 * AGE).contains(&began.elapsed()));
    assert_eq!((last.events.len(), last.cursor), (0, bench.cursor(0)));
    let details = status.get_error_details();
    assert_eq!(details.error_info().expect("always there").reason, "STREAM_AGED");
    assert!(details.retry_info().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_drain_delivers_everything_then_a_bookmark_then_says_so() {
    let bench = Bench::new();
    let mut frames = bench.frames(None, "");
    let mut snapshot = bench.frames(Some(From::SendInitialState(true)), "");
    frame(&mut frames).await;
    let draining =
        Event { kind: EventType::ServerDraining, task: None, cause: Cause::system("server", ""), ..created(301) };
    commit(&bench.journal, (1..=300).map(created).chain([draining]));
    bench.closing.cancel();
    let mut seen = Vec::new();
    let bookmark = loop {
        let frame = frame(&mut frames).await;
        if frame.events.is_empty() {
            break frame;
        }
        seen.extend(numbers(&frame));
    };
    assert_eq!(seen, (1..=301).collect::<Vec<_>>());
    assert_eq!(bookmark.cursor, bench.cursor(301));
    assert_eq!(end(&mut frames).await, (Code::Unavailable, "SERVER_DRAINING".to_owned()));
    assert_eq!(end(&mut snapshot).await, (Code::Unavailable, "SERVER_DRAINING".to_owned()), "it had no cursor yet");
}

#[tokio::test(start_paused = true)]
async fn the_journals_end_is_a_drains() {
    let bench = Bench::new();
    let mut frames = bench.frames(None, "");
    frame(&mut frames).await;
    commit(&bench.journal, [created(1)]);
    let Bench { _writer: writer, journal, .. } = bench;
    assert!(writer.close(Duration::from_secs(60)));
    assert_eq!(numbers(&frame(&mut frames).await), [1]);
    assert_eq!(frame(&mut frames).await.cursor, journal.cursor(sequence(1)));
    assert_eq!(end(&mut frames).await, (Code::Unavailable, "SERVER_DRAINING".to_owned()));
}
