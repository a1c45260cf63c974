//! The hot swap, phase by phase.

mod gate;
mod policy;
mod preempt;
mod revert;

use super::*;

/// Another spec than `custom()`.
fn other() -> SpecDraft {
    SpecDraft { start_timeout: Some(9 * SECOND), ..custom() }
}

/// With a ready task, and a candidate of another spec that has been launched beside it.
fn trying() -> (Bench, InstanceId, InstanceId) {
    let (mut bench, old) = Bench::ready(custom());
    bench.swap(other(), "a").unwrap();
    let new = bench.built();
    assert_eq!(bench.phase(), SwapPhase::Starting);
    (bench, old, new)
}

/// The same, cut over and committed.
fn draining() -> (Bench, InstanceId, InstanceId) {
    let (mut bench, old, new) = trying();
    bench.feed(Input::Ready(new));
    bench.feed(Input::Committed(old));
    assert_eq!(bench.phase(), SwapPhase::Draining);
    (bench, old, new)
}

fn breaking() -> (Bench, InstanceId, InstanceId) {
    let (mut bench, old) = Bench::ready(custom());
    let swap = SwapTask { strategy: Some(SwapStrategy::BreakBeforeMake), ..swap(other()) };
    bench.command(Command::Swap(Box::new(swap), target("a"))).unwrap();
    let new = bench.built();
    (bench, old, new)
}

fn signalled(bench: &Bench, id: InstanceId) -> bool {
    bench.effects.iter().any(|effect| matches!(effect, Effect::Signal(signalled) if *signalled == id))
}

#[test]
fn the_new_instance_is_ready_before_the_old_one_is_told() {
    use EventType::*;
    let (mut bench, old, new) = trying();
    assert_eq!((bench.task().state, bench.task().generation.get()), (State::Running, 1));
    assert!(bench.task().draining.is_empty(), "a candidate drains nowhere");

    bench.feed(Input::Ready(new));
    assert_eq!((bench.phase(), bench.task().generation.get()), (SwapPhase::Committed, 2));
    let generations: Vec<_> = bench.task().draining.iter().map(|instance| instance.generation.get()).collect();
    assert_eq!(generations, [1]);
    assert!(!signalled(&bench, old), "nobody has seen the cut-over yet");

    bench.feed(Input::Committed(old));
    assert!(signalled(&bench, old) && !signalled(&bench, new));
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::Draining, State::Running));
    bench.end(old, RootEnd::Returned);
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::Done, State::Running));
    assert_eq!(bench.task().outcome, None, "no active instance has ended");
    assert_eq!(
        bench.kinds(),
        [
            TaskCreated,
            InstanceStarting,
            InstanceReady,
            SwapStarted,
            InstanceStarting,
            InstanceReady,
            SwapCommitted,
            InstanceStopping,
            InstanceEnded
        ]
    );
}

#[test]
fn an_identical_swap_appends_nothing() {
    let (mut bench, _) = Bench::ready(custom());
    let before = bench.events.len();
    let Ok(Reply::Accepted { task, .. }) = bench.swap(custom(), "a") else { panic!("refused") };
    assert_eq!((bench.events.len(), &*task), (before, bench.task()));
}

#[test]
fn other_annotations_alone_are_one_event_and_touch_no_instance() {
    let (mut bench, id) = Bench::ready(custom());
    let before = bench.events.len();
    let annotations = Annotations::try_new([("a".to_owned(), "b".to_owned())]).unwrap();
    let swap = SwapTask { annotations: annotations.clone(), ..swap(custom()) };
    bench.command(Command::Swap(Box::new(swap), target("a"))).unwrap();
    assert_eq!(bench.kinds()[before..], [EventType::SwapCommitted]);
    assert_eq!((&bench.task().annotations, bench.task().generation.get()), (&annotations, 1));
    assert_eq!(bench.phase(), SwapPhase::Done);
    assert!(!signalled(&bench, id));
}

#[test]
fn validate_only_shows_what_would_be_and_changes_nothing() {
    let (mut bench, _) = Bench::ready(custom());
    let before = bench.events.len();
    let swap = SwapTask { validate_only: true, ..swap(other()) };
    let Ok(Reply::Accepted { task, .. }) = bench.command(Command::Swap(Box::new(swap), target("a"))) else {
        panic!("refused")
    };
    assert_eq!((bench.events.len(), task.generation.get()), (before, 2));
    assert_eq!(task.spec.start_timeout(), 9 * SECOND);
}

#[test]
fn a_candidate_that_cannot_be_built_leaves_the_old_one_alone() {
    let (mut bench, old) = Bench::ready(custom());
    bench.swap(other(), "a").unwrap();
    let id = bench.candidate();
    bench.feed(Input::Built(id, Err("no such queue".to_owned())));
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::RolledBack, State::Running));
    assert_eq!(bench.task().swap.as_ref().unwrap().error, "no such queue");
    assert_eq!(bench.task().generation.get(), 1);
    assert!(!signalled(&bench, old));
    bench.swap(other(), "a").unwrap();
    assert_eq!(bench.task().swap.as_ref().unwrap().to_generation.get(), 3, "a number that was rolled back is burnt");
}

#[test]
fn a_candidate_that_panics_is_rolled_back_with_its_words() {
    let (mut bench, old, new) = trying();
    bench.end(new, RootEnd::Panicked("out of cheese".to_owned()));
    assert_eq!(bench.phase(), SwapPhase::RolledBack);
    assert_eq!(bench.task().swap.as_ref().unwrap().error, "the candidate panicked: out of cheese");
    assert_eq!(bench.kinds().last(), Some(&EventType::SwapRolledBack));
    assert_eq!((bench.task().state, bench.task().instance.as_ref().unwrap().generation.get()), (State::Running, 1));
    assert!(!signalled(&bench, old));
}

#[test]
fn the_words_of_a_candidate_are_cut() {
    let (mut bench, _, new) = trying();
    bench.end(new, RootEnd::Panicked("no ".repeat(100_000)));
    assert_eq!(bench.task().swap.as_ref().unwrap().error.len(), limits::MESSAGE_BYTES);
}

#[test]
fn a_candidate_that_is_not_ready_in_time_stops_and_then_the_swap_ends() {
    let (mut bench, old, new) = trying();
    bench.pass(30 * SECOND);
    assert!(signalled(&bench, new) && !signalled(&bench, old));
    assert_eq!(bench.phase(), SwapPhase::Starting, "it has not ended yet");
    assert_eq!(bench.task().draining.len(), 1);
    assert_eq!(bench.swap(custom(), "a"), Err(Refusal::SwapInProgress(name())));
    bench.end(new, RootEnd::Returned);
    assert_eq!(bench.phase(), SwapPhase::RolledBack);
    assert_eq!(bench.task().swap.as_ref().unwrap().error, "the candidate was not ready within 30s");
    assert!(bench.task().draining.is_empty());
}

#[test]
fn a_refused_candidate_that_sticks_ends_the_swap_and_bars_the_next() {
    let (mut bench, _, new) = trying();
    bench.pass(30 * SECOND);
    bench.pass(5 * SECOND);
    bench.pass(2 * SECOND);
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::RolledBack, State::Running));
    assert_eq!(bench.swap(other(), "a"), Err(Refusal::PredecessorStuck(name())));
    bench.end(new, RootEnd::Cancelled);
    assert!(bench.task().alerts.iter().all(|alert| alert.generation.get() == 1), "those of the candidate are resolved");
    assert!(bench.task().draining.is_empty());
    bench.swap(other(), "a").unwrap();
}

#[test]
fn an_old_instance_that_sticks_does_not_undo_the_swap() {
    let (mut bench, old, new) = draining();
    bench.pass(5 * SECOND);
    bench.pass(2 * SECOND);
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::Done, State::Running));
    assert_eq!(bench.task().draining[0].state, InstanceState::Stuck);
    assert_eq!(bench.swap(custom(), "a"), Err(Refusal::PredecessorStuck(name())));
    // The active one fails: it is not started beside the stuck one.
    bench.end(new, RootEnd::Failed("gone".to_owned()));
    assert_eq!(bench.task().state, State::Stuck);
    let before = bench.effects.len();
    bench.pass(60 * SECOND);
    assert!(!bench.effects[before..].iter().any(|effect| matches!(effect, Effect::Launch(_))));
    bench.end(old, RootEnd::Cancelled);
    assert_eq!(bench.task().state, State::Starting);
    assert_ne!(bench.launched(), new);
}

#[test]
fn what_the_old_instance_says_after_the_cut_over_counts_nothing() {
    let (mut bench, old, new) = trying();
    bench.feed(Input::Ready(new));
    for _ in 0..5 {
        bench.check(old, Verdict::Fail);
    }
    assert!(!bench.regime(old).counted, "its metrics say so, too");
    assert_eq!(bench.task().circuit.state, CircuitState::Closed);
    for _ in 0..3 {
        bench.check(new, Verdict::Fail);
    }
    assert_eq!(bench.task().circuit.state, CircuitState::Open);
}

#[test]
fn what_a_candidate_finds_drives_nothing_even_if_it_comes_after_the_cut_over() {
    let (mut bench, _, new) = trying();
    let shadowed = Evidence { regime: bench.regime(new), verdict: Verdict::Fail, latency: MS };
    assert!(!shadowed.regime.counted);
    for _ in 0..5 {
        bench.feed(Input::CheckEnded(new, bench.now.mono, shadowed));
    }
    bench.feed(Input::Ready(new));
    for _ in 0..5 {
        bench.feed(Input::CheckEnded(new, bench.now.mono, shadowed));
    }
    assert_eq!(bench.task().circuit.state, CircuitState::Closed);
    assert!(bench.regime(new).counted);
}

#[test]
fn the_same_target_keeps_the_circuit_and_another_one_begins_anew() {
    let (mut bench, old) = Bench::ready(custom());
    for _ in 0..3 {
        bench.check(old, Verdict::Fail);
    }
    let tripped = bench.task().circuit.clone();
    assert_eq!(tripped.state, CircuitState::Open);
    bench.swap(other(), "a").unwrap();
    let second = bench.built();
    bench.feed(Input::Ready(second));
    assert_eq!(bench.task().circuit.clone(), tripped);
    bench.feed(Input::Committed(old));
    bench.end(old, RootEnd::Returned);

    bench.swap(custom(), "b").unwrap();
    let third = bench.built();
    bench.feed(Input::Ready(third));
    assert_eq!(bench.kinds()[bench.events.len() - 2..], [EventType::SwapCommitted, EventType::CircuitReset]);
    assert_eq!(bench.events.last().unwrap().cause.reason.as_str(), "a swap has changed the target");
    let reset = bench.task().circuit.clone();
    assert_eq!((reset.state, reset.reason), (CircuitState::Closed, Some(CircuitReason::Reset)));
    assert!(reset.epoch > tripped.epoch);
    assert_eq!(bench.regime(third).epoch, reset.epoch);
}

#[test]
fn a_shorter_window_shows_with_the_cut_over() {
    let (mut bench, old) = Bench::ready(custom());
    for _ in 0..8 {
        bench.check(old, Verdict::Pass);
    }
    let circuit = CircuitDraft { active_window: Some(5), ..CircuitDraft::default() };
    bench.swap(SpecDraft { circuit, ..other() }, "a").unwrap();
    let new = bench.built();
    assert_eq!(bench.counted().results, 8);
    bench.feed(Input::Ready(new));
    assert_eq!(bench.counted().results, 5);
}

#[test]
fn cancel_while_the_candidate_is_built_ends_swap_and_task() {
    use EventType::*;
    let (mut bench, old) = Bench::ready(custom());
    bench.swap(other(), "a").unwrap();
    let candidate = bench.candidate();
    bench.cancel(false).unwrap();
    assert_eq!(bench.phase(), SwapPhase::Cancelled);
    bench.end(old, RootEnd::Returned);
    let effects = bench.feed(Input::Built(candidate, Ok(())));
    assert!(matches!(effects[..], [Effect::Discard(id)] if id == candidate));
    assert_eq!(bench.kinds()[3..], [SwapStarted, SwapRolledBack, InstanceStopping, InstanceEnded, TaskEnded]);
}

#[test]
fn cancel_during_swap_wins_over_cutover() {
    let (mut bench, old, new) = trying();
    bench.cancel(false).unwrap();
    assert!(signalled(&bench, old) && signalled(&bench, new));
    bench.feed(Input::Ready(new));
    assert_eq!(bench.task().generation.get(), 1);
    bench.end(old, RootEnd::Returned);
    assert_eq!(bench.task().state, State::Stopping);
    bench.end(new, RootEnd::Returned);
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::Cancelled, State::Cancelled));
    use EventType::*;
    let kinds = bench.kinds();
    assert_eq!(kinds[kinds.len() - 4..], [InstanceEnded, InstanceEnded, SwapRolledBack, TaskEnded]);
}

#[test]
fn cancel_stops_candidate_and_old_under_one_bound() {
    let (mut bench, _, _) = trying();
    bench.cancel(false).unwrap();
    bench.pass(5 * SECOND);
    bench.pass(2 * SECOND);
    assert_eq!((bench.task().state, bench.machine.stuck()), (State::Stuck, 2));
    assert!(bench.task().is_stopped());
}

#[test]
fn cancel_between_cutover_and_commit_stops_both_and_the_swap_is_done() {
    let (mut bench, old, new) = trying();
    bench.feed(Input::Ready(new));
    bench.cancel(true).unwrap();
    bench.end(old, RootEnd::Returned);
    assert_eq!(bench.phase(), SwapPhase::Done);
    bench.feed(Input::Committed(old));
    bench.end(new, RootEnd::Cancelled);
    assert_eq!(bench.task().state, State::Cancelled);
}

#[test]
fn break_before_make_starts_the_new_only_after_the_old() {
    use EventType::*;
    let (mut bench, old, new) = breaking();
    assert!(signalled(&bench, old));
    assert_eq!((bench.task().state, bench.phase()), (State::Stopping, SwapPhase::Starting));
    assert!(!bench.effects.iter().any(|effect| matches!(effect, Effect::Launch(launch) if launch.instance == new)));
    bench.end(old, RootEnd::Returned);
    assert_eq!(bench.task().state, State::Starting);
    bench.feed(Input::Ready(new));
    assert_eq!((bench.task().state, bench.phase()), (State::Running, SwapPhase::Done));
    assert_eq!(
        bench.kinds()[3..],
        [SwapStarted, InstanceStopping, InstanceEnded, InstanceStarting, InstanceReady, SwapCommitted]
    );
}

#[test]
fn break_before_make_brings_the_old_spec_back_once() {
    let (mut bench, old, new) = breaking();
    bench.end(old, RootEnd::Returned);
    bench.end(new, RootEnd::Failed("no".to_owned()));
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::RolledBack, State::Starting));
    let revived = bench.launched();
    let instance = bench.task().instance.clone().unwrap();
    assert_eq!((instance.generation.get(), instance.attempt.get()), (1, 2));
    bench.end(revived, RootEnd::Failed("no".to_owned()));
    assert_eq!(bench.task().state, State::Failed);
}

#[test]
fn break_before_make_beside_a_stuck_old_one_starts_nothing_until_that_has_ended() {
    let (mut bench, old, new) = breaking();
    bench.pass(5 * SECOND);
    bench.pass(2 * SECOND);
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::RolledBack, State::Stuck));
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::Discard(id) if *id == new)));
    bench.pass(3_600 * SECOND);
    assert_eq!(bench.task().state, State::Stuck);
    bench.end(old, RootEnd::Cancelled);
    let instance = bench.task().instance.clone().unwrap();
    assert_eq!((bench.task().state, instance.generation.get(), instance.attempt.get()), (State::Starting, 1, 2));
}

#[test]
fn what_never_became_ready_is_replaced_at_once() {
    let (mut bench, old) = Bench::started(custom());
    bench.swap(other(), "a").unwrap();
    let new = bench.built();
    assert_eq!(bench.launched(), new);
    assert_eq!((bench.task().state, bench.task().generation.get()), (State::Starting, 2));
    bench.feed(Input::Committed(old));
    assert!(signalled(&bench, old));
    bench.end(old, RootEnd::Returned);
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::Done, State::Starting));
}

#[test]
fn what_backs_off_is_replaced_at_once_and_counts_its_restarts_anew() {
    let (mut bench, old) = Bench::ready(custom());
    bench.end(old, RootEnd::Failed("down".to_owned()));
    assert_eq!((bench.task().state, bench.task().restart.count), (State::Pending, 1));
    bench.swap(other(), "a").unwrap();
    let new = bench.built();
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::Done, State::Starting));
    assert_eq!(bench.task().restart, Restart::default());
    let launches = bench.count(|effect| matches!(effect, Effect::Launch(_)));
    bench.pass(600 * SECOND);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Launch(_))), launches, "the old restart is off");
    assert_eq!(bench.launched(), new);
}

#[test]
fn an_old_instance_that_completes_meanwhile_does_not_end_the_task_under_the_candidate() {
    let (mut bench, old, new) = trying();
    bench.end(old, RootEnd::Returned);
    assert!(!bench.task().state.is_ended());
    bench.feed(Input::Ready(new));
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::Done, State::Running));

    let (mut bench, old, new) = trying();
    bench.end(old, RootEnd::Returned);
    bench.end(new, RootEnd::Failed("no".to_owned()));
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::RolledBack, State::Succeeded));
    assert_eq!(bench.kinds().last(), Some(&EventType::TaskEnded));
}

#[test]
fn a_drain_cancels_the_swap_and_stops_both() {
    let (mut bench, old, new) = trying();
    let bound = bench.now.mono + 7 * SECOND;
    bench.drain(bound);
    assert!(signalled(&bench, old) && signalled(&bench, new));
    bench.end(new, RootEnd::Returned);
    bench.end(old, RootEnd::Returned);
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::Cancelled, State::Pending));
    assert!(bench.machine.is_drained());
    assert_eq!(bench.swap(other(), "a"), Err(Refusal::ServerDraining));
}

#[test]
fn what_is_stopping_or_has_ended_cannot_be_swapped() {
    let (mut bench, id) = Bench::ready(custom());
    bench.cancel(false).unwrap();
    let refused = |state| Err(Refusal::TaskNotRunning { name: name(), state });
    assert_eq!(bench.swap(other(), "a"), refused(State::Stopping));
    bench.end(id, RootEnd::Returned);
    assert_eq!(bench.swap(other(), "a"), refused(State::Cancelled));
}

#[test]
fn labels_given_to_a_swap_must_be_the_tasks_own() {
    let (mut bench, _) = Bench::ready(custom());
    let labels = Labels::try_new([("team".to_owned(), "pay".to_owned())]).unwrap();
    let swap = SwapTask { labels, ..swap(other()) };
    let refused = bench.command(Command::Swap(Box::new(swap), target("a")));
    assert_eq!(refused, Err(Refusal::LabelsImmutable(name())));
}

#[test]
fn alerts_of_two_instances_are_told_apart() {
    let (mut bench, old, new) = draining();
    bench.pass(5 * SECOND);
    bench.cancel(false).unwrap();
    bench.pass(5 * SECOND);
    let about = |task: &Task, kind| {
        let of_kind = task.alerts.iter().filter(|alert| alert.kind == kind);
        of_kind.map(|alert| alert.generation.get()).collect::<Vec<_>>()
    };
    assert_eq!(about(bench.task(), AlertKind::AbortRequired), [1, 2]);
    bench.end(old, RootEnd::Cancelled);
    assert_eq!(about(bench.task(), AlertKind::AbortRequired), [2]);
    bench.end(new, RootEnd::Cancelled);
    assert!(bench.open_alerts().is_empty());
}

#[test]
fn a_restart_that_was_due_is_off_once_the_task_is_cancelled_under_its_candidate() {
    let (mut bench, old, new) = trying();
    bench.end(old, RootEnd::Failed("down".to_owned()));
    assert!(bench.task().restart.next_time.is_some());
    bench.cancel(false).unwrap();
    assert_eq!(bench.task().restart.next_time, None);
    let launches = bench.count(|effect| matches!(effect, Effect::Launch(_)));
    bench.pass(3 * SECOND);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Launch(_))), launches);
    bench.end(new, RootEnd::Returned);
    assert_eq!(bench.task().state, State::Cancelled);
}

#[test]
fn what_a_candidate_does_hides_no_restart_that_is_due() {
    let draft = SpecDraft { swap: SwapDraft { readiness_timeout: Some(100 * MS), ..SwapDraft::default() }, ..other() };
    let (mut bench, old) = Bench::ready(custom());
    bench.swap(draft, "a").unwrap();
    let new = bench.built();
    bench.end(old, RootEnd::Failed("down".to_owned()));
    let due = bench.task().restart.next_time;
    assert!(due.is_some());
    bench.pass(100 * MS);
    assert!(signalled(&bench, new), "it was not ready in time");
    bench.end(new, RootEnd::Returned);
    assert_eq!((bench.task().state, bench.task().restart.next_time), (State::Pending, due));
}

#[test]
fn a_candidate_that_returns_and_leaves_children_is_refused() {
    let (mut bench, old, new) = trying();
    bench.feed(Input::RootEnded { instance: new, end: RootEnd::Returned, children: true });
    assert!(signalled(&bench, new) && !signalled(&bench, old));
    assert_eq!(bench.task().draining.len(), 1, "it is shown while it stops");
    bench.feed(Input::ChildrenEnded { instance: new, aborted: false });
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::RolledBack, State::Running));
    let error = &bench.task().swap.as_ref().unwrap().error;
    assert_eq!(error, "the candidate has returned, but children of it live on");
}
