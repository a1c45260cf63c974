//! Standard health, under the names of circuits.

use switchyard::pb::v1::Override;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::overrides::over;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_has_standard_health_under_its_name() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let (mut client, mut circuits) = watched(&server, &target, policy()).await;
    let mut health = HealthClient::new(server.connect().await);
    let service = || HealthCheckRequest { service: format!("circuit/{}", name("api")) };
    assert_eq!(health.check(service()).await.expect("there").into_inner().status(), ServingStatus::Serving);
    let mut watch = health.watch(service()).await.expect("there").into_inner();
    let mut seen = Vec::new();
    let mut told = Vec::new();
    for mode in [Override::None, Override::ForcedOpen, Override::Shadow] {
        if mode != Override::None {
            circuits.override_circuit(over(mode, "")).await.expect("laid");
        }
        told.push(health.check(service()).await.expect("there").into_inner().status());
        seen.push(watch.message().await.expect("no error").expect("not ended").status());
    }
    circuits.override_circuit(over(Override::None, "")).await.expect("taken away");
    let request = switchyard::pb::v1::PauseTaskRequest { name: name("api"), ..Default::default() };
    client.pause_task(request).await.expect("paused");
    seen.push(watch.message().await.expect("no error").expect("not ended").status());
    assert_eq!(told, [ServingStatus::Serving, ServingStatus::NotServing, ServingStatus::Serving]);
    assert_eq!(seen[..3], told);
    assert_eq!(seen[3], ServingStatus::Unknown, "nobody looks");

    let nobody = HealthCheckRequest { service: format!("circuit/{}", name("nobody")) };
    let not_found = (Code::NotFound, "TASK_NOT_FOUND".to_owned());
    assert_eq!(refusal(&health.check(nobody.clone()).await.expect_err("no such circuit")), not_found);
    let mistaken = HealthCheckRequest { service: "circuit/api".to_owned() };
    assert_eq!(health.check(mistaken).await.expect_err("no name").code(), Code::InvalidArgument);
    server.shut_down();
    let end = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    let status = end.expect_err("the server drains");
    assert_eq!(refusal(&status), (Code::Unavailable, "SERVER_DRAINING".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_nobody_has_can_be_watched_until_a_task_has_it() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let mut health = HealthClient::new(server.connect().await);
    let service = HealthCheckRequest { service: format!("circuit/{}", name("api")) };
    let mut watch = health.watch(service).await.expect("no error").into_inner();
    let mut next = async || watch.message().await.expect("no error").expect("not ended").status();
    assert_eq!(next().await, ServingStatus::ServiceUnknown);
    let (mut client, _) = watched(&server, &target, policy()).await;
    // Seen before its first instance was ready, perhaps.
    while next().await != ServingStatus::Serving {}
    let cancel = switchyard::pb::v1::CancelTaskRequest { name: name("api"), wait: true, ..Default::default() };
    client.cancel_task(cancel).await.expect("cancelled");
    assert_eq!(next().await, ServingStatus::Unknown, "nobody looks");
    let delete = switchyard::pb::v1::DeleteTaskRequest { name: name("api"), ..Default::default() };
    client.delete_task(delete).await.expect("deleted");
    assert_eq!(next().await, ServingStatus::ServiceUnknown);
}
