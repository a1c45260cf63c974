//! What callers report while the journal is about to count as stalled: each outcome counts once, however often it is sent.

use switchyard::pb::v1::circuit_service_client::CircuitServiceClient;
use switchyard::pb::v1::{
    CallOutcome, CallVerdict, Disposition, GetCircuitRequest, GetTaskRequest, ReportOutcomesRequest,
};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_whose_report_is_refused_has_not_counted_and_one_that_counts_is_answered() {
    let disk = Disk::default();
    let (server, mut client) = server(&disk).await;
    client.start_task(idle("api")).await.expect("started");
    reach(&mut client, "api", State::Running).await;
    let mut circuits = CircuitServiceClient::new(server.connect().await);
    let request = GetCircuitRequest { name: name("api") };
    let token = circuits.get_circuit(request).await.expect("there").into_inner().circuit.expect("answered").token;

    disk.hold(true);
    // Its commit hangs, and what comes behind it would wait for that.
    let mut other = server.client().await;
    let pending = tokio::spawn(async move { other.start_task(idle("other")).await });
    // Whoever is told that it was refused may send it again.
    let first = report(&mut circuits, &token).await;
    if let Err(status) = &first {
        assert_eq!(refusal(status), stalled());
    }
    disk.hold(false);
    pending.await.expect("no panic").ok();
    health_becomes(&server, ServingStatus::Serving).await;
    let told = loop {
        match report(&mut circuits, &token).await {
            Ok(told) => break told,
            Err(status) => assert_eq!(refusal(&status), stalled()),
        }
    };
    let expected = if first.is_ok() { Disposition::Duplicate } else { Disposition::Accepted };
    assert_eq!(told, expected, "{first:?}");
    let task = client.get_task(GetTaskRequest { name: name("api") }).await.expect("there").into_inner().task;
    let counts = task.and_then(|task| task.live).and_then(|live| live.circuit).and_then(|circuit| circuit.passive);
    assert_eq!(counts.expect("counted").results, 1);
}

async fn report(
    circuits: &mut CircuitServiceClient<tonic::transport::Channel>,
    token: &str,
) -> Result<Disposition, Status> {
    let (name, token) = (name("api"), token.to_owned());
    let outcome = CallVerdict::Failure.into();
    let outcomes = vec![CallOutcome { name, token, sequence: 1, outcome, latency: None }];
    let request = ReportOutcomesRequest { reporter: "caller-1".to_owned(), outcomes };
    let answer = circuits.report_outcomes(tokio_stream::iter([request])).await?.into_inner();
    Ok(answer.dispositions().next().expect("told"))
}
