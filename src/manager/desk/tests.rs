use std::time::Duration;

use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::model::{
    CallOutcome, CancelTask, Cause, Epoch, Lease, Mono, Now, Permission, Permit, Sample, Source, TaskName, Timestamp,
    Uid, Verdict,
};

const LEASE: Lease = Lease { number: 3, until: Mono::ZERO };
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

/// A caller that asks for a permit, and the answer that it gets: one with a lease.
async fn asks(bench: &mut Bench) -> (JoinHandle<Result<Reply, Refusal>>, Caller, Reply) {
    let (desk, name) = (bench.desk.clone(), TaskName::parse("namespaces/default/tasks/api").expect("valid"));
    let asked = tokio::spawn(async move { desk.call(Call::Acquire(name)).await });
    let Some(Request::Call { call: Call::Acquire(_), caller }) = bench.requests.recv().await else {
        panic!("it asks for a permit");
    };
    let permit = Permit { epoch: Epoch::new(7), lease: Some(LEASE) };
    let now = Now { mono: Mono::ZERO, wall: Timestamp::default() };
    (
        asked,
        caller,
        Reply::Permission { uid: Uid::new(uuid::Uuid::nil()), permission: Permission::Granted(permit), now },
    )
}

fn is_given_back(bench: &mut Bench) -> bool {
    match bench.requests.try_recv() {
        Ok(Request::Call { call: Call::Report(outcomes), .. }) => {
            let [CallOutcome { sample, .. }] = outcomes.as_slice() else { panic!("{outcomes:?}") };
            let source = Source::Passive { reporter: 0, lease: Some(LEASE) };
            let (epoch, verdict) = (Epoch::new(7), Verdict::Neutral);
            assert_eq!(*sample, Sample { epoch, verdict, latency: Duration::ZERO, source });
            true
        }
        Ok(_) => panic!("nothing else is asked for"),
        Err(_) => false,
    }
}

#[tokio::test]
async fn a_lease_for_a_caller_that_has_gone_is_given_back() {
    let mut bench = Bench::new(Condition::default());
    let (asked, caller, reply) = asks(&mut bench).await;
    asked.abort();
    assert!(asked.await.is_err_and(|error| error.is_cancelled()));
    caller.tell(Ok(reply));
    assert!(is_given_back(&mut bench));
    assert!(!is_given_back(&mut bench), "once");
}

#[tokio::test]
async fn a_lease_that_was_handed_over_to_nobody_is_given_back() {
    let mut bench = Bench::new(Condition::default());
    let (asked, caller, reply) = asks(&mut bench).await;
    // It is there, but the caller ends before it looks.
    caller.tell(Ok(reply));
    asked.abort();
    assert!(asked.await.is_err_and(|error| error.is_cancelled()));
    assert!(is_given_back(&mut bench));
}

#[tokio::test]
async fn a_lease_that_a_caller_takes_is_its_own() {
    let mut bench = Bench::new(Condition::default());
    let (asked, caller, reply) = asks(&mut bench).await;
    caller.tell(Ok(reply.clone()));
    assert_eq!(asked.await.expect("no panic"), Ok(reply));
    assert!(!is_given_back(&mut bench));
}
