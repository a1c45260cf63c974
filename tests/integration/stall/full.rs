//! A store without space, or with hardly any left.

use super::*;

const MANY: usize = 100;

fn store_full() -> (Code, String) {
    (Code::ResourceExhausted, "STORE_FULL".to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_hardly_any_space_left_nothing_new_is_taken_in_but_facts_are_recorded() {
    let disk = Disk::default();
    let (server, mut client) = server(&disk).await;
    client.start_task(idle("t")).await.expect("started");
    reach(&mut client, "t", State::Running).await;
    disk.fill(true);
    health_becomes(&server, ServingStatus::NotServing).await;
    let status = client.start_task(idle("late")).await.expect_err("no space");
    assert_eq!(refusal(&status), store_full());
    let (line, body) = http(&server, "/readyz").await;
    assert!(line.contains("503") && body == "the journal's store is full\n", "{line} {body}");
    assert!(server.metrics().await.contains("circuit_breaker_journal_admission{admission=\"full\"} 1"));

    let task = client.cancel_task(cancel("t")).await.expect("proven").into_inner().task.expect("answered");
    assert_eq!(task.state(), State::Cancelled, "it still commits");
    let delete = || v1::DeleteTaskRequest { name: name("t"), ..Default::default() };
    assert_eq!(refusal(&client.delete_task(delete()).await.expect_err("no space")), store_full());

    disk.fill(false);
    health_becomes(&server, ServingStatus::Serving).await;
    client.start_task(idle("late")).await.expect("there is space again");
    client.delete_task(delete()).await.expect("there is space again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_commit_for_want_of_space_keeps_nobody_waiting_and_goes_on_when_there_is_some() {
    let disk = Disk::default();
    let (server, mut client) = server(&disk).await;
    client.start_task(idle("t")).await.expect("started");
    reach(&mut client, "t", State::Running).await;
    disk.fail(Some(Fault::Full));
    let admitted = v1::StartTaskRequest { request_id: request_id(), ..idle("admitted") };
    let status = client.start_task(admitted.clone()).await.expect_err("it waited, and was not kept waiting");
    assert_eq!(refusal(&status), stalled(), "it may have been done");
    let status = client.start_task(idle("late")).await.expect_err("no space");
    assert_eq!(refusal(&status), store_full());
    let status = client.cancel_task(cancel("t")).await.expect_err("acts, and is not durable");
    assert!(status.message().starts_with("stopping, not yet durable"), "{status:?}");

    disk.fail(None);
    health_becomes(&server, ServingStatus::Serving).await;
    reach(&mut client, "t", State::Cancelled).await;
    client.start_task(admitted).await.expect("the original answer");
}

/// The next server of the disk's, where the last one could not say how it ended, as if it had been killed.
async fn restarted(server: Harness, disk: &Disk) -> (Harness, Client) {
    disk.fail(Some(Fault::Full));
    server.shut_down();
    server.ended().await;
    super::server(disk).await
}

/// More tasks than are taken over in one turn, so that the next server knows how its store does before it is through with them.
async fn many(client: &mut Client) {
    for n in 0..MANY {
        client.start_task(idle(&format!("idle-{n}"))).await.expect("started");
    }
}

/// Waits until the exposition has that line.
async fn metric_becomes(server: &Harness, line: &str) {
    while !server.metrics().await.contains(&format!("\n{line}\n")) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ran_is_checked_by_the_next_server_though_its_store_can_commit_nothing() {
    let disk = Disk::default();
    let (first, mut client) = server(&disk).await;
    many(&mut client).await;
    client.start_task(busy(&first, "busy")).await.expect("started");
    reach(&mut client, "busy", State::Running).await;
    let (server, mut client) = restarted(first, &disk).await;
    let cursor = server.info().await.head_cursor;
    health_becomes(&server, ServingStatus::NotServing).await;

    let last_check = |task: v1::Task| task.live.and_then(|live| live.last_check).and_then(|check| check.time);
    let mut first_check = None;
    while first_check.is_none() {
        first_check = last_check(get(&mut client, "busy").await);
    }
    while last_check(get(&mut client, "busy").await) == first_check {}
    let task = get(&mut client, "busy").await;
    assert_eq!((task.state(), task.instance.expect("shown").attempt), (State::Running, 1), "as far as it is durable");
    metric_becomes(&server, "circuit_breaker_tasks_left 0").await;
    metric_becomes(&server, &format!("circuit_breaker_active_tasks {}", MANY + 1)).await;
    let status = client.start_task(idle("late")).await.expect_err("no space");
    assert_eq!(refusal(&status), store_full());

    disk.fail(None);
    health_becomes(&server, ServingStatus::Serving).await;
    let watch = v1::WatchTasksRequest {
        filter: format!("name = {}", name("busy")),
        start: Some(Start::Cursor(cursor)),
        ..Default::default()
    };
    let mut stream = client.watch_tasks(watch).await.expect("opened").into_inner();
    let mut events = Vec::new();
    while events.len() < 3 {
        events.extend(stream.message().await.expect("goes on").expect("goes on").events);
    }
    assert_eq!(types(&events), [EventType::InstanceEnded, EventType::InstanceStarting, EventType::InstanceReady]);
    assert_eq!(get(&mut client, "busy").await.instance.expect("runs").attempt, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_hardly_any_space_left_the_next_server_goes_on_and_says_so() {
    let disk = Disk::default();
    let (first, mut client) = server(&disk).await;
    many(&mut client).await;
    disk.fill(true);
    first.shut_down();
    first.ended().await;
    let (server, mut client) = super::server(&disk).await;
    for n in 0..MANY {
        let task = reach(&mut client, &format!("idle-{n}"), State::Running).await;
        assert_eq!(task.instance.expect("runs").attempt, 2);
    }
    let status = client.start_task(idle("late")).await.expect_err("no space");
    assert_eq!(refusal(&status), store_full());
    metric_becomes(&server, "circuit_breaker_tasks_left 0").await;
}
