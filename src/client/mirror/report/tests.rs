//! Reports to a server that the test plays.

use std::future::ready;

use super::super::testing::{API, circuit, mirror, refusal};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_report_is_made_again_until_it_is_taken_in_or_refused_for_good() {
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
        let again = stage.reports.recv().await.expect("told");
        assert_eq!(again.request, told, "with the same number");
        again.answer(Ok(vec![v1::Disposition::Accepted]));
    };
    futures_util::future::join(report(), passes).await;
    assert_eq!((mirror.stats().accepted, mirror.stats().refused), (1, 0));

    for (number, status) in (1..).zip([
        refusal(Code::InvalidArgument, "INVALID_FIELD", None),
        refusal(Code::ResourceExhausted, "BATCH_LIMIT", None),
    ]) {
        let refused = async { stage.reports.recv().await.expect("told").answer(Err(status)) };
        futures_util::future::join(report(), refused).await;
        assert_eq!((mirror.stats().accepted, mirror.stats().refused), (1, number));
    }
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
    let denied = v1::Denied { retry_after: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }) };
    let mut answer = async |answer| {
        let answer = Ok(v1::AcquirePermitResponse { answer: Some(answer) });
        stage.asks.recv().await.expect("asked").answer(answer);
    };
    let (first, ()) = futures_util::future::join(guard.admit(), answer(Answer::Permit(lease.clone()))).await;
    let (second, ()) = futures_util::future::join(guard.admit(), answer(Answer::Denied(denied))).await;
    let long = Duration::from_secs(3_600);
    assert_eq!(second.expect_err("one at a time").retry_after, Some(long));
    assert!(guard.admit().await.expect_err("not yet").retry_after > Some(long / 2), "nobody is asked");

    first.expect("permitted").finish(Verdict::Success);
    stage.reports.recv().await.expect("told").answer(Ok(vec![v1::Disposition::Accepted]));
    mirror.flush().await;
    let (next, ()) = futures_util::future::join(guard.admit(), answer(Answer::Permit(lease))).await;
    assert!(next.expect("permitted").is_trial());
}
