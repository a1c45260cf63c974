use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use tonic::Code;
use tonic_types::StatusExt;

use super::*;
use crate::journal::testing::{created, in_memory, task};
use crate::model::{Check, Generation, TaskName, Uid};
use crate::rpc::testing::commit;
use crate::rpc::watch::Slots;
use crate::telemetry::Metrics;

fn name() -> TaskName {
    task("t1", 1).name
}

fn record() -> CheckRecord {
    let check = Check::passed("");
    let uid = Uid::new(uuid::Uuid::from_u128(1));
    CheckRecord { name: name(), uid, generation: Generation::new(1), shadow: false, check }
}

/// A stream of the checks of `t1`, and what ends it in a drain.
fn opened(
    journal: Journal,
    tail: &CheckTail,
) -> (impl Stream<Item = Result<v1::WatchChecksResponse, Status>> + use<>, CancellationToken) {
    let closing = CancellationToken::new();
    let slots = Slots::new(1, 1, Metrics::new().expect("registered once").rpcs.watch_streams);
    let resources = Resources {
        journal,
        tail: tail.clone(),
        closing: closing.clone(),
        _slot: slots.take(SocketAddr::from(([127, 0, 0, 1], 1))).expect("the first one"),
    };
    (open(WatchChecks::Of(name()), resources).expect("it is there"), closing)
}

fn reason(end: &Status) -> String {
    end.get_error_details().error_info().expect("said").reason.clone()
}

/// Two frames of them.
fn show(tail: &CheckTail) {
    (0..2 * FRAME_CHECKS).for_each(|_| tail.show(record));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_by_its_age_though_results_come_faster_than_they_are_read() {
    let (journal, _writer) = in_memory();
    commit(&journal, [created(1)]);
    let tail = CheckTail::default();
    let (stream, _closing) = opened(journal, &tail);
    let mut stream = pin!(stream);
    stream.next().await.expect("it stands").expect("no error");
    tokio::time::advance(Duration::from_secs(3_600)).await;
    show(&tail);
    let frame = stream.next().await.expect("not ended").expect("what was there");
    assert_eq!((frame.checks.len(), frame.dropped), (FRAME_CHECKS, FRAME_CHECKS as u64), "each is sent or counted");
    show(&tail);
    let end = stream.next().await.expect("not ended").expect_err("it is old enough");
    assert_eq!((end.code(), reason(&end)), (Code::Unavailable, "STREAM_AGED".to_owned()));
    assert!(stream.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_a_stream_once_everything_was_taken() {
    let (journal, _writer) = in_memory();
    commit(&journal, [created(1)]);
    let tail = CheckTail::default();
    let (stream, closing) = opened(journal, &tail);
    let mut stream = pin!(stream);
    stream.next().await.expect("it stands").expect("no error");
    // More of others than are looked at in one go.
    for _ in 0..2 * LOOKED_AT {
        tail.show(|| CheckRecord { name: task("t2", 2).name, ..record() });
    }
    show(&tail);
    closing.cancel();
    let mut checks = 0;
    let end = loop {
        match stream.next().await.expect("not ended") {
            Ok(frame) => checks += frame.checks.len(),
            Err(end) => break end,
        }
    };
    assert_eq!((checks, reason(&end)), (2 * FRAME_CHECKS, "SERVER_DRAINING".to_owned()));
    assert!(stream.next().await.is_none());
}
