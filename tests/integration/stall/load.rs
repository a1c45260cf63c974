//! Many stalls in a row, under load from several clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const CLIENTS: usize = 4;
const STALLS: usize = 5;

/// Starts one task after the other until it is told to end, each until that is acknowledged; cancels every other of them; the
/// names of all, and of those whose end was proven.
async fn work(mut client: Client, nth: usize, over: Arc<AtomicBool>) -> (Vec<String>, Vec<String>) {
    let (mut started, mut cancelled) = (Vec::new(), Vec::new());
    for n in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("c{nth}-{n}");
        let start = v1::StartTaskRequest { request_id: request_id(), ..idle(&id) };
        while let Err(status) = client.start_task(start.clone()).await {
            assert_eq!(refusal(&status), stalled(), "{status:?}");
            tokio::task::yield_now().await;
        }
        started.push(name(&id));
        if n % 2 == 0 {
            let stop = v1::CancelTaskRequest { request_id: request_id(), ..cancel(&id) };
            while let Err(status) = client.cancel_task(stop.clone()).await {
                assert_eq!(refusal(&status), stalled(), "{status:?}");
                tokio::task::yield_now().await;
            }
            cancelled.push(id);
        }
    }
    (started, cancelled)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_many_stalls_nothing_acknowledged_is_lost_and_nothing_is_done_twice() {
    let disk = Disk::default();
    let (server, mut client) = server(&disk).await;
    let head = server.info().await.head_cursor;
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for nth in 0..CLIENTS {
        clients.push(tokio::spawn(work(server.client().await, nth, Arc::clone(&over))));
    }
    for _ in 0..STALLS {
        disk.hold(true);
        health_becomes(&server, ServingStatus::NotServing).await;
        disk.hold(false);
        health_becomes(&server, ServingStatus::Serving).await;
    }
    over.store(true, Ordering::Relaxed);
    let (mut started, mut cancelled) = (Vec::new(), Vec::new());
    for client in clients {
        let (its_started, its_cancelled) = client.await.expect("no panic");
        started.extend(its_started);
        cancelled.extend(its_cancelled);
    }
    assert!(started.len() >= CLIENTS, "{started:?}");
    for id in &cancelled {
        assert_eq!(get(&mut client, id).await.state(), State::Cancelled, "{id}");
    }
    let pause = client.start_task(idle("last")).await.expect("started");
    drop(pause);
    reach(&mut client, "last", State::Running).await;
    client.pause_task(v1::PauseTaskRequest { name: name("last"), ..Default::default() }).await.expect("paused");
    reach(&mut client, "last", State::Paused).await;
    let created = created(&mut client, &head, EventType::TaskPaused).await;
    for name in &started {
        assert_eq!(created.get(name), Some(&1), "{name}");
    }
    let groups = disk.groups();
    assert_eq!(groups.first().map(|(first, _)| *first), Some(1));
    assert!(groups.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{groups:?}");
}
