//! The drain's bound: 10 s, whatever holds on.

use std::time::{Duration, Instant};

use switchyard::config::Layer;
use switchyard::pb::v1::task_service_client::TaskServiceClient;
use switchyard::pb::v1::{Asked, Exit, InstanceState, State, WatchTasksRequest};
use switchyard::server::Ended;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::cli::process::Served;
use crate::harness::{Harness, builder, drill, idle, reach};
use crate::kinds::{Hold, custom};
use crate::waits::Waits;

const BOUND: Duration = Duration::from_secs(10);

fn everything() -> WatchTasksRequest {
    WatchTasksRequest { parent: "namespaces/-".to_owned(), ..WatchTasksRequest::default() }
}

#[tokio::test]
async fn it_takes_ten_seconds_at_the_most_and_counts_what_it_abandons() {
    let layer = Layer { max_streams_per_connection: Some(64), ..Layer::default() };
    let server = Harness::start(layer).await;
    let mut client = server.client().await;
    for (id, behaviour) in [("blocking", "block_thread"), ("ignoring", "ignore_cancel"), ("leaking", "leak_children")] {
        client.start_task(drill(id, behaviour, "15s")).await.expect("starts");
        reach(&mut client, id, State::Running).await;
    }
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(client.watch_tasks(everything()).await.expect("watches").into_inner());
    }
    let mut in_preface = TcpStream::connect(server.address()).await.expect("listening");
    in_preface.write_all(b"PRI * HTTP/2.0\r\n").await.expect("connected");
    let mut in_request = TcpStream::connect(server.http_address()).await.expect("listening");
    in_request.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n").await.expect("connected");
    let mut unread = TcpStream::connect(server.http_address()).await.expect("listening");
    for _ in 0..200 {
        unread.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("connected");
    }

    let (began, waits) = (Instant::now(), Waits::from_here());
    server.shut_down();
    // Of all streams one is read; the others belong to clients that are busy elsewhere.
    let mut read = streams.pop().expect("fifty");
    let reading = tokio::spawn(async move {
        let mut states = Vec::new();
        while let Ok(Some(frame)) = read.message().await {
            let instances = frame.events.into_iter().filter_map(|event| match event.detail {
                Some(switchyard::pb::v1::event::Detail::Instance(instance)) => Some(instance),
                _ => None,
            });
            states.extend(instances.map(|instance| (instance.state(), instance.exit())));
        }
        states
    });
    let ended = server.ended().await;
    let (took, late) = (began.elapsed(), waits.through(&["tokio-rt-worker", "manager", "journal"]));
    assert!(took <= BOUND + late, "{took:?}, of which {late:?} may be the machine's");
    assert_eq!((ended, ended.exit_code()), (Ended::Abandoned(1), 10));
    let states = reading.await.expect("no panic");
    assert!(states.contains(&(InstanceState::Stuck, Exit::Unspecified)), "{states:?}");
    assert!(states.contains(&(InstanceState::Ended, Exit::Aborted)), "{states:?}");
}

#[tokio::test]
async fn it_is_no_cancel_and_restarts_nothing() {
    let hold = Hold::default();
    let server = Harness::run(builder(Layer::default()).register(hold.kind()).bind().await.expect("bound"));
    let mut client = server.client().await;
    client.start_task(idle("idle")).await.expect("starts");
    reach(&mut client, "idle", State::Running).await;
    client.start_task(drill("failing", "panic", "1ms")).await.expect("starts");
    client.start_task(custom("held", "holding")).await.expect("starts");
    reach(&mut client, "held", State::Running).await;
    server.shut_down();
    let task = reach(&mut client, "idle", State::Pending).await;
    let outcome = task.outcome.expect("has ended");
    assert_eq!((outcome.exit(), outcome.asked()), (Exit::Graceful, Asked::Drain));
    let refused = client.start_task(idle("late")).await.expect_err("drains");
    assert_eq!(crate::harness::reason(&refused), "SERVER_DRAINING");
    // It may have backed off or run when the drain began.
    reach(&mut client, "failing", State::Pending).await;
    hold.let_go();
    assert_eq!(server.ended().await, Ended::Clean);
}

/// Nobody reads its standard error, so that logging blocks for ever once the pipe is full.
#[tokio::test]
async fn a_log_that_nobody_reads_does_not_hold_it_up() {
    let (served, _log) = Served::begin_with_log(&["--enable-drills"]);
    let address = format!("http://{}", served.address);
    let mut client = TaskServiceClient::connect(address).await.expect("listening");
    for n in 0..400 {
        client.start_task(idle(&format!("idle-{n}"))).await.expect("starts");
    }
    served.signal();
    // Held up by its log, it would not end at all, and nor would this.
    let code = tokio::task::spawn_blocking(move || served.ended()).await.expect("no panic");
    assert_eq!(code, Some(0));
}
