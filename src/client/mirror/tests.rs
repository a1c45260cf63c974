//! Guards without a server, by a clock that the test turns.

mod grpc;

use std::array;
use std::future::{pending, ready};
use std::task::Poll;

use futures_util::poll;
use http::{Request, Response};
use tokio::time::advance;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::{Layer, Service, ServiceExt};

use super::ask::{Ask, Asked, Permit};
use super::outbox::{Record, Trial};
use super::*;
use v1::CircuitState::{Closed, HalfOpen, Open};

const API: &str = "namespaces/default/tasks/api";

/// A mirror in which the test is the server.
struct Bench {
    shared: Arc<Shared>,
    guard: Guard,
    asks: mpsc::Receiver<Ask>,
}

impl Bench {
    fn new(policy: Policy, state: v1::CircuitState) -> Self {
        let (asks, asked) = mpsc::channel(8);
        let shared = Arc::new(Shared::new(policy, STALENESS, Outbox::new(64, 8), asks));
        let tasks = Arc::new(Tasks { flush: mpsc::channel(1).0, _spawned: Vec::new() });
        let guard = Guard::new(Arc::clone(&shared), shared.directory.of(API), tasks);
        let bench = Self { shared, guard, asks: asked };
        bench.show(state, "1");
        bench.shared.freshness.hear();
        bench
    }

    fn show(&self, state: v1::CircuitState, token: &str) {
        let (name, token, state) = (API.to_owned(), token.to_owned(), state.into());
        self.shared.show(&v1::Circuit { name, token, state, ..Default::default() });
    }

    /// What waits to be told.
    fn told(&self) -> (Vec<Trial>, Vec<Record>) {
        let mut records = array::from_fn(|_| Vec::new());
        let trials = self.shared.outbox.drain(&mut records);
        (
            trials,
            records.into_iter().flatten().flat_map(|run| std::iter::repeat_n(run.record, run.calls as usize)).collect(),
        )
    }

    fn verdicts(&self) -> Vec<Verdict> {
        self.told().1.into_iter().map(|record| record.verdict).collect()
    }

    fn lease(&self) -> Asked {
        Asked::Permitted(Permit::new(Arc::clone(&self.shared), self.shared.directory.of(API), "lease".to_owned(), true))
    }
}

async fn good() -> Result<(), ()> {
    Ok(())
}

async fn reason(guard: &Guard) -> Option<Reason> {
    match guard.call(good()).await {
        Err(CallError::Rejected(rejected)) => Some(rejected.reason),
        Ok(()) | Err(CallError::Failed(())) => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_relied_on_until_the_server_has_been_silent_for_the_bound() {
    let bench = Bench::new(Policy::FailClosed, Closed);
    advance(STALENESS - Duration::from_nanos(1)).await;
    assert_eq!(reason(&bench.guard).await, None);
    advance(Duration::from_millis(2)).await;
    assert_eq!(reason(&bench.guard).await, Some(Reason::Stale));
    bench.shared.freshness.hear();
    assert_eq!(reason(&bench.guard).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_timer_spares_callers_the_clock_and_is_taken_at_its_word_no_longer_than_the_bound() {
    let bench = Bench::new(Policy::FailClosed, Closed);
    let freshness = &bench.shared.freshness;
    let mut kept = Box::pin(freshness.keep());
    assert!(!freshness.is_certain(), "nobody keeps it");
    assert_eq!(poll!(&mut kept), Poll::Pending);
    assert!(freshness.is_certain());
    advance(STALENESS - Duration::from_millis(1)).await;
    assert_eq!(poll!(&mut kept), Poll::Pending);
    assert!(!freshness.is_certain(), "it may be late, so it leaves the end of the bound to the clock");
    assert_eq!(reason(&bench.guard).await, None);
    advance(Duration::from_millis(2)).await;
    assert_eq!(reason(&bench.guard).await, Some(Reason::Stale));
    freshness.hear();
    assert_eq!(poll!(&mut kept), Poll::Pending);
    assert!(freshness.is_certain(), "heard again");
    drop(kept);
    assert!(!freshness.is_certain(), "the mirror has ended");
}

#[tokio::test(start_paused = true)]
async fn where_the_timer_does_not_fire_a_call_that_waits_finds_out() {
    let bench = Bench::new(Policy::FailClosed, Closed);
    let mut held_up = Box::pin(bench.shared.freshness.keep());
    assert_eq!(poll!(&mut held_up), Poll::Pending);
    advance(2 * STALENESS).await;
    let waits = async {
        tokio::task::yield_now().await;
        Ok::<_, ()>(())
    };
    assert_eq!(bench.guard.call(waits).await, Ok(()), "nobody knew");
    assert_eq!(reason(&bench.guard).await, Some(Reason::Stale));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_told_to_those_who_wait_and_what_is_shown_again_is_none() {
    let bench = Bench::new(Policy::LastKnown, Closed);
    assert!(bench.guard.permits());
    let mut changed = Box::pin(bench.guard.changed());
    assert_eq!(poll!(&mut changed), Poll::Pending);
    bench.show(Closed, "1");
    assert_eq!(poll!(&mut changed), Poll::Pending, "as it was");
    bench.show(Open, "2");
    assert_eq!(poll!(&mut changed), Poll::Ready(()));
    assert!(!bench.guard.permits());
    let before = bench.guard.changed();
    bench.show(HalfOpen, "3");
    before.await;
    assert!(!bench.guard.permits(), "that is the server's to say");
}

#[tokio::test(start_paused = true)]
async fn calls_are_told_as_what_they_were_and_how_long_they_took() {
    let bench = Bench::new(Policy::LastKnown, Closed);
    assert_eq!(bench.guard.call(ready(Ok::<_, ()>(1))).await, Ok(1));
    assert_eq!(bench.guard.call(ready(Err::<(), _>(2))).await, Err(CallError::Failed(2)));
    let own = bench.guard.call_judged(ready(Err::<(), _>(3)), |_| Verdict::LocalFault).await;
    assert_eq!(own, Err(CallError::Failed(3)));
    let mut given_up = Box::pin(bench.guard.call(pending::<Result<(), ()>>()));
    assert_eq!(poll!(&mut given_up), Poll::Pending);
    drop(given_up);
    let (trials, records) = bench.told();
    assert!(trials.is_empty(), "{trials:?}");
    let verdicts: Vec<_> = records.iter().map(|record| record.verdict).collect();
    use Verdict::{Cancelled, Failure, LocalFault, Success};
    assert_eq!(verdicts, [Success, Failure, LocalFault, Cancelled]);

    let slow = async {
        tokio::time::sleep(Duration::from_millis(70)).await;
        Ok::<_, ()>(())
    };
    assert_eq!(bench.guard.call(slow).await, Ok(()));
    let latency = bench.told().1.first().map(|record| record.latency);
    assert!(latency >= Some(70_000_000), "{latency:?}");
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_rejects_without_a_word_to_the_server() {
    let mut bench = Bench::new(Policy::FailOpen, Open);
    assert_eq!(reason(&bench.guard).await, Some(Reason::Open));
    assert!(bench.asks.try_recv().is_err());
    assert_eq!((bench.shared.stats().denied, bench.verdicts().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn half_open_one_asks_and_nobody_waits_for_another_one() {
    let mut bench = Bench::new(Policy::LastKnown, HalfOpen);
    let mut first = Box::pin(bench.guard.call(good()));
    assert_eq!(poll!(&mut first), Poll::Pending);
    assert_eq!(reason(&bench.guard).await, Some(Reason::HalfOpen), "at once");
    let ask = bench.asks.recv().await.expect("asked");
    ask.answer(&bench.shared, bench.lease());
    assert_eq!(first.await, Ok(()));
    let (trials, records) = bench.told();
    assert_eq!((trials.len(), records.len()), (1, 0));
    assert_eq!((trials[0].token.as_str(), trials[0].verdict), ("lease", Verdict::Success));
}

#[tokio::test(start_paused = true)]
async fn a_denial_holds_for_as_long_as_the_server_says_or_until_the_circuit_moves_on() {
    let mut bench = Bench::new(Policy::LastKnown, HalfOpen);
    let wait = Duration::from_secs(5);
    let guard = bench.guard.clone();
    let mut call = Box::pin(guard.call(good()));
    assert_eq!(poll!(&mut call), Poll::Pending);
    bench.asks.recv().await.expect("asked").answer(&bench.shared, Asked::Denied(Some(wait)));
    let Err(CallError::Rejected(rejected)) = call.await else { panic!("denied") };
    assert_eq!((rejected.reason, rejected.retry_after), (Reason::HalfOpen, Some(wait)));
    assert_eq!(reason(&bench.guard).await, Some(Reason::HalfOpen));
    assert!(bench.asks.try_recv().is_err(), "it was not asked again");
    bench.show(HalfOpen, "2");
    let mut call = Box::pin(guard.call(good()));
    assert_eq!(poll!(&mut call), Poll::Pending);
    assert!(bench.asks.try_recv().is_ok(), "another epoch");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_given_back_by_whoever_goes_away_even_before_it_comes() {
    let mut bench = Bench::new(Policy::LastKnown, HalfOpen);
    let guard = bench.guard.clone();
    for answered_first in [true, false] {
        let mut call = Box::pin(guard.call(pending::<Result<(), ()>>()));
        assert_eq!(poll!(&mut call), Poll::Pending);
        let ask = bench.asks.recv().await.expect("asked");
        if answered_first {
            ask.answer(&bench.shared, bench.lease());
            assert_eq!(poll!(&mut call), Poll::Pending, "the call itself");
            drop(call);
        } else {
            drop(call);
            ask.answer(&bench.shared, bench.lease());
        }
        let verdicts: Vec<_> = bench.told().0.into_iter().map(|trial| trial.verdict).collect();
        assert_eq!(verdicts, [Verdict::Cancelled]);
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_answers_half_open_the_policy_decides() {
    for (policy, expected) in [(Policy::FailOpen, None), (Policy::LastKnown, Some(Reason::Unreachable))] {
        let mut bench = Bench::new(policy, HalfOpen);
        bench.asks.close();
        assert_eq!(reason(&bench.guard).await, expected);
        assert!(bench.verdicts().is_empty(), "without a permit it would count for nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn http_answers_are_judged_by_their_status_and_rejections_are_typed() {
    let bench = Bench::new(Policy::LastKnown, Closed);
    let client = tower::service_fn(async |status: u16| Response::builder().status(status).body(()));
    let mut client = CircuitLayer::http(bench.guard.clone()).layer(client);
    for status in [200, 304, 404, 503, 1] {
        let _ = client.ready().await.expect("ready").call(status).await;
    }
    use Verdict::{Failure, Ignored, Success};
    assert_eq!(bench.verdicts(), [Success, Success, Ignored, Failure, Failure]);
    bench.show(Open, "2");
    let rejected = client.ready().await.expect("ready").call(200).await;
    assert!(matches!(rejected, Err(CallError::Rejected(Rejected { reason: Reason::Open, .. }))), "{rejected:?}");
}

#[tokio::test(start_paused = true)]
async fn grpc_answers_are_judged_by_their_status_wherever_it_stands() {
    let bench = Bench::new(Policy::LastKnown, Closed);
    let client = tower::service_fn(async |request: Request<(Code, bool)>| {
        let (code, in_head) = request.into_body();
        let head = Status::new(code, "").into_http::<String>();
        if in_head {
            return Ok::<_, std::convert::Infallible>(head.map(|_| tonic::body::Body::default()));
        }
        let trailers = ready(Some(Ok(head.headers().clone())));
        let body = http_body_util::BodyExt::with_trailers(String::new(), trailers);
        Ok(Response::new(tonic::body::Body::new(body)))
    });
    let mut client = GrpcCircuitLayer::new(bench.guard.clone()).layer(client);
    for in_head in [true, false] {
        for code in [Code::Ok, Code::NotFound, Code::Unavailable, Code::Internal] {
            let answer = client.ready().await.expect("ready").call(Request::new((code, in_head))).await.expect("one");
            http_body_util::BodyExt::collect(answer.into_body()).await.expect("it ends");
        }
        use Verdict::{Failure, Ignored, Success};
        assert_eq!(bench.verdicts(), [Success, Ignored, Failure, Failure], "in the head: {in_head}");
    }
    let answer = client.ready().await.expect("ready").call(Request::new((Code::Ok, false))).await;
    drop(answer);
    assert_eq!(bench.verdicts(), [Verdict::Cancelled]);

    let guard = bench.guard.clone();
    let until = std::time::SystemTime::now() + Duration::from_secs(60);
    let open =
        v1::Circuit { name: API.to_owned(), state: Open.into(), open_until: Some(until.into()), ..Default::default() };
    bench.shared.show(&open);
    let mut client = GrpcCircuitLayer::new(guard).layer(client);
    let answer = client.ready().await.expect("ready").call(Request::new((Code::Ok, true))).await.expect("one");
    let status = Status::from_header_map(answer.headers()).expect("a status");
    let details = status.get_error_details();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("CIRCUIT_OPEN"));
    assert!(details.retry_info().and_then(|retry| retry.retry_delay) > Some(Duration::from_secs(30)));
}
