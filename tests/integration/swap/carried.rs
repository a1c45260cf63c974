//! What of a circuit goes on beneath a swap, or begins anew, as RunTask, Task.live and the metrics show it.

use switchyard::pb::v1::{CircuitCounts, GetTaskRequest, RunTaskRequest, Verdict};

use super::*;

/// A task whose checks all fail, since nobody listens on port 1; after the first it checks when it is asked to. Three failures in a
/// row trip its circuit, for an hour.
fn refused(timeout: i64) -> StartTaskRequest {
    let nobody = Monitor::Tcp(TcpMonitor { address: "127.0.0.1:1".to_owned(), steps: Vec::new() });
    with_spec(start("task", nobody), |spec| {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        spec.schedule = Some(Schedule { interval: seconds(3_600), timeout: seconds(timeout), max_runs: 0 });
        spec.circuit = Some(CircuitPolicy {
            consecutive_failures: Some(3),
            open_base: seconds(3_600),
            open_max: seconds(3_600),
            ..Default::default()
        });
    })
}

async fn get(client: &mut Client) -> Task {
    let answer = client.get_task(GetTaskRequest { name: name("task") }).await.expect("there");
    answer.into_inner().task.expect("answered")
}

/// Waits until so many failures in a row have been counted.
async fn counted(client: &mut Client, consecutive: u32) -> CircuitCounts {
    loop {
        let counts = get(client).await.live.and_then(|live| live.circuit).unwrap_or_default();
        if counts.consecutive == consecutive {
            return counts;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Has the task checked, by its present instance.
async fn fails(client: &mut Client) {
    let check = client.run_task(RunTaskRequest { name: name("task"), ..Default::default() }).await.expect("checked");
    assert_eq!(check.into_inner().check.expect("answered").verdict(), Verdict::Fail);
}

async fn swapped(client: &mut Client, timeout: i64, policy: StatePolicy) -> Task {
    let request = SwapTaskRequest { state_policy: policy.into(), ..to(refused(timeout)) };
    let (task, _) = swap(client, request).await.expect("accepted");
    assert_eq!(newest(&task).phase(), SwapPhase::Done, "{task:?}");
    task
}

/// How many circuits are closed and open, how often one has opened for failure, and how many failed checks drove one, or nothing.
async fn measured(server: &Harness) -> [u64; 5] {
    let metrics = server.metrics().await;
    let value = |series: &str| {
        let series = format!("circuit_breaker_{series} ");
        let text = metrics.lines().find_map(|line| line.strip_prefix(&series));
        text.map_or(0, |text| text.parse().unwrap_or_else(|error| panic!("{series}{text}: {error}")))
    };
    [
        value("circuits{state=\"closed\"}"),
        value("circuits{state=\"open\"}"),
        value("circuit_transitions_total{from=\"closed\",reason=\"failure\",to=\"open\"}"),
        value("checks_total{kind=\"tcp\",verdict=\"fail\"}"),
        value("shadow_checks_total{kind=\"tcp\",verdict=\"fail\"}"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_a_circuit_counts_on_where_it_was_and_reset_it_counts_from_nothing() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    client.start_task(refused(1)).await.expect("started");
    counted(&mut client, 1).await;
    fails(&mut client).await;
    let before = counted(&mut client, 2).await;

    let task = swapped(&mut client, 2, StatePolicy::Keep).await;
    let after = get(&mut client).await.live.and_then(|live| live.circuit);
    assert_eq!(after, Some(before), "the candidate's own first check counts for nothing");
    assert_eq!(task.circuit.expect("has one").state(), CircuitState::Closed);
    assert_eq!(measured(&server).await, [1, 0, 0, 2, 1]);

    // The third in a row, of which two were the old instance's.
    let head = server.info().await.head_cursor;
    fails(&mut client).await;
    events_until(&mut client, &head, EventType::CircuitTripped).await;
    let open = get(&mut client).await.circuit.expect("has one");
    assert_eq!((open.state(), open.streak), (CircuitState::Open, 1));
    assert_eq!(measured(&server).await, [0, 1, 1, 3, 1]);
    let task = swapped(&mut client, 3, StatePolicy::Keep).await;
    assert_eq!(task.circuit, Some(open.clone()));
    assert_eq!(measured(&server).await, [0, 1, 1, 3, 2], "an open one, and opened once");

    let task = swapped(&mut client, 4, StatePolicy::Reset).await;
    let reset = task.circuit.expect("has one");
    assert_eq!((reset.state(), reset.reason(), reset.streak), (CircuitState::Closed, CircuitReason::Reset, 0));
    let nothing = CircuitCounts { passive: Some(Default::default()), ..Default::default() };
    assert_eq!(get(&mut client).await.live.and_then(|live| live.circuit).unwrap_or_default(), nothing);
    assert_eq!(measured(&server).await, [1, 0, 1, 3, 3]);
    for consecutive in 1..=2 {
        fails(&mut client).await;
        assert_eq!(counted(&mut client, consecutive).await.results, consecutive);
    }
    assert_eq!(measured(&server).await, [1, 0, 1, 5, 3], "two in a row are too few again");
}
