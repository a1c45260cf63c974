//! A server with a wrong kind and a right one on one thread, a stream of all its events, and what can be asked of them.

use std::time::{Duration, SystemTime};

use switchyard::config::Layer;
use switchyard::model::Pretty;
use switchyard::monitor::{CancellationToken, Kind, from_fn};
use switchyard::pb::v1::watch_tasks_request::Start;
use switchyard::pb::v1::{
    Alert, AlertKind, Event, EventType, EventView, GetTaskRequest, ShutdownPolicy, State, Task, WatchTasksRequest,
    WatchTasksResponse, WatchdogPolicy, event::Detail,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::Streaming;

use crate::harness::{Client, Harness, builder, cancel, name, with_spec};
use crate::kinds::custom;

/// The wrong task, and its kind.
pub(super) const WRONG: &str = "wrong";
/// The task beside it.
pub(super) const NEIGHBOUR: &str = "neighbour";
/// No event is that late, however busy the machine is: a test that waits for one in vain fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);
/// The default of `watchdog.blocked_poll_after`.
const BLOCKED_AFTER: Duration = Duration::from_secs(1);
/// What a tick of the watchdog's clock counts for at the most: by so much a poll's beginning may be taken for earlier than it was.
const TICK: Duration = Duration::from_millis(50);

/// The bounds of a spec; `None` is the document's own figure, which is the server's default.
#[derive(Clone, Copy, Default)]
pub(super) struct Bounds {
    pub(super) grace: Option<Duration>,
    pub(super) abort: Option<Duration>,
    pub(super) slow_cancellation: Option<Duration>,
    pub(super) long_running: Option<Duration>,
}

pub(super) struct Scene {
    server: Harness,
    client: Client,
    frames: Streaming<WatchTasksResponse>,
    seen: Vec<Event>,
    beats: watch::Receiver<u64>,
}

impl Bounds {
    /// Phases that are over soon, for where it does not matter how long they are; and no `long_running_task`.
    pub(super) const SHORT: Self = Self {
        grace: Some(Duration::from_millis(300)),
        abort: Some(Duration::from_millis(200)),
        slow_cancellation: Some(Duration::from_millis(100)),
        long_running: Some(Duration::from_secs(3_600)),
    };

    /// The document's own, for what is to end well however busy the machine is; and no `long_running_task`.
    pub(super) const AMPLE: Self =
        Self { grace: None, abort: None, slow_cancellation: None, long_running: Self::SHORT.long_running };

    pub(super) fn grace(self) -> Duration {
        self.grace.unwrap_or(Duration::from_secs(5))
    }

    pub(super) fn abort(self) -> Duration {
        self.abort.unwrap_or(Duration::from_secs(2))
    }

    fn policies(self) -> (ShutdownPolicy, WatchdogPolicy) {
        let wire = |span: Option<Duration>| span.map(|span| span.try_into().expect("small"));
        let shutdown = ShutdownPolicy { grace_timeout: wire(self.grace), abort_timeout: wire(self.abort) };
        let watchdog = WatchdogPolicy {
            slow_cancellation_after: wire(self.slow_cancellation),
            long_running_after: wire(self.long_running),
            blocked_poll_after: None,
        };
        (shutdown, watchdog)
    }
}

/// The document's required pattern, which says each time that it has checked.
fn required(beats: watch::Sender<u64>) -> impl Kind {
    from_fn(NEIGHBOUR, move |cancel_token: CancellationToken| {
        let beats = beats.clone();
        async move {
            loop {
                tokio::select! {
                    () = cancel_token.cancelled() => break,
                    () = sleep(Duration::from_millis(20)) => beats.send_modify(|beats| *beats += 1),
                }
            }
        }
    })
}

impl Scene {
    /// An embedder's server, with one thread for custom kinds.
    pub(super) async fn open(wrong: impl Kind) -> Self {
        Self::with(Layer::default(), wrong).await
    }

    /// The same, as `layer` says for the rest.
    pub(super) async fn with(layer: Layer, wrong: impl Kind) -> Self {
        assert_eq!(wrong.name(), WRONG);
        let (beat, beats) = watch::channel(0);
        let layer = Layer { custom_shards: Some(1), ..layer };
        let server = builder(layer).register(wrong).register(required(beat)).bind().await.expect("bound");
        let server = Harness::run(server);
        let mut client = server.client().await;
        let request = WatchTasksRequest {
            start: Some(Start::Cursor(server.info().await.head_cursor)),
            view: EventView::Full.into(),
            ..WatchTasksRequest::default()
        };
        let frames = client.watch_tasks(request).await.expect("opened").into_inner();
        Self { server, client, frames, seen: Vec::new(), beats }
    }

    /// Starts a task of the kind that is called as it is.
    pub(super) async fn start(&mut self, id: &str, bounds: Bounds) {
        self.start_of(id, id, bounds).await;
    }

    /// Starts a task of that kind.
    pub(super) async fn start_of(&mut self, kind: &str, id: &str, bounds: Bounds) {
        let (shutdown, watchdog) = bounds.policies();
        let request = with_spec(custom(id, kind), |spec| {
            (spec.shutdown, spec.watchdog) = (Some(shutdown), Some(watchdog));
        });
        self.client.start_task(request).await.expect("starts");
    }

    /// Reads events until one of the task's is told so.
    pub(super) async fn until(&mut self, id: &str, told: &str) -> Event {
        let found =
            |events: &[Event]| events.iter().find(|event| event.name == name(id) && tell(event) == told).cloned();
        let patience = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = found(&self.seen) {
                return event;
            }
            match timeout_at(patience, self.frames.message()).await {
                Ok(frame) => self.seen.extend(frame.expect("no error").expect("not ended").events),
                Err(_) => panic!("{id}: no {told:?} after {:#?}", self.story(id)),
            }
        }
    }

    /// What has happened to the task, in order.
    pub(super) fn story(&self, id: &str) -> Vec<String> {
        let mut story: Vec<_> = self.seen.iter().filter(|event| event.name == name(id)).map(tell).collect();
        // A poll that returns and an instance that ends by that are told of by two threads, and either may be the first. Resolved
        // as the last one is what it is where the end comes first.
        let place = |story: &[String], told: &str| story.iter().position(|other| other.starts_with(told));
        let returned = place(&story, "ALERT_RESOLVED POLL_BLOCKED");
        if let (Some(returned), Some(ended)) = (returned, place(&story, "TASK_ENDED")) {
            let told = story.remove(returned);
            story.insert(ended - 1, told);
        }
        story
    }

    /// Has the task cancelled, and waits for what comes of it.
    pub(super) async fn cancel(&mut self, id: &str) -> Task {
        self.client.cancel_task(cancel(id)).await.expect("cancels").into_inner().task.expect("the task")
    }

    /// Has the task cancelled, and waits for nothing.
    pub(super) async fn ask_to_stop(&mut self, id: &str) {
        let request = switchyard::pb::v1::CancelTaskRequest { wait: false, ..cancel(id) };
        self.client.cancel_task(request).await.expect("cancels");
    }

    pub(super) async fn get(&mut self, id: &str) -> Task {
        self.client
            .get_task(GetTaskRequest { name: name(id) })
            .await
            .expect("there")
            .into_inner()
            .task
            .expect("the task")
    }

    /// Waits until the task beside has checked a few times more.
    pub(super) async fn goes_on(&mut self) {
        let until = *self.beats.borrow_and_update() + 3;
        let checked = timeout(PATIENCE, self.beats.wait_for(|beats| *beats >= until)).await;
        checked.expect("the neighbour goes on").expect("the kind is there");
    }

    /// A figure of `/metrics`, by its name without the prefix.
    pub(super) async fn metric(&self, series: &str) -> u64 {
        let line = format!("circuit_breaker_{series} ");
        let metrics = self.server.metrics().await;
        let value = metrics.lines().find_map(|found| found.strip_prefix(&line));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{series} in {metrics}"))
    }

    /// Waits for a figure that the watchdog sets, at its next tick or so.
    pub(super) async fn settles(&self, series: &str, value: u64) {
        let settled = async {
            while self.metric(series).await != value {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, settled).await.unwrap_or_else(|_| panic!("{series} is never {value}"));
    }

    /// The metrics say what the wrong task's story says, of these exits there was one each, and nothing is left.
    pub(super) async fn counted(&self, story: &[&str], exits: &[&str]) {
        let once = |labels: Vec<String>| labels.into_iter().map(|label| (label, 1)).collect::<Vec<_>>();
        let mut raised: Vec<_> = story.iter().filter_map(|told| told.strip_prefix("ALERT_RAISED ")).collect();
        raised.sort_unstable();
        let raised = raised.iter().map(|alert| alert.to_lowercase()).collect();
        assert_eq!(self.counts("alerts_raised_total").await, once(raised));
        let ended = exits.iter().map(|&exit| exit.to_owned()).collect();
        assert_eq!(self.counts("instance_exits_total").await, once(ended));
        assert_eq!(self.counts("alerts_active").await, []);
        assert_eq!(self.metric("active_tasks").await, 0);
    }

    /// Every figure of a family by its one label, those that are zero left out.
    async fn counts(&self, family: &str) -> Vec<(String, u64)> {
        let begins = format!("circuit_breaker_{family}{{");
        let metrics = self.server.metrics().await;
        let counts = metrics.lines().filter_map(|line| line.strip_prefix(&begins)).map(|rest| {
            let (label, count) = rest.split_once("\"} ").expect("one label");
            (label.split_once("=\"").expect("one label").1.to_owned(), count.parse().expect("a count"))
        });
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// That the task blocks is told in time, by what the server says of it: `began` is when it really began.
    pub(super) async fn is_found_blocking(&mut self, began: impl FnOnce() -> SystemTime) {
        let event = self.until(WRONG, "ALERT_RAISED POLL_BLOCKED").await;
        let Some(Detail::Alert(Alert { raise_time, message, .. })) = &event.detail else { panic!("{event:?}") };
        let instance = event.task.as_ref().and_then(|task| task.instance.as_ref()).expect("runs");
        let time =
            |time: &Option<prost_types::Timestamp>| SystemTime::try_from(time.expect("set")).expect("after 1970");
        let (raised, since) = (time(raise_time), time(&instance.blocked_since));
        let lasts = raised.duration_since(since).expect("in order");
        // By the watchdog's own clock, which no busy machine can put off: it is what this bound is about.
        assert!(BLOCKED_AFTER <= lasts && lasts < BLOCKED_AFTER + Duration::from_millis(100), "{lasts:?}");
        assert_eq!(*message, format!("one poll has kept its thread for {}, and goes on", Pretty::about(lasts)));
        // By the fixture's clock. A busy machine may keep the watchdog from its work, and then time does not count.
        let really = raised.duration_since(began()).expect("in order");
        assert!(BLOCKED_AFTER - TICK <= really && really < BLOCKED_AFTER + Duration::from_secs(20), "{really:?}");
    }
}

/// How long each phase of a task's shutdown took, by the server's clock.
pub(super) fn phases(task: &Task) -> (Duration, Option<Duration>) {
    let shutdown = task.instance.as_ref().and_then(|instance| instance.shutdown).expect("was asked to stop");
    let std = |duration: prost_types::Duration| Duration::try_from(duration).expect("positive");
    (std(shutdown.graceful_duration.expect("phase 1 is over")), shutdown.abort_duration.map(std))
}

/// Both phases took as long as they had to, and no test waits much longer. How late a busy machine is with its timers is not what is
/// bounded here.
pub(super) fn stops_within(task: &Task, bounds: Bounds) {
    let (graceful, abort) = phases(task);
    let abort = abort.expect("phase 2 is over");
    // The deadlines are absolute: by what the first phase was late, the second one is shorter.
    let both = bounds.grace() + bounds.abort();
    assert!(graceful >= bounds.grace() && graceful + abort >= both, "{graceful:?}, {abort:?}");
    assert!(graceful + abort < both + Duration::from_secs(10), "{graceful:?}, {abort:?}");
}

/// The task's state, and which alerts are open.
pub(super) fn stands(task: &Task) -> (State, Vec<AlertKind>) {
    let mut alerts: Vec<_> = task.alerts.iter().map(Alert::kind).collect();
    alerts.sort_unstable();
    (task.state(), alerts)
}

/// An event as tests write it: its type, and what tells it from others of that type.
fn tell(event: &Event) -> String {
    let told = event.r#type().as_str_name().trim_start_matches("EVENT_TYPE_").to_owned();
    match &event.detail {
        Some(Detail::Instance(instance)) if event.r#type() == EventType::InstanceEnded => {
            format!("{told} {}", instance.exit().as_str_name().trim_start_matches("EXIT_"))
        }
        Some(Detail::Instance(instance)) if instance.attempt > 1 => format!("{told} {}", instance.attempt),
        Some(Detail::Alert(alert)) => {
            format!("{told} {}", alert.kind().as_str_name().trim_start_matches("ALERT_KIND_"))
        }
        _ => told,
    }
}
