//! What stands beside TaskService: health, reflection, what the server says of itself; and what a drain does to those who wait.

use futures_util::stream;
use switchyard::config::Layer;
use switchyard::pb::v1::{State, WaitTaskRequest};
use switchyard::server::Ended;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

use crate::harness::{Harness, idle, name, refusal, sent};

const SERVICES: [&str; 3] = ["", "switchyard.v1.TaskService", "switchyard.v1.ServerService"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_known_by_name_and_does_not_outlive_the_drain() {
    let server = Harness::start(Layer::default()).await;
    let mut health = HealthClient::new(server.connect().await);
    let mut watching = Vec::new();
    for service in SERVICES {
        let request = HealthCheckRequest { service: service.to_owned() };
        let checked = health.check(request.clone()).await.expect("known").into_inner();
        assert_eq!(checked.status(), ServingStatus::Serving, "{service}");
        let mut watch = health.watch(request).await.expect("known").into_inner();
        assert_eq!(watch.message().await.expect("no error").expect("at once").status(), ServingStatus::Serving);
        watching.push(watch);
    }
    let unknown = HealthCheckRequest { service: "nonesuch".to_owned() };
    assert_eq!(health.check(unknown).await.expect_err("unknown").code(), Code::NotFound);

    server.shut_down();
    for mut watch in watching {
        let drained = watch.message().await.expect("no error").expect("told");
        assert_eq!(drained.status(), ServingStatus::NotServing);
        assert_eq!(watch.message().await.expect("no error"), None, "the stream ends");
    }
    assert_eq!(server.ended().await, Ended::Clean);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_lists_the_services_in_both_versions() {
    use v1::server_reflection_client::ServerReflectionClient;
    use v1alpha::server_reflection_client::ServerReflectionClient as AlphaClient;

    let server = Harness::start(Layer::default()).await;
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(server.connect().await);
    let mut answers = client.server_reflection_info(stream::iter([request])).await.expect("there").into_inner();
    let answer = answers.message().await.expect("no error").expect("answered").message_response;
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(listed)) = answer else {
        panic!("no list: {answer:?}")
    };
    let names: Vec<_> = listed.service.iter().map(|service| service.name.as_str()).collect();
    for service in [SERVICES[1], SERVICES[2], "grpc.health.v1.Health"] {
        assert!(names.contains(&service), "{service} is not in {names:?}");
    }

    use v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse;
    let mut client = AlphaClient::new(server.connect().await);
    // The last two are what a status is made of, in a batch's results and in every error's details.
    for symbol in [SERVICES[1], "google.rpc.Status", "google.rpc.ErrorInfo"] {
        let message = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(symbol.to_owned());
        let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(message) };
        let mut answers = client.server_reflection_info(stream::iter([request])).await.expect("there").into_inner();
        let answer = answers.message().await.expect("no error").expect("answered").message_response;
        let found = matches!(answer, Some(FileDescriptorResponse(files)) if !files.file_descriptor_proto.is_empty());
        assert!(found, "{symbol}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_reflection_that_a_client_keeps_open() {
    use v1::server_reflection_client::ServerReflectionClient;

    let server = Harness::start(Layer::default()).await;
    let mut client = ServerReflectionClient::new(server.connect().await);
    let questions = stream::pending::<v1::ServerReflectionRequest>();
    let mut answers = client.server_reflection_info(questions).await.expect("there").into_inner();
    server.shut_down();
    assert_eq!(answers.message().await.expect("ended, not cut"), None);
    assert_eq!(server.ended().await, Ended::Clean);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_says_what_it_is_and_allows() {
    let server =
        Harness::start(Layer { max_tasks: Some(7), max_streams: Some(5), max_stuck: Some(3), ..Default::default() })
            .await;
    let info = server.info().await;
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(info.oldest_cursor, info.head_cursor);
    assert!(info.head_cursor.contains(&info.store_id.replace('-', "")) && info.start_time.is_some());
    let limits = info.limits.expect("set");
    let given = (limits.max_tasks, limits.max_streams, limits.max_streams_per_connection, limits.max_stuck);
    assert_eq!(given, (7, 5, 16, 3));
    assert_eq!((limits.max_request_bytes, limits.max_spec_bytes, limits.max_page_size), (4 << 20, 64 << 10, 1_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_those_who_wait() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    client.start_task(idle("task")).await.expect("started");
    let request = WaitTaskRequest { name: name("task"), until: vec![State::Failed.into()], ..Default::default() };
    let mut waiting = client.clone();
    let waits = sent(waiting.wait_task(request), &mut client).await;
    server.shut_down();
    let status = waits.await.expect_err("it does not fail");
    assert_eq!(refusal(&status), (Code::Unavailable, "SERVER_DRAINING".to_owned()), "{status:?}");
    assert_eq!(server.ended().await, Ended::Clean);
}
