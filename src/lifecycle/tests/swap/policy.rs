//! What becomes of the circuit.

use super::*;

/// Trips the circuit, then swaps by a policy; the circuit before and after, and what the cut-over appended.
fn swapped(policy: Option<StatePolicy>, watched: &str) -> (CircuitStatus, CircuitStatus, Vec<EventType>) {
    let (mut bench, old) = Bench::ready(custom());
    for _ in 0..3 {
        bench.check(old, Verdict::Fail);
    }
    let tripped = bench.task().circuit.clone();
    assert_eq!((tripped.state, tripped.streak), (CircuitState::Open, 1));
    let swap = SwapTask { state_policy: policy, ..swap(other()) };
    bench.command(Command::Swap(Box::new(swap), target(watched))).unwrap();
    let new = bench.built();
    let before = bench.events.len() + 1;
    bench.feed(Input::Ready(new));
    assert_eq!(bench.regime(new).epoch, bench.task().circuit.epoch);
    (tripped, bench.task().circuit.clone(), bench.kinds().split_off(before))
}

#[test]
fn by_default_the_target_decides() {
    assert_eq!(swapped(None, "a").2, [EventType::SwapCommitted]);
    assert_eq!(swapped(None, "b").2, [EventType::SwapCommitted, EventType::CircuitReset]);
}

#[test]
fn one_that_is_kept_stays_for_another_target_too() {
    for watched in ["a", "b"] {
        let (before, after, told) = swapped(Some(StatePolicy::Keep), watched);
        assert_eq!((after, told), (before, vec![EventType::SwapCommitted]), "{watched}");
    }
}

#[test]
fn one_that_is_reset_begins_anew_for_the_same_target_too() {
    for watched in ["a", "b"] {
        let (before, after, told) = swapped(Some(StatePolicy::Reset), watched);
        assert_eq!(told, [EventType::SwapCommitted, EventType::CircuitReset], "{watched}");
        assert_eq!((after.state, after.reason, after.streak), (CircuitState::Closed, Some(CircuitReason::Reset), 0));
        assert!(after.epoch > before.epoch);
    }
}

#[test]
fn the_event_of_a_reset_says_whose_wish_it_was() {
    let (mut bench, _) = Bench::ready(custom());
    let swap = SwapTask { state_policy: Some(StatePolicy::Reset), ..swap(other()) };
    bench.command(Command::Swap(Box::new(swap), target("a"))).unwrap();
    let new = bench.built();
    bench.feed(Input::Ready(new));
    assert_eq!(bench.events.last().unwrap().cause.reason.as_str(), "a swap has asked for it");
}

#[test]
fn what_was_counted_goes_on_or_is_forgotten_and_nothing_opens_by_a_swap() {
    for (policy, bad_before) in [(StatePolicy::Keep, 2), (StatePolicy::Reset, 0)] {
        let (mut bench, old) = Bench::ready(custom());
        for _ in 0..2 {
            bench.check(old, Verdict::Fail);
        }
        let swap = SwapTask { state_policy: Some(policy), ..swap(other()) };
        bench.command(Command::Swap(Box::new(swap), target("a"))).unwrap();
        let new = bench.built();
        bench.feed(Input::Ready(new));
        assert_eq!(bench.counted().consecutive, bad_before, "{policy:?}");
        for _ in bad_before..2 {
            bench.check(new, Verdict::Fail);
        }
        assert_eq!(bench.task().circuit.state, CircuitState::Closed, "{policy:?}");
        bench.check(new, Verdict::Fail);
        assert_eq!(bench.task().circuit.state, CircuitState::Open, "{policy:?}");
    }
}

#[test]
fn the_next_swap_knows_which_target_was_kept() {
    let (mut bench, old) = Bench::ready(custom());
    let keep = SwapTask { state_policy: Some(StatePolicy::Keep), ..swap(other()) };
    bench.command(Command::Swap(Box::new(keep), target("b"))).unwrap();
    let new = bench.built();
    bench.feed(Input::Ready(new));
    bench.feed(Input::Committed(old));
    bench.end(old, RootEnd::Returned);
    let before = bench.events.len();
    bench.swap(custom(), "b").unwrap();
    let newer = bench.built();
    bench.feed(Input::Ready(newer));
    assert!(!bench.kinds()[before..].contains(&EventType::CircuitReset), "the target is the same");
}
