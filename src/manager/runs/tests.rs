use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, yield_now};

use super::*;

const ANOTHER_BODY: &[u8] = b"another body";

fn actor(last: u8) -> Actor {
    Actor::Anonymous(IpAddr::from([10, 0, 0, last]))
}

fn request(id: u128) -> Idempotency {
    Idempotency::new(Uuid::from_u128(id), b"a body")
}

/// Requests, and how many checks they have begun.
#[derive(Clone, Default)]
struct Bench {
    runs: Arc<Runs>,
    begun: Arc<AtomicUsize>,
}

impl Bench {
    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    fn kept(&self) -> (usize, usize) {
        let table = self.runs.lock();
        (table.runs.len(), table.order.len())
    }

    /// Asks for a check that is made when it is told what comes of it.
    fn ask(&self, by: u8, idempotency: Idempotency) -> (oneshot::Sender<Outcome>, JoinHandle<Outcome>) {
        let (tell, told) = oneshot::channel::<Outcome>();
        let bench = self.clone();
        let asked = tokio::spawn(async move {
            let begun = Arc::clone(&bench.begun);
            let make = async move {
                begun.fetch_add(1, Ordering::Relaxed);
                told.await.expect("the test tells")
            };
            bench.runs.once(&actor(by), idempotency, make).await
        });
        (tell, asked)
    }

    /// Asks for a check that is made at once.
    async fn outcome(&self, by: u8, idempotency: Idempotency, outcome: Outcome) -> Outcome {
        let (tell, asked) = self.ask(by, idempotency);
        // Where another one answers, this is never made.
        let _ = tell.send(outcome);
        asked.await.expect("no panic")
    }
}

async fn settle() {
    for _ in 0..8 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_while_the_first_runs_waits_for_its_check() {
    let bench = Bench::default();
    let (tell, first) = bench.ask(1, request(1));
    settle().await;
    let (_never, again) = bench.ask(1, request(1));
    settle().await;
    assert!(!first.is_finished() && !again.is_finished());
    tell.send(Ok(Check::passed("first"))).expect("waits");
    assert_eq!(first.await.expect("no panic"), Ok(Check::passed("first")));
    assert_eq!(again.await.expect("no panic"), Ok(Check::passed("first")));
    assert_eq!(bench.outcome(1, request(1), Ok(Check::passed("later"))).await, Ok(Check::passed("first")));
    assert_eq!(bench.begun(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_loses_nobody_the_check() {
    let bench = Bench::default();
    let (tell, first) = bench.ask(1, request(1));
    settle().await;
    let (_never, waits) = bench.ask(1, request(1));
    settle().await;
    first.abort();
    settle().await;
    tell.send(Ok(Check::passed("first"))).expect("it is still wanted");
    assert_eq!(waits.await.expect("no panic"), Ok(Check::passed("first")));

    // Not even himself, where nobody else waits.
    let (tell, alone) = bench.ask(1, request(2));
    settle().await;
    alone.abort();
    settle().await;
    tell.send(Ok(Check::passed("second"))).expect("it is still wanted");
    assert_eq!(bench.outcome(1, request(2), Ok(Check::passed("later"))).await, Ok(Check::passed("second")));
    assert_eq!(bench.begun(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_all_who_wait_and_forgotten() {
    let bench = Bench::default();
    let (tell, first) = bench.ask(1, request(1));
    settle().await;
    let (_never, again) = bench.ask(1, request(1));
    settle().await;
    tell.send(Err(Refusal::ServerDraining)).expect("waits");
    for asked in [first, again] {
        assert_eq!(asked.await.expect("no panic"), Err(Refusal::ServerDraining));
    }
    assert_eq!(bench.outcome(1, request(1), Ok(Check::passed("second"))).await, Ok(Check::passed("second")));
    assert_eq!(bench.begun(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_forgotten_where_nobody_has_waited_for_it() {
    let bench = Bench::default();
    let (tell, first) = bench.ask(1, request(1));
    settle().await;
    first.abort();
    tell.send(Err(Refusal::ServerDraining)).expect("it is still wanted");
    settle().await;
    assert_eq!(bench.kept(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_panicked_is_no_check_for_ever() {
    let bench = Bench::default();
    let (tell, first) = bench.ask(1, request(1));
    settle().await;
    drop(tell);
    assert_eq!(first.await.expect("no panic"), Err(Refusal::ServerDraining));
    assert_eq!(bench.outcome(1, request(1), Ok(Check::passed("second"))).await, Ok(Check::passed("second")));
}

#[tokio::test(start_paused = true)]
async fn another_body_under_the_id_is_refused_unless_the_first_has_failed() {
    let bench = Bench::default();
    let other = Idempotency::new(request(1).request_id, ANOTHER_BODY);
    let (tell, first) = bench.ask(1, request(1));
    settle().await;
    assert_eq!(bench.outcome(1, other, Ok(Check::passed("other"))).await, Err(Refusal::RequestIdReused));
    tell.send(Ok(Check::passed("first"))).expect("waits");
    assert!(first.await.expect("no panic").is_ok());
    assert_eq!(bench.outcome(1, other, Ok(Check::passed("other"))).await, Err(Refusal::RequestIdReused));
    // It is another's, too.
    assert_eq!(bench.outcome(2, other, Ok(Check::passed("other"))).await, Ok(Check::passed("other")));

    assert!(bench.outcome(1, request(2), Err(Refusal::ServerDraining)).await.is_err());
    let other = Idempotency::new(request(2).request_id, ANOTHER_BODY);
    assert_eq!(bench.outcome(1, other, Ok(Check::passed("other"))).await, Ok(Check::passed("other")));
}

#[tokio::test(start_paused = true)]
async fn a_check_is_remembered_for_a_day() {
    let bench = Bench::default();
    assert!(bench.outcome(1, request(1), Ok(Check::passed("first"))).await.is_ok());
    tokio::time::advance(KEPT - Duration::from_millis(1)).await;
    assert_eq!(bench.outcome(1, request(1), Ok(Check::passed("later"))).await, Ok(Check::passed("first")));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(bench.outcome(1, request(1), Ok(Check::passed("later"))).await, Ok(Check::passed("later")));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_goes_first_and_who_waits_for_it_is_answered() {
    let bench = Bench::default();
    let (tell, waits) = bench.ask(1, request(0));
    settle().await;
    for id in 1..=MOST {
        assert!(bench.outcome(1, request(id as u128), Ok(Check::passed("first"))).await.is_ok());
    }
    assert_eq!(bench.kept(), (MOST, MOST));
    assert_eq!(bench.outcome(1, request(1), Ok(Check::passed("later"))).await, Ok(Check::passed("first")));
    assert_eq!(
        bench.outcome(1, request(0), Ok(Check::passed("later"))).await,
        Ok(Check::passed("later")),
        "it is forgotten"
    );
    assert_eq!(
        bench.outcome(1, request(1), Ok(Check::passed("later"))).await,
        Ok(Check::passed("later")),
        "so is the next"
    );
    tell.send(Ok(Check::passed("slow"))).expect("waits");
    assert_eq!(waits.await.expect("no panic"), Ok(Check::passed("slow")));
}
