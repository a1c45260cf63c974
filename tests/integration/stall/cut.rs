//! An apply that a drain cuts while the store writes nothing.

use std::time::Duration;

use super::*;

/// An owner's only task, which is to stay ready for so long before it takes over.
fn set(healthy: Duration) -> v1::ApplyTasksRequest {
    let request = with_spec(idle("t"), |spec| {
        let min_healthy_time = Some(healthy.try_into().expect("small"));
        spec.swap = Some(v1::SwapPolicy { min_healthy_time, ..Default::default() });
    });
    let task = v1::Task { name: name("t"), ..request.task.expect("has one") };
    let header = v1::ApplyHeader { owner: "core".to_owned(), ..Default::default() };
    v1::ApplyTasksRequest { header: Some(header), tasks: vec![task] }
}

/// How the apply ends.
async fn apply(client: &mut Client, set: v1::ApplyTasksRequest) -> Result<(), Status> {
    let mut frames = client.apply_tasks(tokio_stream::iter([set])).await?.into_inner();
    while frames.message().await?.is_some() {}
    Ok(())
}

/// An apply whose swap is under way, and nothing waits for a commit.
async fn under_way(server: &Harness, client: &mut Client) -> tokio::task::JoinHandle<Result<(), Status>> {
    apply(client, set(Duration::ZERO)).await.expect("applied");
    reach(client, "t", State::Running).await;
    let head = server.info().await.head_cursor;
    let mut other = server.client().await;
    let applied = tokio::spawn(async move { apply(&mut other, set(Duration::from_secs(600))).await });
    events_until(client, &head, EventType::InstanceReady).await;
    applied
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_that_a_drain_cuts_is_told_so_even_if_the_journal_stalls() {
    let disk = Disk::default();
    let (server, mut client) = server(&disk).await;
    let applied = under_way(&server, &mut client).await;
    disk.hold(true);
    server.shut_down();
    let status = applied.await.expect("no panic").expect_err("cut");
    assert_eq!(refusal(&status), (Code::Unavailable, "SERVER_DRAINING".to_owned()));
    assert!(retried_later(&status), "{status:?}");
    disk.hold(false);
    assert_eq!(server.ended().await, Ended::Clean);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_that_a_stall_alone_cuts_is_told_of_the_stall() {
    let disk = Disk::default();
    let (server, mut client) = server(&disk).await;
    let applied = under_way(&server, &mut client).await;
    disk.hold(true);
    client.cancel_task(cancel("t")).await.expect_err("stalls");
    let status = applied.await.expect("no panic").expect_err("cut");
    assert_eq!(refusal(&status), stalled());
    assert!(retried_later(&status), "{status:?}");
    disk.hold(false);
}
