use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::model::{CancelTask, Cause, TaskName};

const STALLED: Condition = Condition { stalled: true, full: false };

/// A desk, and the loop's side of it.
struct Bench {
    requests: mpsc::Receiver<Request>,
    condition: watch::Sender<Condition>,
    desk: Desk,
}

impl Bench {
    fn new(condition: Condition) -> Self {
        let (tell, condition) = watch::channel(condition);
        let (sender, requests) = mpsc::channel(8);
        Self { requests, condition: tell, desk: Desk { requests: sender, condition } }
    }

    fn cancel(&self) -> JoinHandle<Result<Reply, Refusal>> {
        let name = TaskName::parse("namespaces/default/tasks/api").expect("valid");
        let cancel = CancelTask { name, force: false, etag: None, cause: Cause::system("test", ""), idempotency: None };
        let desk = self.desk.clone();
        tokio::spawn(async move { desk.command(Command::Cancel(cancel), With::default()).await })
    }

    async fn command(&mut self) -> oneshot::Sender<Result<Reply, Refusal>> {
        match self.requests.recv().await {
            Some(Request::Command { answer, .. }) => answer,
            _ => panic!("a command comes first"),
        }
    }

    async fn sync(&mut self) -> oneshot::Sender<bool> {
        match self.requests.recv().await {
            Some(Request::Sync(tell)) => tell,
            _ => panic!("it asks whether the command was decided"),
        }
    }
}

#[tokio::test]
async fn a_command_that_was_taken_in_is_waited_for_until_the_journal_stalls() {
    let mut bench = Bench::new(Condition::default());
    let asked = bench.cancel();
    let answer = bench.command().await;
    yield_now().await;
    assert!(!asked.is_finished());
    bench.condition.send_replace(STALLED);
    bench.sync().await.send(false).expect("waits");
    assert_eq!(asked.await.expect("no panic"), Err(Refusal::NotYetDurable("stopping")));
    assert!(answer.is_closed());
}

#[tokio::test]
async fn a_full_store_may_still_commit_so_the_answer_is_waited_for() {
    let mut bench = Bench::new(Condition { stalled: false, full: true });
    let asked = bench.cancel();
    let answer = bench.command().await;
    yield_now().await;
    answer.send(Err(Refusal::StuckLimit(1))).expect("waits");
    assert_eq!(asked.await.expect("no panic"), Err(Refusal::StuckLimit(1)));
    assert!(bench.requests.try_recv().is_err(), "nobody asks for more");
}

#[tokio::test]
async fn what_is_sent_during_a_stall_hears_what_the_loop_says_at_once() {
    let mut bench = Bench::new(STALLED);
    let asked = bench.cancel();
    let answer = bench.command().await;
    let tell = bench.sync().await;
    answer.send(Err(Refusal::JournalStalled)).expect("waits");
    tell.send(false).expect("waits");
    assert_eq!(asked.await.expect("no panic"), Err(Refusal::JournalStalled));
}

#[tokio::test]
async fn an_answer_that_comes_with_the_stall_wins() {
    let mut bench = Bench::new(Condition::default());
    let asked = bench.cancel();
    let answer = bench.command().await;
    answer.send(Err(Refusal::StuckLimit(1))).expect("waits");
    bench.condition.send_replace(STALLED);
    assert_eq!(asked.await.expect("no panic"), Err(Refusal::StuckLimit(1)));
}

#[tokio::test]
async fn a_loop_that_has_ended_keeps_nobody_waiting() {
    let mut bench = Bench::new(Condition::default());
    let asked = bench.cancel();
    drop(bench.command().await);
    drop(bench.condition);
    assert_eq!(asked.await.expect("no panic"), Err(Refusal::ServerDraining));
}
