//! Tasks that rest, and checks on demand.

use super::*;

fn pause(expire_time: Option<Timestamp>) -> Command {
    Command::Pause(PauseTask { name: name(), expire_time, etag: None, cause: cause(), idempotency: None })
}

impl Bench {
    fn pause(&mut self, after: Option<Duration>) -> Result<Reply, Refusal> {
        let expire_time = after.map(|after| self.now.wall + after);
        self.command(pause(expire_time))
    }

    fn resume(&mut self) -> Result<Reply, Refusal> {
        self.command(Command::Resume(ResumeTask { name: name(), etag: None, cause: cause(), idempotency: None }))
    }

    fn run_now(&mut self) -> Result<Reply, Refusal> {
        let (etag, idempotency) = (None, request(9, b"run"));
        self.command(Command::Run(RunTask { name: name(), etag, cause: cause(), idempotency }))
    }

    /// The events since that many.
    fn kinds_since(&self, before: usize) -> Vec<EventType> {
        self.kinds().split_off(before)
    }
}

fn not_running(state: State) -> Result<Reply, Refusal> {
    Err(Refusal::TaskNotRunning { name: name(), state })
}

#[test]
fn a_paused_task_stops_in_two_phases_rests_and_goes_on_as_the_next_attempt() {
    use EventType::*;
    let (mut bench, id) = Bench::ready(custom());
    let before = bench.events.len();
    bench.pause(None).unwrap();
    assert_eq!((bench.task().state, bench.task().intent), (State::Stopping, Intent::Pause));
    assert!(bench.task().pause.is_some() && bench.task().circuit.suspended);
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.kinds_since(before), [InstanceStopping, InstanceEnded, TaskPaused]);
    assert_eq!((bench.task().state, bench.outcome()), (State::Paused, (Exit::Graceful, Asked::Pause)));
    assert_eq!(bench.machine.next_due(), None, "nothing is due");
    bench.resume().unwrap();
    assert_eq!(bench.kinds_since(before + 3), [TaskResumed, InstanceStarting]);
    let task = bench.task();
    assert_eq!((task.state, task.intent, task.pause.is_none()), (State::Starting, Intent::Run, true));
    let attempt = task.instance.as_ref().unwrap().attempt;
    assert_eq!((attempt, task.restart.count), (Attempt::new(2), 0), "no restart that counts");
}

#[test]
fn one_that_ignores_the_token_is_aborted_and_then_paused() {
    let (mut bench, id) = Bench::ready(custom());
    bench.pause(None).unwrap();
    bench.pass(5 * SECOND);
    assert_eq!(bench.task().state, State::Aborting);
    bench.pass(2 * SECOND);
    assert_eq!(bench.task().state, State::Stuck);
    bench.end(id, RootEnd::Cancelled);
    assert_eq!((bench.task().state, bench.outcome()), (State::Paused, (Exit::Aborted, Asked::Pause)));
}

#[test]
fn again_and_again_changes_nothing_but_the_end() {
    let (mut bench, id) = Bench::ready(custom());
    bench.pause(None).unwrap();
    bench.end(id, RootEnd::Returned);
    let before = bench.events.len();
    bench.pause(None).unwrap();
    assert_eq!(bench.events.len(), before);
    bench.pause(Some(SECOND)).unwrap();
    assert_eq!(bench.kinds_since(before), [EventType::TaskPaused]);
    bench.pass(SECOND);
    assert_eq!(bench.task().state, State::Starting);
    let before = bench.events.len();
    bench.resume().unwrap();
    assert_eq!(bench.events.len(), before, "it is to run already");
}

#[test]
fn a_pause_ends_by_itself_when_its_time_is_over() {
    let (mut bench, id) = Bench::ready(custom());
    bench.pause(Some(3 * SECOND)).unwrap();
    bench.end(id, RootEnd::Returned);
    bench.pass(3 * SECOND - MS);
    assert_eq!(bench.task().state, State::Paused);
    bench.pass(MS);
    let resumed = bench.events.iter().rev().find(|event| event.kind == EventType::TaskResumed).unwrap();
    assert_eq!(resumed.cause.actor, Actor::System("pause".into()));
    assert_eq!(bench.task().state, State::Starting);
}

#[test]
fn a_time_that_has_passed_is_refused() {
    let (mut bench, _) = Bench::ready(custom());
    let Err(Refusal::Invalid(violations)) = bench.command(pause(Some(bench.now.wall))) else { panic!("refused") };
    assert_eq!(violations.as_slice()[0].field, "expire_time");
    assert_eq!(bench.task().state, State::Running);
}

#[test]
fn resumed_while_it_still_stops_it_starts_once_that_has_ended() {
    let (mut bench, id) = Bench::ready(custom());
    bench.pause(Some(SECOND)).unwrap();
    bench.resume().unwrap();
    assert_eq!((bench.task().state, bench.task().intent), (State::Stopping, Intent::Run));
    bench.pass(SECOND);
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.task().state, State::Starting);
    assert_ne!(bench.launched(), id);
}

#[test]
fn resumed_while_it_is_stuck_it_starts_only_once_that_has_ended() {
    let (mut bench, id) = Bench::ready(custom());
    bench.pause(None).unwrap();
    bench.pass(5 * SECOND);
    bench.pass(2 * SECOND);
    bench.resume().unwrap();
    assert_eq!((bench.task().state, bench.launched()), (State::Stuck, id));
    bench.end(id, RootEnd::Cancelled);
    assert_eq!(bench.task().state, State::Starting);
}

#[test]
fn resumed_while_it_is_stuck_its_end_is_no_failure_whatever_it_was_asked_for_first() {
    let restart = RestartDraft { max_restarts: Some(0), ..RestartDraft::default() };
    let (mut bench, id) = Bench::started(SpecDraft { start_timeout: Some(SECOND), restart, ..custom() });
    for phase in [SECOND, 5 * SECOND, 2 * SECOND] {
        bench.pass(phase);
    }
    assert_eq!(bench.task().state, State::Stuck);
    bench.pause(None).unwrap();
    bench.resume().unwrap();
    bench.end(id, RootEnd::Cancelled);
    assert_eq!((bench.task().state, bench.task().restart.count), (State::Starting, 0));
    assert_eq!(bench.outcome(), (Exit::Aborted, Asked::StartTimeout));
}

#[test]
fn resumed_while_it_stops_beside_a_stuck_instance_it_starts_once_both_have_ended() {
    let (mut bench, old) = Bench::ready(custom());
    bench.swap(grace(SECOND, SECOND), "a").unwrap();
    let new = bench.built();
    bench.feed(Input::Ready(new));
    bench.feed(Input::Committed(old));
    bench.pass(5 * SECOND);
    bench.pass(2 * SECOND);
    bench.pause(None).unwrap();
    bench.resume().unwrap();
    bench.end(old, RootEnd::Cancelled);
    assert_eq!((bench.task().state, bench.launched()), (State::Stopping, new));
    bench.end(new, RootEnd::Returned);
    assert_eq!(bench.task().state, State::Starting);
}

#[test]
fn a_task_that_backs_off_is_paused_at_once() {
    let (mut bench, id) = Bench::ready(custom());
    bench.end(id, RootEnd::Failed("x".to_owned()));
    assert_eq!(bench.task().state, State::Pending);
    bench.pause(None).unwrap();
    assert_eq!((bench.task().state, bench.task().restart.next_time), (State::Paused, None));
    bench.pass(3600 * SECOND);
    assert_eq!(bench.launched(), id, "its restart is off");
}

#[test]
fn a_task_that_backs_off_beside_a_stuck_instance_is_not_started_in_its_pause() {
    let (mut bench, old) = Bench::ready(custom());
    bench.swap(grace(SECOND, SECOND), "a").unwrap();
    let new = bench.built();
    bench.feed(Input::Ready(new));
    bench.feed(Input::Committed(old));
    bench.pass(5 * SECOND);
    bench.pass(2 * SECOND);
    bench.end(new, RootEnd::Failed("x".to_owned()));
    assert_eq!(bench.kinds().last(), Some(&EventType::RestartScheduled));
    bench.pause(None).unwrap();
    bench.pass(3600 * SECOND);
    bench.end(old, RootEnd::Cancelled);
    assert_eq!((bench.task().state, bench.launched()), (State::Paused, new));
}

#[test]
fn a_cancel_ends_a_pause_for_good() {
    let (mut bench, id) = Bench::ready(custom());
    bench.pause(Some(SECOND)).unwrap();
    bench.end(id, RootEnd::Returned);
    bench.cancel(false).unwrap();
    assert_eq!((bench.task().state, bench.task().pause.is_none()), (State::Cancelled, true));
    assert_eq!(bench.pause(None), not_running(State::Cancelled));
    assert_eq!(bench.resume(), not_running(State::Cancelled));
    bench.pass(SECOND);
    assert_eq!(bench.task().state, State::Cancelled);
}

#[test]
fn a_cancel_wins_over_a_pause_that_still_stops() {
    let (mut bench, id) = Bench::ready(custom());
    bench.pause(None).unwrap();
    bench.cancel(false).unwrap();
    assert_eq!(bench.pause(None), not_running(State::Stopping));
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.task().state, State::Cancelled);
    assert!(!bench.kinds().contains(&EventType::TaskPaused));
}

#[test]
fn a_swap_in_progress_is_not_paused() {
    let (mut bench, _) = Bench::ready(custom());
    bench.swap(tcp(), "a").unwrap();
    assert_eq!(bench.pause(None), Err(Refusal::SwapInProgress(name())));
}

#[test]
fn a_paused_task_that_is_swapped_stays_paused_with_the_new_spec() {
    let (mut bench, id) = Bench::ready(custom());
    bench.pause(None).unwrap();
    bench.end(id, RootEnd::Returned);
    bench.swap(tcp(), "a").unwrap();
    let candidate = bench.built();
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Discard(_))), 1);
    let task = bench.task();
    assert_eq!((task.state, task.generation, bench.phase()), (State::Paused, Generation::new(2), SwapPhase::Done));
    bench.resume().unwrap();
    assert_ne!(bench.launched(), candidate);
    let instance = bench.task().instance.clone().unwrap();
    assert_eq!((instance.generation, instance.attempt), (Generation::new(2), Attempt::new(1)));
}

#[test]
fn a_pause_is_shown_as_long_as_its_owner_wants_it_also_where_a_cancel_ends_a_swap() {
    let (mut bench, id) = Bench::ready(custom());
    bench.pause(None).unwrap();
    bench.end(id, RootEnd::Returned);
    bench.swap(tcp(), "a").unwrap();
    bench.cancel(false).unwrap();
    assert_eq!(bench.phase(), SwapPhase::Cancelled);
    for event in &bench.events {
        let task = event.task.as_ref().unwrap();
        assert_eq!(task.pause.is_some(), task.intent == Intent::Pause, "{:?}", event.kind);
    }
}

#[test]
fn resumed_in_the_middle_of_a_swap_it_starts_with_whatever_comes_of_that() {
    for built in [Ok(()), Err("x".to_owned())] {
        let (mut bench, id) = Bench::ready(custom());
        bench.pause(None).unwrap();
        bench.end(id, RootEnd::Returned);
        bench.swap(tcp(), "a").unwrap();
        bench.resume().unwrap();
        assert_eq!((bench.task().state, bench.launched()), (State::Pending, id));
        let generation = if built.is_ok() { 2 } else { 1 };
        bench.feed(Input::Built(bench.candidate(), built));
        assert_eq!(bench.task().state, State::Starting);
        assert_eq!(bench.task().instance.as_ref().unwrap().generation, Generation::new(generation));
    }
}

#[test]
fn a_drain_leaves_a_pause_as_it_is() {
    let (mut bench, id) = Bench::ready(custom());
    bench.pause(Some(SECOND)).unwrap();
    bench.end(id, RootEnd::Returned);
    bench.drain(bench.now.mono + 7 * SECOND);
    bench.pass(SECOND);
    assert_eq!((bench.task().state, bench.launched()), (State::Paused, id));
    assert_eq!(bench.resume(), Err(Refusal::ServerDraining));
    assert_eq!(bench.pause(None), Err(Refusal::ServerDraining));
}

#[test]
fn a_check_on_demand_is_for_a_ready_instance_that_marks_its_checks() {
    let (mut bench, id) = Bench::started(custom());
    assert_eq!(bench.run_now(), not_running(State::Starting));
    bench.feed(Input::Ready(id));
    assert_eq!(bench.run_now(), Err(Refusal::NoChecks(name())));
    bench.feed(Input::CheckBegan(id, bench.now.mono));
    let before = bench.events.len();
    assert!(matches!(bench.run_now(), Ok(Reply::Checking { .. })));
    assert_eq!(bench.count(|effect| matches!(effect, Effect::CheckNow(_))), 1);
    assert_eq!(bench.events.len(), before, "a check is no event");
    assert!(matches!(bench.run_now(), Ok(Reply::Accepted { .. })), "the same request makes no second check");
    assert_eq!(bench.count(|effect| matches!(effect, Effect::CheckNow(_))), 1);
    let (mut bench, _) = Bench::ready(tcp());
    assert!(bench.run_now().is_ok(), "a built-in one always does");
}
