//! How long a candidate has to stay ready before it takes over.

use super::*;

/// Another spec than `custom()`, whose instance has to stay ready for 10 s.
fn gated() -> SpecDraft {
    SpecDraft { swap: SwapDraft { min_healthy_time: Some(10 * SECOND), ..SwapDraft::default() }, ..other() }
}

/// With a ready task, and a candidate beside it that has just become ready.
fn gating() -> (Bench, InstanceId, InstanceId) {
    let (mut bench, old) = Bench::ready(custom());
    bench.swap(gated(), "a").unwrap();
    let new = bench.built();
    bench.feed(Input::Ready(new));
    assert_eq!((bench.phase(), bench.task().generation.get()), (SwapPhase::Gating, 1));
    (bench, old, new)
}

fn error(bench: &Bench) -> &str {
    &bench.task().swap.as_ref().unwrap().error
}

#[test]
fn it_takes_over_when_it_has_been_ready_for_long_enough_and_not_before() {
    let (mut bench, old, new) = gating();
    bench.pass(10 * SECOND - MS);
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::Gating, State::Running));
    assert!(!bench.regime(new).counted && !signalled(&bench, old));
    bench.pass(MS);
    assert_eq!((bench.phase(), bench.task().generation.get()), (SwapPhase::Committed, 2));
    assert!(bench.regime(new).counted);
    bench.feed(Input::Committed(old));
    assert!(signalled(&bench, old));
}

#[test]
fn the_readiness_timeout_ends_with_readiness() {
    let swap =
        SwapDraft { min_healthy_time: Some(60 * SECOND), readiness_timeout: Some(SECOND), ..SwapDraft::default() };
    let (mut bench, _) = Bench::ready(custom());
    bench.swap(SpecDraft { swap, ..other() }, "a").unwrap();
    let new = bench.built();
    bench.feed(Input::Ready(new));
    bench.pass(59 * SECOND);
    assert_eq!(bench.phase(), SwapPhase::Gating);
}

#[test]
fn one_that_ends_meanwhile_is_rolled_back_and_says_what_it_lacked() {
    let (mut bench, old, new) = gating();
    bench.pass(9 * SECOND);
    bench.end(new, RootEnd::Failed("out of cheese".to_owned()));
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::RolledBack, State::Running));
    assert_eq!(error(&bench), "the candidate has failed: out of cheese; it had to stay ready for 10s");
    assert!(!signalled(&bench, old));
    bench.pass(60 * SECOND);
    assert_eq!((bench.task().generation.get(), bench.task().state), (1, State::Running), "nothing is left of it");
}

#[test]
fn one_that_is_done_meanwhile_has_not_stayed_ready() {
    let (mut bench, _, new) = gating();
    bench.end(new, RootEnd::Returned);
    assert_eq!(
        (bench.phase(), error(&bench)),
        (SwapPhase::RolledBack, "the candidate has ended; it had to stay ready for 10s")
    );
}

#[test]
fn one_that_leaves_children_behind_has_not_stayed_ready() {
    let (mut bench, _, new) = gating();
    bench.feed(Input::RootEnded { instance: new, end: RootEnd::Returned, children: true });
    bench.pass(60 * SECOND);
    assert_eq!(bench.task().generation.get(), 1, "it stops, so it does not take over");
    bench.feed(Input::ChildrenEnded { instance: new, aborted: false });
    assert!(error(&bench).ends_with("children of it live on; it had to stay ready for 10s"), "{}", error(&bench));
}

#[test]
fn one_that_blocks_its_thread_when_the_time_is_over_does_not_take_over() {
    let (mut bench, _, new) = gating();
    bench.pass(9 * SECOND);
    bench.feed(Input::PollBlocked(new, bench.now.mono));
    bench.pass(SECOND);
    assert!(signalled(&bench, new));
    assert_eq!(bench.phase(), SwapPhase::Gating, "it has not ended yet");
    bench.end(new, RootEnd::Cancelled);
    assert_eq!(error(&bench), "the candidate blocks its thread; it had to stay ready for 10s");

    let (mut bench, _, new) = gating();
    bench.feed(Input::PollBlocked(new, bench.now.mono));
    bench.feed(Input::PollReturned(new));
    bench.pass(10 * SECOND);
    assert_eq!(bench.phase(), SwapPhase::Committed, "one that has come back is well");
}

#[test]
fn what_its_checks_find_has_no_say() {
    let (mut bench, _, new) = gating();
    for _ in 0..5 {
        bench.check(new, Verdict::Fail);
    }
    bench.pass(10 * SECOND);
    assert_eq!((bench.phase(), bench.task().circuit.state), (SwapPhase::Committed, CircuitState::Closed));
}

#[test]
fn one_that_is_displaced_begins_from_the_beginning() {
    let (mut bench, _, new) = gating();
    bench.pass(9 * SECOND);
    bench.feed(Input::Stalled { culprit: InstanceId::default(), displaced: vec![new] });
    let again = bench.launched();
    assert_ne!(again, new);
    assert_eq!(bench.phase(), SwapPhase::Starting);
    bench.pass(30 * SECOND - MS);
    assert!(!signalled(&bench, again), "it has all its time to become ready");
    bench.feed(Input::Ready(again));
    bench.pass(10 * SECOND - MS);
    assert_eq!(bench.phase(), SwapPhase::Gating);
    bench.pass(MS);
    assert_eq!(bench.phase(), SwapPhase::Committed);
}

#[test]
fn a_cancel_or_a_drain_wins_over_it() {
    let (mut bench, old, new) = gating();
    bench.cancel(false).unwrap();
    bench.pass(10 * SECOND);
    bench.end(old, RootEnd::Returned);
    bench.end(new, RootEnd::Returned);
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::Cancelled, State::Cancelled));

    let (mut bench, old, new) = gating();
    bench.drain(bench.now.mono + 7 * SECOND);
    bench.end(old, RootEnd::Returned);
    bench.end(new, RootEnd::Returned);
    assert_eq!((bench.phase(), bench.task().generation.get()), (SwapPhase::Cancelled, 1));
}

#[test]
fn it_does_not_take_over_while_the_journal_takes_nothing_in() {
    let (mut bench, _, _) = gating();
    bench.feed(Input::Admission(Admission::Stalled));
    bench.pass(60 * SECOND);
    assert_eq!(bench.phase(), SwapPhase::Gating);
    bench.feed(Input::Admission(Admission::Open));
    bench.pass(Duration::ZERO);
    assert_eq!(bench.phase(), SwapPhase::Committed);
}

#[test]
fn break_before_make_waits_too_and_brings_the_old_spec_back() {
    let (mut bench, old) = Bench::ready(custom());
    let swap = SwapTask { strategy: Some(SwapStrategy::BreakBeforeMake), ..swap(gated()) };
    bench.command(Command::Swap(Box::new(swap), target("a"))).unwrap();
    let new = bench.built();
    bench.end(old, RootEnd::Returned);
    bench.feed(Input::Ready(new));
    assert_eq!((bench.phase(), bench.task().state), (SwapPhase::Gating, State::Starting));
    assert!(bench.task().circuit.suspended, "nothing counts meanwhile");
    bench.end(new, RootEnd::Failed("no".to_owned()));
    let instance = bench.task().instance.clone().unwrap();
    assert_eq!((bench.task().state, instance.generation.get(), instance.attempt.get()), (State::Starting, 1, 2));
}

#[test]
fn where_nothing_is_ready_nothing_waits() {
    let (mut bench, _) = Bench::started(custom());
    bench.swap(gated(), "a").unwrap();
    bench.built();
    assert_eq!((bench.phase(), bench.task().generation.get()), (SwapPhase::Committed, 2));
}
