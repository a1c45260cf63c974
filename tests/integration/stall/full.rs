//! A store without space, or with hardly any left.

use super::*;

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
