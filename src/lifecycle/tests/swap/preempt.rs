//! Swaps that do not wait for another one to end.

use super::*;

/// A third spec.
fn third() -> SpecDraft {
    SpecDraft { start_timeout: Some(8 * SECOND), ..custom() }
}

fn preempting(draft: SpecDraft) -> Command {
    Command::Swap(Box::new(SwapTask { preempt: true, ..swap(draft) }), target("a"))
}

/// What the events since then say of swaps: the generation that each would bring in, and its phase.
fn swaps(bench: &Bench, since: usize) -> Vec<(u64, SwapPhase)> {
    let told = bench.events[since..].iter().filter_map(|event| match &event.detail {
        Some(Detail::Swap(swap)) => Some((swap.to_generation.get(), swap.phase)),
        _ => None,
    });
    told.collect()
}

fn builds(bench: &Bench) -> usize {
    bench.count(|effect| matches!(effect, Effect::Build { .. }))
}

#[test]
fn the_candidate_stops_and_the_next_one_is_built_once_it_has_ended() {
    use EventType::*;
    use SwapPhase::{Building, Cancelled, Done};
    let (mut bench, old, loser) = trying();
    let before = bench.events.len();
    bench.command(preempting(third())).unwrap();
    assert_eq!(bench.kinds()[before..], [InstanceStopping, SwapRolledBack, SwapStarted]);
    assert_eq!(swaps(&bench, before), [(2, Cancelled), (3, Building)]);
    let cancelled = &bench.events[before + 1].task.as_ref().unwrap().swap.as_ref().unwrap().error;
    assert_eq!(cancelled, "another swap has preempted it");
    assert!(signalled(&bench, loser) && !signalled(&bench, old));
    assert_eq!((builds(&bench), bench.task().draining.len()), (1, 1), "it waits");
    assert_eq!(bench.swap(custom(), "a"), Err(Refusal::SwapInProgress(name())));

    bench.end(loser, RootEnd::Returned);
    assert_eq!((builds(&bench), bench.phase()), (2, Building));
    let new = bench.built();
    bench.feed(Input::Ready(new));
    bench.feed(Input::Committed(old));
    bench.end(old, RootEnd::Returned);
    assert_eq!((bench.phase(), bench.task().generation.get(), bench.task().state), (Done, 3, State::Running));
}

#[test]
fn an_old_instance_that_ends_meanwhile_hurries_nothing() {
    let (mut bench, old, loser) = trying();
    bench.command(preempting(third())).unwrap();
    bench.end(old, RootEnd::Failed("down".to_owned()));
    assert_eq!(builds(&bench), 1, "the candidate still stops");
    bench.end(loser, RootEnd::Returned);
    assert_eq!(builds(&bench), 2);
}

#[test]
fn beside_a_candidate_that_sticks_it_is_built_and_rolled_back() {
    let (mut bench, _, loser) = trying();
    bench.command(preempting(third())).unwrap();
    bench.pass(5 * SECOND);
    assert_eq!(builds(&bench), 1);
    bench.pass(2 * SECOND);
    assert_eq!((builds(&bench), bench.phase()), (2, SwapPhase::Building));
    bench.built();
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::RolledBack, State::Running));
    assert_eq!(bench.task().swap.as_ref().unwrap().error, "an earlier instance is stuck");
    bench.end(loser, RootEnd::Cancelled);
    bench.swap(third(), "a").unwrap();
}

#[test]
fn what_is_still_being_built_is_discarded_when_it_comes() {
    let (mut bench, _) = Bench::ready(custom());
    bench.swap(other(), "a").unwrap();
    let loser = bench.candidate();
    bench.command(preempting(third())).unwrap();
    let winner = bench.candidate();
    assert_ne!(winner, loser, "nothing has to end first");
    let effects = bench.feed(Input::Built(loser, Ok(())));
    assert!(matches!(effects[..], [Effect::Discard(id)] if id == loser));
    bench.built();
    assert_eq!(bench.launched(), winner);
}

#[test]
fn after_the_cut_over_it_is_too_late() {
    let (mut bench, old, new) = trying();
    bench.feed(Input::Ready(new));
    let refused = || Err(Refusal::SwapTakenOver(name()));
    assert_eq!(bench.command(preempting(third())), refused());
    bench.feed(Input::Committed(old));
    assert_eq!(bench.command(preempting(third())), refused());
    bench.end(old, RootEnd::Returned);
    bench.command(preempting(third())).unwrap();
    assert_eq!(bench.task().swap.as_ref().unwrap().to_generation.get(), 3, "without another one it is as any");
}

#[test]
fn back_to_the_spec_that_runs_nothing_is_built() {
    let (mut bench, old, loser) = trying();
    let before = bench.events.len();
    bench.command(preempting(custom())).unwrap();
    assert_eq!(swaps(&bench, before), [(2, SwapPhase::Cancelled)]);
    assert_eq!((builds(&bench), bench.task().generation.get()), (1, 1));
    assert!(signalled(&bench, loser) && !signalled(&bench, old));
    // The candidate has not ended: what comes next is a swap beside it.
    assert_eq!(bench.swap(third(), "a"), Err(Refusal::SwapInProgress(name())));
    bench.end(loser, RootEnd::Returned);
    bench.swap(third(), "a").unwrap();
    assert_eq!(builds(&bench), 2);
}

#[test]
fn back_to_the_spec_that_runs_other_annotations_are_replaced() {
    let (mut bench, _, loser) = trying();
    let before = bench.events.len();
    let annotations = Annotations::try_new([("a".to_owned(), "b".to_owned())]).unwrap();
    let swap = SwapTask { preempt: true, annotations: annotations.clone(), ..swap(custom()) };
    bench.command(Command::Swap(Box::new(swap), target("a"))).unwrap();
    assert_eq!(swaps(&bench, before), [(2, SwapPhase::Cancelled), (1, SwapPhase::Done)]);
    bench.end(loser, RootEnd::Returned);
    assert_eq!((&bench.task().annotations, bench.phase()), (&annotations, SwapPhase::Done));
}

#[test]
fn one_that_waits_may_be_preempted_in_turn() {
    let (mut bench, _, loser) = trying();
    bench.command(preempting(third())).unwrap();
    bench.command(preempting(tcp())).unwrap();
    assert_eq!((builds(&bench), bench.phase()), (1, SwapPhase::Building));
    bench.end(loser, RootEnd::Returned);
    assert_eq!(builds(&bench), 2);
    assert_eq!(bench.task().swap.as_ref().unwrap().to_generation.get(), 4);
}

#[test]
fn one_that_had_failed_by_itself_says_so() {
    let (mut bench, _, _) = trying();
    bench.pass(30 * SECOND);
    let before = bench.events.len();
    bench.command(preempting(third())).unwrap();
    assert_eq!(swaps(&bench, before), [(2, SwapPhase::RolledBack), (3, SwapPhase::Building)]);
}

#[test]
fn a_cancel_ends_one_that_waits() {
    let (mut bench, old, loser) = trying();
    bench.command(preempting(third())).unwrap();
    bench.cancel(false).unwrap();
    assert_eq!(bench.phase(), SwapPhase::Cancelled);
    bench.end(loser, RootEnd::Returned);
    bench.end(old, RootEnd::Returned);
    assert_eq!((builds(&bench), bench.task().state), (1, State::Cancelled));
}

#[test]
fn preempted_before_the_old_one_has_ended_break_before_make_loses_nothing() {
    let (mut bench, old, discarded) = breaking();
    bench.command(preempting(third())).unwrap();
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::Discard(id) if *id == discarded)));
    assert_eq!((builds(&bench), bench.task().state), (1, State::Stopping), "the old one still stops");
    bench.end(old, RootEnd::Returned);
    assert_eq!(builds(&bench), 2);
    let new = bench.built();
    assert_eq!(
        (bench.launched(), bench.task().generation.get()),
        (new, 1),
        "what was well may come back, so it is tried"
    );
    bench.end(new, RootEnd::Failed("no".to_owned()));
    let instance = bench.task().instance.clone().unwrap();
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::RolledBack, State::Starting));
    assert_eq!((instance.generation.get(), instance.attempt.get()), (1, 2));
}

#[test]
fn preempted_while_it_is_tried_break_before_make_brings_the_old_spec_back_or_the_next_one() {
    let tried = || {
        let (mut bench, old, loser) = breaking();
        bench.end(old, RootEnd::Returned);
        (bench, loser)
    };
    let (mut bench, loser) = tried();
    bench.command(preempting(custom())).unwrap();
    assert_eq!(bench.task().state, State::Stopping);
    bench.end(loser, RootEnd::Returned);
    let instance = bench.task().instance.clone().unwrap();
    assert_eq!((bench.task().state, instance.generation.get(), instance.attempt.get()), (State::Starting, 1, 2));

    let (mut bench, loser) = tried();
    bench.command(preempting(third())).unwrap();
    bench.end(loser, RootEnd::Returned);
    let new = bench.built();
    bench.feed(Input::Ready(new));
    assert_eq!((bench.phase(), bench.task().generation.get()), (SwapPhase::Done, 3));
    let launches = bench.count(|effect| matches!(effect, Effect::Launch(_)));
    bench.pass(3_600 * SECOND);
    assert_eq!(bench.count(|effect| matches!(effect, Effect::Launch(_))), launches, "the old spec does not come back");

    let (mut bench, loser) = tried();
    bench.command(preempting(third())).unwrap();
    bench.end(loser, RootEnd::Returned);
    let id = bench.candidate();
    bench.feed(Input::Built(id, Err("no bricks".to_owned())));
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::RolledBack, State::Starting));
}

#[test]
fn a_dry_run_preempts_nothing() {
    let (mut bench, _, loser) = trying();
    let before = bench.events.len();
    let dry = SwapTask { preempt: true, validate_only: true, ..swap(third()) };
    bench.command(Command::Swap(Box::new(dry), target("a"))).unwrap();
    assert!(bench.events.len() == before && !signalled(&bench, loser));
}

#[test]
fn a_dry_run_that_would_preempt_is_answered_however_far_the_other_swap_has_come() {
    let (mut bench, old, new) = trying();
    let dry = |preempt| {
        let dry = SwapTask { preempt, validate_only: true, ..swap(third()) };
        Command::Swap(Box::new(dry), target("a"))
    };
    let shown = |reply| match reply {
        Ok(Reply::Accepted { task, .. }) => (task.generation.get(), *task.spec == swap(third()).spec),
        other => panic!("{other:?}"),
    };
    assert_eq!(shown(bench.command(dry(true))), (3, true));
    bench.feed(Input::Ready(new));
    assert_eq!(shown(bench.command(dry(true))), (3, true), "committed");
    bench.feed(Input::Committed(old));
    assert_eq!(shown(bench.command(dry(true))), (3, true), "the old one stops");
    assert_eq!(bench.command(dry(false)), Err(Refusal::SwapTakenOver(name())), "as the swap would be");
}

#[test]
fn one_that_waits_is_rolled_back_by_a_crash_and_nothing_of_it_is_left() {
    let (mut bench, _, _) = trying();
    bench.command(preempting(third())).unwrap();
    bench.restart(SECOND);
    use EventType::*;
    assert_eq!(bench.adopt(), [InstanceEnded, SwapRolledBack, InstanceEnded, InstanceStarting]);
    let swap = bench.task().swap.as_ref().unwrap();
    assert_eq!((swap.to_generation.get(), swap.phase), (3, SwapPhase::RolledBack));
    assert_eq!((swap.error.as_str(), bench.task().generation.get()), ("the server ended while it ran", 1));
}
