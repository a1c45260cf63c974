//! Metric series of single circuits, where they are asked for.

use switchyard::pb::v1::{CancelTaskRequest, OverrideCircuitRequest};

use super::*;

/// The series of single circuits' states, in the order of their text.
async fn series(server: &Harness) -> Vec<String> {
    series_of(server, "circuit_breaker_circuit_state").await
}

/// What comes after that in each series, in the order of their text.
async fn series_of(server: &Harness, family: &str) -> Vec<String> {
    let metrics = server.metrics().await.replace("namespaces/default/tasks/", "");
    let mut series: Vec<_> = metrics.lines().filter_map(|line| line.strip_prefix(family)).map(str::to_owned).collect();
    series.sort();
    series
}

fn in_state(id: &str, state: &str, is: u8) -> String {
    format!("{{name=\"{id}\",state=\"{state}\"}} {is}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_circuits_are_shown_up_to_the_cap_and_for_as_long_as_their_tasks_live() {
    let target = Target::start().await;
    let server = Harness::start(Layer { circuit_series: Some(1), ..Layer::default() }).await;
    let policy = CircuitPolicy { open_base: span(3_600_000), open_max: span(3_600_000), ..policy() };
    let (mut client, mut circuits) = watched(&server, &target, policy).await;
    let all = |id, open| {
        let closed = 1 - open;
        vec![
            "_left_out 1".to_owned(),
            in_state(id, "closed", closed),
            in_state(id, "half_open", 0),
            in_state(id, "open", open),
        ]
    };
    client.start_task(idle("zeta")).await.expect("started");
    assert_eq!(series(&server).await, all("api", 0));
    let mut watch = from_now(&mut circuits).await;
    fail(&mut circuits).await;
    watch.until(EventType::CircuitTripped).await;
    assert_eq!(series(&server).await, all("api", 1));

    let request = CancelTaskRequest { wait: true, ..cancel("api") };
    client.cancel_task(request).await.expect("cancelled");
    let mut left = all("zeta", 0);
    left[0] = "_left_out 0".to_owned();
    assert_eq!(series(&server).await, left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_single_circuits_it_is_shown_what_lies_over_them() {
    const OVERRIDE: &str = "circuit_breaker_circuit_override{";
    let server = Harness::start(Layer { circuit_series: Some(2), ..Layer::default() }).await;
    let mut client = server.client().await;
    for id in ["api", "db", "web"] {
        client.start_task(idle(id)).await.expect("started");
    }
    let mut circuits = CircuitServiceClient::new(server.connect().await);
    assert_eq!(series_of(&server, OVERRIDE).await, [""; 0], "nothing");
    for (id, mode) in [("api", Override::ForcedOpen), ("db", Override::Shadow), ("web", Override::ForcedClosed)] {
        let request = OverrideCircuitRequest { name: name(id), ..over(mode, "") };
        circuits.override_circuit(request).await.expect("laid");
    }
    let expected = ["name=\"api\",override=\"forced_open\"} 1", "name=\"db\",override=\"shadow\"} 1"];
    assert_eq!(series_of(&server, OVERRIDE).await, expected, "for as many tasks as were asked for");
    circuits.override_circuit(over(Override::None, "")).await.expect("taken away");
    assert_eq!(series_of(&server, OVERRIDE).await, expected[1..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_circuits_are_not_shown_where_nobody_has_asked_for_them() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let _watched = watched(&server, &target, policy()).await;
    assert_eq!(series(&server).await, ["_left_out 0"]);
}
