//! Guarded channels.

use super::super::testing::{self, Watching};
use super::*;
use v1::watch_circuits_request::Start;

type Guarded = CircuitServiceClient<GuardedGrpc<Channel>>;

/// A client of a server that the test plays, behind a guard.
fn guarded(guard: &Guard, judge: fn(Code) -> Verdict) -> (testing::Stage, Guarded) {
    let (stage, channel) = testing::stage();
    let layer = GrpcCircuitLayer::new(guard.clone()).judged(judge);
    (stage, CircuitServiceClient::new(layer.layer(channel)))
}

fn watch() -> v1::WatchCircuitsRequest {
    v1::WatchCircuitsRequest { start: Some(Start::SendInitialState(true)), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn a_stream_took_as_long_as_its_head_and_went_as_its_trailers_say() {
    const HEAD: Duration = Duration::from_millis(70);
    for (state, is_trial) in [(Closed, false), (HalfOpen, true)] {
        let mut bench = Bench::new(Policy::LastKnown, state);
        let (mut stage, mut client) = guarded(&bench.guard.clone(), grpc_verdict);
        let opened = async {
            if is_trial {
                let ask = bench.asks.recv().await.expect("asked");
                tokio::time::sleep(10 * HEAD).await;
                ask.answer(&bench.shared, bench.lease());
            }
            let call = stage.watch().await;
            tokio::time::sleep(HEAD).await;
            call.stands()
        };
        let (answer, watching): (_, Watching) =
            futures_util::future::join(client.watch_circuits(watch()), opened).await;
        let mut frames = answer.expect("opened").into_inner();
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        watching.complete("c1").await;
        frames.message().await.expect("no error").expect("a frame");
        assert!(bench.told().1.is_empty() && bench.told().0.is_empty(), "it goes on");
        watching.end(Status::internal("broken")).await;
        frames.message().await.expect_err("ended");
        let (trials, records) = bench.told();
        let told: Vec<_> = trials.iter().map(|trial| (trial.verdict, trial.latency)).collect();
        let told_of_others: Vec<_> = records.iter().map(|record| (record.verdict, record.latency)).collect();
        let (some, none) = if is_trial { (told, told_of_others) } else { (told_of_others, told) };
        assert!(none.is_empty(), "{none:?}");
        let [(Verdict::Failure, latency)] = some[..] else { panic!("{some:?}") };
        let latency = Duration::from_nanos(latency);
        assert!(latency >= HEAD && latency < 2 * HEAD, "{latency:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_judge_tells_the_callers_own_deadline_from_a_server_that_is_out_of_reach() {
    let bench = Bench::new(Policy::LastKnown, Closed);
    let judge = |code| match code {
        Code::DeadlineExceeded => Verdict::LocalFault,
        Code::Unavailable => Verdict::Failure,
        code => panic!("{code:?}"),
    };
    let (mut stage, mut client) = guarded(&bench.guard, judge);
    let timed = |name: &str| {
        let mut request = tonic::Request::new(v1::AcquirePermitRequest { name: name.to_owned() });
        request.set_timeout(Duration::from_millis(50));
        request
    };
    client.acquire_permit(timed("late")).await.expect_err("nobody answers");
    assert!(stage.asks.try_recv().is_ok(), "it was called");
    assert_eq!(bench.verdicts(), [Verdict::LocalFault]);

    drop(stage);
    let refused = tower::service_fn(async |_: Request<tonic::body::Body>| {
        Err::<Response<tonic::body::Body>, _>(std::io::Error::from(std::io::ErrorKind::ConnectionRefused))
    });
    let layer = GrpcCircuitLayer::new(bench.guard.clone()).judged(judge);
    let mut client = CircuitServiceClient::new(layer.layer(refused));
    client.acquire_permit(timed("nowhere")).await.expect_err("refused");
    assert_eq!(bench.verdicts(), [Verdict::Failure]);

    // As an interceptor beneath refuses a call.
    let unwell = tower::service_fn(async |_: Request<tonic::body::Body>| {
        Err::<Response<tonic::body::Body>, _>(Status::unauthenticated("no token"))
    });
    let mut client = CircuitServiceClient::new(GrpcCircuitLayer::new(bench.guard.clone()).layer(unwell));
    let status = client.acquire_permit(timed("api")).await.expect_err("refused");
    assert_eq!((status.code(), bench.verdicts()), (Code::Unauthenticated, vec![Verdict::Ignored]));
}
