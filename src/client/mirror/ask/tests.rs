//! Permits of a server that the test plays.

use std::future::ready;

use futures_util::future::join;
use tonic::Status;

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
