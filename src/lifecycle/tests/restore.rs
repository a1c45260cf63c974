//! What becomes of tasks when their server ends, in whatever way, and another one goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;

impl Bench {
    /// The server is gone, with everything that it ran; the next one begins `after` that, from the log.
    pub(super) fn restart(&mut self, after: Duration) {
        self.restart_without(after, &[]);
    }

    /// The next server does not know these kinds.
    fn restart_without(&mut self, after: Duration, kinds: &[&str]) {
        let mut tasks = BTreeMap::new();
        for event in &self.events {
            let Some(task) = &event.task else { continue };
            match event.kind {
                EventType::TaskDeleted => drop(tasks.remove(&task.uid)),
                _ => drop(tasks.insert(task.uid, Arc::clone(task))),
            }
        }
        let requests = self.effects.iter().filter_map(|effect| match effect {
            Effect::Remember(request) => Some(request.clone()),
            _ => None,
        });
        let past = Past {
            head: self.events.last().map(|event| event.sequence).unwrap_or_default(),
            tasks: tasks.into_values().collect(),
            unknown_kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect::<BTreeSet<_>>(),
            requests: requests.collect(),
        };
        self.now = Now { mono: Mono::from_nanos(5), wall: self.now.wall + after };
        let limits = Limits { max_tasks: 10, max_stuck: 2 };
        self.machine = Lifecycle::restore(past, limits, Fixed(1_000), self.now);
    }

    /// Everything that was left is taken over; what that appends.
    pub(super) fn adopt(&mut self) -> Vec<EventType> {
        let before = self.events.len();
        while self.machine.has_orphans() {
            self.feed(Input::Adopt);
        }
        self.kinds().split_off(before)
    }

    fn attempt(&self) -> (Generation, Attempt) {
        let instance = self.task().instance.as_ref().expect("there was one");
        (instance.generation, instance.attempt)
    }
}

fn number(generation: u64, attempt: u32) -> (Generation, Attempt) {
    (Generation::new(generation), Attempt::new(attempt))
}

fn failing(bench: &mut Bench, id: InstanceId) {
    bench.end(id, RootEnd::Failed("broken".to_owned()));
}

#[test]
fn a_running_task_is_closed_and_started_again_with_its_first_check_spread() {
    use EventType::*;
    let (mut bench, _) = Bench::ready(custom());
    bench.restart(SECOND);
    assert_eq!((bench.machine.live(), bench.task().state), (0, State::Running), "as the log has it");
    let before = bench.events.last().unwrap().sequence;
    assert_eq!(bench.adopt(), [InstanceEnded, InstanceStarting]);
    assert_eq!(bench.events[bench.events.len() - 2].sequence, before.next(), "sequences go on");
    assert_eq!((bench.task().state, bench.attempt()), (State::Starting, number(1, 2)));
    assert_eq!((bench.outcome(), bench.task().restart.count), ((Exit::Interrupted, Asked::None), 0));
    let Some(Effect::Launch(launch)) = bench.effects.last() else { panic!("it is launched") };
    assert_eq!(launch.spread, MS / 10);
    let id = bench.launched();
    bench.feed(Input::Ready(id));
    assert_eq!(bench.task().state, State::Running);
}

#[test]
fn what_ran_is_checked_again_though_the_journal_takes_nothing_in() {
    use EventType::*;
    for admission in [Admission::Stalled, Admission::Full] {
        let (mut bench, _) = Bench::ready(custom());
        bench.restart(SECOND);
        bench.feed(Input::Admission(admission));
        assert!(bench.machine.has_orphans(), "{admission:?}");
        assert_eq!(bench.adopt(), [InstanceEnded, InstanceStarting]);
        let id = bench.launched();
        bench.feed(Input::Ready(id));
        assert_eq!((bench.task().state, bench.attempt()), (State::Running, number(1, 2)));
        // Once: what fails waits for the journal, as ever.
        failing(&mut bench, id);
        bench.pass(3_600 * SECOND);
        assert_eq!((bench.task().state, bench.machine.live()), (State::Pending, 0));
    }
}

#[test]
fn one_server_after_another_counts_attempts_on() {
    let (mut bench, _) = Bench::ready(custom());
    for attempt in 2..5 {
        bench.restart(SECOND);
        bench.adopt();
        assert_eq!(bench.attempt(), number(1, attempt));
    }
}

#[test]
fn a_drain_is_no_cancel() {
    use EventType::*;
    let (mut bench, id) = Bench::ready(custom());
    bench.drain(bench.now.mono + 7 * SECOND);
    bench.end(id, RootEnd::Returned);
    assert_eq!((bench.task().state, bench.outcome()), (State::Pending, (Exit::Graceful, Asked::Drain)));
    bench.restart(SECOND);
    assert_eq!(bench.adopt(), [InstanceStarting]);
    assert_eq!((bench.task().state, bench.attempt()), (State::Starting, number(1, 2)));
}

#[test]
fn a_pending_cancel_is_completed() {
    use EventType::*;
    for stage in 0..3 {
        let (mut bench, _) = Bench::ready(grace(SECOND, SECOND));
        bench.cancel(false).unwrap();
        bench.pass(stage * SECOND);
        bench.restart(SECOND);
        let kinds = bench.adopt();
        assert_eq!((kinds.first(), kinds.last()), (Some(&InstanceEnded), Some(&TaskEnded)), "{kinds:?}");
        assert_eq!((bench.task().state, bench.outcome()), (State::Cancelled, (Exit::Interrupted, Asked::Cancel)));
        assert!(bench.task().alerts.is_empty() && bench.machine.stuck() == 0);
        assert!(bench.task().instance.as_ref().is_some_and(|last| last.state == InstanceState::Ended));
        bench.pass(25 * 3_600 * SECOND);
        assert_eq!(bench.events.last().unwrap().kind, TaskDeleted);
    }
}

#[test]
fn alerts_of_an_instance_that_was_alive_are_resolved() {
    use EventType::*;
    let (mut bench, _) = Bench::ready(custom());
    bench.pass(10 * SECOND);
    assert_eq!(bench.open_alerts(), [AlertKind::LongRunningTask]);
    bench.restart(SECOND);
    assert_eq!(bench.adopt(), [InstanceEnded, AlertResolved, InstanceStarting]);
    assert_eq!(bench.open_alerts(), []);
}

#[test]
fn a_pause_lasts_and_ends_when_it_was_to() {
    use EventType::*;
    let (mut bench, id) = Bench::ready(custom());
    let expire_time = Some(bench.now.wall + 60 * SECOND);
    let pause = PauseTask { name: name(), expire_time, etag: None, cause: cause(), idempotency: None };
    bench.command(Command::Pause(pause)).unwrap();
    let stopping = bench.events.len();
    bench.restart(SECOND);
    assert_eq!(bench.adopt(), [InstanceEnded, TaskPaused], "it was pausing");
    assert_eq!((bench.task().state, bench.outcome().1), (State::Paused, Asked::Pause));

    bench.events.truncate(stopping);
    bench.end(id, RootEnd::Returned);
    bench.restart(20 * SECOND);
    assert_eq!(bench.adopt(), [InstanceEnded, TaskPaused]);
    bench.restart(20 * SECOND);
    assert_eq!(bench.adopt(), [], "it was paused");
    bench.pass(19 * SECOND - MS);
    assert_eq!(bench.task().state, State::Paused);
    bench.pass(2 * SECOND);
    assert_eq!((bench.task().state, bench.attempt()), (State::Starting, number(1, 2)));
}

#[test]
fn a_pause_that_was_over_while_no_server_ran_ends_with_the_spread_of_all_others() {
    for (down, spread) in [(30 * SECOND, Duration::ZERO), (60 * SECOND, MS / 10), (90 * SECOND, MS / 10)] {
        let (mut bench, id) = Bench::ready(custom());
        let expire_time = Some(bench.now.wall + 60 * SECOND);
        let pause = PauseTask { name: name(), expire_time, etag: None, cause: cause(), idempotency: None };
        bench.command(Command::Pause(pause)).unwrap();
        bench.end(id, RootEnd::Returned);
        bench.restart(down);
        bench.adopt();
        bench.pass(30 * SECOND);
        assert_eq!((bench.task().state, bench.attempt()), (State::Starting, number(1, 2)));
        let Some(Effect::Launch(launch)) = bench.effects.last() else { panic!("it is launched") };
        assert_eq!(launch.spread, spread, "{down:?}");
    }
}

#[test]
fn one_that_backs_off_is_started_when_it_was_to_be_and_its_restarts_count() {
    let (mut bench, id) = Bench::ready(custom());
    failing(&mut bench, id);
    bench.pass(SECOND);
    let id = bench.launched();
    failing(&mut bench, id);
    let due = bench.task().restart.next_time.unwrap();
    assert_eq!((bench.task().restart.count, due), (2, bench.now.wall + 2 * SECOND));
    bench.restart(SECOND);
    assert_eq!(bench.adopt(), []);
    bench.pass(SECOND - MS);
    assert_eq!(bench.task().state, State::Pending);
    bench.pass(MS);
    assert_eq!((bench.task().state, bench.attempt()), (State::Starting, number(1, 3)));
    let id = bench.launched();
    failing(&mut bench, id);
    assert_eq!(bench.task().restart.count, 3);
}

#[test]
fn a_restart_that_was_due_while_no_server_ran_comes_with_the_spread_of_all_others() {
    for late in [Duration::ZERO, 60 * SECOND] {
        let (mut bench, id) = Bench::ready(custom());
        failing(&mut bench, id);
        bench.restart(SECOND + late);
        assert_eq!(bench.adopt(), [EventType::InstanceStarting]);
        let Some(Effect::Launch(launch)) = bench.effects.last() else { panic!("it is launched") };
        assert_eq!((launch.spread, bench.attempt(), bench.task().restart.count), (MS / 10, number(1, 2), 1));
        let id = bench.launched();
        failing(&mut bench, id);
        assert_eq!(bench.task().restart.count, 2, "its restarts count");
    }
}

#[test]
fn a_swap_that_was_not_decided_is_rolled_back_and_its_number_not_used_again() {
    use EventType::*;
    let closing: [&[EventType]; 3] = [&[], &[InstanceEnded], &[InstanceEnded]];
    for (stage, closing) in closing.into_iter().enumerate() {
        let (mut bench, _) = Bench::ready(custom());
        bench.swap(tcp(), "b").unwrap();
        if stage > 0 {
            bench.built();
        }
        if stage > 1 {
            bench.pass(30 * SECOND);
            assert!(!bench.task().draining.is_empty(), "it was late, and stops");
        }
        bench.restart(SECOND);
        let kinds = bench.adopt();
        let expected = [closing, &[SwapRolledBack, InstanceEnded, InstanceStarting]].concat();
        let kinds: Vec<_> = kinds.into_iter().filter(|kind| *kind != AlertResolved).collect();
        assert_eq!(kinds, expected, "{stage}");
        let task = bench.task();
        assert_eq!(
            (task.generation, bench.attempt(), bench.phase()),
            (Generation::new(1), number(1, 2), SwapPhase::RolledBack)
        );
        assert!(!task.swap.as_ref().unwrap().error.is_empty() && task.candidate.is_none() && task.draining.is_empty());
        bench.swap(tcp(), "b").unwrap();
        assert_eq!(bench.task().swap.as_ref().unwrap().to_generation, Generation::new(3));
    }
}

#[test]
fn a_swap_that_was_committed_stays_so() {
    use EventType::*;
    let (mut bench, old) = Bench::ready(custom());
    bench.swap(tcp(), "b").unwrap();
    let new = bench.built();
    bench.feed(Input::Ready(new));
    let committed = bench.events.len();
    for draining in [false, true] {
        if draining {
            bench.events.truncate(committed);
            let (mut again, old) = (Bench::ready(custom()), old);
            again.0.swap(tcp(), "b").unwrap();
            let new = again.0.built();
            again.0.feed(Input::Ready(new));
            again.0.feed(Input::Committed(old));
            bench = again.0;
        }
        bench.restart(SECOND);
        assert_eq!(bench.adopt(), [InstanceEnded, InstanceEnded, InstanceStarting]);
        assert_eq!((bench.attempt(), bench.phase()), (number(2, 2), SwapPhase::Done));
        assert_eq!(*bench.task().spec, start(tcp(), None).spec);
        bench.swap(custom(), "c").expect("no swap is in its way");
    }
}

#[test]
fn one_that_broke_before_it_made_goes_on_with_the_old_spec() {
    use EventType::*;
    let broken = |stage: usize| {
        let swap = SwapDraft { strategy: Some(SwapStrategy::BreakBeforeMake), ..SwapDraft::default() };
        let (mut bench, old) = Bench::ready(custom());
        bench.swap(SpecDraft { swap, ..tcp() }, "b").unwrap();
        bench.built();
        if stage > 0 {
            bench.end(old, RootEnd::Returned);
        }
        bench.restart(SECOND);
        bench
    };
    let mut bench = broken(0);
    assert_eq!(bench.adopt(), [SwapRolledBack, InstanceEnded, InstanceStarting], "the old one was stopping");
    assert_eq!((bench.attempt(), bench.phase()), (number(1, 2), SwapPhase::RolledBack));
    let mut bench = broken(1);
    assert_eq!(bench.adopt(), [InstanceEnded, SwapRolledBack, InstanceStarting], "the candidate was starting");
    assert_eq!((bench.attempt(), bench.phase()), (number(1, 2), SwapPhase::RolledBack));
    let id = bench.launched();
    failing(&mut bench, id);
    assert_eq!(bench.task().state, State::Pending, "its restarts are not used up");
}

#[test]
fn a_command_takes_over_what_it_is_about() {
    use EventType::*;
    let (mut bench, _) = Bench::ready(custom());
    bench.restart(SECOND);
    let before = bench.events.len();
    bench.cancel(false).unwrap();
    assert_eq!(bench.kinds().split_off(before), [InstanceEnded, TaskEnded], "nothing was started for it");
    assert_eq!(bench.adopt(), []);

    let (mut bench, _) = Bench::ready(custom());
    bench.restart(SECOND);
    let before = bench.events.len();
    assert!(bench.delete().is_err());
    assert_eq!(bench.kinds().split_off(before), [InstanceEnded, InstanceStarting]);
    assert_eq!(bench.adopt(), []);
}

#[test]
fn a_server_that_drains_leaves_the_rest_to_the_next() {
    let (mut bench, _) = Bench::ready(custom());
    bench.restart(SECOND);
    bench.drain(bench.now.mono + SECOND);
    assert!(bench.machine.is_drained() && bench.adopt().is_empty());
    bench.restart(SECOND);
    bench.adopt();
    assert_eq!((bench.task().state, bench.attempt()), (State::Starting, number(1, 2)));
}

#[test]
fn a_task_of_a_kind_that_is_gone_fails() {
    use EventType::*;
    let (mut bench, _) = Bench::ready(custom());
    bench.restart_without(SECOND, &["test"]);
    assert_eq!(bench.adopt(), [InstanceEnded, TaskEnded]);
    let outcome = bench.task().outcome.clone().unwrap();
    assert_eq!(
        (bench.task().state, outcome.exit, outcome.message.as_str()),
        (State::Failed, Exit::Error, "UNKNOWN_KIND")
    );
    bench.pass(25 * 3_600 * SECOND);
    assert_eq!(bench.events.last().unwrap().kind, TaskDeleted);
}

#[test]
fn a_request_that_was_done_is_answered_again() {
    let mut bench = Bench::new();
    let asks = |body| Command::Start(Box::new(start(custom(), request(1, body))), target("a"));
    let done = bench.command(asks(b"a")).unwrap();
    bench.restart(SECOND);
    let Ok(Reply::Accepted { sequence, .. }) = bench.command(asks(b"a")) else { panic!("it was done") };
    let Reply::Accepted { sequence: first, .. } = done else { panic!("it was accepted") };
    assert_eq!(sequence, first);
    assert_eq!(bench.command(asks(b"b")), Err(Refusal::RequestIdReused));
    bench.restart(24 * 3_600 * SECOND);
    assert_eq!(bench.command(asks(b"b")), Err(Refusal::TaskExists(name())), "forgotten after a day");
}

#[test]
fn an_ended_task_is_kept_for_what_is_left_of_its_time() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    bench.end(id, RootEnd::Returned);
    bench.restart(23 * 3_600 * SECOND);
    assert_eq!(bench.adopt(), []);
    bench.pass(3_600 * SECOND - MS);
    assert_eq!(bench.task().state, State::Cancelled);
    bench.pass(MS);
    assert_eq!(bench.events.last().unwrap().kind, EventType::TaskDeleted);
}

#[test]
fn an_open_circuit_waits_for_what_is_left_and_one_on_trial_begins_anew() {
    let (mut bench, id) = Bench::ready(custom());
    for _ in 0..3 {
        bench.check(id, Verdict::Fail);
    }
    let open = bench.task().circuit.clone();
    bench.restart(3_600 * SECOND);
    bench.adopt();
    let id = bench.launched();
    bench.feed(Input::Ready(id));
    let again = bench.task().circuit.clone();
    assert_eq!((again.state, again.until), (CircuitState::Open, Some(bench.now.wall + 5 * SECOND)));
    assert!(again.epoch > open.epoch && again.streak == open.streak, "{again:?}");
    assert_eq!(bench.regime(id).epoch, again.epoch);

    bench.pass(5 * SECOND);
    assert_eq!(bench.task().circuit.state, CircuitState::HalfOpen);
    bench.check(id, Verdict::Pass);
    bench.check(id, Verdict::Pass);
    let trial = bench.task().circuit.clone();
    bench.restart(SECOND);
    bench.adopt();
    assert_eq!((bench.task().circuit.state, bench.task().circuit.left), (CircuitState::Open, Some(Duration::ZERO)));
    let id = bench.launched();
    bench.feed(Input::Ready(id));
    bench.pass(Duration::ZERO);
    assert_eq!(bench.task().circuit.state, CircuitState::HalfOpen);
    assert!(bench.task().circuit.epoch > trial.epoch);
    bench.check(id, Verdict::Pass);
    assert_eq!(bench.task().circuit.state, CircuitState::HalfOpen, "what passed before counts no more");
}

#[test]
fn tasks_are_taken_over_a_few_at_a_time() {
    let mut bench = Bench::new();
    bench.machine = Lifecycle::new(Sequence::default(), Limits { max_tasks: 100, max_stuck: 2 }, Fixed::default());
    for n in 0..100 {
        let name = TaskName::parse(&format!("namespaces/default/tasks/t{n}")).unwrap();
        let start = StartTask { name, ..start(custom(), None) };
        bench.command(Command::Start(Box::new(start), target("a"))).unwrap();
    }
    bench.restart(SECOND);
    let first = bench.feed(Input::Adopt).len();
    assert!(first > 0 && bench.machine.has_orphans());
    bench.adopt();
    let Some(Effect::Launch(launch)) = bench.effects.last() else { panic!("it is launched") };
    assert_eq!((bench.machine.live(), launch.spread), (100, 10 * MS));
}
