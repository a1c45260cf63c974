//! What operators decide over circuits, and what of it a restart leaves.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use switchyard::config::StoreKind;
use switchyard::pb::v1::{Override, OverrideCircuitRequest, ResetCircuitRequest};

use super::*;
use crate::scratch::Scratch;

pub(super) fn over(mode: Override, reason: &str) -> OverrideCircuitRequest {
    let reason = reason.to_owned();
    OverrideCircuitRequest { name: name("api"), r#override: mode.into(), reason, ..Default::default() }
}

/// Lays one that is over by itself soon, and says when. The machine may be so busy that the time has passed when the server hears of it.
async fn laid_for_a_moment(circuits: &mut Circuits) -> Timestamp {
    let mut ahead = Duration::from_millis(300);
    loop {
        let soon = Timestamp::from(SystemTime::now() + ahead);
        let request = OverrideCircuitRequest { expire_time: Some(soon), ..over(Override::Shadow, "for a moment") };
        match circuits.override_circuit(request).await {
            Ok(_) => return soon,
            Err(status) => assert_eq!(refusal(&status).1, "INVALID_FIELD"),
        }
        ahead *= 2;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_override_lies_over_the_circuit_until_its_time_and_the_circuit_goes_on_beneath() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let (_client, mut circuits) = watched(&server, &target, policy()).await;
    let mut watch = from_now(&mut circuits).await;
    let before = circuit(&mut circuits).await;
    let answer = circuits.override_circuit(over(Override::ForcedOpen, "maintenance")).await.expect("laid").into_inner();
    let forced = answer.circuit.expect("answered");
    assert_eq!((forced.r#override(), forced.reason()), (Override::ForcedOpen, CircuitReason::Override));
    assert_eq!((forced.state(), forced.epoch), (before.state(), before.epoch));
    assert_eq!((forced.override_reason.as_str(), forced.override_expire_time), ("maintenance", None));
    assert_eq!(answer.task.expect("answered").circuit.expect("shown").r#override(), Override::ForcedOpen);
    assert_eq!(denied(&mut circuits).await.retry_after, None, "somebody has to end it");
    let (event, shown) = watch.until(EventType::CircuitOverridden).await;
    assert_eq!((event.cause.expect("said").reason.as_str(), shown.r#override()), ("maintenance", Override::ForcedOpen));
    let again = circuits.override_circuit(over(Override::ForcedOpen, "maintenance")).await.expect("so").into_inner();
    assert_eq!(again.cursor, answer.cursor, "what lies there is told once");

    circuits.override_circuit(over(Override::ForcedClosed, "")).await.expect("laid");
    fail(&mut circuits).await;
    let (_, open) = watch.until(EventType::CircuitTripped).await;
    assert_eq!((open.state(), open.r#override()), (CircuitState::Open, Override::ForcedClosed));
    assert_eq!(permit(&mut circuits).await.lease_expire_time, None);

    let soon = laid_for_a_moment(&mut circuits).await;
    let (event, after) = loop {
        let (event, circuit) = watch.until(EventType::CircuitOverridden).await;
        if event.cause.as_ref().is_some_and(|cause| cause.actor == "system:circuit") {
            break (event, circuit);
        }
    };
    assert_eq!(
        (event.cause.expect("said").reason.as_str(), after.override_reason.as_str()),
        ("the override's time is over", "")
    );
    assert_eq!(circuit(&mut circuits).await.r#override(), Override::None);

    let past =
        OverrideCircuitRequest { expire_time: Some(Timestamp { seconds: 1, nanos: 0 }), ..over(Override::Shadow, "") };
    let nothing = OverrideCircuitRequest { expire_time: Some(soon), ..over(Override::None, "") };
    for (request, field) in
        [(past, "expire_time"), (nothing, "expire_time"), (over(Override::Unspecified, ""), "override")]
    {
        let status = circuits.override_circuit(request).await.expect_err("refused");
        let violations = status.get_error_details().bad_request().expect("said").field_violations.clone();
        assert_eq!(violations.iter().map(|it| it.field.as_str()).collect::<Vec<_>>(), [field]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_begins_anew_in_a_new_epoch_and_is_idempotent_by_its_id() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let policy = CircuitPolicy { open_base: span(3_600_000), open_max: span(3_600_000), ..policy() };
    let (_client, mut circuits) = watched(&server, &target, policy).await;
    let mut watch = from_now(&mut circuits).await;
    fail(&mut circuits).await;
    let (_, open) = watch.until(EventType::CircuitTripped).await;
    let request = ResetCircuitRequest {
        name: name("api"),
        reason: "it is mended".to_owned(),
        request_id: "3f2504e0-4f89-41d3-9a0c-0305e82c3303".to_owned(),
        ..Default::default()
    };
    let answer = circuits.reset_circuit(request.clone()).await.expect("reset").into_inner();
    let closed = answer.circuit.expect("answered");
    assert_eq!((closed.state(), closed.reason(), closed.streak), (CircuitState::Closed, CircuitReason::Reset, 0));
    assert!(closed.epoch > open.epoch);
    let (event, _) = watch.until(EventType::CircuitReset).await;
    assert_eq!(event.cause.expect("said").reason, "it is mended");
    let again = circuits.reset_circuit(request).await.expect("as before").into_inner();
    assert_eq!((again.cursor, again.circuit.expect("answered").epoch), (answer.cursor, closed.epoch));
    let late = report(&mut circuits, vec![outcome(5, &open.token, CallVerdict::Failure)]).await;
    assert_eq!(late.expect("taken in"), [Disposition::Stale]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_restart_an_override_stays_and_what_was_given_before_is_stale() {
    let (scratch, target) = (Scratch::new("circuits"), Target::start().await);
    let layer =
        || Layer { store: Some(StoreKind::Embedded), data_dir: Some(scratch.path().to_owned()), ..Default::default() };
    let server = Harness::start(layer()).await;
    let (_client, mut circuits) = watched(&server, &target, policy()).await;
    let before = circuit(&mut circuits).await;
    let hour = SystemTime::now() + Duration::from_secs(3_600);
    let request = OverrideCircuitRequest { expire_time: Some(hour.into()), ..over(Override::ForcedOpen, "night") };
    let laid = circuits.override_circuit(request).await.expect("laid").into_inner().circuit.expect("answered");
    server.shut_down();
    server.ended().await;

    let server = Harness::start(layer()).await;
    let mut client = server.client().await;
    reach(&mut client, "api", State::Running).await;
    let mut circuits = CircuitServiceClient::new(server.connect().await);
    let after = circuit(&mut circuits).await;
    assert!(after.epoch > before.epoch);
    assert_eq!(after.r#override(), Override::ForcedOpen);
    assert_eq!(
        (&after.override_reason, after.override_time, after.override_expire_time),
        (&laid.override_reason, laid.override_time, laid.override_expire_time)
    );
    assert!(denied(&mut circuits).await.retry_after.is_some_and(|wait| wait.seconds > 3_000));
    let late = report(&mut circuits, vec![outcome(1, &before.token, CallVerdict::Failure)]).await;
    assert_eq!(late.expect("taken in"), [Disposition::Stale]);
}
