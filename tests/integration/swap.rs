//! Hot swaps through the API: what is refused and with which code, what is answered when, and what a watcher sees.

mod carried;
mod course;
mod ending;
mod gapless;
mod gate;
mod policy;
mod preempt;
mod replaced;
mod request;
mod revert;
mod storm;
mod target;

use std::net::TcpListener;
use std::time::Duration;

use switchyard::config::Layer;
use switchyard::pb::v1::event::Detail;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{
    Circuit, CircuitPolicy, CircuitReason, CircuitState, Event, EventType, InstanceState, ListTasksRequest,
    PauseTaskRequest, Schedule, ShutdownPolicy, StartTaskRequest, State, StatePolicy, Swap, SwapPhase, SwapPolicy,
    SwapStrategy, SwapTaskRequest, SwapTaskResponse, Task, TcpMonitor, TcpStep, WaitTaskRequest, WaitTaskResponse,
    WatchTasksRequest,
};
use switchyard::server::Ended;
use tonic::{Code, Request, Status};

use crate::harness::{Client, Harness, cancel, drill, events_until, name, reach, reason, start, types, with_spec};

const ID: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";

/// A server with the task `task`, which is ready.
async fn running() -> (Harness, Client, Task) {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    client.start_task(lasting("1h")).await.expect("started");
    let task = reach(&mut client, "task", State::Running).await;
    (server, client, task)
}

/// What a drill is told to last makes specs that differ, and changes nothing else about a cooperative one.
fn lasting(duration: &str) -> StartTaskRequest {
    drill("task", "cooperative", duration)
}

/// What accepts connections and never says a word.
struct Silent(TcpListener);

impl Silent {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    /// A task that is not ready for five minutes: its first check waits for a word.
    fn awaited(&self) -> StartTaskRequest {
        let address = self.0.local_addr().expect("bound").to_string();
        let steps = vec![TcpStep { send: Vec::new(), expect: b"a word".to_vec() }];
        with_spec(start("task", Monitor::Tcp(TcpMonitor { address, steps })), |spec| {
            let long = Some(prost_types::Duration { seconds: 300, nanos: 0 });
            spec.schedule = Some(Schedule { interval: long, timeout: long, max_runs: 0 });
            spec.swap = Some(SwapPolicy { readiness_timeout: long, ..Default::default() });
        })
    }
}

/// Asks for the task to become what the other request would start, and for the outcome.
fn to(other: StartTaskRequest) -> SwapTaskRequest {
    SwapTaskRequest { name: name("task"), task: other.task, wait: true, ..Default::default() }
}

async fn swap(client: &mut Client, request: SwapTaskRequest) -> Result<(Task, String), Status> {
    let SwapTaskResponse { task, cursor } = client.swap_task(request).await?.into_inner();
    Ok((task.expect("answered"), cursor))
}

async fn wait_for_swap(client: &mut Client, timeout: Option<Duration>) -> WaitTaskResponse {
    let timeout = timeout.map(|timeout| timeout.try_into().expect("small"));
    let request = WaitTaskRequest { name: name("task"), swap_ended: true, timeout, ..Default::default() };
    client.wait_task(request).await.expect("there").into_inner()
}

fn newest(task: &Task) -> &Swap {
    task.swap.as_ref().expect("has been swapped")
}

/// Which instance runs, and since when.
fn run_of(task: &Task) -> (u64, u32, Option<prost_types::Timestamp>) {
    let instance = task.instance.as_ref().expect("has one");
    (instance.generation, instance.attempt, instance.start_time)
}

async fn first_cursor(server: &Harness) -> String {
    server.info().await.oldest_cursor
}
