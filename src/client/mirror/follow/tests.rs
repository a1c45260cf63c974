//! Followers of a server that the test plays.

use super::super::testing::{API, circuit, deleted, mirror};
use super::super::{CallError, Guard, Policy, Reason};
use super::*;
use v1::CircuitState::{Closed, Open};

/// Why a call would not be made.
async fn why(guard: &Guard) -> Option<Reason> {
    match guard.call(std::future::ready(Ok::<_, ()>(()))).await {
        Err(CallError::Rejected(rejected)) => Some(rejected.reason),
        Ok(()) | Err(CallError::Failed(())) => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_leaves_the_circuit_that_has_come_under_the_name_since() {
    let (mut stage, mirror) = mirror(|builder| builder.policy(Policy::FailClosed));
    let api = mirror.guard(API);
    let watch = stage.watch().await.stands();
    watch.show_all(&[circuit(API, "first", Closed)], "c1").await;
    assert_eq!(why(&api).await, None);
    watch.show(&[circuit(API, "second", Open)], &[deleted(API, "first")], "c2").await;
    assert_eq!(why(&api).await, Some(Reason::Open), "that of the second one");

    // By its clock, which was set back, this was before anything else.
    let ancient = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
    let since = Some(prost_types::Timestamp { seconds: 2, nanos: 0 });
    watch.show(&[v1::Circuit { since_time: since, ..circuit(API, "third", Closed) }], &[], "c3").await;
    assert_eq!(why(&api).await, None);
    watch.show(&[], &[v1::Event { time: ancient, ..deleted(API, "third") }], "c4").await;
    assert_eq!(why(&api).await, Some(Reason::Unknown));
}
