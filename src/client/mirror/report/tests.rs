//! Reports to a server that the test plays.

use std::future::ready;

use tonic::Code;

use super::super::testing::{API, Warnings, circuit, mirror, refusal, settle};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_report_is_made_again_until_it_is_taken_in_or_refused_for_good() {
    let warnings = Warnings::default();
    let _logs = warnings.begin();
    let (mut stage, mirror) = mirror(|builder| builder);
    let watch = stage.watch().await.stands();
    watch.show_all(&[circuit(API, "first", v1::CircuitState::Closed)], "c1").await;
    let guard = mirror.guard(API);
    let report = async || {
        guard.call(ready(Ok::<_, ()>(()))).await.expect("closed");
        mirror.flush().await;
    };
    let passes = async {
        let call = stage.reports.recv().await.expect("told");
        let told = call.request.clone();
        call.answer(Err(refusal(Code::ResourceExhausted, "STORE_FULL", None)));
        settle().await;
        assert_eq!(mirror.last_error().map(|error| error.reason).as_deref(), Some("STORE_FULL"));
        let again = stage.reports.recv().await.expect("told");
        assert_eq!(again.request, told, "with the same number");
        again.answer(Ok(vec![v1::Disposition::Accepted]));
    };
    futures_util::future::join(report(), passes).await;
    assert_eq!((mirror.stats().accepted, mirror.stats().refused, mirror.last_error()), (1, 0, None));

    for (number, status) in (1..).zip([
        refusal(Code::InvalidArgument, "INVALID_FIELD", None),
        refusal(Code::ResourceExhausted, "BATCH_LIMIT", None),
        refusal(Code::Unauthenticated, "", None),
        refusal(Code::Internal, "BUG", None),
        refusal(Code::Internal, "BUG", None),
    ]) {
        let code = status.code();
        let refused = async { stage.reports.recv().await.expect("told").answer(Err(status)) };
        futures_util::future::join(report(), refused).await;
        assert_eq!((mirror.stats().accepted, mirror.stats().refused), (1, number));
        assert_eq!(mirror.last_error().map(|error| error.code), Some(code));
    }
    assert_eq!(warnings.lines().len(), 5, "each once: {:?}", warnings.lines());
    assert!(stage.reports.try_recv().is_err(), "what is refused is not told again");
}

#[tokio::test(start_paused = true)]
async fn a_trial_call_that_was_told_of_makes_it_worth_asking_again() {
    use v1::acquire_permit_response::Answer;
    let (mut stage, mirror) = mirror(|builder| builder);
    let watch = stage.watch().await.stands();
    watch.show_all(&[circuit(API, "first", v1::CircuitState::HalfOpen)], "c1").await;
    let guard = mirror.guard(API);
    let lease = v1::Permit { token: "lease".to_owned(), lease_expire_time: Some(prost_types::Timestamp::default()) };
    let denied = v1::Denied { retry_after: Some(prost_types::Duration { seconds: 40, nanos: 0 }) };
    let mut answer = async |answer| {
        let answer = Ok(v1::AcquirePermitResponse { answer: Some(answer) });
        stage.asks.recv().await.expect("asked").answer(answer);
    };
    let (first, ()) = futures_util::future::join(guard.admit(), answer(Answer::Permit(lease.clone()))).await;
    let (second, ()) = futures_util::future::join(guard.admit(), answer(Answer::Denied(denied))).await;
    let long = Duration::from_secs(40);
    assert_eq!(second.expect_err("one at a time").retry_after, Some(long));
    assert!(guard.admit().await.expect_err("not yet").retry_after > Some(long / 2), "nobody is asked");

    first.expect("permitted").finish(Verdict::Success);
    stage.reports.recv().await.expect("told").answer(Ok(vec![v1::Disposition::Accepted]));
    mirror.flush().await;
    let (next, ()) = futures_util::future::join(guard.admit(), answer(Answer::Permit(lease))).await;
    assert!(next.expect("permitted").is_trial());
}

#[tokio::test(start_paused = true)]
async fn of_a_call_that_is_refused_only_the_message_is_lost_that_was_to_blame() {
    use v1::Disposition::{Accepted, Duplicate};
    let (mut stage, mirror) = mirror(|builder| builder.batch(2));
    let watch = stage.watch().await.stands();
    watch.show_all(&[circuit(API, "first", v1::CircuitState::Closed)], "c1").await;
    let guard = mirror.guard(API);
    for _ in 0..10 {
        guard.call(ready(Ok::<_, ()>(()))).await.expect("closed");
    }
    let answers = async {
        let mut answer = async |said: Result<Vec<v1::Disposition>, tonic::Status>| {
            let call = stage.reports.recv().await.expect("told");
            let numbers: Vec<_> = call.request.iter().map(|outcome| outcome.sequence).collect();
            call.answer(said);
            numbers
        };
        let invalid = || Err(refusal(Code::InvalidArgument, "INVALID_FIELD", None));
        assert_eq!(answer(invalid()).await, (1..=10).collect::<Vec<_>>());
        // Those before the one that is to blame were taken in.
        assert_eq!(answer(Ok(vec![Duplicate; 2])).await, [1, 2]);
        assert_eq!(answer(Ok(vec![Duplicate; 2])).await, [3, 4]);
        assert_eq!(answer(invalid()).await, [5, 6]);
        assert_eq!(answer(Ok(vec![Accepted; 2])).await, [7, 8]);
        assert_eq!(answer(Ok(vec![Accepted; 2])).await, [9, 10]);
    };
    let told = timeout(Duration::from_secs(3_600), futures_util::future::join(mirror.flush(), answers));
    told.await.expect("each message by itself");
    let stats = mirror.stats();
    assert_eq!((stats.reported, stats.duplicate, stats.accepted, stats.refused), (8, 4, 4, 2), "{stats:?}");
    assert_eq!(mirror.last_error().map(|error| error.code), Some(Code::InvalidArgument));
}
