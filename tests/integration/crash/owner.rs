//! A client that owns a few tasks, and remembers what it was promised of them.

use std::sync::Arc;
use std::time::Duration;

use prost_types::Duration as ProtoDuration;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::{self, GenerationState, Intent, State, SwapPhase};
use tonic::{Code, Status};

use super::{Acknowledged, Rng};
use crate::harness::{Client, name, reason, start, with_spec};

/// How many tasks it has.
const TASKS: u64 = 3;
/// How long a task may take to get over a restart, or out of a swap: no figure, only not for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// What it has been promised of one of its tasks.
#[derive(Clone, Debug)]
struct Promise {
    uid: String,
    /// The specs that it may have: more than one while a swap's end was not awaited.
    specs: Vec<u64>,
    cancelled: bool,
}

/// Something that it asks for, under an id of its own.
#[derive(Clone, Debug)]
struct Operation {
    task: usize,
    what: What,
    request_id: String,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Start { spec: u64 },
    Swap { spec: u64, wait: bool },
    Rollback,
    Cancel,
    Delete,
}

/// What came of asking.
enum Answer {
    Done(Box<Option<v1::Task>>),
    /// Not now: something else is under way.
    Refused,
    /// The server is gone, and whether it was done nobody knows.
    Unknown,
}

/// The client.
pub(super) struct Owner {
    number: usize,
    rng: Rng,
    tasks: Vec<Option<Promise>>,
    specs: u64,
    /// What it does not know the answer to.
    open: Option<Operation>,
}

impl Owner {
    pub(super) fn new(number: usize, seed: u64) -> Self {
        Self { number, rng: Rng(seed), tasks: vec![None; TASKS as usize], specs: 0, open: None }
    }

    fn id(&self, task: usize) -> String {
        format!("t{}-{task}", self.number)
    }

    /// Works until the server is gone.
    pub(super) async fn work(mut self, mut client: Client, acknowledged: Arc<Acknowledged>) -> Self {
        loop {
            let operation = self.next();
            match self.ask(&mut client, &operation).await {
                Answer::Done(task) => {
                    self.was_done(&operation, task.as_ref().as_ref());
                    acknowledged.one();
                }
                Answer::Refused => {}
                Answer::Unknown => {
                    self.open = Some(operation);
                    return self;
                }
            }
        }
    }

    fn next(&mut self) -> Operation {
        let task = self.rng.below(TASKS) as usize;
        let dice = self.rng.below(10);
        self.specs += 1;
        let what = match &self.tasks[task] {
            None => What::Start { spec: self.specs },
            Some(promise) if promise.cancelled => What::Delete,
            Some(_) if dice < 6 => What::Swap { spec: self.specs, wait: dice < 3 },
            Some(_) if dice < 8 => What::Rollback,
            Some(_) => What::Cancel,
        };
        Operation { task, what, request_id: self.rng.uuid() }
    }

    async fn ask(&self, client: &mut Client, operation: &Operation) -> Answer {
        let id = self.id(operation.task);
        loop {
            let status = match self.request(client, operation).await {
                Ok(task) => return Answer::Done(Box::new(task)),
                Err(status) => status,
            };
            if is_gone(&status) {
                return Answer::Unknown;
            }
            if may_be_refused(&operation.what, &status) {
                return Answer::Refused;
            }
            assert!(is_stalled(&status), "{operation:?} of {id}: {status:?}");
            // Whether or not it was taken in, its id tells the server that it is the same one.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn request(&self, client: &mut Client, operation: &Operation) -> Result<Option<v1::Task>, Status> {
        let Operation { task, ref what, ref request_id } = *operation;
        let (id, request_id) = (self.id(task), request_id.clone());
        match *what {
            What::Start { spec } => {
                let request = v1::StartTaskRequest { request_id, ..request(&id, spec) };
                client.start_task(request).await.map(|answer| answer.into_inner().task)
            }
            What::Swap { spec, wait } => {
                let task = request(&id, spec).task;
                let request = v1::SwapTaskRequest { name: name(&id), task, request_id, wait, ..Default::default() };
                client.swap_task(request).await.map(|answer| answer.into_inner().task)
            }
            What::Rollback => {
                let request = v1::RollbackTaskRequest { name: name(&id), request_id, wait: true, ..Default::default() };
                client.rollback_task(request).await.map(|answer| answer.into_inner().task)
            }
            What::Cancel => {
                let request = v1::CancelTaskRequest { name: name(&id), wait: true, request_id, ..Default::default() };
                client.cancel_task(request).await.map(|answer| answer.into_inner().task)
            }
            What::Delete => {
                let request = v1::DeleteTaskRequest { name: name(&id), request_id, ..Default::default() };
                client.delete_task(request).await.map(|_| None)
            }
        }
    }

    /// What is promised from here on.
    fn was_done(&mut self, operation: &Operation, task: Option<&v1::Task>) {
        let promised = &mut self.tasks[operation.task];
        match (&operation.what, task) {
            (What::Start { spec }, Some(task)) => {
                *promised = Some(Promise { uid: task.uid.clone(), specs: vec![*spec], cancelled: false });
            }
            (What::Swap { spec, wait: false }, _) => promised.as_mut().expect("it was started").specs.push(*spec),
            (What::Swap { wait: true, .. } | What::Rollback, Some(task)) => {
                promised.as_mut().expect("it was started").specs = vec![spec_of(task)];
            }
            (What::Cancel, _) => promised.as_mut().expect("it was started").cancelled = true,
            (What::Delete, _) => *promised = None,
            (what, None) => panic!("{what:?} was answered without a task"),
        }
    }

    /// Asks again for what it does not know the answer to, then looks whether every promise was kept.
    pub(super) async fn verify(&mut self, mut client: Client) {
        if let Some(operation) = self.open.take() {
            match self.ask(&mut client, &operation).await {
                Answer::Done(task) => self.was_done(&operation, task.as_ref().as_ref()),
                Answer::Refused => {}
                Answer::Unknown => panic!("nobody has killed this server"),
            }
        }
        for task in 0..self.tasks.len() {
            let (id, promise) = (self.id(task), self.tasks[task].clone());
            let shown = at_rest(&mut client, &id).await;
            let (promise, shown) = match (promise, shown) {
                (None, None) => continue,
                (Some(promise), Some(shown)) => (promise, shown),
                (promise, shown) => panic!("{id} was promised as {promise:?}, and is {shown:?}"),
            };
            let spec = spec_of(&shown);
            assert_eq!(shown.uid, promise.uid, "{id}");
            assert!(promise.specs.contains(&spec), "{id} was promised as {promise:?}, and is {shown:?}");
            if promise.cancelled {
                assert_eq!(shown.state(), State::Cancelled, "{id} was promised to be cancelled: {shown:?}");
            } else {
                assert_eq!((shown.intent(), shown.state()), (Intent::Run, State::Running), "{id}: {shown:?}");
            }
            remembered(&mut client, &shown).await;
            self.tasks[task] = Some(Promise { specs: vec![spec], ..promise });
        }
    }
}

/// The history says of a task at rest what the task does, and of each generation who gave it, and what became of it.
pub(super) async fn remembered(client: &mut Client, shown: &v1::Task) {
    let request = v1::ListGenerationsRequest { name: shown.name.clone() };
    let kept = client.list_generations(request).await.expect("there").into_inner().generations;
    let active: Vec<_> = kept.iter().filter(|kept| kept.state() == GenerationState::Active).collect();
    let [active] = active.as_slice() else { panic!("one is active of {kept:?}") };
    assert_eq!((active.generation, &active.spec), (shown.generation, &shown.spec), "{kept:?}");
    let is_whole = |kept: &v1::Generation| {
        let decided = !matches!(kept.state(), GenerationState::Unspecified | GenerationState::Candidate);
        decided && kept.cause.is_some() && kept.create_time.is_some()
    };
    assert!(kept.iter().all(is_whole), "{kept:?}");
}

fn request(id: &str, spec: u64) -> v1::StartTaskRequest {
    // Refuses at once; the first check makes the instance ready all the same.
    let tcp = v1::TcpMonitor { address: "127.0.0.1:1".to_owned(), ..Default::default() };
    with_spec(start(id, Monitor::Tcp(tcp)), |task| {
        let interval = ProtoDuration { seconds: 3_600, nanos: i32::try_from(spec * 1_000).expect("small") };
        task.schedule = Some(v1::Schedule { interval: Some(interval), ..Default::default() });
    })
}

/// Which of its specs a task has.
fn spec_of(task: &v1::Task) -> u64 {
    let schedule = task.spec.as_ref().and_then(|spec| spec.schedule.as_ref()).expect("filled in");
    u64::try_from(schedule.interval.expect("filled in").nanos / 1_000).expect("positive")
}

/// The task, once its swap is over and it is running, or has ended.
pub(super) async fn at_rest(client: &mut Client, id: &str) -> Option<v1::Task> {
    let timeout = Some(PATIENCE.try_into().expect("short"));
    let until = vec![State::Running.into(), State::Cancelled.into(), State::Succeeded.into(), State::Failed.into()];
    let swapped = v1::WaitTaskRequest { name: name(id), swap_ended: true, timeout, ..Default::default() };
    let settled = v1::WaitTaskRequest { name: name(id), until, timeout, ..Default::default() };
    let get = v1::GetTaskRequest { name: name(id) };
    match client.get_task(get).await {
        Err(status) if status.code() == Code::NotFound => return None,
        Err(status) => panic!("{id}: {status:?}"),
        Ok(answer) if answer.get_ref().task.as_ref().is_some_and(is_undecided) => {
            client.wait_task(swapped).await.unwrap_or_else(|status| panic!("{id}: {status:?}"));
        }
        Ok(_) => {}
    }
    let answer = client.wait_task(settled).await.unwrap_or_else(|status| panic!("{id}: {status:?}")).into_inner();
    assert!(answer.reached, "{id} never came to rest: {:?}", answer.task);
    answer.task
}

fn is_undecided(task: &v1::Task) -> bool {
    let ended = [SwapPhase::Done, SwapPhase::RolledBack, SwapPhase::Cancelled];
    task.swap.as_ref().is_some_and(|swap| !ended.contains(&swap.phase()))
}

/// Whether the connection broke, however tonic puts that.
pub(super) fn is_gone(status: &Status) -> bool {
    let broken = [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal];
    broken.contains(&status.code()) && reason(status).is_empty()
}

/// Whether a disk kept the server waiting for so long that it cannot say yet whether that was done.
pub(super) fn is_stalled(status: &Status) -> bool {
    reason(status) == "JOURNAL_STALLED"
}

/// A swap beside another, or of what is ending; a roll-back where there is nothing to go back to.
fn may_be_refused(what: &What, status: &Status) -> bool {
    let reasons = ["SWAP_IN_PROGRESS", "TASK_NOT_RUNNING", "GENERATION_NOT_FOUND"];
    match what {
        What::Swap { .. } => reasons[..2].contains(&reason(status).as_str()),
        What::Rollback => reasons.contains(&reason(status).as_str()),
        What::Start { .. } | What::Cancel | What::Delete => false,
    }
}
