use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::Instant;

use super::*;
use crate::journal::testing::{event, in_memory, put, task};
use crate::journal::{Condition, Release, Writer};
use crate::manager::handle::Request;
use crate::model::{Check, Event, EventType, Instance, Intent, Reason, State, Timestamp};
use crate::monitor::Wanted;

/// A journal, and the other end of what commands are sent by.
struct Bench {
    journal: Journal,
    _writer: Writer,
    requests: mpsc::Sender<Request>,
    asked: mpsc::Receiver<Request>,
    last: usize,
}

impl Bench {
    /// With a task, as it stands.
    fn new(task: Task) -> Self {
        let (journal, writer) = in_memory();
        let (requests, asked) = mpsc::channel(1);
        let mut bench = Self { journal, _writer: writer, requests, asked, last: 0 };
        bench.commit(EventType::InstanceReady, task);
        bench
    }

    /// Blocks, so that a paused clock does not run on meanwhile.
    fn commit(&mut self, kind: EventType, task: Task) {
        self.last += 1;
        let event: Event = event(self.last, kind, task);
        let (told, committed) = std::sync::mpsc::sync_channel(1);
        let run = Box::new(move || told.send(()).expect("awaited"));
        let releases = vec![Release { after: event.sequence, run }];
        put(&self.journal, vec![event.clone()], releases);
        committed.recv().expect("committed");
    }

    fn make(&self) -> JoinHandle<Outcome> {
        let (requests, condition) = (self.requests.clone(), watch::channel(Condition::default()).1);
        let demand = Demand { desk: Desk { requests, condition }, journal: self.journal.clone() };
        let cause = Cause { reason: Reason::default(), ..Cause::system("test", "") };
        let name = running().name;
        tokio::spawn(demand.make(RunTask { name, etag: None, cause, idempotency: None }))
    }

    /// Accepts the command that comes; who waits for the check.
    async fn accept(&mut self) -> Wanted {
        let Some(Request::Command { command: Command::Run(_), with, answer }) = self.asked.recv().await else {
            panic!("no check was ordered")
        };
        answer.send(Ok(Reply::Checking { task: Arc::new(running()) })).expect("waits");
        for _ in 0..8 {
            yield_now().await;
        }
        with.wanted.expect("somebody waits")
    }
}

fn running() -> Task {
    let instance = Instance {
        generation: Generation::new(1),
        attempt: Attempt::new(1),
        state: InstanceState::Ready,
        start_time: Timestamp::default(),
        ready_time: None,
        stop_time: None,
        exit: None,
        shutdown: None,
        blocked_since: None,
    };
    Task { instance: Some(instance), ..task("t", 1) }
}

fn with(change: impl FnOnce(&mut Instance)) -> Task {
    let mut task = running();
    change(task.instance.as_mut().expect("has one"));
    task
}

fn blocking() -> Task {
    with(|instance| instance.blocked_since = Some(Timestamp::default()))
}

fn not_made(state: State) -> Outcome {
    Err(Refusal::CheckNotMade { name: running().name, state })
}

#[tokio::test(start_paused = true)]
async fn the_check_is_the_answer() {
    let mut bench = Bench::new(running());
    let making = bench.make();
    let wanted = bench.accept().await;
    // What does not concern the instance does not concern the check.
    bench.commit(EventType::AlertRaised, running());
    yield_now().await;
    let check = Check::passed("");
    wanted.send(check.clone()).expect("waits");
    // The last of `max_runs` ends the instance: the check was made all the same.
    bench.commit(EventType::TaskEnded, Task { state: State::Succeeded, instance: None, ..running() });
    assert_eq!(making.await.expect("no panic"), Ok(check));
}

#[tokio::test(start_paused = true)]
async fn none_is_ordered_of_an_instance_that_blocks() {
    let mut bench = Bench::new(blocking());
    let blocks = Err(Refusal::InstanceBlocks(running().name));
    assert_eq!(bench.make().await.expect("no panic"), blocks);
    assert!(bench.asked.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_an_instance_that_cannot_come_to_it() {
    let left = [
        (blocking(), Err(Refusal::InstanceBlocks(running().name))),
        (with(|instance| instance.attempt = Attempt::new(2)), not_made(State::Running)),
        (with(|instance| instance.generation = Generation::new(2)), not_made(State::Running)),
        (
            Task { state: State::Stopping, ..with(|instance| instance.state = InstanceState::Stopping) },
            not_made(State::Stopping),
        ),
        (Task { state: State::Pending, instance: None, ..running() }, not_made(State::Pending)),
        // Deleted, and another one of that name has been started.
        (Task { uid: task("t", 2).uid, ..running() }, Err(Refusal::TaskNotFound(running().name))),
    ];
    for (then, expected) in left {
        let mut bench = Bench::new(running());
        let making = bench.make();
        let _held = bench.accept().await;
        assert!(!making.is_finished());
        if then.uid != running().uid {
            bench.commit(EventType::TaskDeleted, running());
        }
        bench.commit(EventType::InstanceStopping, then);
        assert_eq!(making.await.expect("no panic"), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_before_the_answer_counts() {
    let mut bench = Bench::new(running());
    let making = bench.make();
    yield_now().await;
    bench.commit(EventType::AlertRaised, blocking());
    let _held = bench.accept().await;
    assert_eq!(making.await.expect("no panic"), Err(Refusal::InstanceBlocks(running().name)));
}

#[tokio::test(start_paused = true)]
async fn who_is_let_go_of_is_told_what_the_task_does_in_truth() {
    let ended = Task { state: State::Succeeded, instance: None, intent: Intent::Run, ..running() };
    for (kind, expected) in [
        (EventType::TaskEnded, not_made(State::Succeeded)),
        (EventType::TaskDeleted, Err(Refusal::TaskNotFound(running().name))),
    ] {
        let mut bench = Bench::new(running());
        let making = bench.make();
        drop(bench.accept().await);
        yield_now().await;
        // Committed a moment later.
        bench.commit(kind, ended.clone());
        assert_eq!(making.await.expect("no panic"), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_lets_go_and_goes_on_is_not_waited_for() {
    let mut bench = Bench::new(running());
    let making = bench.make();
    drop(bench.accept().await);
    let began = Instant::now();
    assert_eq!(making.await.expect("no panic"), not_made(State::Running));
    assert_eq!(began.elapsed(), ITS_END);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_handed_on() {
    let mut bench = Bench::new(running());
    let making = bench.make();
    let Some(Request::Command { answer, .. }) = bench.asked.recv().await else { panic!("no check was ordered") };
    answer.send(Err(Refusal::NoChecks(running().name))).expect("waits");
    assert_eq!(making.await.expect("no panic"), Err(Refusal::NoChecks(running().name)));
}
