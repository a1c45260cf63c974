//! CircuitService: what callers ask of circuits and tell them, and what operators decide over them.

mod health;
mod mirror;
mod overridden;
mod overrides;
mod patience;
mod series;

use std::fmt;
use std::net::SocketAddr;

use switchyard::config::Layer;
use switchyard::pb::v1::acquire_permit_response::Answer;
use switchyard::pb::v1::circuit_service_client::CircuitServiceClient;
use switchyard::pb::v1::task_spec::Monitor;
use switchyard::pb::v1::watch_circuits_request::Start;
use switchyard::pb::v1::{
    AcquirePermitRequest, CallOutcome, CallVerdict, Circuit, CircuitPolicy, CircuitReason, CircuitState, Denied,
    Disposition, Event, EventType, EvidenceSource, GetCircuitRequest, ListCircuitsRequest, Override, Permit,
    ReportOutcomesRequest, Schedule, State, TcpMonitor, WatchCircuitsRequest, WatchCircuitsResponse,
};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use self::overrides::over;
use self::patience::Patience;
use crate::harness::{Client, Harness, cancel, idle, name, reach, refusal, start, with_spec};

type Circuits = CircuitServiceClient<Channel>;

fn span(millis: u64) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(std::time::Duration::from_millis(millis)).ok()
}

/// Takes every connection, so that checks of it pass.
struct Target {
    address: SocketAddr,
    _accepts: AbortOnDropHandle<()>,
}

impl Target {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let accepts = async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        };
        Self { address, _accepts: AbortOnDropHandle::new(tokio::spawn(accepts)) }
    }
}

/// Four failed calls open it for 100 ms; the trial lasts for as long as it takes two calls and a check to go well.
fn policy() -> CircuitPolicy {
    CircuitPolicy {
        passive_min: 4,
        open_base: span(100),
        jitter: Some(0.0),
        close_successes: 1,
        trial_permits: Some(2),
        lease_ttl: span(600_000),
        half_open_max: span(86_400_000),
        ..Default::default()
    }
}

/// A task that checks the target every 100 ms, once it is ready.
async fn watched(server: &Harness, target: &Target, circuit: CircuitPolicy) -> (Client, Circuits) {
    watched_over(server.connect().await, target, circuit).await
}

/// The same, of whatever server is at the other end.
async fn watched_over(channel: Channel, target: &Target, circuit: CircuitPolicy) -> (Client, Circuits) {
    let mut client = Client::new(channel.clone());
    let monitor = Monitor::Tcp(TcpMonitor { address: target.address.to_string(), steps: Vec::new() });
    let request = with_spec(start("api", monitor), |spec| {
        spec.schedule = Some(Schedule { interval: span(100), timeout: span(100), max_runs: 0 });
        spec.circuit = Some(circuit);
    });
    client.start_task(request).await.expect("started");
    reach(&mut client, "api", State::Running).await;
    (client, CircuitServiceClient::new(channel))
}

async fn circuit(circuits: &mut Circuits) -> Circuit {
    let request = GetCircuitRequest { name: name("api") };
    circuits.get_circuit(request).await.expect("there").into_inner().circuit.expect("answered")
}

async fn acquire(circuits: &mut Circuits) -> Answer {
    let request = AcquirePermitRequest { name: name("api") };
    circuits.acquire_permit(request).await.expect("answered").into_inner().answer.expect("one of both")
}

async fn permit(circuits: &mut Circuits) -> Permit {
    match acquire(circuits).await {
        Answer::Permit(permit) => permit,
        Answer::Denied(denied) => panic!("{denied:?}"),
    }
}

async fn denied(circuits: &mut Circuits) -> Denied {
    match acquire(circuits).await {
        Answer::Denied(denied) => denied,
        Answer::Permit(permit) => panic!("{permit:?}"),
    }
}

fn outcome(sequence: u64, token: &str, outcome: CallVerdict) -> CallOutcome {
    CallOutcome { name: name("api"), token: token.to_owned(), sequence, outcome: outcome.into(), latency: span(5) }
}

async fn report(circuits: &mut Circuits, outcomes: Vec<CallOutcome>) -> Result<Vec<Disposition>, Status> {
    report_in(circuits, vec![outcomes]).await
}

/// Reports in so many messages of one call.
async fn report_in(circuits: &mut Circuits, messages: Vec<Vec<CallOutcome>>) -> Result<Vec<Disposition>, Status> {
    let message = |outcomes| ReportOutcomesRequest { reporter: "caller-1".to_owned(), outcomes };
    let messages: Vec<_> = messages.into_iter().map(message).collect();
    let answer = circuits.report_outcomes(tokio_stream::iter(messages)).await?.into_inner();
    Ok(answer.dispositions.into_iter().map(|told| Disposition::try_from(told).expect("known")).collect())
}

/// Opens the circuit by failed calls, numbered from 1 to 4.
async fn fail(circuits: &mut Circuits) {
    let token = circuit(circuits).await.token;
    let outcomes = (1..=4).map(|number| outcome(number, &token, CallVerdict::Failure)).collect();
    assert_eq!(report(circuits, outcomes).await.expect("taken in"), [Disposition::Accepted; 4]);
}

/// A watch of circuits, and what of it has not been looked at.
struct Watch {
    frames: Streaming<WatchCircuitsResponse>,
    events: Vec<Event>,
    circuits: Vec<Circuit>,
    cursor: String,
}

impl Watch {
    async fn open(circuits: &mut Circuits, start: Option<Start>) -> Self {
        let request = WatchCircuitsRequest { start, ..Default::default() };
        let frames = circuits.watch_circuits(request).await.expect("opened").into_inner();
        Self { frames, events: Vec::new(), circuits: Vec::new(), cursor: String::new() }
    }

    async fn frame(&mut self) -> bool {
        let frame = self.frames.message().await.expect("no error").expect("not ended");
        self.take(frame)
    }

    fn take(&mut self, frame: WatchCircuitsResponse) -> bool {
        self.events.extend(frame.events);
        self.circuits.extend(frame.circuits);
        self.cursor = frame.cursor;
        frame.initial_complete
    }

    /// The first event of that type, and the circuit as it stood then; forgets all before.
    async fn until(&mut self, kind: EventType) -> (Event, Circuit) {
        let place = self.place_of(kind, 1).await;
        let event = self.events.drain(..=place).next_back().expect("found");
        let Some(switchyard::pb::v1::event::Detail::Circuit(shown)) = event.detail.clone() else {
            panic!("{event:?} is of no circuit");
        };
        let seen = |circuit: &&Circuit| circuit.epoch == shown.epoch && circuit.r#override == shown.r#override;
        let circuit = self.circuits.iter().find(seen).expect("it comes with its event").clone();
        (event, circuit)
    }

    /// Where among the events that have not been looked at the one of that type and number is, once it has come.
    async fn place_of(&mut self, kind: EventType, number: usize) -> usize {
        let patience = Patience::with(format!("{} {number}", kind.as_str_name()));
        loop {
            let mut places = (0..self.events.len()).filter(|place| self.events[*place].r#type() == kind);
            if let Some(place) = places.nth(number - 1) {
                return place;
            }
            let frame = patience.wait(self.frames.message(), Story(&self.events)).await;
            self.take(frame.expect("no error").expect("not ended"));
        }
    }
}

/// What was told, in short: what is told again and again is shown once.
struct Story<'a>(&'a [Event]);

impl fmt::Debug for Story<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told: Vec<_> = self.0.iter().map(|event| (event.r#type().as_str_name(), &event.name)).collect();
        told.dedup();
        f.debug_list().entries(told).finish()
    }
}

async fn from_now(circuits: &mut Circuits) -> Watch {
    let mut watch = Watch::open(circuits, None).await;
    watch.frame().await;
    watch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_its_checks_and_fails_its_callers_opens_and_closes_once_trial_calls_go_well() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let (_client, mut circuits) = watched(&server, &target, policy()).await;
    let mut watch = from_now(&mut circuits).await;
    let before = circuit(&mut circuits).await;
    let free = permit(&mut circuits).await;
    assert_eq!((free.token.as_str(), free.lease_expire_time), (before.token.as_str(), None), "closed: no lease");

    fail(&mut circuits).await;
    let (tripped, open) = watch.until(EventType::CircuitTripped).await;
    assert_eq!((open.state(), open.reason()), (CircuitState::Open, CircuitReason::Failure));
    assert_eq!(open.trip_source(), EvidenceSource::Passive);
    assert_eq!(tripped.cause.expect("said").reason, "too many calls failed or were slow, as callers report");

    let (_, half_open) = watch.until(EventType::CircuitHalfOpened).await;
    let lease = permit(&mut circuits).await;
    assert!(lease.lease_expire_time.is_some() && lease.token != half_open.token, "{lease:?}");
    assert!(denied(&mut circuits).await.retry_after.is_some(), "one at a time");
    let untold = outcome(5, &half_open.token, CallVerdict::Failure);
    assert_eq!(report(&mut circuits, vec![untold]).await.expect("taken in"), [Disposition::Ignored]);

    let told = vec![
        outcome(6, &free.token, CallVerdict::Success),
        outcome(7, &lease.token, CallVerdict::Cancelled),
        outcome(8, &lease.token, CallVerdict::Success),
    ];
    let dispositions = report(&mut circuits, told).await.expect("taken in");
    assert_eq!(dispositions, [Disposition::Stale, Disposition::Neutral, Disposition::Duplicate]);

    let (mut number, mut good) = (8, Vec::new());
    for _ in 0..2 {
        number += 1;
        let lease = permit(&mut circuits).await;
        good.extend(report(&mut circuits, vec![outcome(number, &lease.token, CallVerdict::Success)]).await);
    }
    assert_eq!(good, [[Disposition::Accepted], [Disposition::Accepted]]);
    let (recovered, closed) = watch.until(EventType::CircuitRecovered).await;
    assert_eq!((closed.state(), closed.reason()), (CircuitState::Closed, CircuitReason::Recovered));
    let reason = recovered.cause.expect("said").reason;
    assert_eq!(reason, "1 checks in a row passed, and 2 trial calls went well");

    let metrics = server.metrics().await;
    for series in [
        "circuit_breaker_circuit_reports_total{disposition=\"accepted\"} 6",
        "circuit_breaker_circuit_reports_total{disposition=\"duplicate\"} 1",
        "circuit_breaker_circuit_permits_total{answer=\"lease\"} 3",
        "circuit_breaker_circuit_permits_total{answer=\"free\"} 1",
        "circuit_breaker_circuit_open_duration_seconds_count 1",
    ] {
        assert!(metrics.contains(series), "{series} is not in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_call_that_fails_opens_it_again_and_without_callers_it_is_waived() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let (_client, mut circuits) = watched(&server, &target, policy()).await;
    let mut watch = from_now(&mut circuits).await;
    fail(&mut circuits).await;
    watch.until(EventType::CircuitHalfOpened).await;
    let lease = permit(&mut circuits).await;
    let bad = report(&mut circuits, vec![outcome(5, &lease.token, CallVerdict::Failure)]).await;
    assert_eq!(bad.expect("taken in"), [Disposition::Accepted]);
    let (again, open) = watch.until(EventType::CircuitTripped).await;
    let (again, open) = match open.streak {
        1 => watch.until(EventType::CircuitTripped).await,
        _ => (again, open),
    };
    assert_eq!((open.streak, again.cause.expect("said").reason.as_str()), (2, "a trial call failed or was slow"));

    let server = Harness::start(Layer::default()).await;
    let policy = CircuitPolicy { half_open_max: span(400), ..policy() };
    let (_client, mut circuits) = watched(&server, &target, policy).await;
    let mut watch = from_now(&mut circuits).await;
    fail(&mut circuits).await;
    let (_, closed) = watch.until(EventType::CircuitRecovered).await;
    assert_eq!((closed.reason(), closed.trip_source()), (CircuitReason::Waived, EvidenceSource::Passive));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_has_expired_is_free_again_and_its_outcome_counts_for_nothing() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let policy = CircuitPolicy { lease_ttl: span(100), ..policy() };
    let (_client, mut circuits) = watched(&server, &target, policy).await;
    let mut watch = from_now(&mut circuits).await;
    fail(&mut circuits).await;
    watch.until(EventType::CircuitHalfOpened).await;
    let first = permit(&mut circuits).await;
    // As a caller would.
    let second = loop {
        match acquire(&mut circuits).await {
            Answer::Permit(permit) => break permit,
            Answer::Denied(denied) => {
                let wait = denied.retry_after.expect("known").try_into().expect("positive");
                tokio::time::sleep(wait).await;
            }
        }
    };
    assert_ne!(first.token, second.token);
    let late = report(&mut circuits, vec![outcome(5, &first.token, CallVerdict::Failure)]).await;
    assert_eq!(late.expect("taken in"), [Disposition::Expired]);
    assert_eq!(circuit(&mut circuits).await.state(), CircuitState::HalfOpen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_counts_once_and_each_reporter_has_its_own_numbers() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let (_client, mut circuits) = watched(&server, &target, CircuitPolicy { passive_min: 1_000, ..policy() }).await;
    let token = circuit(&mut circuits).await.token;
    let good = |number| outcome(number, &token, CallVerdict::Success);
    let all = report_in(&mut circuits, vec![vec![good(1), good(2)], vec![good(2), good(3)], vec![]]).await;
    use Disposition::{Accepted, Duplicate, Stale};
    assert_eq!(all.expect("taken in"), [Accepted, Accepted, Duplicate, Accepted]);
    assert_eq!(report(&mut circuits, vec![good(3), good(9)]).await.expect("taken in"), [Duplicate, Accepted]);
    let other = ReportOutcomesRequest { reporter: "caller-2".to_owned(), outcomes: vec![good(3)] };
    let answer = circuits.report_outcomes(tokio_stream::iter([other])).await.expect("taken in").into_inner();
    assert_eq!(answer.dispositions, [i32::from(Accepted)]);

    let nobody = CallOutcome { name: name("nobody"), ..good(10) };
    assert_eq!(report(&mut circuits, vec![nobody]).await.expect("taken in"), [Stale]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_that_are_wrong_say_where_and_count_for_nothing() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let (_client, mut circuits) = watched(&server, &target, policy()).await;
    let token = circuit(&mut circuits).await.token;
    let good = outcome(1, &token, CallVerdict::Failure);
    let bad = vec![
        good.clone(),
        CallOutcome { name: "api".to_owned(), token: "mine".to_owned(), sequence: 1, ..good.clone() },
        CallOutcome {
            outcome: 0,
            sequence: 2,
            latency: span(1).map(|it| prost_types::Duration { seconds: -1, ..it }),
            ..good.clone()
        },
    ];
    let status = report(&mut circuits, bad).await.expect_err("refused");
    assert_eq!(refusal(&status), (Code::InvalidArgument, "INVALID_FIELD".to_owned()));
    let mut fields: Vec<_> = status.get_error_details().bad_request().expect("said").field_violations.clone();
    fields.sort_by(|a, b| a.field.cmp(&b.field));
    let fields: Vec<_> = fields.into_iter().map(|violation| violation.field).collect();
    let expected =
        ["outcomes[1].name", "outcomes[1].sequence", "outcomes[1].token", "outcomes[2].latency", "outcomes[2].outcome"];
    assert_eq!(fields, expected);
    let all = vec![good.clone(); 1_001];
    let status = report(&mut circuits, all).await.expect_err("too many");
    assert_eq!(refusal(&status), (Code::ResourceExhausted, "BATCH_LIMIT".to_owned()));
    let nameless = ReportOutcomesRequest { reporter: String::new(), outcomes: vec![good.clone()] };
    let status = circuits.report_outcomes(tokio_stream::iter([nameless])).await.expect_err("refused");
    assert_eq!(refusal(&status), (Code::InvalidArgument, "INVALID_FIELD".to_owned()));
    assert_eq!(report(&mut circuits, vec![good]).await.expect("taken in"), [Disposition::Accepted], "number 1 is new");

    let missing = AcquirePermitRequest { name: name("nobody") };
    let status = circuits.acquire_permit(missing).await.expect_err("no such task");
    assert_eq!(refusal(&status), (Code::NotFound, "TASK_NOT_FOUND".to_owned()));
    let status = circuits.get_circuit(GetCircuitRequest { name: name("nobody") }).await.expect_err("no such task");
    assert_eq!(refusal(&status), (Code::NotFound, "TASK_NOT_FOUND".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn circuits_are_listed_and_watched_from_their_state_or_a_cursor_until_their_task_is_deleted() {
    let (server, target) = (Harness::start(Layer::default()).await, Target::start().await);
    let (mut client, mut circuits) = watched(&server, &target, policy()).await;
    client.start_task(idle("other")).await.expect("started");
    reach(&mut client, "other", State::Running).await;

    let filter = "circuit.state = CLOSED".to_owned();
    let first = ListCircuitsRequest { page_size: 1, filter, ..Default::default() };
    let page = circuits.list_circuits(first.clone()).await.expect("lists").into_inner();
    let names = |circuits: &[Circuit]| circuits.iter().map(|circuit| circuit.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&page.circuits), [name("api")]);
    assert!(!page.circuits[0].token.is_empty() && !page.cursor.is_empty());
    let next = ListCircuitsRequest { page_token: page.next_page_token, ..first };
    let page = circuits.list_circuits(next).await.expect("lists").into_inner();
    assert_eq!((names(&page.circuits), page.next_page_token.as_str()), (vec![name("other")], ""));

    let mut watch = Watch::open(&mut circuits, Some(Start::SendInitialState(true))).await;
    while !watch.frame().await {}
    assert_eq!(names(&watch.circuits), [name("api"), name("other")]);
    let cursor = watch.cursor.clone();
    circuits.override_circuit(over(Override::ForcedOpen, "why")).await.expect("laid");
    client.cancel_task(cancel("api")).await.expect("cancelled");
    let delete = switchyard::pb::v1::DeleteTaskRequest { name: name("api"), ..Default::default() };
    client.delete_task(delete).await.expect("deleted");

    let mut again = Watch::open(&mut circuits, Some(Start::Cursor(cursor))).await;
    for watch in [&mut watch, &mut again] {
        watch.circuits.clear();
        while watch.events.last().is_none_or(|event| event.r#type() != EventType::TaskDeleted) {
            watch.frame().await;
        }
        let kinds: Vec<_> = watch.events.iter().map(Event::r#type).collect();
        assert_eq!(kinds, [EventType::CircuitOverridden, EventType::TaskDeleted]);
    }
    assert_eq!(watch.events, again.events);
    let last = again.circuits.last().expect("shown");
    assert_eq!((last.r#override(), last.suspended), (Override::ForcedOpen, true), "it ended, and was shown so");
}

// On one thread, since its clock is paused.
#[tokio::test(start_paused = true)]
async fn a_reporter_that_falls_silent_is_given_up_and_what_it_told_has_counted() {
    let server = Harness::start(Layer::default()).await;
    let mut client = server.client().await;
    client.start_task(idle("api")).await.expect("started");
    let mut circuits = CircuitServiceClient::new(server.connect().await);
    let token = circuit(&mut circuits).await.token;
    let (messages, receiver) = tokio::sync::mpsc::channel(8);
    let outcomes = vec![outcome(1, &token, CallVerdict::Success)];
    messages.send(ReportOutcomesRequest { reporter: "caller-1".to_owned(), outcomes }).await.expect("open");
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let status = circuits.report_outcomes(stream).await.expect_err("silent");
    assert_eq!(refusal(&status), (Code::DeadlineExceeded, "REPORT_IDLE".to_owned()));
    let again = report(&mut circuits, vec![outcome(1, &token, CallVerdict::Success)]).await;
    assert_eq!(again.expect("taken in"), [Disposition::Duplicate]);
    drop(messages);
}
