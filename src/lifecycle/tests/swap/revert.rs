//! Tasks that go back by themselves.

use super::*;

/// Another spec than `custom()`, whose task goes back if it fails within 60 s.
fn reverting() -> SpecDraft {
    SpecDraft { swap: SwapDraft { auto_revert: true, ..SwapDraft::default() }, ..other() }
}

/// The task has become of generation 2, which is observed from now on; nothing else of it lives.
fn observed() -> (Bench, InstanceId) {
    let (mut bench, old) = Bench::ready(custom());
    let new = take_over(&mut bench, old, reverting());
    assert!(bench.task().observation.is_some());
    (bench, new)
}

fn take_over(bench: &mut Bench, old: InstanceId, draft: SpecDraft) -> InstanceId {
    bench.swap(draft, "a").unwrap();
    let new = bench.built();
    bench.feed(Input::Ready(new));
    bench.feed(Input::Committed(old));
    bench.end(old, RootEnd::Returned);
    assert_eq!(bench.phase(), SwapPhase::Done);
    new
}

fn failing(bench: &mut Bench, id: InstanceId) {
    bench.end(id, RootEnd::Failed("gone".to_owned()));
}

fn newest(bench: &Bench) -> &Swap {
    bench.task().swap.as_ref().unwrap()
}

/// From which generation to which the newest swap leads, and whether it is the server's own.
fn way(bench: &Bench) -> (u64, u64, bool) {
    let swap = newest(bench);
    (swap.from_generation.get(), swap.to_generation.get(), !swap.revert_reason.is_empty())
}

#[test]
fn what_fails_in_time_is_replaced_by_the_spec_before() {
    use EventType::*;
    let (mut bench, new) = observed();
    let until = bench.task().observation.as_ref().unwrap();
    assert_eq!((until.generation.get(), until.expire_time), (1, bench.now.wall + 60 * SECOND));
    bench.pass(9 * SECOND);
    let before = bench.events.len();
    failing(&mut bench, new);
    assert_eq!(bench.kinds()[before..], [InstanceEnded, RestartScheduled, SwapStarted]);
    assert_eq!(newest(&bench).revert_reason, "generation 2 has failed: gone");
    let cause = &bench.events.last().unwrap().cause;
    assert_eq!(cause.reason.as_str(), "generation 2 has failed: gone: back to the spec of generation 1");
    let again = bench.built();
    assert_eq!(way(&bench), (2, 3, true));
    assert_eq!((bench.task().generation.get(), bench.task().state), (3, State::Starting));
    assert_eq!(bench.task().spec.start_timeout(), 30 * SECOND, "the spec before");
    assert_eq!(bench.task().observation, None, "that is not observed");
    bench.feed(Input::Ready(again));
    failing(&mut bench, again);
    assert_eq!((way(&bench), bench.task().state), ((2, 3, true), State::Pending), "it goes back once");
}

#[test]
fn what_fails_later_is_started_again_as_any() {
    let (mut bench, new) = observed();
    bench.pass(60 * SECOND);
    failing(&mut bench, new);
    assert_eq!((way(&bench), bench.task().observation.as_ref()), ((1, 2, false), None));
    assert_eq!(bench.task().restart.count, 1);
}

#[test]
fn a_task_that_would_be_given_up_goes_back_first() {
    let (mut bench, old) = Bench::ready(custom());
    let restart = RestartDraft { max_restarts: Some(0), ..RestartDraft::default() };
    let new = take_over(&mut bench, old, SpecDraft { restart, ..reverting() });
    failing(&mut bench, new);
    assert_eq!((bench.task().state, bench.task().fate), (State::Pending, Some(State::Failed)));
    bench.built();
    assert_eq!((bench.task().state, bench.task().fate, way(&bench)), (State::Starting, None, (2, 3, true)));

    let (mut bench, old) = Bench::ready(custom());
    let new = take_over(&mut bench, old, SpecDraft { restart, ..reverting() });
    failing(&mut bench, new);
    let id = bench.candidate();
    bench.feed(Input::Built(id, Err("no bricks".to_owned())));
    assert_eq!((bench.task().state, bench.phase()), (State::Failed, SwapPhase::RolledBack));
}

#[test]
fn a_tripped_circuit_is_a_failure_and_the_way_back_has_its_gate() {
    let (mut bench, new) = observed();
    for _ in 0..3 {
        bench.check(new, Verdict::Fail);
    }
    assert_eq!(newest(&bench).revert_reason, "generation 2 has tripped its circuit");
    assert_eq!((bench.task().state, bench.phase()), (State::Running, SwapPhase::Building));
    let again = bench.built();
    assert_eq!((bench.phase(), bench.task().generation.get()), (SwapPhase::Starting, 2));
    bench.feed(Input::Ready(again));
    assert_eq!((bench.task().generation.get(), bench.task().circuit.state), (3, CircuitState::Open), "same target");
}

#[test]
fn a_circuit_that_was_open_before_says_nothing_of_the_new_spec() {
    let (mut bench, old) = Bench::ready(custom());
    for _ in 0..3 {
        bench.check(old, Verdict::Fail);
    }
    let new = take_over(&mut bench, old, reverting());
    bench.pass(5 * SECOND);
    assert_eq!(bench.task().circuit.state, CircuitState::HalfOpen);
    bench.check(new, Verdict::Fail);
    assert_eq!((bench.task().circuit.state, way(&bench)), (CircuitState::Open, (1, 2, false)));
}

#[test]
fn a_way_back_that_fails_is_not_tried_again() {
    let (mut bench, new) = observed();
    for _ in 0..3 {
        bench.check(new, Verdict::Fail);
    }
    let again = bench.built();
    failing(&mut bench, again);
    assert_eq!(
        (bench.phase(), bench.task().generation.get(), bench.task().state),
        (SwapPhase::RolledBack, 2, State::Running)
    );
    failing(&mut bench, new);
    assert_eq!((way(&bench), bench.phase()), ((2, 3, true), SwapPhase::RolledBack));
}

#[test]
fn it_waits_for_the_old_instance_to_end() {
    let (mut bench, old) = Bench::ready(custom());
    bench.swap(reverting(), "a").unwrap();
    let new = bench.built();
    bench.feed(Input::Ready(new));
    bench.feed(Input::Committed(old));
    failing(&mut bench, new);
    assert_eq!((way(&bench), bench.phase()), ((1, 2, false), SwapPhase::Draining));
    assert_eq!(bench.task().observation.as_ref().unwrap().failure, "generation 2 has failed: gone");
    bench.end(old, RootEnd::Returned);
    assert_eq!((way(&bench), bench.phase()), ((2, 3, true), SwapPhase::Building));
}

#[test]
fn beside_a_stuck_old_instance_it_waits_for_that_to_end() {
    let (mut bench, old) = Bench::ready(custom());
    bench.swap(reverting(), "a").unwrap();
    let new = bench.built();
    bench.feed(Input::Ready(new));
    bench.feed(Input::Committed(old));
    bench.pass(5 * SECOND);
    bench.pass(2 * SECOND);
    failing(&mut bench, new);
    assert_eq!((way(&bench), bench.task().state), ((1, 2, false), State::Stuck));
    bench.end(old, RootEnd::Cancelled);
    assert_eq!((way(&bench), bench.phase()), ((2, 3, true), SwapPhase::Building));
}

#[test]
fn while_another_swap_runs_that_decides() {
    let (mut bench, new) = observed();
    bench.swap(tcp(), "a").unwrap();
    failing(&mut bench, new);
    bench.built();
    assert_eq!((way(&bench), bench.task().observation.as_ref()), ((2, 3, false), None));
}

#[test]
fn an_owner_who_preempts_the_way_back_has_the_last_word() {
    let (mut bench, new) = observed();
    failing(&mut bench, new);
    let swap = SwapTask { preempt: true, ..swap(tcp()) };
    bench.command(Command::Swap(Box::new(swap), target("a"))).unwrap();
    assert_eq!((way(&bench), bench.task().observation.as_ref()), ((2, 4, false), None));
}

#[test]
fn what_is_replaced_without_having_been_ready_is_nothing_to_go_back_to() {
    let (mut bench, _) = Bench::started(custom());
    bench.swap(reverting(), "a").unwrap();
    bench.built();
    assert_eq!(bench.task().observation, None);
}

#[test]
fn a_cancel_ends_it_and_a_completion_too() {
    let (mut bench, new) = observed();
    bench.cancel(false).unwrap();
    failing(&mut bench, new);
    assert_eq!((bench.task().state, bench.task().observation.as_ref()), (State::Cancelled, None));

    let (mut bench, new) = observed();
    bench.end(new, RootEnd::Returned);
    assert_eq!((bench.task().state, bench.task().observation.as_ref()), (State::Succeeded, None));
}

#[test]
fn it_does_not_begin_while_the_journal_takes_nothing_in() {
    let (mut bench, new) = observed();
    bench.feed(Input::Admission(Admission::Stalled));
    failing(&mut bench, new);
    assert_eq!(way(&bench), (1, 2, false));
    bench.feed(Input::Admission(Admission::Open));
    assert_eq!(way(&bench), (2, 3, true));
}

#[test]
fn it_goes_on_after_a_restart_for_as_long_as_is_left_of_it() {
    let (mut bench, _) = observed();
    bench.pass(30 * SECOND);
    bench.restart(20 * SECOND);
    bench.adopt();
    let again = bench.launched();
    bench.pass(9 * SECOND);
    failing(&mut bench, again);
    assert_eq!(way(&bench), (2, 3, true), "it is still observed");

    for (before, after) in [(30 * SECOND, 31 * SECOND), (Duration::ZERO, 60 * SECOND)] {
        let (mut bench, _) = observed();
        bench.pass(before);
        bench.restart(after);
        bench.adopt();
        assert_eq!((way(&bench), bench.task().observation.as_ref()), ((1, 2, false), None), "a crash is no failure");
        let again = bench.launched();
        failing(&mut bench, again);
        assert_eq!(way(&bench), (1, 2, false));
    }
}

#[test]
fn a_way_back_that_a_crash_has_ended_is_begun_again() {
    let (mut bench, new) = observed();
    failing(&mut bench, new);
    assert_eq!(way(&bench), (2, 3, true));
    bench.restart(SECOND);
    bench.adopt();
    assert_eq!((way(&bench), bench.phase()), ((2, 4, true), SwapPhase::Building));
    bench.built();
    assert_eq!((bench.task().generation.get(), bench.task().observation.as_ref()), (4, None));

    // What was to go back when a drain came goes back under the next server.
    let (mut bench, new) = observed();
    failing(&mut bench, new);
    bench.drain(bench.now.mono + 7 * SECOND);
    assert_eq!(bench.phase(), SwapPhase::Cancelled);
    bench.restart(SECOND);
    bench.adopt();
    assert_eq!((way(&bench), bench.phase()), ((2, 4, true), SwapPhase::Building));
}

#[test]
fn the_way_back_is_the_way_there() {
    let (mut bench, old) = Bench::ready(custom());
    let swap = SwapTask {
        strategy: Some(SwapStrategy::BreakBeforeMake),
        state_policy: Some(StatePolicy::Keep),
        ..swap(reverting())
    };
    bench.command(Command::Swap(Box::new(swap), target("b"))).unwrap();
    let new = bench.built();
    bench.end(old, RootEnd::Returned);
    bench.feed(Input::Ready(new));
    for _ in 0..3 {
        bench.check(new, Verdict::Fail);
    }
    assert_eq!(newest(&bench).strategy, SwapStrategy::BreakBeforeMake);
    let again = bench.built();
    assert!(signalled(&bench, new));
    bench.end(new, RootEnd::Returned);
    bench.feed(Input::Ready(again));
    assert_eq!((bench.task().generation.get(), bench.task().target), (3, target("a")));
    assert!(!bench.kinds().contains(&EventType::CircuitReset), "it was to be kept");
}
