//! Permits of a server that the test plays.

use std::collections::HashSet;
use std::future::ready;

use futures_util::future::{join, join_all};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use super::super::testing::{API, Stage, Watching, circuit, mirror, refusal};
use super::super::{CallError, CircuitMirror, Guard, Policy, Reason, Rejected};
use super::*;
use v1::CircuitState::{Closed, HalfOpen};

const POLICIES: [Policy; 3] = [Policy::FailOpen, Policy::FailClosed, Policy::LastKnown];

/// A mirror of a circuit that is half-open.
async fn half_open(policy: Policy) -> (Stage, Watching, CircuitMirror, Guard) {
    let (mut stage, mirror) = mirror(|builder| builder.policy(policy));
    let watch = stage.watch().await.stands();
    watch.show_all(&[circuit(API, "first", HalfOpen)], "c1").await;
    let guard = mirror.guard(API);
    (stage, watch, mirror, guard)
}

/// Calls, which asks nobody; `None`: it was let through.
async fn call(guard: &Guard) -> Option<Rejected> {
    match guard.call(ready(Ok::<_, ()>(()))).await {
        Err(CallError::Rejected(rejected)) => Some(rejected),
        Ok(()) | Err(CallError::Failed(())) => None,
    }
}

/// Calls, which asks the server; so it answers.
async fn call_where(
    stage: &mut Stage,
    guard: &Guard,
    answer: Result<v1::AcquirePermitResponse, Status>,
) -> Option<Rejected> {
    let answers = async { stage.asks.recv().await.expect("asked").answer(answer) };
    join(call(guard), answers).await.0
}

#[tokio::test(start_paused = true)]
async fn what_a_server_that_is_there_says_is_a_denial_until_it_is_time_to_ask_again() {
    let wait = Some(Duration::from_secs(5));
    for policy in POLICIES {
        for (status, retry_after) in [
            (refusal(Code::ResourceExhausted, "STORE_FULL", wait), wait),
            (refusal(Code::Unavailable, "JOURNAL_STALLED", wait), wait),
            (Status::permission_denied("no"), None),
        ] {
            let (mut stage, _watch, _mirror, guard) = half_open(policy).await;
            let said = status.to_string();
            let rejected = call_where(&mut stage, &guard, Err(status)).await.expect("denied");
            assert_eq!((rejected.reason, rejected.retry_after), (Reason::HalfOpen, retry_after), "{policy:?}: {said}");
            // Whoever asked nevertheless would wait for an answer in vain, and be let through or rejected as unanswered.
            let rejected = call(&guard).await.expect("denied");
            assert_eq!(rejected.reason, Reason::HalfOpen, "{policy:?}: {said}");
            assert!(rejected.retry_after > Some(Duration::from_millis(900)), "{policy:?}: {rejected:?}");
            tokio::time::sleep(retry_after.unwrap_or(Duration::from_secs(1))).await;
            call_where(&mut stage, &guard, Ok(v1::AcquirePermitResponse { answer: None })).await.expect("denied");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_the_policy_decides() {
    for (policy, expected) in [
        (Policy::FailOpen, None),
        (Policy::FailClosed, Some(Reason::Unreachable)),
        (Policy::LastKnown, Some(Reason::Unreachable)),
    ] {
        for status in [Status::unavailable("no route"), Status::deadline_exceeded("late"), Status::cancelled("late")] {
            let (mut stage, _watch, _mirror, guard) = half_open(policy).await;
            let rejected = call_where(&mut stage, &guard, Err(status)).await;
            assert_eq!(rejected.map(|it| it.reason), expected, "{policy:?}");
        }
        let (mut stage, _watch, _mirror, guard) = half_open(policy).await;
        // It is asked, and says nothing.
        assert_eq!(call(&guard).await.map(|it| it.reason), expected, "{policy:?}");
        assert!(stage.asks.try_recv().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_gone_is_unknown_at_once() {
    for (policy, expected) in
        [(Policy::FailOpen, None), (Policy::FailClosed, Some(Reason::Unknown)), (Policy::LastKnown, None)]
    {
        let (mut stage, watch, mirror, guard) = half_open(policy).await;
        let gone = refusal(Code::NotFound, "TASK_NOT_FOUND", None);
        let rejected = call_where(&mut stage, &guard, Err(gone.clone())).await;
        assert_eq!(rejected.map(|it| it.reason), expected, "{policy:?}");
        assert_eq!(call(&guard).await.map(|it| it.reason), expected, "{policy:?}: and asks nobody");
        mirror.flush().await;
        assert_eq!(mirror.stats().reported, 0, "there is nobody to tell of it");

        // What has come under the name while that was asked stays.
        watch.show(&[circuit(API, "second", HalfOpen)], &[], "c2").await;
        let replaced = async {
            let ask = stage.asks.recv().await.expect("asked");
            watch.show(&[circuit(API, "third", Closed)], &[], "c3").await;
            ask.answer(Err(gone));
        };
        join(call(&guard), replaced).await;
        assert_eq!(call(&guard).await, None, "{policy:?}");
    }
}

/// How long a mirror waits for a permit.
const PATIENCE: Duration = Duration::from_secs(1);

fn denied(wait: Option<Duration>) -> v1::AcquirePermitResponse {
    let retry_after = wait.map(|wait| wait.try_into().expect("it fits"));
    v1::AcquirePermitResponse { answer: Some(Answer::Denied(v1::Denied { retry_after })) }
}

fn permit(token: &str, lease: bool) -> v1::AcquirePermitResponse {
    let lease_expire_time = lease.then(prost_types::Timestamp::default);
    v1::AcquirePermitResponse {
        answer: Some(Answer::Permit(v1::Permit { token: token.to_owned(), lease_expire_time })),
    }
}

/// Why each of some calls at the same time was not made.
async fn calls(guard: &Guard) -> Vec<Option<Reason>> {
    let reason = async || call(guard).await.map(|rejected| rejected.reason);
    join_all((0..20).map(|_| reason())).await
}

#[tokio::test(start_paused = true)]
async fn an_outage_holds_up_nobody_who_fails_open_for_longer_than_the_first_timeout() {
    let (mut stage, _watch, _mirror, guard) = half_open(Policy::FailOpen).await;
    let began = Instant::now();
    let first = calls(&guard).await;
    assert_eq!((first[0], began.elapsed()), (None, PATIENCE), "it has asked in vain");
    assert_eq!(first[1..], [Some(Reason::HalfOpen); 19], "the server may have answered");
    for _ in 0..5 {
        let began = Instant::now();
        assert_eq!((calls(&guard).await, began.elapsed()), (vec![None; 20], Duration::ZERO));
        sleep(ASK_AGAIN).await;
        // One asks again, in vain; nobody waits for that.
        let began = Instant::now();
        let (asks, others) = join(call(&guard), async { (calls(&guard).await, began.elapsed()) }).await;
        assert_eq!((asks, began.elapsed()), (None, PATIENCE));
        assert_eq!(others, (vec![None; 20], Duration::ZERO));
    }
    let unanswered = std::iter::from_fn(|| stage.asks.try_recv().ok()).count();
    assert_eq!(unanswered, 6, "one at a time");

    sleep(ASK_AGAIN).await;
    call_where(&mut stage, &guard, Ok(denied(None))).await.expect("it is there again");
    assert_eq!(calls(&guard).await, [Some(Reason::HalfOpen); 20]);
}

#[tokio::test(start_paused = true)]
async fn that_nobody_answered_is_said_to_all_until_somebody_does() {
    for policy in [Policy::FailClosed, Policy::LastKnown] {
        let (mut stage, _watch, _mirror, guard) = half_open(policy).await;
        let first = call_where(&mut stage, &guard, Err(Status::unavailable("no route"))).await.expect("rejected");
        assert_eq!((first.reason, first.retry_after), (Reason::Unreachable, Some(ASK_AGAIN)));
        assert_eq!(calls(&guard).await, [Some(Reason::Unreachable); 20], "{policy:?}");
        sleep(ASK_AGAIN).await;
        let (asks, others) = join(call(&guard), calls(&guard)).await;
        assert_eq!(
            (asks.map(|it| it.reason), others),
            (Some(Reason::Unreachable), vec![Some(Reason::Unreachable); 20])
        );
        assert!(stage.asks.try_recv().is_ok() && stage.asks.try_recv().is_err(), "one has asked");
        sleep(ASK_AGAIN).await;
        call_where(&mut stage, &guard, Ok(denied(None))).await.expect("denied");
        assert_eq!(calls(&guard).await, [Some(Reason::HalfOpen); 20], "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_ask_is_under_way_however_soon_callers_go_and_what_it_brings_is_not_lost() {
    let (mut stage, _watch, mirror, guard) = half_open(Policy::LastKnown).await;
    let hurried = async || timeout(PATIENCE / 100, call(&guard)).await;
    hurried().await.expect_err("it has gone before there was an answer");
    for _ in 0..50 {
        let rejected = hurried().await.expect("at once").expect("rejected");
        assert_eq!(rejected.reason, Reason::HalfOpen);
    }
    let ask = stage.asks.recv().await.expect("asked");
    assert!(stage.asks.try_recv().is_err(), "once");
    ask.answer(Ok(permit("lease", true)));
    let told = stage.reports.recv().await.expect("told");
    let outcomes: Vec<_> = told.request.iter().map(|outcome| (outcome.token.as_str(), outcome.outcome())).collect();
    assert_eq!(outcomes, [("lease", v1::CallVerdict::Cancelled)], "nobody takes a lease along");
    told.answer(Ok(vec![v1::Disposition::Neutral]));
    mirror.flush().await;

    hurried().await.expect_err("it has gone before there was an answer");
    sleep(PATIENCE).await;
    let rejected = hurried().await.expect("known, though nobody waited").expect("rejected");
    assert_eq!(rejected.reason, Reason::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn where_no_permit_is_needed_a_stale_copy_lets_all_calls_through_which_are_told() {
    let (mut stage, watch, _mirror, guard) = half_open(Policy::LastKnown).await;
    watch.end(Status::unavailable("cut")).await;
    sleep(Duration::from_secs(31)).await;
    assert_eq!(call_where(&mut stage, &guard, Ok(permit("closed", false))).await, None);
    assert_eq!(calls(&guard).await, [None; 20]);
    sleep(ASK_AGAIN).await;
    // One asks again, and nobody waits for that.
    let (asks, others) = join(call_where(&mut stage, &guard, Ok(denied(None))), calls(&guard)).await;
    assert_eq!((asks.map(|it| it.reason), others), (Some(Reason::HalfOpen), vec![None; 20]));
    assert_eq!(calls(&guard).await, [Some(Reason::HalfOpen); 20], "that has changed");

    let (mut told, mut tokens) = (0, HashSet::new());
    while told < 41 {
        let report = stage.reports.recv().await.expect("told");
        let outcomes = report.request.clone();
        report.answer(Ok(vec![v1::Disposition::Accepted; outcomes.len()]));
        told += outcomes.len();
        tokens.extend(outcomes.into_iter().map(|outcome| outcome.token));
    }
    assert_eq!((told, tokens), (41, HashSet::from(["closed".to_owned()])));
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_a_call_that_needed_no_permit_has_nobody_ask_sooner() {
    let (mut stage, watch, _mirror, guard) = half_open(Policy::LastKnown).await;
    watch.end(Status::unavailable("cut")).await;
    sleep(Duration::from_secs(31)).await;
    assert_eq!(call_where(&mut stage, &guard, Ok(permit("closed", false))).await, None);
    stage.reports.recv().await.expect("told").answer(Ok(vec![v1::Disposition::Accepted]));
    // The reporter has heard of it then.
    sleep(Duration::from_millis(1)).await;
    assert_eq!(calls(&guard).await, [None; 20]);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_may_be_as_long_as_there_is() {
    let (mut stage, mirror) = mirror(|builder| builder.permit_timeout(Duration::MAX));
    let watch = stage.watch().await.stands();
    watch.show_all(&[circuit(API, "first", HalfOpen)], "c1").await;
    let guard = mirror.guard(API);
    let rejected = timeout(Duration::from_secs(3_600), call_where(&mut stage, &guard, Ok(denied(None)))).await;
    assert_eq!(rejected.expect("it is asked").map(|it| it.reason), Some(Reason::HalfOpen));
}
