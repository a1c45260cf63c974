//! How long a set may take to come, and how large it may be: beyond that the apply is refused, and nothing of it is done.

use std::time::Duration;

use switchyard::config::Layer;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::{ApplyOutcome, ApplyTasksRequest, HttpHeader, HttpMonitor, Task};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::{answer, apply, header, named, task};
use crate::harness::{Harness, all_tasks, refusal, start};

/// How long a client may be silent.
const IDLE: Duration = Duration::from_secs(30);
const MIB: usize = 1024 * 1024;

// On one thread, since its clock is paused: it runs ahead whenever everybody waits, and nothing here waits for real time.
#[tokio::test(start_paused = true)]
async fn a_client_that_falls_silent_amid_its_set_is_given_up_and_nothing_is_done() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let (messages, receiver) = mpsc::channel(8);
    let half = ApplyTasksRequest { header: Some(header()), tasks: vec![task("a", "1h")] };
    messages.send(half).await.expect("open");
    let began = Instant::now();
    let mut frames = client.apply_tasks(ReceiverStream::new(receiver)).await.expect("answered").into_inner();
    // As long as something comes now and then, it is awaited.
    tokio::time::sleep(IDLE * 2 / 3).await;
    messages.send(ApplyTasksRequest { header: None, tasks: vec![task("b", "1h")] }).await.expect("open");
    let status = frames.message().await.expect_err("the set is not whole");
    assert_eq!(refusal(&status), (Code::DeadlineExceeded, "APPLY_IDLE".to_owned()));
    let silent = began.elapsed() - IDLE * 2 / 3;
    assert!((IDLE..IDLE * 4 / 3).contains(&silent), "{silent:?}");
    assert!(all_tasks(&mut client).await.is_empty());
    // Its turn is over, though the client has not closed its side.
    let other = apply(&mut client, header(), vec![task("c", "1h")]).await.expect("applied");
    assert_eq!(other.told(), (ApplyOutcome::Succeeded, [1, 0, 0, 0, 0]));
    drop(messages);
}

/// A task that takes nearly as many bytes as one may.
fn heavy(id: &str) -> Task {
    let header = |number| HttpHeader { name: format!("x-{number}"), value: "v".repeat(7_500) };
    let headers = (0..8).map(header).collect();
    let http = HttpMonitor { url: "http://127.0.0.1:1/".to_owned(), headers, ..Default::default() };
    named(id, start(id, Monitor::Http(http)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_more_bytes_than_a_server_takes_is_refused_and_nothing_is_done() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    let head = server.info().await.head_cursor;
    let bytes = prost::Message::encoded_len(&heavy("t00000"));
    let first = ApplyTasksRequest { header: Some(header()), tasks: Vec::new() };
    let numbers: Vec<_> = (0..128 * MIB / bytes + 1).collect();
    // Each message just below what gRPC lets through.
    let messages = numbers.chunks(4 * MIB / bytes - 1).map(|numbers| {
        let tasks = numbers.iter().map(|number| heavy(&format!("t{number:05}"))).collect();
        ApplyTasksRequest { header: None, tasks }
    });
    let status = answer(&mut client, std::iter::once(first).chain(messages).collect()).await.expect_err("too large");
    assert_eq!(refusal(&status), (Code::ResourceExhausted, "BATCH_LIMIT".to_owned()));
    assert!(all_tasks(&mut client).await.is_empty());
    assert_eq!(server.info().await.head_cursor, head);
    let other = apply(&mut client, header(), vec![task("a", "1h")]).await.expect("applied");
    assert_eq!(other.told(), (ApplyOutcome::Succeeded, [1, 0, 0, 0, 0]));
}
