//! Where it shows that operators have overridden circuits: in the metrics and in lists.

use std::time::{Duration, SystemTime};

use switchyard::config::StoreKind;
use switchyard::pb::v1::{
    DeleteTaskRequest, ListTasksRequest, OverrideCircuitRequest, PauseTaskRequest, ResetCircuitRequest, StatePolicy,
    SwapStrategy, SwapTaskRequest, WaitTaskRequest,
};

use super::*;
use crate::scratch::Scratch;

/// An override of another task than `api`.
fn over_task(id: &str, mode: Override) -> OverrideCircuitRequest {
    OverrideCircuitRequest { name: name(id), ..over(mode, "") }
}

/// How many circuits are forced open, forced closed and shadowed, as the metrics say.
async fn counted(server: &Harness) -> [u64; 3] {
    let metrics = server.metrics().await;
    ["forced_open", "forced_closed", "shadow"].map(|label| {
        let series = format!("circuit_breaker_circuit_overrides{{override=\"{label}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&series));
        value.unwrap_or_else(|| panic!("{series} is not in\n{metrics}")).parse().expect("a count")
    })
}

async fn idling(server: &Harness, ids: &[&str]) -> (Client, Circuits) {
    let channel = server.connect().await;
    let mut client = Client::new(channel.clone());
    for id in ids {
        client.start_task(idle(id)).await.expect("started");
        reach(&mut client, id, State::Running).await;
    }
    (client, CircuitServiceClient::new(channel))
}

/// Lays an override for so long, and waits until its time is over.
async fn outlasted(circuits: &mut Circuits, request: OverrideCircuitRequest, span: Duration) {
    let expire_time = Some((SystemTime::now() + span).into());
    let laid = circuits.override_circuit(OverrideCircuitRequest { expire_time, ..request }).await.expect("laid");
    ended_by_itself(circuits, laid.into_inner().cursor).await;
}

/// Waits until an override has ended by itself after the cursor.
async fn ended_by_itself(circuits: &mut Circuits, cursor: String) {
    let mut watch = Watch::open(circuits, Some(Start::Cursor(cursor))).await;
    loop {
        let (event, _) = watch.until(EventType::CircuitOverridden).await;
        if event.cause.expect("said").actor == "system:circuit" {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overrides_are_counted_by_kind_until_they_are_lifted_or_their_time_is_over() {
    let server = Harness::start(Layer::default()).await;
    assert_eq!(counted(&server).await, [0, 0, 0], "there from the start");
    let (mut client, mut circuits) = idling(&server, &["api", "db", "web"]).await;
    assert_eq!(counted(&server).await, [0, 0, 0]);
    for (id, mode) in [("api", Override::ForcedOpen), ("db", Override::ForcedOpen), ("web", Override::ForcedClosed)] {
        circuits.override_circuit(over_task(id, mode)).await.expect("laid");
    }
    assert_eq!(counted(&server).await, [2, 1, 0]);
    circuits.override_circuit(over_task("db", Override::Shadow)).await.expect("laid");
    assert_eq!(counted(&server).await, [1, 1, 1], "another in its place");
    client.pause_task(PauseTaskRequest { name: name("web"), ..Default::default() }).await.expect("paused");
    assert_eq!(counted(&server).await, [1, 1, 1], "whoever calls is held to it still");
    circuits.override_circuit(over_task("api", Override::None)).await.expect("taken away");
    assert_eq!(counted(&server).await, [0, 1, 1]);
    outlasted(&mut circuits, over_task("web", Override::ForcedClosed), Duration::from_millis(300)).await;
    assert_eq!(counted(&server).await, [0, 0, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_override_counts_over_resets_and_swaps_and_for_as_long_as_its_task_lives() {
    let server = Harness::start(Layer::default()).await;
    let (mut client, mut circuits) = idling(&server, &["api"]).await;
    let short = with_spec(idle("brief"), |spec| spec.terminal_ttl = span(0));
    client.start_task(short).await.expect("started");
    circuits.override_circuit(over_task("api", Override::ForcedOpen)).await.expect("laid");
    circuits.override_circuit(over_task("brief", Override::Shadow)).await.expect("laid");
    assert_eq!(counted(&server).await, [1, 0, 1]);

    let reset = ResetCircuitRequest { name: name("api"), ..Default::default() };
    circuits.reset_circuit(reset).await.expect("reset");
    let swap = SwapTaskRequest {
        name: name("api"),
        task: crate::harness::drill("api", "cooperative", "1h").task,
        strategy: SwapStrategy::Unspecified.into(),
        state_policy: StatePolicy::Reset.into(),
        ..Default::default()
    };
    client.swap_task(swap).await.expect("accepted");
    let wait = WaitTaskRequest { name: name("api"), swap_ended: true, ..Default::default() };
    let swapped = client.wait_task(wait).await.expect("there").into_inner().task.expect("answered");
    assert_eq!(swapped.generation, 2);
    assert_eq!(swapped.circuit.expect("shown").reason(), CircuitReason::Override);
    assert_eq!(counted(&server).await, [1, 0, 1], "an override stays where it lies");

    let mut watch = from_now(&mut circuits).await;
    client.cancel_task(cancel("brief")).await.expect("cancelled");
    watch.place_of(EventType::TaskDeleted, 1).await;
    assert_eq!(counted(&server).await, [1, 0, 0], "purged");
    client.cancel_task(cancel("api")).await.expect("cancelled");
    assert_eq!(counted(&server).await, [1, 0, 0], "whoever calls is held to it still");
    let delete = DeleteTaskRequest { name: name("api"), ..Default::default() };
    client.delete_task(delete).await.expect("deleted");
    assert_eq!(counted(&server).await, [0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_the_overrides_are_counted_that_still_lie() {
    let scratch = Scratch::new("overridden");
    let layer =
        || Layer { store: Some(StoreKind::Embedded), data_dir: Some(scratch.path().to_owned()), ..Default::default() };
    let server = Harness::start(layer()).await;
    let (_client, mut circuits) = idling(&server, &["api", "db", "web"]).await;
    circuits.override_circuit(over_task("api", Override::ForcedOpen)).await.expect("laid");
    circuits.override_circuit(over_task("web", Override::ForcedOpen)).await.expect("laid");
    circuits.override_circuit(over_task("web", Override::None)).await.expect("taken away");
    let soon = SystemTime::now() + Duration::from_secs(3);
    let request = OverrideCircuitRequest { expire_time: Some(soon.into()), ..over_task("db", Override::Shadow) };
    let cursor = circuits.override_circuit(request).await.expect("laid").into_inner().cursor;
    server.shut_down();
    server.ended().await;

    // Its time is over while no server runs.
    tokio::time::sleep(soon.duration_since(SystemTime::now()).unwrap_or_default()).await;
    let server = Harness::start(layer()).await;
    let mut circuits = CircuitServiceClient::new(server.connect().await);
    ended_by_itself(&mut circuits, cursor).await;
    assert_eq!(counted(&server).await, [1, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_and_circuits_are_listed_by_their_override() {
    let server = Harness::start(Layer::default()).await;
    let (mut client, mut circuits) = idling(&server, &["api", "db", "web"]).await;
    circuits.override_circuit(over_task("api", Override::ForcedOpen)).await.expect("laid");
    circuits.override_circuit(over_task("db", Override::Shadow)).await.expect("laid");
    for (filter, expected) in [
        ("circuit.override = FORCED_OPEN", &["api"][..]),
        ("circuit.override = FORCED_CLOSED", &[]),
        ("circuit.override = SHADOW", &["db"]),
        ("circuit.override = NONE", &["web"]),
        ("circuit.override != NONE", &["api", "db"]),
        ("circuit.override != SHADOW AND circuit.state = CLOSED", &["api", "web"]),
    ] {
        let expected: Vec<_> = expected.iter().map(|id| name(id)).collect();
        let request = ListCircuitsRequest { filter: filter.to_owned(), ..Default::default() };
        let listed = circuits.list_circuits(request).await.expect("valid").into_inner().circuits;
        assert_eq!(listed.into_iter().map(|circuit| circuit.name).collect::<Vec<_>>(), expected, "{filter}");
        let request = ListTasksRequest { filter: filter.to_owned(), ..Default::default() };
        let listed = client.list_tasks(request).await.expect("valid").into_inner().tasks;
        assert_eq!(listed.into_iter().map(|task| task.name).collect::<Vec<_>>(), expected, "{filter}");
    }
}
