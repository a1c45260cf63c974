//! A check is made once for a `request_id`, and answered as often as is asked.

use std::time::Duration;

use switchyard::pb::v1::{CancelTaskRequest, Check, PauseTaskRequest, ResumeTaskRequest, RunTaskRequest, State};
use tokio::task::JoinHandle;
use tonic::{Code, Request, Status};

use super::{Target, not_running, run, running, task};
use crate::harness::{Client, name, reach, refusal};

const ID: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3303";

fn with_id() -> RunTaskRequest {
    RunTaskRequest { request_id: ID.to_owned(), reason: "just to see".to_owned(), ..task() }
}

fn ask(client: &Client) -> JoinHandle<Result<Check, Status>> {
    let mut client = client.clone();
    tokio::spawn(async move { run(&mut client, with_id()).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_answers_what_the_first_call_answered() {
    let target = Target::new().await;
    let (_server, mut client) = running(target.http()).await;
    let check = run(&mut client, with_id()).await.expect("made");
    target.answer.send_replace(Some("503 Service Unavailable"));
    let newer = run(&mut client, task()).await.expect("made");
    assert_ne!(newer, check);
    assert_eq!(run(&mut client, with_id()).await.expect("replayed"), check, "not the newest");
    let other = RunTaskRequest { reason: "another".to_owned(), ..with_id() };
    let status = run(&mut client, other).await.expect_err("reused");
    assert_eq!(refusal(&status), (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));
    // It is answered whatever the task does now.
    client.cancel_task(crate::harness::cancel("task")).await.expect("cancelled");
    assert_eq!(run(&mut client, with_id()).await.expect("replayed"), check);
    assert_eq!(target.asked(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_while_the_first_check_runs_waits_for_it() {
    let target = Target::new().await;
    let (_server, mut client) = running(target.http()).await;
    let before = run(&mut client, task()).await.expect("made");
    target.answer.send_replace(None);
    let first = ask(&client);
    target.asked_for(3).await;
    // There is no check to answer with, however long it waits.
    let mut hasty = Request::new(with_id());
    hasty.set_timeout(Duration::from_millis(300));
    let status = client.run_task(hasty).await.expect_err("the check has not been made");
    assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&status.code()), "{status}");
    let retry = ask(&client);
    target.answer.send_replace(Some("200 OK"));
    let check = first.await.expect("no panic").expect("made");
    assert_ne!(check, before);
    assert_eq!(retry.await.expect("no panic").expect("the same"), check);
    assert_eq!(target.asked(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_at_once_make_one_check() {
    let target = Target::new().await;
    let (_server, client) = running(target.http()).await;
    target.answer.send_replace(None);
    let first = ask(&client);
    // From here on the check runs: it would be too late for another request to be answered by it.
    target.asked_for(2).await;
    let four = [first, ask(&client), ask(&client), ask(&client)];
    target.answer.send_replace(Some("200 OK"));
    let mut checks = Vec::new();
    for asked in four {
        checks.push(asked.await.expect("no panic").expect("made"));
    }
    assert!(checks.iter().all(|check| *check == checks[0]), "{checks:?}");
    assert_eq!(target.asked(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_goes_loses_neither_the_others_nor_himself_the_check() {
    let target = Target::new().await;
    let (server, client) = running(target.http()).await;
    target.answer.send_replace(None);
    let first = ask(&server.client().await);
    target.asked_for(2).await;
    let waits = ask(&client);
    first.abort();
    assert!(first.await.expect_err("gone").is_cancelled());
    // The server has noticed once it counts the call as cancelled.
    while !server.metrics().await.lines().any(|line| line.contains("RunTask") && line.contains("CANCELLED")) {
        tokio::task::yield_now().await;
    }
    let retry = ask(&client);
    target.answer.send_replace(Some("200 OK"));
    let check = waits.await.expect("no panic").expect("made");
    assert_eq!(retry.await.expect("no panic").expect("the same"), check);
    assert_eq!(target.asked(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_of_what_failed_makes_a_new_check() {
    let target = Target::new().await;
    let (_server, mut client) = running(target.http()).await;
    target.answer.send_replace(None);
    let first = ask(&client);
    target.asked_for(2).await;
    client.pause_task(PauseTaskRequest { name: name("task"), ..Default::default() }).await.expect("paused");
    let status = first.await.expect("no panic").expect_err("it was cut short");
    assert_eq!(refusal(&status), not_running());
    reach(&mut client, "task", State::Paused).await;
    assert_eq!(refusal(&run(&mut client, with_id()).await.expect_err("it rests")), not_running());

    target.answer.send_replace(Some("200 OK"));
    client.resume_task(ResumeTaskRequest { name: name("task"), ..Default::default() }).await.expect("resumed");
    reach(&mut client, "task", State::Running).await;
    assert_eq!(target.asked(), 3, "the first check of the second attempt");
    let check = run(&mut client, with_id()).await.expect("made");
    assert_eq!((check.attempt, target.asked()), (2, 4));
    assert_eq!(run(&mut client, with_id()).await.expect("replayed"), check);
    assert_eq!(target.asked(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_wait_are_told_that_there_will_be_none() {
    let target = Target::new().await;
    let (_server, mut client) = running(target.http()).await;
    target.answer.send_replace(None);
    let both = [ask(&client), ask(&client)];
    target.asked_for(2).await;
    client.cancel_task(CancelTaskRequest { name: name("task"), ..Default::default() }).await.expect("cancelled");
    for asked in both {
        assert_eq!(refusal(&asked.await.expect("no panic").expect_err("there is none")), not_running());
    }
    assert_eq!(target.asked(), 2);
}
