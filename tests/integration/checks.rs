//! WatchChecks: the lossy live tail of what checks find.

use std::sync::Arc;

use switchyard::config::Layer;
use switchyard::model::Violations;
use switchyard::monitor::{Config, Context, Finding, Kind, Monitor, MonitorError, MonitorFuture};
use switchyard::pb::v1::task_spec::Monitor as Spec;
use switchyard::pb::v1::{
    CheckRecord, RunTaskRequest, Schedule, StartTaskRequest, State, TcpMonitor, Verdict, WatchChecksRequest,
    WatchChecksResponse,
};
use tokio::sync::Notify;
use tonic::{Code, Status, Streaming};

use crate::harness::{Client, Harness, builder, name, reach, refusal, start, with_spec};
use crate::kinds::custom;

const DAY: i64 = 24 * 3_600;

/// A task that makes no check by itself after its first.
fn quiet(id: &str, team: &str) -> StartTaskRequest {
    let monitor = Spec::Tcp(TcpMonitor { address: "127.0.0.1:1".to_owned(), steps: Vec::new() });
    let mut request = with_spec(start(id, monitor), |spec| {
        let interval = Some(prost_types::Duration { seconds: DAY, nanos: 0 });
        spec.schedule = Some(Schedule { interval, ..Default::default() });
    });
    request.task.as_mut().expect("given").labels.insert("team".to_owned(), team.to_owned());
    request
}

async fn check(client: &mut Client, id: &str) {
    client.run_task(RunTaskRequest { name: name(id), ..Default::default() }).await.expect("checked");
}

fn of(id: &str) -> WatchChecksRequest {
    WatchChecksRequest { name: name(id), ..Default::default() }
}

/// A watch that stands.
async fn watch(client: &mut Client, request: WatchChecksRequest) -> Result<Streaming<WatchChecksResponse>, Status> {
    let mut frames = client.watch_checks(request).await?.into_inner();
    assert_eq!(frames.message().await?, Some(WatchChecksResponse::default()), "the first is empty");
    Ok(frames)
}

async fn next(frames: &mut Streaming<WatchChecksResponse>) -> CheckRecord {
    loop {
        let WatchChecksResponse { mut checks, dropped } = frames.message().await.expect("no error").expect("goes on");
        assert_eq!(dropped, 0);
        assert!(checks.len() <= 1, "{checks:?}");
        if let Some(check) = checks.pop() {
            return check;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_are_told_as_they_end_to_those_who_have_asked_for_their_tasks() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    for (id, team) in [("api", "core"), ("db", "data")] {
        client.start_task(quiet(id, team)).await.expect("started");
        reach(&mut client, id, State::Running).await;
    }
    let filter = "labels.team = core AND name = a*".to_owned();
    let mut core = watch(&mut client, WatchChecksRequest { filter, ..Default::default() }).await.expect("opened");
    let mut db = watch(&mut client, of("db")).await.expect("opened");
    let parent = "namespaces/elsewhere".to_owned();
    let mut elsewhere = watch(&mut client, WatchChecksRequest { parent, ..Default::default() }).await.expect("opened");
    check(&mut client, "db").await;
    check(&mut client, "api").await;
    let (of_core, of_db) = (next(&mut core).await, next(&mut db).await);
    assert_eq!((of_core.name, of_db.name), (name("api"), name("db")));
    assert_eq!((of_core.generation, of_core.shadow, of_core.uid.is_empty()), (1, false, false));
    let found = of_core.check.expect("there");
    assert_eq!((found.verdict(), found.reason.as_str()), (Verdict::Fail, "CONNECTION_REFUSED"));

    assert_eq!(refusal(&watch(&mut client, of("nobody")).await.expect_err("refused")).1, "TASK_NOT_FOUND");
    for wrong in [
        WatchChecksRequest { filter: "type = TASK_ENDED".to_owned(), ..Default::default() },
        WatchChecksRequest { filter: "team = core".to_owned(), ..of("api") },
        WatchChecksRequest { name: "api".to_owned(), ..Default::default() },
    ] {
        let refused = watch(&mut client, wrong).await.expect_err("refused");
        assert_eq!(refusal(&refused), (Code::InvalidArgument, "INVALID_FIELD".to_owned()));
    }

    server.shut_down();
    let end = loop {
        match elsewhere.message().await {
            Ok(frame) => assert_eq!(frame, Some(WatchChecksResponse::default()), "nothing lies elsewhere"),
            Err(status) => break status,
        }
    };
    assert_eq!(refusal(&end), (Code::Unavailable, "SERVER_DRAINING".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_checks_takes_the_slot_of_a_stream() {
    let server = Harness::start(Layer { max_streams: Some(1), ..Layer::default() }).await;
    let mut client = server.client().await;
    let first = watch(&mut client, WatchChecksRequest::default()).await.expect("opened");
    let second = watch(&mut client, WatchChecksRequest::default()).await.expect_err("refused");
    assert_eq!(refusal(&second), (Code::ResourceExhausted, "STREAM_LIMIT".to_owned()));
    drop(first);
}

const BURST: usize = 8_000;

/// Makes a burst of checks once it is told to, each with its number in a message as long as may be.
#[derive(Clone, Default)]
struct Bursting {
    begin: Arc<Notify>,
    over: Arc<Notify>,
}

impl Kind for Bursting {
    fn name(&self) -> &str {
        "bursting"
    }

    fn validate(&self, config: &Config) -> Result<(), Violations> {
        config.refuse_any()
    }

    fn build(&self, _: &Config) -> Result<Box<dyn Monitor>, MonitorError> {
        Ok(Box::new(self.clone()))
    }
}

impl Monitor for Bursting {
    fn run(self: Box<Self>, context: Context) -> MonitorFuture {
        Box::pin(async move {
            context.run_until_cancelled(self.begin.notified()).await;
            for number in 0..BURST {
                let message = || format!("{number:<1024}");
                // One check each: `max_runs` is 1.
                context.every(context.schedule().interval(), || async { Finding::neutral("BURST", message()) }).await;
            }
            self.over.notify_one();
            context.token().cancelled().await;
            Ok(())
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_slow_holds_nobody_up_and_is_told_how_much_was_dropped() {
    let kind = Bursting::default();
    let server = Harness::run(builder(Layer::default()).register(kind.clone()).bind().await.expect("bound"));
    let mut client = server.client().await;
    let request = with_spec(custom("burst", "bursting"), |spec| {
        let interval = Some(prost_types::Duration { seconds: DAY, nanos: 0 });
        spec.schedule = Some(Schedule { interval, max_runs: 1, ..Default::default() });
    });
    client.start_task(request).await.expect("started");
    reach(&mut client, "burst", State::Running).await;
    let mut frames = watch(&mut client, of("burst")).await.expect("opened");
    kind.begin.notify_one();
    // Nobody reads, and the monitor gets to its end all the same.
    kind.over.notified().await;

    let (mut numbers, mut dropped) = (Vec::<usize>::new(), 0);
    while numbers.len() + dropped < BURST {
        let frame = frames.message().await.expect("no error").expect("goes on");
        dropped += usize::try_from(frame.dropped).expect("few");
        let messages = frame.checks.into_iter().filter_map(|record| record.check).map(|check| check.message);
        numbers.extend(messages.map(|message| message.trim_end().parse::<usize>().expect("a number")));
    }
    assert!(dropped > 0 && numbers.len() + dropped == BURST, "{} and {dropped}", numbers.len());
    assert!(numbers.is_sorted() && numbers.last() == Some(&(BURST - 1)), "the newest are there, in order");
}
