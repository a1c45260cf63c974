//! RunTask: a check on demand, of targets that count what is asked of them.

mod again;
mod blocked;

use std::net::SocketAddr;

use switchyard::config::Layer;
use switchyard::pb::v1::event::Detail;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::{
    CancelTaskRequest, Check, CircuitPolicy, CircuitState, EventType, GetTaskRequest, HttpMonitor, PauseTaskRequest,
    RunTaskRequest, Schedule, StartTaskRequest, State, TcpMonitor, Verdict,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};

use crate::harness::{Client, Harness, cancel, events_until, idle, name, reach, refusal, start, types, with_spec};

/// An HTTP server. It answers as it is told to, when it is told to, and counts connections, of which each check takes one.
struct Target {
    address: SocketAddr,
    asked: watch::Sender<usize>,
    /// What to answer; `None`: wait until that is known.
    answer: watch::Sender<Option<&'static str>>,
    _serving: AbortOnDropHandle<()>,
}

impl Target {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (asked, answer) = (watch::Sender::new(0), watch::Sender::new(Some("200 OK")));
        let (counts, answers) = (asked.clone(), answer.clone());
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counts.send_modify(|asked| *asked += 1);
                tokio::spawn(serve(stream, answers.subscribe()));
            }
        });
        Self { address, asked, answer, _serving: AbortOnDropHandle::new(serving) }
    }

    fn http(&self) -> Monitor {
        Monitor::Http(HttpMonitor { url: format!("http://{}/", self.address), ..Default::default() })
    }

    fn tcp(&self) -> Monitor {
        Monitor::Tcp(TcpMonitor { address: self.address.to_string(), steps: Vec::new() })
    }

    fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    async fn asked_for(&self, times: usize) {
        self.asked.subscribe().wait_for(|asked| *asked >= times).await.expect("it serves");
    }
}

async fn serve(mut stream: TcpStream, mut answers: watch::Receiver<Option<&'static str>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            // Whoever only wanted to connect is gone.
            Err(_) => return,
        }
    }
    let answer = answers.wait_for(Option::is_some).await.expect("it serves").expect("was waited for");
    // A check that was dropped has closed its connection.
    let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await;
}

/// Asks for a task that checks once, when it starts, and then tomorrow.
fn daily(monitor: Monitor) -> StartTaskRequest {
    with_spec(start("task", monitor), |spec| {
        let day = Some(prost_types::Duration { seconds: 24 * 3_600, nanos: 0 });
        let minutes = Some(prost_types::Duration { seconds: 300, nanos: 0 });
        spec.schedule = Some(Schedule { interval: day, timeout: minutes, max_runs: 0 });
        let hour = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
        spec.circuit = Some(CircuitPolicy { consecutive_failures: Some(2), open_base: hour, ..Default::default() });
    })
}

/// A server with the task `task`, which has made its first check.
async fn running(monitor: Monitor) -> (Harness, Client) {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    client.start_task(daily(monitor)).await.expect("started");
    reach(&mut client, "task", State::Running).await;
    (server, client)
}

fn task() -> RunTaskRequest {
    RunTaskRequest { name: name("task"), ..Default::default() }
}

async fn run(client: &mut Client, request: RunTaskRequest) -> Result<Check, Status> {
    Ok(client.run_task(request).await?.into_inner().check.expect("answered"))
}

fn not_running() -> (Code, String) {
    (Code::FailedPrecondition, "TASK_NOT_RUNNING".to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_target_is_asked_exactly_once_more_and_the_answer_is_that_check() {
    let target = Target::new().await;
    let (_server, mut client) = running(target.http()).await;
    assert_eq!(target.asked(), 1, "the first check");
    target.answer.send_replace(Some("503 Service Unavailable"));
    let check = run(&mut client, task()).await.expect("made");
    assert_eq!((check.verdict(), check.reason.as_str(), check.attempt), (Verdict::Fail, "STATUS", 1));
    assert!(check.phases.is_some_and(|phases| phases.first_byte.is_some()) && check.time.is_some());
    let read = client.get_task(GetTaskRequest { name: name("task") }).await.expect("there").into_inner().task;
    assert_eq!(read.and_then(|task| task.live).and_then(|live| live.last_check), Some(check));
    assert_eq!(target.asked(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tcp_target_is_connected_to_once_more() {
    let target = Target::new().await;
    let (_server, mut client) = running(target.tcp()).await;
    target.asked_for(1).await;
    let check = run(&mut client, task()).await.expect("made");
    assert_eq!(check.verdict(), Verdict::Pass);
    // The connection stands before the target has accepted it.
    target.asked_for(2).await;
    assert_eq!(target.asked(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_is_no_event_and_drives_the_circuit_as_every_other() {
    let target = Target::new().await;
    let (server, mut client) = running(target.http()).await;
    let head = server.info().await.head_cursor;
    target.answer.send_replace(Some("500 Oops"));
    for _ in 0..2 {
        run(&mut client, task()).await.expect("made");
    }
    let events = events_until(&mut client, &head, EventType::CircuitTripped).await;
    assert_eq!(types(&events), [EventType::CircuitTripped], "and nothing of the checks themselves");
    assert!(matches!(&events[0].detail, Some(Detail::Circuit(circuit)) if circuit.state() == CircuitState::Open));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_comes_while_another_runs_has_a_check_of_its_own_after_it() {
    let target = Target::new().await;
    let (_server, client) = running(target.http()).await;
    target.answer.send_replace(None);
    let mut both = Vec::new();
    for n in 2..4 {
        let mut client = client.clone();
        both.push(tokio::spawn(async move { run(&mut client, task()).await }));
        if n == 2 {
            target.asked_for(n).await;
        }
    }
    target.answer.send_replace(Some("200 OK"));
    let mut times = Vec::new();
    for made in both {
        let check = made.await.expect("no panic").expect("made");
        assert_eq!(check.verdict(), Verdict::Pass);
        times.push(check.time.map(|time| (time.seconds, time.nanos)));
    }
    assert!(times[0] < times[1], "{times:?}");
    assert_eq!(target.asked(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_marks_no_checks_has_none_to_make() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    client.start_task(idle("task")).await.expect("started");
    reach(&mut client, "task", State::Running).await;
    let status = run(&mut client, task()).await.expect_err("a drill makes none");
    assert_eq!(refusal(&status), (Code::FailedPrecondition, "NO_CHECKS".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_task_that_runs_is_checked() {
    let target = Target::new().await;
    target.answer.send_replace(None);
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    client.start_task(daily(target.http())).await.expect("started");
    target.asked_for(1).await;
    assert_eq!(refusal(&run(&mut client, task()).await.expect_err("it starts")), not_running());
    target.answer.send_replace(Some("200 OK"));
    reach(&mut client, "task", State::Running).await;
    client.pause_task(PauseTaskRequest { name: name("task"), ..Default::default() }).await.expect("paused");
    reach(&mut client, "task", State::Paused).await;
    assert_eq!(refusal(&run(&mut client, task()).await.expect_err("it rests")), not_running());
    client.cancel_task(cancel("task")).await.expect("cancelled");
    assert_eq!(refusal(&run(&mut client, task()).await.expect_err("it has ended")), not_running());
    assert_eq!(target.asked(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_told_to_stop_has_no_check_to_answer_with() {
    let target = Target::new().await;
    let (_server, mut client) = running(target.http()).await;
    target.answer.send_replace(None);
    let mut asking = client.clone();
    let asked = tokio::spawn(async move { run(&mut asking, task()).await });
    target.asked_for(2).await;
    client.cancel_task(CancelTaskRequest { name: name("task"), ..Default::default() }).await.expect("cancelled");
    let status = asked.await.expect("no panic").expect_err("it was cut short");
    assert_eq!(refusal(&status), not_running());
    // As the task stands by then.
    let states = ["STOPPING", "CANCELLED"].map(|state| format!("the task is {state}"));
    assert!(states.iter().any(|state| status.message().ends_with(state)), "{status}");
}
