//! kill -9 while what a swap has brought in is observed: the next server goes on with that, and what fails is reverted still.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::{self, CircuitState, EventType, GenerationState, State, SwapPhase, Task, TcpMonitor, TcpStep};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{Served, client, owner, serve};
use crate::harness::{Client, cancel, events_until, metrics, name, reach, start, types, with_spec};
use crate::scratch::Scratch;

/// Says how it is to everybody who connects.
struct Target {
    address: SocketAddr,
    word: watch::Sender<&'static [u8]>,
    _serving: AbortOnDropHandle<()>,
}

impl Target {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (word, said) = watch::channel(b"well".as_slice());
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("listens");
                let word = *said.borrow();
                // Some only connect.
                let _ = stream.write_all(word).await;
            }
        });
        Self { address, word, _serving: AbortOnDropHandle::new(serving) }
    }

    fn is(&self, word: &'static [u8]) {
        self.word.send_replace(word);
    }

    /// Passes whatever the target says; checks only when it is asked to.
    fn careless(&self, id: &str) -> v1::StartTaskRequest {
        self.watched(id, Vec::new())
    }

    /// Trips its circuit once the target is not well; after a swap it is observed for so long.
    fn careful(&self, id: &str, observation: Duration) -> v1::StartTaskRequest {
        let step = TcpStep { send: Vec::new(), expect: b"well".to_vec() };
        with_spec(self.watched(id, vec![step]), |spec| {
            let observation_time = Some(observation.try_into().expect("short"));
            spec.swap = Some(v1::SwapPolicy { auto_revert: true, observation_time, ..Default::default() });
        })
    }

    fn watched(&self, id: &str, steps: Vec<TcpStep>) -> v1::StartTaskRequest {
        let tcp = TcpMonitor { address: self.address.to_string(), steps };
        with_spec(start(id, Monitor::Tcp(tcp)), |spec| {
            let hour = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
            spec.schedule = Some(v1::Schedule { interval: hour, ..Default::default() });
            let (open_base, open_max) = (hour, hour);
            let consecutive_failures = Some(1);
            spec.circuit = Some(v1::CircuitPolicy { consecutive_failures, open_base, open_max, ..Default::default() });
        })
    }
}

const LONG: Duration = Duration::from_secs(600);
/// It begins with the swap's commit, and must not be over before the answer shows it.
const SHORT: Duration = Duration::from_secs(5);

/// A task that has been swapped, and is observed; as it was before, and is.
async fn swapped(client: &mut Client, target: &Target, id: &str, observation: Duration) -> (Task, Task) {
    client.start_task(target.careless(id)).await.expect("started");
    let before = reach(client, id, State::Running).await;
    let task = target.careful(id, observation).task;
    let request = v1::SwapTaskRequest { name: name(id), task, wait: true, ..Default::default() };
    let task = client.swap_task(request).await.expect("accepted").into_inner().task.expect("answered");
    assert_eq!(task.swap.as_ref().map(|swap| swap.phase()), Some(SwapPhase::Done), "{task:?}");
    assert!(task.observation.is_some(), "{task:?}");
    (before, task)
}

/// Has the task checked.
async fn check(client: &mut Client, id: &str) {
    let run = v1::RunTaskRequest { name: name(id), ..Default::default() };
    client.run_task(run).await.expect("checked");
}

async fn killed(server: Served, directory: &Path) -> (Served, Client, String) {
    tokio::task::spawn_blocking(move || server.kill()).await.expect("ends");
    let server = serve(directory).await;
    let client = client(&server.address).await;
    let mut said = v1::server_service_client::ServerServiceClient::connect(format!("http://{}", server.address))
        .await
        .expect("listening");
    let info = said.get_server_info(v1::GetServerInfoRequest {}).await.expect("answers").into_inner();
    (server, client, info.head_cursor)
}

/// The task, once the next server has taken it over, and runs it.
async fn taken_over(client: &mut Client) -> Task {
    loop {
        let task = reach(client, "task", State::Running).await;
        if task.instance.as_ref().is_some_and(|instance| instance.attempt == 2) {
            return task;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the task has gone back; one instance of it lives, and its history tells the way there and back.
async fn gone_back(client: &mut Client, id: &str, before: &Task) -> Task {
    loop {
        let task = owner::at_rest(client, id).await.expect("there");
        let swap = task.swap.as_ref().expect("swapped");
        if task.spec != before.spec || swap.phase() != SwapPhase::Done {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        assert_eq!(swap.revert_reason, "generation 2 has tripped its circuit");
        assert_eq!((task.generation, &task.observation, task.draining.len()), (swap.to_generation, &None, 0));
        owner::remembered(client, &task).await;
        return task;
    }
}

async fn history(client: &mut Client, id: &str) -> Vec<v1::Generation> {
    let request = v1::ListGenerationsRequest { name: name(id) };
    client.list_generations(request).await.expect("there").into_inner().generations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observation_goes_on_in_the_next_server_and_a_bad_spec_is_reverted_still() {
    let (scratch, target) = (Scratch::new("observed"), Target::start().await);
    let data = scratch.join("data");
    let server = serve(&data).await;
    let mut client = client(&server.address).await;
    let (before, observed) = swapped(&mut client, &target, "task", LONG).await;
    let (server, mut client, _) = killed(server, &data).await;
    let task = taken_over(&mut client).await;
    assert_eq!((task.generation, &task.observation), (2, &observed.observation), "no longer, and no shorter");

    target.is(b"ill");
    check(&mut client, "task").await;
    let task = gone_back(&mut client, "task", &before).await;
    assert_eq!(task.generation, 3);
    assert!(metrics(server.http).await.contains("\ncircuit_breaker_active_tasks 1\n"));
    let kept = history(&mut client, "task").await;
    let states: Vec<_> = kept.iter().map(|kept| (kept.generation, kept.state())).collect();
    use GenerationState::{Active, Reverted, Superseded};
    assert_eq!(states, [(3, Active), (2, Reverted), (1, Superseded)]);
    let cause = kept[0].cause.as_ref().expect("known");
    assert_eq!(cause.actor, "system:swap");
    assert_eq!(cause.reason, "generation 2 has tripped its circuit: back to the spec of generation 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_at_any_step_of_the_way_back_leaves_it_to_the_next() {
    /// From when the check was asked for to when the failed instance has ended.
    const STEPS: usize = 8;
    let (scratch, target) = (Scratch::new("observed"), Target::start().await);
    let data = scratch.join("data");
    let mut server = serve(&data).await;
    let mut client = client(&server.address).await;
    let mut burnt = 0;
    for step in 0..STEPS {
        target.is(b"well");
        let id = format!("task-{step}");
        let (before, _) = swapped(&mut client, &target, &id, LONG).await;
        let filter = format!("name = {}", name(&id));
        let request = v1::WatchTasksRequest { filter, ..Default::default() };
        let mut frames = client.watch_tasks(request).await.expect("opened").into_inner();
        // The first frame says that it watches.
        frames.message().await.expect("no error").expect("not ended");
        target.is(b"ill");
        let (mut asking, run) = (client.clone(), v1::RunTaskRequest { name: name(&id), ..Default::default() });
        let asked = tokio::spawn(async move { asking.run_task(run).await });
        let mut seen = 0;
        while seen < step {
            seen += frames.message().await.expect("no error").expect("not ended").events.len();
        }
        (server, client, _) = killed(server, &data).await;
        // The server may have ended before it was asked, or could answer.
        drop(asked.await.expect("no panic"));
        let task = gone_back(&mut client, &id, &before).await;
        // Where the way back was not decided, it was rolled back and begun anew.
        assert!((3..=4).contains(&task.generation), "{task:?}");
        burnt += usize::from(task.generation == 4);
        let kept = history(&mut client, &id).await;
        let decided = kept.iter().filter(|kept| kept.state() == GenerationState::RolledBack).count();
        assert_eq!(decided, usize::from(task.generation == 4), "{kept:?}");
    }
    println!("{burnt} of {STEPS} ways back were begun anew");
    assert!(metrics(server.http).await.contains(&format!("\ncircuit_breaker_active_tasks {STEPS}\n")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observation_whose_time_was_over_while_no_server_ran_reverts_nothing() {
    let (scratch, target) = (Scratch::new("observed"), Target::start().await);
    let data = scratch.join("data");
    let server = serve(&data).await;
    let mut client = client(&server.address).await;
    let (_, observed) = swapped(&mut client, &target, "task", SHORT).await;
    tokio::task::spawn_blocking(move || server.kill()).await.expect("ends");
    let expires = observed.observation.and_then(|observation| observation.expire_time).expect("observed");
    let expires = SystemTime::try_from(expires).expect("after 1970");
    if let Ok(left) = expires.duration_since(SystemTime::now()) {
        tokio::time::sleep(left + Duration::from_millis(1)).await;
    }
    let server = serve(&data).await;
    let mut client = super::client(&server.address).await;
    let task = taken_over(&mut client).await;
    assert_eq!((task.generation, &task.observation), (2, &None));
    target.is(b"ill");
    let request = v1::WatchTasksRequest::default();
    let mut frames = client.watch_tasks(request).await.expect("opened").into_inner();
    let cursor = frames.message().await.expect("no error").expect("not ended").cursor;
    check(&mut client, "task").await;
    let cancelled = client.cancel_task(cancel("task")).await.expect("cancelled").into_inner().task.expect("answered");
    assert_eq!((cancelled.generation, cancelled.circuit.expect("has one").state()), (2, CircuitState::Open));
    let events = events_until(&mut client, &cursor, EventType::TaskEnded).await;
    assert!(types(&events).contains(&EventType::CircuitTripped), "{events:?}");
    assert!(!types(&events).contains(&EventType::SwapStarted), "{events:?}");
}
