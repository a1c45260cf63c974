//! Followers of a server that the test plays.

use super::super::testing::{API, Warnings, Watching, circuit, deleted, mirror, refusal, settle, stage};
use super::super::{CallError, CircuitLayer, CircuitMirror, Guard, Policy, Reason};
use super::*;
use crate::client::patience::GIVE_UP;
use v1::CircuitState::{Closed, Open};

const OTHER: &str = "namespaces/default/tasks/other";
/// Less than any bound of staleness in these tests, and more than a wait before the first tries.
const SOON: Duration = Duration::from_secs(1);

fn closed(builder: super::super::Builder) -> super::super::Builder {
    builder.policy(Policy::FailClosed)
}

fn from_cursor(cursor: &str) -> Start {
    Start::Cursor(cursor.to_owned())
}

fn cut() -> tonic::Status {
    tonic::Status::unavailable("cut")
}

/// Why a call would not be made.
async fn why(guard: &Guard) -> Option<Reason> {
    match guard.call(std::future::ready(Ok::<_, ()>(()))).await {
        Err(CallError::Rejected(rejected)) => Some(rejected.reason),
        Ok(()) | Err(CallError::Failed(())) => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_leaves_the_circuit_that_has_come_under_the_name_since() {
    let (mut stage, mirror) = mirror(closed);
    let api = mirror.guard(API);
    let watch = stage.watch().await.stands();
    watch.show_all(&[circuit(API, "first", Closed)], "c1").await;
    assert_eq!(why(&api).await, None);
    watch.show(&[circuit(API, "second", Open)], &[deleted(API, "first")], "c2").await;
    assert_eq!(why(&api).await, Some(Reason::Open), "that of the second one");

    // By its clock, which was set back, this was before anything else.
    let ancient = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
    let since = Some(prost_types::Timestamp { seconds: 2, nanos: 0 });
    watch.show(&[v1::Circuit { since_time: since, ..circuit(API, "third", Closed) }], &[], "c3").await;
    assert_eq!(why(&api).await, None);
    watch.show(&[], &[v1::Event { time: ancient, ..deleted(API, "third") }], "c4").await;
    assert_eq!(why(&api).await, Some(Reason::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_task_under_a_filter_is_gone_once_its_name_comes_back_without_it() {
    let (mut stage, mirror) = mirror(|builder| closed(builder).filter("labels.team = core"));
    let (api, other) = (mirror.guard(API), mirror.guard("other"));
    let opened = stage.watch().await;
    assert_eq!(opened.request.filter, "labels.team = core");
    let watch = opened.stands();
    watch.show_all(&[circuit(API, "first", Closed), circuit(OTHER, "other", Closed)], "c1").await;
    // Of the next task under the name, whose labels are others, such a watch says nothing.
    watch.show(&[], &[deleted(API, "first")], "c2").await;
    assert_eq!((why(&api).await, why(&other).await), (Some(Reason::Unknown), None));
}

#[tokio::test(start_paused = true)]
async fn what_has_gone_while_nobody_looked_is_forgotten_once_the_state_is_complete() {
    let (mut stage, mirror) = mirror(closed);
    let (api, other) = (mirror.guard(API), mirror.guard(OTHER));
    let watch = stage.watch().await.stands();
    watch.show_all(&[circuit(API, "first", Closed), circuit(OTHER, "other", Closed)], "c1").await;
    watch.end(cut()).await;
    let opened = stage.watch().await;
    assert_eq!(opened.start(), from_cursor("c1"));
    opened.answer(Err(refusal(Code::OutOfRange, "CURSOR_EXPIRED", None)));
    let opened = stage.watch().await;
    assert_eq!(opened.start(), Start::SendInitialState(true));
    let watch = opened.stands();
    watch.show(&[circuit(OTHER, "other", Open)], &[], "").await;
    assert_eq!((why(&api).await, why(&other).await), (None, Some(Reason::Open)), "that may come yet");
    watch.complete("c9").await;
    assert_eq!((why(&api).await, why(&other).await), (Some(Reason::Unknown), Some(Reason::Open)));
    watch.end(cut()).await;
    assert_eq!(stage.watch().await.start(), from_cursor("c9"));
}

#[tokio::test(start_paused = true)]
async fn a_state_that_breaks_off_forgets_nothing_and_is_asked_for_anew() {
    let (mut stage, mirror) = mirror(closed);
    let api = mirror.guard(API);
    let watch = stage.watch().await.stands();
    watch.show(&[circuit(API, "first", Closed)], &[], "").await;
    assert_eq!(why(&api).await, Some(Reason::Stale), "of a part nobody knows how old it is");
    watch.end(cut()).await;
    let opened = stage.watch().await;
    assert_eq!(opened.start(), Start::SendInitialState(true));
    opened.stands().show_all(&[circuit(API, "first", Closed)], "c1").await;
    assert_eq!(why(&api).await, None);
}

#[tokio::test(start_paused = true)]
async fn within_the_bound_a_watch_is_resumed_and_after_it_the_copy_is_made_anew() {
    let bound = Duration::from_secs(60);
    let (mut stage, mirror) = mirror(|builder| closed(builder).staleness(bound));
    let (api, other) = (mirror.guard(API), mirror.guard(OTHER));
    let watch = stage.watch().await.stands();
    watch.show_all(&[circuit(API, "first", Closed), circuit(OTHER, "other", Closed)], "c1").await;
    watch.end(cut()).await;
    sleep(SOON).await;
    let opened = stage.watch().await;
    assert_eq!(opened.start(), from_cursor("c1"));
    let watch = opened.stands();
    assert_eq!((why(&api).await, why(&other).await), (None, None), "what is known stays known");
    watch.show(&[], &[], "c2").await;
    assert_eq!((why(&api).await, why(&other).await, mirror.stats().reconnects), (None, None, 1));

    watch.end(cut()).await;
    let refused = sleep(bound + SOON);
    tokio::pin!(refused);
    loop {
        tokio::select! {
            () = &mut refused => break,
            opened = stage.watch() => opened.answer(Err(cut())),
        }
    }
    let opened = stage.watch().await;
    assert_eq!(opened.start(), Start::SendInitialState(true), "what follows the cursor is as old as the copy");
    assert_eq!(mirror.stats().reconnects, 1, "tries do not count");
    let watch = opened.stands();
    watch.show(&[circuit(API, "first", Closed)], &[], "").await;
    assert_eq!(mirror.stats().reconnects, 2);
    assert_eq!(why(&api).await, Some(Reason::Stale));
    watch.complete("c8").await;
    assert_eq!((why(&api).await, why(&other).await), (None, Some(Reason::Unknown)));
}

#[tokio::test(start_paused = true)]
async fn what_was_resumed_in_time_and_comes_too_late_makes_no_copy_fresh() {
    // So short that a watch which says nothing for so long is not given up.
    let bound = GIVE_UP / 2;
    let (mut stage, mirror) = mirror(|builder| closed(builder).staleness(bound));
    let api = mirror.guard(API);
    let watch = stage.watch().await.stands();
    watch.show_all(&[circuit(API, "first", Closed)], "c1").await;
    watch.end(cut()).await;
    let opened = stage.watch().await;
    assert_eq!(opened.start(), from_cursor("c1"));
    let watch = opened.stands();
    sleep(bound + SOON).await;
    // It was open meanwhile, and is not any more.
    watch.show(&[circuit(API, "first", Closed)], &[], "c2").await;
    assert_eq!(why(&api).await, Some(Reason::Stale));
    let opened = stage.watch().await;
    assert_eq!(opened.start(), Start::SendInitialState(true));
    opened.stands().show_all(&[circuit(API, "first", Open)], "c9").await;
    assert_eq!(why(&api).await, Some(Reason::Open));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_says_nothing_is_given_up_and_one_that_says_little_is_not() {
    let (mut stage, mirror) = mirror(closed);
    let api = mirror.guard(API);
    let watch = stage.watch().await.stands();
    watch.show_all(&[circuit(API, "first", Closed)], "c1").await;
    for _ in 0..100 {
        sleep(GIVE_UP - SOON).await;
        watch.show(&[], &[], "c2").await;
    }
    assert_eq!((api.permits(), mirror.last_error(), mirror.stats().reconnects), (true, None, 0));

    // It stands, as where a proxy keeps it that has lost the server.
    let silent = Instant::now();
    let opened = stage.watch().await;
    assert_eq!(opened.start(), from_cursor("c2"), "before the copy is stale");
    assert!((GIVE_UP..GIVE_UP + SOON).contains(&silent.elapsed()), "{:?}", silent.elapsed());
    let error = mirror.last_error().expect("said");
    assert!(error.code == Code::Unavailable && error.message.contains("said nothing for 20s"), "{error:?}");
    opened.stands().show(&[circuit(API, "first", Open)], &[], "c3").await;
    assert_eq!((why(&api).await, mirror.last_error()), (Some(Reason::Open), None));
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_a_silence_that_no_live_watch_has_makes_no_copy_fresh() {
    let (mut stage, mirror) = mirror(|builder| closed(builder).staleness(SOON));
    let api = mirror.guard(API);
    let watch = stage.watch().await.stands();
    watch.show_all(&[circuit(API, "first", Closed)], "c1").await;
    assert_eq!(why(&api).await, None);
    // As where this process was stopped meanwhile.
    tokio::time::advance(SILENCE + SOON).await;
    watch.show(&[circuit(API, "first", Closed)], &[], "c2").await;
    assert_eq!(why(&api).await, Some(Reason::Stale));
    let again = stage.watch().await;
    assert_eq!(again.start(), Start::SendInitialState(true));
    again.stands().show_all(&[circuit(API, "first", Closed)], "c3").await;
    assert_eq!(why(&api).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_mistake_is_told_and_logged_once_and_tried_again() {
    let warnings = Warnings::default();
    let _logs = warnings.begin();
    let (mut stage, mirror) = mirror(|builder| builder.filter("wrong"));
    assert_eq!(mirror.last_error(), None);
    let code = || mirror.last_error().map(|error| error.code);
    for _ in 0..3 {
        stage.watch().await.answer(Err(refusal(Code::InvalidArgument, "INVALID_FIELD", None)));
        settle().await;
        assert_eq!((code(), warnings.lines().len()), (Some(Code::InvalidArgument), 1), "{:?}", warnings.lines());
    }
    stage.watch().await.answer(Err(cut()));
    settle().await;
    assert_eq!((code(), warnings.lines().len()), (Some(Code::Unavailable), 1), "{:?}", warnings.lines());
    stage.watch().await.answer(Err(refusal(Code::PermissionDenied, "NO", None)));
    settle().await;
    assert_eq!((code(), warnings.lines().len()), (Some(Code::PermissionDenied), 2), "another one");

    let watch = stage.watch().await.stands();
    watch.show_all(&[], "c1").await;
    assert_eq!(mirror.last_error(), None);
    stands_for_a_minute(&watch).await;
    watch.end(cut()).await;
    stage.watch().await.answer(Err(refusal(Code::InvalidArgument, "CURSOR_INVALID", None)));
    stage.watch().await.answer(Err(refusal(Code::PermissionDenied, "NO", None)));
    settle().await;
    assert_eq!(
        warnings.lines().len(),
        3,
        "that one again, after it had gone, and none of a cursor: {:?}",
        warnings.lines()
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_may_pass_and_does_not_is_logged_once_until_the_watch_stands() {
    let warnings = Warnings::default();
    let _logs = warnings.begin();
    let (mut stage, mirror) = mirror(closed);
    for number in 1..=2 {
        for _ in 0..5 {
            stage.watch().await.answer(Err(refusal(Code::ResourceExhausted, "STREAM_LIMIT", None)));
        }
        settle().await;
        assert_eq!(mirror.last_error().map(|error| error.reason).as_deref(), Some("STREAM_LIMIT"));
        assert_eq!(warnings.lines().len(), number, "{:?}", warnings.lines());
        let watch = stage.watch().await.stands();
        watch.show_all(&[], "c1").await;
        stands_for_a_minute(&watch).await;
        watch.end(refusal(Code::Unavailable, "STREAM_AGED", None)).await;
    }
}

async fn stands_for_a_minute(watch: &Watching) {
    for _ in 0..6 {
        sleep(Duration::from_secs(10)).await;
        watch.show(&[], &[], "c1").await;
    }
}

#[tokio::test(start_paused = true)]
async fn to_connect_takes_as_long_as_the_state_takes_to_come_and_fails_where_nothing_does() {
    let (mut stage, channel) = stage();
    let shows = async {
        let watch = stage.watch().await.stands();
        for _ in 0..10 {
            sleep(GIVE_UP - SOON).await;
            watch.show(&[circuit(API, "first", Closed)], &[], "").await;
        }
        watch.complete("c1").await;
        watch
    };
    let connects = closed(CircuitMirror::builder("")).complete(channel.clone());
    let (mirror, _watch) = futures_util::future::join(connects, shows).await;
    assert_eq!(why(&mirror.expect("complete").guard(API)).await, None);

    let connects = closed(CircuitMirror::builder("")).complete(channel);
    let (mirror, _watch) = futures_util::future::join(connects, async { stage.watch().await.stands() }).await;
    assert_eq!(mirror.err().map(|error| error.code), Some(Code::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn a_mirror_lives_for_as_long_as_one_of_its_guards() {
    let (mut stage, mirror) = mirror(closed);
    let watch = stage.watch().await.stands();
    watch.show_all(&[circuit(API, "first", Closed)], "c1").await;
    let guard = mirror.guard(API);
    drop(mirror);
    assert_eq!(why(&guard).await, None);
    let told = stage.reports.recv().await.expect("the mirror lives");
    assert_eq!(told.request.len(), 1);
    watch.show(&[circuit(API, "first", Open)], &[], "c2").await;
    assert_eq!(why(&guard).await, Some(Reason::Open));
    let layer = CircuitLayer::http(guard);
    settle().await;
    assert!(!watch.is_over());
    drop(layer);
    settle().await;
    assert!(watch.is_over(), "nobody has a guard any more");
}

#[tokio::test(start_paused = true)]
async fn a_guard_takes_short_names_and_warns_of_impossible_ones_once() {
    let warnings = Warnings::default();
    let _logs = warnings.begin();
    let (mut stage, mirror) = mirror(closed);
    let watch = stage.watch().await.stands();
    watch.show_all(&[circuit(API, "first", Open)], "c1").await;
    assert_eq!(why(&mirror.guard("api")).await, Some(Reason::Open));
    assert_eq!(mirror.guard("api").name(), API);
    assert!(warnings.lines().is_empty(), "{:?}", warnings.lines());
    let guards = ["default/api", "default/api", "My Api"].map(|name| mirror.guard(name));
    assert_eq!(why(&guards[0]).await, Some(Reason::Unknown));
    let lines = warnings.lines();
    assert!(lines.len() == 2 && lines[0].contains("default/api") && lines[1].contains("tasks/My Api"), "{lines:?}");
}
