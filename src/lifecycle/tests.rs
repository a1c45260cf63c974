//! The edges that lifecycle.md §2 names, and those beside them, one synchronous test each.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::model::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Counts up, and always takes the same jitter.
#[derive(Debug, Default)]
pub(super) struct Fixed(u128);

impl Chance for Fixed {
    fn uuid(&mut self) -> Uuid {
        self.0 += 1;
        Uuid::from_u128(self.0)
    }

    fn unit(&mut self) -> f64 {
        0.0
    }
}

/// The machine, its clock, and everything it has said so far.
struct Bench {
    machine: Lifecycle<Fixed>,
    now: Now,
    events: Vec<Event>,
    effects: Vec<Effect>,
}

fn custom() -> SpecDraft {
    let custom = CustomSpec { kind: "test".to_owned(), config: ConfigValue::default() };
    SpecDraft { monitor: Some(MonitorDraft::Custom(custom)), ..SpecDraft::default() }
}

fn tcp() -> SpecDraft {
    let tcp = TcpDraft { address: "127.0.0.1:1".to_owned(), steps: Vec::new() };
    SpecDraft { monitor: Some(MonitorDraft::Tcp(tcp)), ..SpecDraft::default() }
}

fn grace(grace: Duration, abort: Duration) -> SpecDraft {
    let shutdown = ShutdownDraft { grace_timeout: Some(grace), abort_timeout: Some(abort) };
    SpecDraft { shutdown, ..custom() }
}

fn cause() -> Cause {
    Cause { actor: Actor::Anonymous(IpAddr::V4(Ipv4Addr::LOCALHOST)), reason: Reason::default(), request_id: None }
}

fn name() -> TaskName {
    TaskName::parse("namespaces/default/tasks/api").unwrap()
}

fn request(id: u128, body: &[u8]) -> Option<Idempotency> {
    Some(Idempotency::new(Uuid::from_u128(id), body))
}

impl Bench {
    fn new() -> Self {
        let wall = Timestamp::from_nanos(1_700_000_000_000_000_000);
        let now = Now { mono: Mono::from_nanos(1_000_000_000), wall };
        Self {
            machine: Lifecycle::new(Sequence::default(), 10, Fixed::default()),
            now,
            events: vec![],
            effects: vec![],
        }
    }

    /// With one task, started by `draft`.
    fn started(draft: SpecDraft) -> (Self, InstanceId) {
        let mut bench = Self::new();
        bench.start(draft).expect("starts");
        let id = bench.launched();
        (bench, id)
    }

    /// With one ready task.
    fn ready(draft: SpecDraft) -> (Self, InstanceId) {
        let (mut bench, id) = Self::started(draft);
        bench.feed(Input::Ready(id));
        assert_eq!(bench.task().state, State::Running);
        (bench, id)
    }

    fn feed(&mut self, input: Input) -> Vec<Effect> {
        let effects = self.machine.step(input, self.now);
        for effect in &effects {
            if let Effect::Append(event) = effect {
                self.events.push(event.clone());
            }
        }
        self.effects.extend(effects.clone());
        effects
    }

    fn command(&mut self, command: Command) -> Result<Reply, Refusal> {
        let effects = self.feed(Input::Command { call: CallId(7), command });
        let answer = effects.into_iter().find_map(|effect| match effect {
            Effect::Answer { reply, .. } => Some(reply),
            _ => None,
        });
        answer.expect("every command is answered in its own step")
    }

    fn start(&mut self, draft: SpecDraft) -> Result<Reply, Refusal> {
        self.command(Command::Start(Box::new(start(draft, None))))
    }

    fn cancel(&mut self, force: bool) -> Result<Reply, Refusal> {
        let cancel = CancelTask { name: name(), force, etag: None, cause: cause(), idempotency: None };
        self.command(Command::Cancel(cancel))
    }

    fn delete(&mut self) -> Result<Reply, Refusal> {
        self.command(Command::Delete(DeleteTask { name: name(), etag: None, cause: cause(), idempotency: None }))
    }

    fn pass(&mut self, time: Duration) -> Vec<Effect> {
        self.now = Now { mono: self.now.mono + time, wall: self.now.wall + time };
        self.feed(Input::Tick)
    }

    fn end(&mut self, instance: InstanceId, end: RootEnd) {
        self.feed(Input::RootEnded { instance, end, children: false });
    }

    fn task(&self) -> &Task {
        self.events.iter().rev().find_map(|event| event.task.as_deref()).expect("an event about a task")
    }

    fn launched(&self) -> InstanceId {
        let launch = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Launch { instance, .. } => Some(*instance),
            _ => None,
        });
        launch.expect("an instance was launched")
    }

    fn kinds(&self) -> Vec<EventType> {
        self.events.iter().map(|event| event.kind).collect()
    }

    fn count(&self, wanted: fn(&Effect) -> bool) -> usize {
        self.effects.iter().filter(|effect| wanted(effect)).count()
    }

    fn open_alerts(&self) -> Vec<AlertKind> {
        self.task().alerts.iter().map(|alert| alert.kind).collect()
    }

    fn outcome(&self) -> (Exit, Asked) {
        let outcome = self.task().outcome.as_ref().expect("an instance has ended");
        (outcome.exit, outcome.asked)
    }
}

fn start(draft: SpecDraft, idempotency: Option<Idempotency>) -> StartTask {
    let mut violations = Violations::new();
    let spec = TaskSpec::try_new(draft, &mut violations).unwrap_or_else(|| panic!("{violations}"));
    let (labels, annotations) = (Labels::default(), Annotations::default());
    StartTask { name: name(), labels, annotations, spec, validate_only: false, cause: cause(), idempotency }
}

#[test]
fn a_cooperative_task_ends_gracefully_and_says_so() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    assert_eq!(bench.task().state, State::Stopping);
    bench.pass(30 * MS);
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.task().state, State::Cancelled);
    assert_eq!(bench.outcome(), (Exit::Graceful, Asked::Cancel));
    let instance = bench.task().instance.clone().unwrap();
    assert_eq!(instance.shutdown.unwrap().graceful_duration, Some(30 * MS));
    assert_eq!(instance.shutdown.unwrap().abort_duration, None);
    use EventType::*;
    assert_eq!(
        bench.kinds(),
        [TaskCreated, InstanceStarting, InstanceReady, InstanceStopping, InstanceEnded, TaskEnded]
    );
}

#[test]
fn the_state_changes_before_the_signal() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    let stopping =
        |effect: &Effect| matches!(effect, Effect::Append(event) if event.kind == EventType::InstanceStopping);
    let state = bench.effects.iter().position(stopping).unwrap();
    let signal = bench.effects.iter().position(|effect| matches!(effect, Effect::Signal(s) if *s == id)).unwrap();
    assert!(state < signal);
}

#[test]
fn one_that_ignores_the_token_is_aborted_after_five_seconds() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.pass(5 * SECOND - MS);
    assert_eq!(bench.task().state, State::Stopping);
    assert!(bench.open_alerts().is_empty());
    bench.pass(MS);
    assert_eq!(bench.task().state, State::Aborting);
    assert_eq!(bench.open_alerts(), [AlertKind::AbortRequired, AlertKind::SlowCancellation]);
    bench.end(id, RootEnd::Cancelled);
    assert_eq!(bench.outcome(), (Exit::Aborted, Asked::Cancel));
    assert_eq!(bench.task().state, State::Cancelled);
    assert!(bench.open_alerts().is_empty());
}

#[test]
fn a_zombie_is_stuck_after_seven_seconds_and_reaped_hours_later() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.pass(5 * SECOND);
    bench.pass(2 * SECOND);
    assert_eq!(bench.task().state, State::Stuck);
    assert_eq!((bench.machine.live(), bench.machine.stuck()), (1, 1));
    assert!(bench.open_alerts().contains(&AlertKind::AbortTimeout));
    assert_eq!(bench.delete(), Err(Refusal::TaskLive(name())));
    bench.pass(4 * 3600 * SECOND);
    bench.end(id, RootEnd::Cancelled);
    assert_eq!(bench.task().state, State::Cancelled);
    assert_eq!((bench.machine.live(), bench.machine.stuck()), (0, 0));
    assert!(bench.open_alerts().is_empty());
    let ended = bench.kinds().iter().position(|kind| *kind == EventType::InstanceEnded).unwrap();
    let resolved = bench.kinds().iter().rposition(|kind| *kind == EventType::AlertResolved).unwrap();
    assert!(ended < resolved, "alerts resolve after the end that resolves them");
}

#[test]
fn an_exit_between_the_phases_is_graceful_though_abort_was_called() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.pass(5 * SECOND);
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.outcome(), (Exit::Graceful, Asked::Cancel));
}

#[test]
fn an_exit_that_came_in_time_is_not_overtaken_by_its_deadline() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.now.mono = bench.now.mono + 6 * SECOND;
    bench.end(id, RootEnd::Returned);
    bench.feed(Input::Tick);
    assert!(!bench.kinds().contains(&EventType::AlertRaised));
}

#[test]
fn cancel_while_starting_stops_the_instance() {
    let (mut bench, id) = Bench::started(custom());
    bench.cancel(false).unwrap();
    assert_eq!(bench.task().state, State::Stopping);
    bench.feed(Input::Ready(id));
    assert_eq!(bench.task().state, State::Stopping, "late readiness changes nothing");
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.task().state, State::Cancelled);
}

#[test]
fn cancel_while_backing_off_ends_the_task_at_once() {
    let (mut bench, id) = Bench::ready(custom());
    bench.end(id, RootEnd::Failed("broken".to_owned()));
    assert_eq!(bench.task().state, State::Pending);
    bench.cancel(false).unwrap();
    assert_eq!((bench.task().state, bench.task().intent), (State::Cancelled, Intent::Cancel));
    assert_eq!(bench.task().restart.next_time, None);
    bench.pass(120 * SECOND);
    assert_eq!(bench.task().state, State::Cancelled);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Launch { .. })), 1);
}

#[test]
fn a_double_cancel_changes_nothing() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    let events = bench.events.len();
    bench.pass(4 * SECOND);
    bench.cancel(false).unwrap();
    assert_eq!(bench.events.len(), events);
    bench.pass(SECOND);
    assert_eq!(bench.task().state, State::Aborting, "the first deadline holds");
    bench.end(id, RootEnd::Cancelled);
    bench.cancel(true).unwrap();
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Signal(_))), 1);
}

#[test]
fn cancel_then_force_skips_what_is_left_of_the_first_phase() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.pass(SECOND);
    bench.cancel(true).unwrap();
    assert_eq!(bench.task().state, State::Aborting);
    assert!(bench.open_alerts().is_empty(), "no deadline has passed");
    bench.pass(2 * SECOND);
    assert_eq!(bench.task().state, State::Stuck);
    bench.end(id, RootEnd::Cancelled);
    assert_eq!(bench.outcome(), (Exit::Aborted, Asked::Cancel));
}

#[test]
fn force_at_once_signals_and_aborts_in_one_step() {
    let (mut bench, _) = Bench::ready(custom());
    bench.cancel(true).unwrap();
    use EventType::*;
    assert_eq!(bench.kinds()[3..], [InstanceStopping, InstanceAborting]);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Signal(_) | Effect::Abort(_))), 2);
}

#[test]
fn with_no_grace_phase_two_begins_with_the_next_tick() {
    let (mut bench, id) = Bench::ready(grace(Duration::ZERO, SECOND));
    bench.cancel(false).unwrap();
    assert_eq!(bench.task().state, State::Stopping);
    bench.pass(Duration::ZERO);
    assert_eq!(bench.task().state, State::Aborting);
    assert_eq!(bench.open_alerts(), [AlertKind::AbortRequired]);
    bench.end(id, RootEnd::Cancelled);
    assert_eq!(bench.outcome().0, Exit::Aborted);
}

#[test]
fn a_bound_shorter_than_abort_leaves_phase_two_what_there_is() {
    let (mut bench, _) = Bench::ready(grace(5 * SECOND, 2 * SECOND));
    bench.feed(Input::Drain { bound: bench.now.mono + SECOND });
    bench.pass(Duration::ZERO);
    assert_eq!(bench.task().state, State::Aborting);
    bench.pass(SECOND);
    assert_eq!(bench.task().state, State::Stuck);
    assert!(bench.machine.is_drained());
}

#[test]
fn a_bound_takes_from_the_first_phase_before_the_second() {
    let (mut bench, _) = Bench::ready(grace(60 * SECOND, 2 * SECOND));
    bench.feed(Input::Drain { bound: bench.now.mono + 7 * SECOND });
    bench.pass(5 * SECOND - MS);
    assert_eq!(bench.task().state, State::Stopping);
    bench.pass(MS);
    assert_eq!(bench.task().state, State::Aborting);
    bench.pass(2 * SECOND);
    assert!(bench.machine.is_drained());
}

#[test]
fn a_panic_in_clean_up_is_in_the_outcome_and_restarts_nothing() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.end(id, RootEnd::Panicked("clean-up".to_owned()));
    assert_eq!(bench.task().state, State::Cancelled);
    assert_eq!(bench.outcome(), (Exit::Panic, Asked::Cancel));
    bench.pass(3600 * SECOND);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Launch { .. })), 1);
}

#[test]
fn a_child_that_outlives_its_root_keeps_the_instance_alive_until_it_is_aborted() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.feed(Input::RootEnded { instance: id, end: RootEnd::Returned, children: true });
    assert_eq!((bench.task().state, bench.machine.live()), (State::Stopping, 1));
    bench.pass(5 * SECOND);
    assert_eq!(bench.task().state, State::Aborting);
    bench.feed(Input::ChildrenEnded { instance: id, aborted: true });
    assert_eq!((bench.task().state, bench.machine.live()), (State::Cancelled, 0));
    assert_eq!(bench.outcome(), (Exit::Aborted, Asked::Cancel));
}

#[test]
fn children_of_a_root_that_returned_unasked_are_stopped_in_two_phases() {
    let (mut bench, id) = Bench::ready(custom());
    bench.feed(Input::RootEnded { instance: id, end: RootEnd::Returned, children: true });
    assert_eq!(bench.task().state, State::Stopping);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Signal(_))), 1);
    bench.feed(Input::ChildrenEnded { instance: id, aborted: false });
    assert_eq!(bench.task().state, State::Succeeded);
    assert_eq!(bench.outcome(), (Exit::Completed, Asked::None));
}

#[test]
fn failures_back_off_exponentially_until_the_policy_gives_up() {
    let (mut bench, mut id) = Bench::ready(custom());
    for expected in [1, 2, 4, 8, 16] {
        bench.end(id, RootEnd::Failed("broken".to_owned()));
        assert_eq!(bench.task().state, State::Pending);
        assert_eq!(bench.task().restart.next_time, Some(bench.now.wall + expected * SECOND));
        bench.pass(expected * SECOND - MS);
        assert_eq!(bench.task().state, State::Pending);
        bench.pass(MS);
        assert_eq!(bench.task().state, State::Starting);
        id = bench.launched();
    }
    assert_eq!(bench.task().instance.as_ref().unwrap().attempt, Attempt::new(6));
    bench.end(id, RootEnd::Panicked("broken".to_owned()));
    assert_eq!(bench.task().state, State::Failed);
    assert_eq!(bench.outcome(), (Exit::Panic, Asked::None));
    assert_eq!(bench.task().restart.count, 5);
}

#[test]
fn restarts_are_counted_anew_after_a_window_of_health() {
    let (mut bench, id) = Bench::ready(custom());
    bench.end(id, RootEnd::Failed(String::new()));
    bench.pass(SECOND);
    let id = bench.launched();
    bench.feed(Input::Ready(id));
    let window = bench.task().spec.restart().window();
    bench.pass(window);
    bench.end(id, RootEnd::Failed(String::new()));
    assert_eq!(bench.task().restart.count, 1);
    assert_eq!(bench.task().restart.next_time, Some(bench.now.wall + SECOND));
}

#[test]
fn without_restarts_the_first_failure_is_final() {
    let restart = RestartDraft { max_restarts: Some(0), ..RestartDraft::default() };
    let (mut bench, id) = Bench::ready(SpecDraft { restart, ..custom() });
    bench.end(id, RootEnd::Failed("broken".to_owned()));
    assert_eq!(bench.task().state, State::Failed);
}

#[test]
fn one_that_is_not_ready_in_time_is_stopped_and_restarted() {
    let start_timeout = Some(SECOND);
    let (mut bench, id) = Bench::started(SpecDraft { start_timeout, ..custom() });
    bench.pass(SECOND);
    assert_eq!(bench.task().state, State::Stopping);
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.outcome(), (Exit::Graceful, Asked::StartTimeout));
    assert_eq!(bench.task().state, State::Pending);
    bench.pass(SECOND);
    assert_eq!(bench.task().state, State::Starting);
}

#[test]
fn nothing_is_started_beside_a_stuck_instance() {
    let start_timeout = Some(SECOND);
    let (mut bench, id) = Bench::started(SpecDraft { start_timeout, ..custom() });
    for time in [SECOND, 5 * SECOND, 2 * SECOND, 600 * SECOND] {
        bench.pass(time);
    }
    assert_eq!((bench.task().state, bench.task().intent), (State::Stuck, Intent::Run));
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Launch { .. })), 1);
    bench.end(id, RootEnd::Cancelled);
    assert_eq!(bench.task().state, State::Pending);
}

#[test]
fn a_cancel_joins_a_stop_under_way_and_is_on_record() {
    let start_timeout = Some(SECOND);
    let (mut bench, id) = Bench::started(SpecDraft { start_timeout, ..custom() });
    bench.pass(SECOND);
    let events = bench.events.len();
    bench.cancel(false).unwrap();
    assert_eq!(bench.events.len(), events + 1);
    let event = bench.events.last().unwrap();
    assert_eq!((event.kind, &event.cause.actor), (EventType::InstanceStopping, &cause().actor));
    assert_eq!(bench.task().intent, Intent::Cancel);
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.task().state, State::Cancelled);
    assert_eq!(bench.outcome().1, Asked::StartTimeout);
}

#[test]
fn completing_unasked_succeeds_and_for_a_built_in_without_counted_runs_is_an_error() {
    let (mut bench, id) = Bench::ready(custom());
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.task().state, State::Succeeded);
    assert_eq!(bench.outcome(), (Exit::Completed, Asked::None));

    let (mut bench, id) = Bench::ready(tcp());
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.outcome(), (Exit::Error, Asked::None));
    assert_eq!(bench.task().state, State::Pending);

    let schedule = ScheduleDraft { max_runs: 1, ..ScheduleDraft::default() };
    let (mut bench, id) = Bench::ready(SpecDraft { schedule, ..tcp() });
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.outcome(), (Exit::Completed, Asked::None));
}

#[test]
fn a_monitor_that_marks_nothing_is_one_piece_of_work() {
    let (mut bench, id) = Bench::ready(custom());
    bench.pass(10 * SECOND - MS);
    assert!(bench.open_alerts().is_empty());
    bench.pass(MS);
    assert_eq!(bench.open_alerts(), [AlertKind::LongRunningTask]);
    bench.pass(3600 * SECOND);
    assert_eq!(bench.kinds().iter().filter(|kind| **kind == EventType::AlertRaised).count(), 1);
    bench.end(id, RootEnd::Returned);
    assert!(bench.open_alerts().is_empty());
}

#[test]
fn a_monitor_that_marks_its_checks_is_measured_check_by_check() {
    let (mut bench, id) = Bench::ready(tcp());
    for _ in 0..20 {
        bench.feed(Input::CheckBegan(id, bench.now.mono));
        bench.pass(9 * SECOND);
        bench.feed(Input::CheckEnded(id, bench.now.mono));
        bench.pass(9 * SECOND);
    }
    assert!(!bench.kinds().contains(&EventType::AlertRaised));
    bench.feed(Input::CheckBegan(id, bench.now.mono));
    bench.pass(10 * SECOND);
    assert_eq!(bench.open_alerts(), [AlertKind::LongRunningTask]);
    bench.feed(Input::CheckEnded(id, bench.now.mono));
    assert_eq!(bench.open_alerts(), [AlertKind::LongRunningTask], "that piece was too long");
    bench.feed(Input::CheckBegan(id, bench.now.mono));
    bench.pass(SECOND);
    bench.feed(Input::CheckEnded(id, bench.now.mono));
    assert!(bench.open_alerts().is_empty(), "a later piece has ended in time");
}

#[test]
fn slow_cancellation_has_its_own_threshold() {
    let watchdog = WatchdogDraft { slow_cancellation_after: Some(100 * MS), ..WatchdogDraft::default() };
    let (mut bench, _) = Bench::ready(SpecDraft { watchdog, ..custom() });
    bench.cancel(false).unwrap();
    bench.pass(100 * MS);
    assert_eq!(bench.open_alerts(), [AlertKind::SlowCancellation]);
    assert_eq!(bench.task().state, State::Stopping);
}

#[test]
fn an_ended_task_is_deleted_by_a_client_or_when_its_time_is_over() {
    let (mut bench, id) = Bench::ready(custom());
    assert_eq!(bench.delete(), Err(Refusal::TaskLive(name())));
    bench.end(id, RootEnd::Returned);
    assert!(matches!(bench.delete(), Ok(Reply::Deleted { .. })));
    assert_eq!(bench.delete(), Err(Refusal::TaskNotFound(name())));

    bench.start(custom()).expect("the name is free again");
    bench.end(bench.launched(), RootEnd::Returned);
    let end = bench.task().end.unwrap();
    assert_eq!(end.expire_time.since(end.time), 24 * 3600 * SECOND);
    bench.pass(24 * 3600 * SECOND);
    let event = bench.events.last().unwrap();
    assert_eq!((event.kind, &event.cause.actor), (EventType::TaskDeleted, &Actor::System("ttl")));
    assert_eq!(bench.machine.timers.len(), 0);
}

#[test]
fn a_replayed_request_is_answered_and_not_done_again() {
    let mut bench = Bench::new();
    let start = |body: &[u8]| Command::Start(Box::new(start(custom(), request(1, body))));
    let first = bench.command(start(b"a")).unwrap();
    let Reply::Accepted { task, sequence } = first else { panic!("{first:?}") };
    bench.feed(Input::Ready(bench.launched()));
    let events = bench.events.len();
    let again = bench.command(start(b"a")).unwrap();
    let Reply::Accepted { task: now, sequence: same } = again else { panic!("{again:?}") };
    assert_eq!((now.uid, same, now.state), (task.uid, sequence, State::Running), "the present state, the first cursor");
    assert_eq!(bench.events.len(), events);
    assert_eq!(bench.command(start(b"b")), Err(Refusal::RequestIdReused));
    bench.pass(24 * 3600 * SECOND);
    assert_eq!(bench.command(start(b"b")), Err(Refusal::TaskExists(name())), "forgotten after a day");
}

#[test]
fn a_replayed_delete_is_answered_though_the_task_is_gone() {
    let (mut bench, id) = Bench::ready(custom());
    bench.end(id, RootEnd::Returned);
    let delete = DeleteTask { name: name(), etag: None, cause: cause(), idempotency: request(2, b"") };
    let first = bench.command(Command::Delete(delete.clone()));
    assert!(first.is_ok());
    assert_eq!(bench.command(Command::Delete(delete)), first);
}

#[test]
fn a_dry_run_checks_everything_and_changes_nothing() {
    let mut bench = Bench::new();
    let dry = |id| StartTask { validate_only: true, ..start(custom(), request(id, b"")) };
    assert!(matches!(bench.command(Command::Start(Box::new(dry(1)))), Ok(Reply::Accepted { .. })));
    assert!(bench.events.is_empty());
    bench.start(custom()).expect("the name is still free");
    assert_eq!(bench.command(Command::Start(Box::new(dry(1)))), Err(Refusal::TaskExists(name())));
}

#[test]
fn a_stale_etag_is_refused() {
    let (mut bench, _) = Bench::ready(custom());
    let (etag, stale) = (bench.task().etag(), Etag::given("x"));
    let cancel = |etag| {
        Command::Cancel(CancelTask { name: name(), force: false, etag: Some(etag), cause: cause(), idempotency: None })
    };
    assert!(matches!(bench.command(cancel(stale)), Err(Refusal::EtagMismatch { .. })));
    assert_eq!(bench.task().state, State::Running);
    assert!(bench.command(cancel(etag)).is_ok());
}

#[test]
fn a_drain_stops_everything_starts_nothing_and_is_no_cancel() {
    let (mut bench, id) = Bench::ready(custom());
    bench.feed(Input::Drain { bound: bench.now.mono + 7 * SECOND });
    assert_eq!(bench.task().state, State::Stopping);
    assert!(!bench.machine.is_drained());
    bench.end(id, RootEnd::Returned);
    assert!(bench.machine.is_drained());
    assert_eq!((bench.task().state, bench.task().intent), (State::Pending, Intent::Run));
    assert_eq!(bench.outcome(), (Exit::Graceful, Asked::Drain));
    assert_eq!(bench.start(custom()), Err(Refusal::ServerDraining));
    bench.cancel(false).expect("a cancel is heard during a drain");
    bench.delete().expect("and so is a delete");
}

#[test]
fn a_task_that_backs_off_is_not_restarted_during_a_drain() {
    let (mut bench, id) = Bench::ready(custom());
    bench.end(id, RootEnd::Failed(String::new()));
    bench.feed(Input::Drain { bound: bench.now.mono + 7 * SECOND });
    bench.pass(60 * SECOND);
    assert_eq!(bench.task().state, State::Pending);
    assert!(bench.machine.is_drained());
}

#[test]
fn the_server_holds_no_more_tasks_than_it_may() {
    let mut bench = Bench::new();
    bench.machine.max_tasks = 1;
    bench.start(custom()).unwrap();
    let other = TaskName::parse("namespaces/default/tasks/other").unwrap();
    let refused = bench.command(Command::Start(Box::new(StartTask { name: other, ..start(custom(), None) })));
    assert_eq!(refused, Err(Refusal::TaskLimit(1)));
}

#[test]
fn nothing_of_a_fenced_instance_changes_anything() {
    let (mut bench, id) = Bench::ready(custom());
    bench.end(id, RootEnd::Returned);
    let events = bench.events.len();
    for input in [
        Input::Ready(id),
        Input::CheckBegan(id, bench.now.mono),
        Input::CheckEnded(id, bench.now.mono),
        Input::RootEnded { instance: id, end: RootEnd::Returned, children: false },
        Input::ChildrenEnded { instance: id, aborted: true },
    ] {
        assert!(bench.feed(input).is_empty());
    }
    assert_eq!(bench.events.len(), events);
}

#[test]
fn every_event_carries_who_brought_it_about() {
    let (mut bench, _) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.pass(5 * SECOND);
    let actors: Vec<_> = bench.events.iter().map(|event| event.cause.actor.to_string()).collect();
    let client = "anonymous@127.0.0.1";
    let expected = [client, client, "system:monitor", client, "system:shutdown", "system:watchdog", "system:watchdog"];
    assert_eq!(actors, expected);
}
