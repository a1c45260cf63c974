use std::time::Duration;

use super::*;
use crate::model::InstanceId;
use crate::monitor::{Occupant, Polled};
use crate::telemetry::Metrics;

/// Shards of which none is polling yet, two for built-in and two for custom kinds.
fn shards() -> (Shards, Metrics) {
    let metrics = Metrics::new().expect("registers");
    let polls = metrics.polls.clone();
    (Shards::start(2, 2, 2, Watch::new(polls.clone()), polls).expect("starts"), metrics)
}

fn custom(kind: &str) -> Tenant<'_> {
    Tenant { kind, built_in: false, isolation: Isolation::Shared }
}

const BUILT_IN: Tenant<'static> = Tenant { kind: "tcp", built_in: true, isolation: Isolation::Shared };

/// Blocks a shard's thread until the sender is dropped; the poll that does it.
fn block(shards: &Shards, id: ShardId, runtime: &Handle) -> (std::sync::mpsc::SyncSender<()>, u64) {
    let (free, freed) = std::sync::mpsc::sync_channel::<()>(0);
    let occupant = Occupant::new(InstanceId::new(1), Duration::from_secs(1));
    let (polling, polled) = std::sync::mpsc::sync_channel::<()>(0);
    runtime.spawn(Polled::new(occupant, async move {
        drop(polling);
        let _ = freed.recv();
    }));
    assert!(polled.recv().is_err());
    let turn = shards.shards[&id].slot.running().expect("it is polling").turn;
    (free, turn)
}

const GIVEN: Relief = Relief::Given { back: None, quarantined: true };

fn threads(metrics: &Metrics, sort: &str) -> String {
    let text = String::from_utf8(metrics.render().expect("renders")).expect("text");
    let name = format!("circuit_breaker_shard_threads{{sort=\"{sort}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).expect("there").to_owned()
}

#[test]
fn each_sort_has_shards_of_its_own_and_the_emptiest_is_taken() {
    let (mut shards, _metrics) = shards();
    let [a, b, c] = [(); 3].map(|()| shards.enter(BUILT_IN).expect("a place").0);
    let [d, e] = [(); 2].map(|()| shards.enter(custom("x")).expect("a place").0);
    assert!(a != b && d != e && ![a, b].contains(&d) && ![a, b].contains(&e));
    assert!([a, b].contains(&c));
    shards.leave(c);
    shards.leave(c);
    assert_eq!(shards.enter(BUILT_IN).expect("a place").0, c, "it is the emptiest now");
}

#[test]
fn a_relieved_shard_is_left_to_its_culprit_and_ends_with_it() {
    let (mut shards, metrics) = shards();
    let (blocked, runtime) = shards.enter(custom("bad")).expect("a place");
    let (free, turn) = block(&shards, blocked, &runtime);
    let mut relieve = |turn| shards.relieve(blocked, turn, Some("bad"), true).expect("a thread");
    assert_eq!(relieve(turn + 2), Relief::None, "that poll is over");
    assert_eq!(relieve(turn), GIVEN);
    assert_eq!(relieve(turn), Relief::Alone);
    assert_eq!((threads(&metrics, "custom"), threads(&metrics, "relieved")), ("2".into(), "1".into()));
    let others: Vec<_> = (0..4).map(|_| shards.enter(custom("good")).expect("a place").0).collect();
    assert!(!others.contains(&blocked));
    shards.leave(blocked);
    assert_eq!(threads(&metrics, "relieved"), "0");
    drop(free);
}

#[test]
fn a_kind_that_has_blocked_a_shard_shares_some_with_itself_alone() {
    let (mut shards, metrics) = shards();
    let (blocked, runtime) = shards.enter(custom("bad")).expect("a place");
    let (free, turn) = block(&shards, blocked, &runtime);
    assert_eq!(shards.relieve(blocked, turn, Some("bad"), true).expect("a thread"), GIVEN);
    let (a, runtime) = shards.enter(custom("bad")).expect("a place");
    let b = shards.enter(custom("bad")).expect("a place").0;
    let good = shards.enter(custom("good")).expect("a place").0;
    assert!(a == b && a != good && a != blocked);
    assert!(shards.may_leave(good, InstanceId::new(1)) && !shards.may_leave(a, InstanceId::new(1)));
    // One that blocks there does not hold up the rest of its kind, as long as that has threads left.
    let (free_too, turn) = block(&shards, a, &runtime);
    shards.watch.advance(SLOW);
    let c = shards.enter(custom("bad")).expect("a place").0;
    assert!(c != a && threads(&metrics, "quarantined") == "2");
    let again = shards.relieve(a, turn, Some("bad"), true).expect("a thread");
    assert_eq!(again, Relief::Given { back: None, quarantined: false });
    for id in [a, b, c] {
        shards.leave(id);
    }
    assert_eq!(threads(&metrics, "quarantined"), "0", "it ends with the last of its tenants");
    drop((free, free_too));
}

#[test]
fn a_shard_that_nobody_is_known_on_is_relieved_and_goes() {
    let (mut shards, metrics) = shards();
    let (blocked, runtime) = shards.enter(custom("x")).expect("a place");
    let (free, turn) = block(&shards, blocked, &runtime);
    assert!(!shards.may_leave(blocked, InstanceId::new(1)), "it is being polled");
    shards.leave(blocked);
    let relief = shards.relieve(blocked, turn, None, true).expect("a thread");
    assert_eq!(relief, Relief::Given { back: None, quarantined: false });
    assert_eq!((threads(&metrics, "custom"), threads(&metrics, "relieved")), ("2".into(), "0".into()));
    drop(free);
}

#[test]
fn a_built_in_kind_is_not_quarantined() {
    let (mut shards, metrics) = shards();
    let (blocked, runtime) = shards.enter(BUILT_IN).expect("a place");
    let (free, turn) = block(&shards, blocked, &runtime);
    let relief = shards.relieve(blocked, turn, Some("tcp"), false).expect("a thread");
    assert_eq!(relief, Relief::Given { back: None, quarantined: false });
    shards.enter(BUILT_IN).expect("a place");
    assert_eq!((threads(&metrics, "built_in"), threads(&metrics, "quarantined")), ("2".into(), "0".into()));
    drop(free);
}

#[test]
fn no_more_are_given_up_than_may_be_and_one_that_blocks_no_longer_gives_its_own_back() {
    let (mut shards, metrics) = shards();
    let mut held = Vec::new();
    for kind in ["a", "b"] {
        let (id, runtime) = shards.enter(custom(kind)).expect("a place");
        let (free, turn) = block(&shards, id, &runtime);
        assert_eq!(shards.relieve(id, turn, Some(kind), true).expect("a thread"), GIVEN);
        held.push((id, free));
    }
    shards.watch.advance(SLOW);
    let (third, runtime) = shards.enter(custom("c")).expect("a place");
    let (free, turn) = block(&shards, third, &runtime);
    let mut relieve = |may_lose| shards.relieve(third, turn, Some("c"), may_lose).expect("a thread");
    assert_eq!(relieve(true), Relief::None, "both are blocked as before");
    let (back, freed) = held.remove(0);
    drop(freed);
    while shards.shards[&back].slot.running().is_some() {
        std::thread::yield_now();
    }
    let mut relieve = |may_lose| shards.relieve(third, turn, Some("c"), may_lose).expect("a thread");
    assert_eq!(relieve(false), Relief::None, "at the stuck limit");
    assert_eq!(relieve(true), Relief::Given { back: Some(back), quarantined: true });
    shards.leave(back);
    assert_eq!(threads(&metrics, "relieved"), "2");
    drop((free, held));
}

#[test]
fn an_isolated_instance_has_a_thread_to_itself_for_as_long_as_it_lives() {
    let (mut shards, metrics) = shards();
    let isolated = Tenant { isolation: Isolation::Thread, ..custom("x") };
    let [(a, runtime), (b, _)] = [(); 2].map(|()| shards.enter(isolated).expect("a place"));
    assert!(a != b);
    let (free, turn) = block(&shards, a, &runtime);
    assert_eq!(shards.relieve(a, turn, Some("x"), true).expect("a thread"), Relief::Alone);
    assert_eq!((threads(&metrics, "isolated"), threads(&metrics, "relieved")), ("2".into(), "0".into()));
    shards.leave(a);
    shards.leave(b);
    assert_eq!(threads(&metrics, "isolated"), "0");
    drop(free);
}

#[test]
fn threads_are_not_given_out_without_end() {
    let (mut shards, _metrics) = shards();
    let isolated = Tenant { isolation: Isolation::Thread, ..custom("x") };
    let taken: Vec<_> = (0..MOST_ISOLATED).map(|_| shards.enter(isolated).expect("a place").0).collect();
    let error = shards.enter(isolated).expect_err("too many");
    assert!(error.to_string().contains("which is the limit"), "{error}");
    assert!(shards.enter(custom("x")).is_ok());
    shards.leave(taken[0]);
    assert!(shards.enter(isolated).is_ok());
}

#[test]
fn a_blocked_shard_is_passed_over_and_whoever_waits_there_is_held_up() {
    let (mut shards, _metrics) = shards();
    let (blocked, runtime) = shards.enter(custom("x")).expect("a place");
    let (free, _turn) = block(&shards, blocked, &runtime);
    let (culprit, other) = (InstanceId::new(1), InstanceId::new(2));
    assert!(!shards.is_held_up(blocked, other), "it may be a moment only");
    shards.watch.advance(SLOW);
    let taken: Vec<_> = (0..3).map(|_| shards.enter(custom("x")).expect("a place").0).collect();
    assert!(!taken.contains(&blocked));
    assert!(shards.is_held_up(blocked, other) && !shards.is_held_up(blocked, culprit));
    drop(free);
}
